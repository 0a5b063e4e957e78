"""The same by another channel, seen or sent; and people without a zone, or with a wrong one."""

from datetime import timedelta

import pytest

from crm import log
from delivery import dispatch, outbox, policies
from delivery.channels.base import Address
from delivery.channels.memory import Memory
from delivery.models import Delivery, SendingHours, SendingRules
from delivery.policies import Facts
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def collision(kind: str, hours: int = 24) -> None:
    SendingRules.objects.filter(pk=SendingRules.of_account().pk).update(collision=kind, collision_hours=hours)


def opened(person, slug: str, channel: str, at) -> None:
    log.append(
        [
            log.NewEvent(
                id=log.event_id("message_opened", f"{person.pk}{slug}"),
                profile_id=person.pk,
                name="message_opened",
                occurred_at=at,
                properties={"message": slug, "channel": channel},
                source="nudge",
            )
        ]
    )


def reasons(deliveries) -> list[str]:
    found = []
    for delivery in deliveries:
        delivery.refresh_from_db()
        found.append(delivery.reason)
    return found


def test_what_was_opened_elsewhere_is_skipped(memory: Memory) -> None:
    collision("opened")
    other = world.message("other", content_group="offer")
    twin = world.message("twin", content_group="offer")
    seen, same, early, never = (world.person(number) for number in range(4))
    opened(seen, other.slug, "email", NOW - HOUR)
    opened(same, other.slug, "memory", NOW - HOUR)
    opened(early, other.slug, "email", NOW - 25 * HOUR)
    deliveries = world.queue(twin, [seen, same, early, never])
    dispatch.run(NOW)
    assert reasons(deliveries) == ["opened by another channel", "", "", ""]


def test_a_chain_of_one_step_is_no_collision_and_another_step_is(memory: Memory) -> None:
    collision("sent")
    ann = world.person(channels=["memory", "webpush"])
    message = world.message()
    asked = [
        world.request("flow:1:s1", message, ann, "memory"),
        world.request("flow:1:s1:webpush", message, ann, "webpush"),
        world.request("flow:2:s9", message, ann, "webpush"),
    ]
    outbox.queue(asked, NOW)
    rows = list(Delivery.objects.select_related("message").order_by("pk"))
    verdicts = policies.decide(rows, Facts({row.pk: [Address("x")] for row in rows}), NOW)
    assert [verdicts[row.pk].reason if row.pk in verdicts else "" for row in rows] == [
        "",
        "",
        "sent by another channel",
    ]


def test_a_zone_that_is_none_leads_to_the_next_best(memory: Memory) -> None:
    """09:00 in London is four in the morning in New York, and six in the evening in Japan."""
    hours = {"kind": "quiet", "start": "03:00", "end": "05:00", "days": [1, 2, 3, 4, 5, 6, 7]}
    SendingHours.objects.create(rules=SendingRules.of_account(), **hours)
    people = [
        world.person(1, timezone="America/New_York"),
        world.person(2, timezone="Mars/Olympus", country="US"),
        world.person(3, latitude=40.7, longitude=-74.0),
        world.person(4, timezone="Mars/Olympus", country="JP"),
        world.person(5),
    ]
    deliveries = world.queue(world.message(), people)
    dispatch.run(NOW)
    assert reasons(deliveries) == ["quiet hours", "quiet hours", "quiet hours", "", ""]
    assert {deliveries[0].due_at, deliveries[2].due_at} == {NOW + HOUR}
