"""Is this person held out, so that it shows what messages bring that would not have come without them?

People who are in everybody's holdout are in no other: they would get nothing either way. Asked after all that keeps a
message from people for their own sake, so that both sides of the comparison are people who would have got it. The same
goes for an experiment on audiences, which gives a message to some of those only who would have got it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from delivery import exposures
from delivery.exposures import HELD_OUT as HELD_OUT_ARM
from delivery.exposures import TREATED, Exposure
from delivery.models import Delivery, SendingRules
from delivery.policies import rules
from delivery.policies.verdicts import Facts, Verdict, suppress

HELD_OUT = "held out"
NOT_ADDRESSED = "not in the audience of their arm"
GLOBAL = "holdout:global"


class Holdout(msgspec.Struct, frozen=True):
    """Part of the people, in percent, get nothing of it."""

    experiment: str
    percent: float


class Side(msgspec.Struct, frozen=True):
    """The arm of an experiment on whom to address, and why this person is not; nothing where they are."""

    experiment: str
    arm: str
    reason: str = ""


Source = Callable[[Sequence[Delivery]], Mapping[int, Holdout]]
Narrower = Callable[[Sequence[Delivery], datetime], Mapping[int, Side]]

_sources: list[Source] = []
_narrowers: list[Narrower] = []


def register(source: Source) -> Source:
    """Add a batch function that tells by delivery id which holdout the cause of a delivery has; few queries."""
    if source not in _sources:
        _sources.append(source)
    return source


def register_narrower(narrower: Narrower) -> Narrower:
    """Add a batch function that tells by delivery id whom an experiment on audiences addresses; few queries."""
    if narrower not in _narrowers:
        _narrowers.append(narrower)
    return narrower


def of_message(message_id: int) -> str:
    """The experiment that a message's holdout is."""
    return f"holdout:message:{message_id}"


def out_of_everything(profile_ids: Collection[int]) -> set[int]:
    """Those of the people who get no marketing at all; one query, none without people."""
    percent = SendingRules.of_account().global_holdout_percent if profile_ids else 0
    return {each for each in profile_ids if percent > 0 and exposures.held_out(GLOBAL, each, percent)}


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what goes to people who are held out, and record on which side everybody is."""
    verdicts, told = _sides(deliveries, facts, now)
    exposures.tell(lambda: told, now)
    return verdicts


def foreseen(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """As `judge`, for whoever only asks: nobody comes into a comparison by it."""
    return _sides(deliveries, facts, now)[0]


def _sides(
    deliveries: list[Delivery], facts: Facts, now: datetime
) -> tuple[dict[int, Verdict], list[Exposure]]:
    known = rules.of(facts, deliveries)
    bound = [
        each for each in deliveries if each.origin_type != Delivery.Origin.TEST and not each.message.confirms
    ]
    by_cause = [source(bound) for source in _sources] if bound else []
    of = {delivery.pk: delivery.profile_id for delivery in bound}
    verdicts: dict[int, Verdict] = {}
    told: list[Exposure] = []
    for delivery in bound:
        for holdout in _holdouts(delivery, known[delivery.message_id], by_cause):
            out = exposures.held_out(holdout.experiment, delivery.profile_id, holdout.percent)
            told.append(Exposure(holdout.experiment, delivery.profile_id, HELD_OUT_ARM if out else TREATED))
            if out:
                verdicts[delivery.pk] = suppress(HELD_OUT)
                break
    left = [delivery for delivery in bound if delivery.pk not in verdicts]
    for narrower in _narrowers if left else ():
        for pk, side in narrower(left, now).items():
            told.append(Exposure(side.experiment, of[pk], side.arm))
            if side.reason:
                verdicts[pk] = suppress(side.reason)
    return verdicts, told


def _holdouts(
    delivery: Delivery, known: rules.Effective, by_cause: Sequence[Mapping[int, Holdout]]
) -> list[Holdout]:
    found = [of[delivery.pk] for of in by_cause if delivery.pk in of]
    if known.global_holdout_percent:
        found.insert(0, Holdout(GLOBAL, known.global_holdout_percent))
    if delivery.message.holdout_percent:
        found.append(Holdout(of_message(delivery.message_id), delivery.message.holdout_percent))
    return [each for each in found if each.percent > 0]
