"""People, messages, what was sent to them and what they did, for the tests of this app."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from analytics import projection
from analytics.goals import attribution, rules
from analytics.rollups import audience, keeping, seen
from crm import log
from crm.models import Event, Profile
from delivery.models import Delivery, Message, MessageContent
from tests.reading import drain

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_causes = itertools.count()


def person(**fields: Any) -> Profile:
    return Profile.objects.create(**{"first_name": "Ann", **fields})


def message(slug: str = "welcome", **fields: Any) -> Message:
    made = Message.objects.create(**{"slug": slug, "name": slug.title(), **fields})
    MessageContent.objects.create(message=made, channel="webpush", content={"title": "Hello"})
    return made


def delivery(
    wanted: Message,
    profile: Profile,
    state: str = "sent",
    at: datetime = NOW,
    logged: bool = True,
    **fields: Any,
) -> Delivery:
    """A delivery queued `at`, and sent then if its state says so; the log knows what became of it if `logged`."""
    reasons = {"suppressed": "no consent", "failed": "410 Gone"}
    made = Delivery.objects.create(
        **{
            "cause": f"test:{next(_causes)}",
            "message": wanted,
            "profile": profile,
            "channel": "webpush",
            "state": state,
            "reason": reasons.get(state, ""),
            "due_at": at,
            "expires_at": at + timedelta(days=1),
            "lease_until": at if state == "sending" else None,
            "origin_type": "api",
            "queued_at": at,
            "sent_at": at if state in ("sent", "delivered") else None,
            "delivered_at": at if state == "delivered" else None,
            **fields,
        }
    )
    if logged:
        _log(made, at)
    return made


def _log(made: Delivery, at: datetime) -> None:
    told: dict[str, Any] = {"delivery": made.pk, "message": made.message.slug, "channel": made.channel}
    if made.state in ("sent", "delivered"):
        happens(made.profile, "message_sent", made.sent_at or at, locale=made.locale, **told)
        if made.state == "delivered":
            happens(made.profile, "message_delivered", made.delivered_at or at, **told)
    elif made.state in ("failed", "expired"):
        happens(made.profile, "message_failed", at, reason=made.reason, state=made.state, **told)
    elif made.state == "suppressed":
        happens(made.profile, "message_suppressed", at, reason=made.reason, **told)


def happens(
    profile: Profile, name: str, at: datetime = NOW, event_id: uuid.UUID | None = None, **properties: Any
) -> log.NewEvent:
    """Store one event."""
    event = log.NewEvent(event_id or uuid.uuid4(), profile.pk, name, at, properties, "test")
    log.append([event])
    return event


def engages(about: Delivery, name: str, at: datetime = NOW) -> log.NewEvent:
    """Store a device's report; a click on a push is an open as well."""
    if name == "clicked":
        engages(about, "opened", at)
    return happens(about.profile, f"message_{name}", at, delivery=about.pk, message=about.message.slug)


def read(limit: int = 5000) -> None:
    """Bring the projection to the end of the log."""
    drain(projection.CURSOR, lambda: projection.read(limit))


def count() -> None:
    """Bring the figures up to date within a test's own transaction, of which the log's reader sees nothing yet."""
    events = [
        log.LoggedEvent(**{name: getattr(event, name) for name in log.LoggedEvent.__struct_fields__})
        for event in Event.objects.order_by("seq")
    ]
    keeping.state()
    keeping.store(seen.collect(events, keeping.known_zone))
    attribution.follow(events, rules.active())
    audience.keep()


def lately(**ago: float) -> datetime:
    """A moment of today or before, for reports about the last days."""
    return timezone.now() - timedelta(**ago)
