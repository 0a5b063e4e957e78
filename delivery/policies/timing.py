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

_Key = tuple[tuple[Span, ...], tuple[Span, ...], tuple[Span, ...], ZoneInfo]
_Answer = tuple[str, datetime | None] | None


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Put off to the first moment that all hours allow; what expires before it is not kept waiting.

    People with the same hours and zone share one answer. At most two queries besides those of the rules.
    """
    known = rules.of(facts, deliveries)
    wishes = wishes_of(facts, deliveries)
    bound = [
        (delivery, own, quiet, windows)
        for delivery in deliveries
        for own, quiet, windows in [_hours(delivery, known[delivery.message_id], wishes)]
        if own or quiet or windows
    ]
    if not bound:
        return {}
    everybody = people.of(facts, {delivery.profile_id for delivery, *_hours in bound})
    answers: dict[_Key, _Answer] = {}
    verdicts = {}
    for delivery, own, quiet, windows in bound:
        key = (own, quiet, windows, everybody[delivery.profile_id].zone)
        if key not in answers:
            answers[key] = ask(*key, now)
        answer = answers[key]
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


def _hours(
    delivery: Delivery, known: rules.Effective, wishes: dict[int, Wishes]
) -> tuple[tuple[Span, ...], tuple[Span, ...], tuple[Span, ...]]:
    return (
        own_hours(wishes.get(delivery.profile_id)),
        known.quiet_for(delivery.channel),
        known.windows_for(delivery.channel),
    )
