"""Which arm of a running experiment people are in, asked while messages are queued and sent and runs take a branch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q

from campaigns.experiments import audiences, ranges
from campaigns.models import Broadcast, Experiment
from delivery import exposures, variants
from delivery.exposures import Exposure
from delivery.models import Delivery, MessageVariant
from delivery.policies import choice
from delivery.policies import holdouts as policy
from delivery.policies.holdouts import Holdout
from delivery.variants import PLACES

Subject, State = Experiment.Subject, Experiment.State
BROADCAST = Delivery.Origin.BROADCAST


class Taken(NamedTuple):
    """A run has taken a branch of a random split."""

    flow_id: int
    step: str
    profile_id: int
    branch: str


def arm(experiment: Experiment, profile_id: int) -> str:
    """The arm of an experiment that divides people by itself: by their place and the arms' shares, in their order."""
    total = sum(each["percent"] for each in experiment.arms)
    here, upto = exposures.place(experiment.key, profile_id), 0.0
    for each in experiment.arms:
        upto += each["percent"]
        if each["percent"] and here * total < upto * PLACES:
            return str(each["key"])
    return str(experiment.arms[0]["key"])


def keeping(deliveries: Sequence[Delivery]) -> dict[int, str]:
    """The variants of deliveries whose messages are tried out: who was in an arm before stays in it.

    Who is new gets the arm of their place as it is now, where the experiment learns. A variant that gets nobody any
    more, closed by a guard-rail or by somebody's hand, loses those who were in it, too: they are as if they were new.
    One query, and two more where any runs.
    """
    running = {
        each.message_id: each
        for each in Experiment.objects.filter(
            state=State.RUNNING, subject=Subject.MESSAGE, message__in={each.message_id for each in deliveries}
        )
    }
    if not running:
        return {}
    mine = [each for each in deliveries if each.message_id in running]
    given = set(
        MessageVariant.objects.filter(message__in=running, weight__gt=0).values_list("message_id", "key")
    )
    before = exposures.arms([each.key for each in running.values()], {each.profile_id for each in mine})
    found = {}
    for delivery in mine:
        experiment = running[delivery.message_id]
        key = before.get((experiment.key, delivery.profile_id), "")
        if (delivery.message_id, key) not in given and experiment.ranges:
            here = variants.place(delivery.message_id, delivery.profile_id)
            key = ranges.at(experiment.ranges, here)
        if (delivery.message_id, key) in given:
            found[delivery.pk] = key
    return found


def sending(deliveries: Sequence[Delivery]) -> Iterable[Exposure]:
    """The experiments on messages and broadcasts that deliveries which are about to be sent are part of; one query."""
    broadcasts = {each.origin_id for each in deliveries if each.origin_type == BROADCAST}
    found = list(
        Experiment.objects.filter(state=State.RUNNING)
        .select_related("broadcast__message")
        .filter(
            Q(subject=Subject.MESSAGE, message__in={each.message_id for each in deliveries})
            | Q(subject=Subject.BROADCAST, broadcast__in=broadcasts)
        )
    )
    for experiment in found:
        keys = set(experiment.names)
        people = {each.profile_id for each in deliveries if each.origin_id == experiment.broadcast_id}
        divided = _divided(experiment, people) if experiment.splits else people
        for delivery in deliveries:
            if experiment.subject == Subject.MESSAGE:
                mine = experiment.message_id == delivery.message_id
            else:
                mine = delivery.origin_type == BROADCAST and experiment.broadcast_id == delivery.origin_id
                mine = mine and delivery.profile_id in divided
            if mine:
                key = arm(experiment, delivery.profile_id) if experiment.splits else delivery.variant
                if key in keys:
                    yield Exposure(experiment.key, delivery.profile_id, key)


def holdouts(deliveries: Sequence[Delivery]) -> Mapping[int, Holdout]:
    """The holdouts of the broadcasts that deliveries come from, by delivery id; one query where there are any.

    All occurrences of a repeating broadcast hold out the same people.
    """
    ids = {each.origin_id for each in deliveries if each.origin_type == BROADCAST and each.origin_id}
    if not ids:
        return {}
    held = {
        pk: Holdout(f"holdout:broadcast:{origin or pk}", percent)
        for pk, origin, percent in Broadcast.objects.filter(pk__in=ids, holdout_percent__gt=0).values_list(
            "pk", "origin_id", "holdout_percent"
        )
    }
    return {
        each.pk: held[each.origin_id]
        for each in deliveries
        if each.origin_type == BROADCAST and each.origin_id in held
    }


def addressed(deliveries: Sequence[Delivery], now: datetime) -> dict[int, policy.Side]:
    """Where people stand in the experiments on the audience of their broadcast, and who of them is not addressed.

    One query where there are broadcasts; where such an experiment runs, one for its segments and one for each of them.
    Where a segment can't be asked any more nobody is left out, nor counted from then on.
    """
    broadcasts = {each.origin_id for each in deliveries if each.origin_type == BROADCAST}
    if not broadcasts:
        return {}
    found: dict[int, policy.Side] = {}
    for experiment in Experiment.objects.filter(
        state=State.RUNNING, subject=Subject.AUDIENCE, broadcast__in=broadcasts
    ):
        mine = {
            each.pk: each.profile_id
            for each in deliveries
            if each.origin_type == BROADCAST and each.origin_id == experiment.broadcast_id
        }
        try:
            outside = audiences.outside(
                experiment, {pk: arm(experiment, pk) for pk in set(mine.values())}, now
            )
        except audiences.UnknownAudienceError as error:
            exposures.missed(error)
            continue
        for number, pk in mine.items():
            key = arm(experiment, pk)
            out = pk in outside
            found[number] = policy.Side(
                experiment.key, key + Experiment.LEFT_OUT if out else key, policy.NOT_ADDRESSED if out else ""
            )
    return found


def branches(taken: Sequence[Taken], now: datetime) -> None:
    """Record who has taken which branch of a random split that is part of a running experiment, in their transaction.

    Whoever is held out of everything gets no message of either branch, and is no part of it. One query where people
    have taken any, one more where one runs, and those of `exposures.tell`.
    """
    if not taken:
        return
    exposures.tell(lambda: _of_branches(taken), now)


def _of_branches(taken: Sequence[Taken]) -> list[Exposure]:
    running = {
        (each.flow_id, each.step): each
        for each in Experiment.objects.filter(
            state=State.RUNNING, subject=Subject.STEP, flow__in={each.flow_id for each in taken}
        )
    }
    found = [
        Exposure(experiment.key, each.profile_id, each.branch)
        for each in taken
        if (experiment := running.get((each.flow_id, each.step))) is not None
        and each.branch in experiment.names
    ]
    out = policy.out_of_everything({each.profile_id for each in found})
    return [each for each in found if each.profile_id not in out]


def dividing(broadcast_id: int) -> Experiment | None:
    """The running experiment that gives a broadcast's people different channels or times."""
    found = Experiment.objects.filter(
        state=State.RUNNING, subject=Subject.BROADCAST, broadcast=broadcast_id
    ).first()
    return found if found is not None and found.splits else None


def divide(
    experiment: Experiment, profile_ids: Collection[int], by_person: dict[int, str], due: dict[int, datetime]
) -> None:
    """Change people's channels and times, in place, to those of their arms.

    Whoever some arm's channel can't reach gets the message as without the experiment, and is no part of it.
    """
    arms: dict[str, dict[str, Any]] = {each["key"]: each for each in experiment.arms}
    for pk in _divided(experiment, profile_ids):
        mine = arms[arm(experiment, pk)]
        if mine.get("channel"):
            by_person[pk] = mine["channel"]
        due[pk] += timedelta(minutes=mine.get("delay_minutes") or 0)


def _divided(experiment: Experiment, profile_ids: Collection[int]) -> set[int]:
    """Those of the people whom every arm can reach: one query for each channel that arms name."""
    found, broadcast = set(profile_ids), experiment.broadcast
    if broadcast is None:
        return found
    kinds = {each.get("channel") or broadcast.channel for each in experiment.arms} - set(
        Broadcast.Route.values
    )
    for kind in sorted(kinds) if any(each.get("channel") for each in experiment.arms) else ():
        found = choice.reachable(found, kind, broadcast.message.topic) if found else found
    return found


def connect() -> None:
    """Called once when Django is ready."""
    policy.register_narrower(addressed)
    exposures.register(sending)
    exposures.register_keeper(keeping)
    policy.register(holdouts)
