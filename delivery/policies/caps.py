"""Have they had enough? Limits in a period, and one thing said by two channels.

This comes last but one of all policies: what it lets through counts from that moment. The people concerned are locked
while they are counted, so limits hold whatever number of dispatchers is at work.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from delivery.models import Delivery
from delivery.policies import clock, people, places, rules
from delivery.policies.places import Taken
from delivery.policies.preferences import WEEKLY_LIMIT, weekly, wishes_of
from delivery.policies.rules import Cap, Effective
from delivery.policies.verdicts import Facts, Verdict, limited, suppress

LIMIT = "limit: "
COLLISION = "sent by another channel"
WISH = Cap(1, "week", rolling=True, of="topic")


class Refusal(msgspec.Struct, frozen=True):
    """Why a message is one too many; `free_at` is when it would fit, None for never."""

    reason: str
    free_at: datetime | None


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Refuse what is one too many; let the rest through and count it. At most eight queries.

    Of several that want the same place the first in order gets it.
    """
    known = rules.of(facts, deliveries)
    wishes = wishes_of(facts, deliveries)
    alike: dict[tuple[int, str, int, bool], list[Cap]] = {}
    caps: dict[int, list[Cap]] = {}
    for d in deliveries:
        key = (d.message_id, d.channel, d.priority, weekly(d, wishes))
        found = alike.get(key)
        if found is None:
            found = alike[key] = applicable(d, known[d.message_id], key[-1])
        caps[d.pk] = found
    asked = [d for d in deliveries if caps[d.pk] or known[d.message_id].collision in rules.COUNTING]
    counted = [d for d in deliveries if caps[d.pk] or known[d.message_id].counts]
    if not counted:
        return {}
    held: dict[int, list[Taken]] = {}
    if asked:
        ids = {delivery.profile_id for delivery in asked}
        places.lock(ids)
        held = places.read(ids, now - _looks_back(asked, caps, known), now)
        people.of(facts, ids)
    verdicts: dict[int, Verdict] = {}
    taken: list[Taken] = []
    for delivery in counted:
        rule, before = known[delivery.message_id], held.setdefault(delivery.profile_id, [])
        others = [each for each in before if each.delivery_id != delivery.pk] if before else before
        refusal = None
        if caps[delivery.pk] or rule.collision in rules.COUNTING:
            zone = facts.people[delivery.profile_id].zone
            refusal = against(delivery, rule, caps[delivery.pk], others, zone, now)
        if refusal is None:
            own = places.of(delivery, now)
            taken.append(own)
            held[delivery.profile_id] = [*others, own]
        else:
            verdicts[delivery.pk] = verdict(refusal, delivery, rule)
            held[delivery.profile_id] = others
    places.write(taken, verdicts, now)
    return verdicts


def applicable(delivery: Delivery, rule: Effective, wants_weekly: bool) -> list[Cap]:
    """The limits that hold for a delivery; that of the person's own wish is the last."""
    found = [
        cap
        for cap in rule.caps
        if cap.channel in ("", delivery.channel)
        and delivery.priority > cap.spares
        and (cap.of != "topic" or delivery.message.topic)
    ]
    return [*found, WISH] if wants_weekly else found


def against(
    delivery: Delivery,
    rule: Effective,
    caps: Iterable[Cap],
    others: Sequence[Taken],
    zone: ZoneInfo,
    now: datetime,
) -> Refusal | None:
    """What is against a delivery, given the other messages that count; of several limits the one that frees last."""
    if rule.collision in rules.COUNTING and collides(delivery, rule, others, now):
        return Refusal(COLLISION, None)
    refusals = []
    for cap in caps:
        free_at = free(cap, delivery, others, zone, now)
        if free_at is not None:
            refusals.append(Refusal(WEEKLY_LIMIT if cap is WISH else LIMIT + words(cap), free_at))
    return max(refusals, key=lambda each: each.free_at or now, default=None)


def collides(delivery: Delivery, rule: Effective, others: Iterable[Taken], now: datetime) -> bool:
    """Whether the same was sent by another channel lately; not by the step of a flow that goes on with this one."""
    since, own, message = (
        now - timedelta(hours=rule.collision_hours),
        places.thread(delivery),
        delivery.message,
    )
    return any(
        each.channel != delivery.channel
        and each.at > since
        and (
            each.message_id == message.pk
            or (message.content_group and each.content_group == message.content_group)
        )
        and not (own and each.thread == own)
        for each in others
    )


def count(cap: Cap, delivery: Delivery, others: Iterable[Taken]) -> list[datetime]:
    """When the messages went out that a limit counts."""
    message = delivery.message
    return [
        each.at
        for each in others
        if cap.channel in ("", each.channel)
        and (cap.of != "topic" or each.topic == message.topic)
        and (cap.of != "message" or each.message_id == message.pk)
    ]


def free(
    cap: Cap, delivery: Delivery, others: Sequence[Taken], zone: ZoneInfo, now: datetime
) -> datetime | None:
    """When a place under a limit gets free; None if there is one."""
    if len(others) < cap.number:
        return None
    times = sorted(count(cap, delivery, others), reverse=True)
    if len(times) < cap.number:
        return None
    if cap.rolling:
        length = clock.ROLLING[cap.period]
        used = [at for at in times if at > now - length]
        return used[cap.number - 1] + length if len(used) >= cap.number else None
    begins, ends = clock.period(cap.period, zone, now)
    return ends if sum(at >= begins for at in times) >= cap.number else None


def verdict(refusal: Refusal, delivery: Delivery, rule: Effective) -> Verdict:
    """Put off until there is room; dropped where it is not to be late, or is too late by then."""
    free_at = refusal.free_at
    if free_at is None or rule.skip_when_capped or free_at >= delivery.expires_at:
        return suppress(refusal.reason)
    return limited(free_at, refusal.reason)


def words(cap: Cap) -> str:
    """A limit as the ledger's reason tells it, such as "3 a week about the topic by email"."""
    about = {"all": "", "topic": " about the topic", "message": " of this message"}[cap.of]
    by = f" by {cap.channel}" if cap.channel else ""
    return f"{cap.number} {'a' if cap.rolling else 'a calendar'} {cap.period}{about}{by}"


def _looks_back(
    asked: Sequence[Delivery], caps: dict[int, list[Cap]], known: rules.Mapping[int, Effective]
) -> timedelta:
    each_once = {cap for found in {id(each): each for each in caps.values()}.values() for cap in found}
    lengths = [clock.ROLLING[cap.period] if cap.rolling else _CALENDAR[cap.period] for cap in each_once]
    lengths += [
        timedelta(hours=rule.collision_hours)
        for delivery in asked
        if (rule := known[delivery.message_id]).collision in rules.COUNTING
    ]
    return max(lengths)


# A day more than the period: the clock may have been put back in it.
_CALENDAR = {
    "hour": timedelta(hours=2),
    "day": timedelta(days=2),
    "week": timedelta(days=8),
    "month": timedelta(days=32),
}
