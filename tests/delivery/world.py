"""People, messages and deliveries for the tests of this app."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from crm import consent
from crm.models import Device, Event, Profile
from delivery import outbox, vapid
from delivery.models import Delivery, Message, MessageContent

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def person(
    number: int = 1, agrees: bool = True, channels: Sequence[str] = ("webpush", "memory"), **fields: Any
) -> Profile:
    """A person with an email address, and with consent unless `agrees` is False."""
    profile = Profile.objects.create(
        **{"email": f"person{number}@example.com", "first_name": f"Ann{number}", **fields}
    )
    if agrees:
        answer(profile, consent.SUBSCRIBED, channels)
    return profile


def answer(
    profile: Profile, state: str, channels: Sequence[str] = ("webpush",), at: datetime | None = None
) -> None:
    """Record a yes or no."""
    consent.record(
        [
            consent.Change(profile.pk, consent.CHANNEL, channel, state, "test", at or NOW - timedelta(days=1))
            for channel in channels
        ]
    )


def browser(profile: Profile, subscription: Any) -> Device:
    """Give `profile` a browser; `subscription` is one of tests.push."""
    keys = subscription.to_json()["keys"]
    return Device.objects.create(
        profile=profile,
        endpoint=subscription.endpoint,
        p256dh=keys["p256dh"],
        auth=keys["auth"],
        application_key=vapid.public_key(),
    )


def message(
    slug: str = "welcome", channel: str = "memory", content: dict[str, Any] | None = None, **fields: Any
) -> Message:
    """A message with content for everybody."""
    default = {"text": "Hello"} if channel == "memory" else {"title": "Hello"}
    made = Message.objects.create(**{"slug": slug, "name": slug, "topic": "", **fields})
    MessageContent.objects.create(message=made, channel=channel, content=content or default)
    return made


def request(cause: str, wanted: Message, profile: Profile, channel: str = "memory", **more: Any) -> Any:
    """A request by a flow."""
    return outbox.DeliveryRequest(
        **{
            "cause": cause,
            "message_id": wanted.pk,
            "profile_id": profile.pk,
            "channel": channel,
            "origin_type": "flow",
            "origin_id": 7,
            "origin_step": "s1",
            **more,
        }
    )


def queue(
    wanted: Message, profiles: Sequence[Profile], channel: str = "memory", now: datetime = NOW, **more: Any
) -> list[Delivery]:
    """Queue `wanted` for `profiles` and return the deliveries in that order."""
    causes = [f"test:{wanted.pk}:{profile.pk}" for profile in profiles]
    outbox.queue(
        [
            request(cause, wanted, profile, channel, **more)
            for cause, profile in zip(causes, profiles, strict=True)
        ],
        now,
    )
    found = Delivery.objects.in_bulk(causes, field_name="cause")
    return [found[cause] for cause in causes]


def states() -> dict[str, int]:
    """How many deliveries there are in each state."""
    counts: dict[str, int] = {}
    for state in Delivery.objects.values_list("state", flat=True):
        counts[state] = counts.get(state, 0) + 1
    return counts


def events(name: str) -> list[Event]:
    """Logged events of the people of this test; the partitioned log outlives a test's flush."""
    return list(Event.objects.filter(name=name, profile_id__in=Profile.objects.values("pk")))


def event(name: str) -> Event:
    """The only such event."""
    [found] = events(name)
    return found
