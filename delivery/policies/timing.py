"""Is it the hour for it, where the person is? Quiet hours of theirs and of ours, and our send windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

from crm.preferences import Wishes
from delivery.models import Delivery
from delivery.policies import clock, people, rules
from delivery.policies.clock import Span
from delivery.policies.preferences import QUIET, wishes_of
from delivery.policies.verdicts import Facts, Verdict, expire, limited

QUIET_HOURS = "quiet hours"
OUTSIDE = "outside the send window"
NO_TIME = "no allowed hour before it expires"

_Hours = tuple[tuple[Span, ...], tuple[Span, ...]]  # quiet ones, and windows
_ANY_HOUR: _Hours = ((), ())
_Key = tuple[tuple[Span, ...], tuple[Span, ...], tuple[Span, ...], ZoneInfo]
_Answer = tuple[str, datetime | None] | None


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Put off to the first moment that all hours allow; what expires before it is not kept waiting.

    People with the same hours and zone share one answer. At most two queries besides those of the rules.
    """
    known = rules.of(facts, deliveries)
    wishes = wishes_of(facts, deliveries)
    hours: dict[tuple[int, str], _Hours] = {}
    bound = []
    for delivery in deliveries:
        key = (delivery.message_id, delivery.channel)
        ours = hours.get(key)
        if ours is None:
            rule = known[delivery.message_id]
            ours = hours[key] = rule.quiet_for(delivery.channel), rule.windows_for(delivery.channel)
        own = own_hours(wishes.get(delivery.profile_id))
        if own or ours != _ANY_HOUR:
            bound.append((delivery, own, *ours))
    if not bound:
        return {}
    everybody = people.of(facts, {delivery.profile_id for delivery, *_hours in bound})
    answers: dict[_Key, _Answer] = {}
    verdicts = {}
    for delivery, own, quiet, windows in bound:
        asked = (own, quiet, windows, everybody[delivery.profile_id].zone)
        if asked not in answers:
            answers[asked] = ask(*asked, now)
        answer = answers[asked]
        if answer is None:
            continue
        reason, until = answer
        late = until is None or until >= delivery.expires_at
        verdicts[delivery.pk] = (
            limited_expiry(reason, delivery) if late or until is None else limited(until, reason)
        )
    return verdicts


def limited_expiry(reason: str, delivery: Delivery) -> Verdict:
    """What can't go out in time: dropped for the hour it met if it is not to be late, else expired."""
    if delivery.when_limited == Delivery.WhenLimited.SKIP:
        return limited(delivery.expires_at, reason)
    return expire(NO_TIME)


def ask(
    own: tuple[Span, ...], quiet: tuple[Span, ...], windows: tuple[Span, ...], zone: ZoneInfo, now: datetime
) -> _Answer:
    """None if it may go out now; else what is against it and when nothing is any more (None: never)."""
    shown = now.astimezone(zone)
    if any(span.holds(shown) for span in own):
        reason = QUIET
    elif any(span.holds(shown) for span in quiet):
        reason = QUIET_HOURS
    elif windows and not any(span.holds(shown) for span in windows):
        reason = OUTSIDE
    else:
        return None
    return reason, clock.next_allowed((*own, *quiet), windows, zone, now)


def own_hours(wish: Wishes | None) -> tuple[Span, ...]:
    """The quiet hours that a person has chosen."""
    if wish is None or wish.quiet_from is None or wish.quiet_to is None:
        return ()
    return (Span(wish.quiet_from, wish.quiet_to),)
