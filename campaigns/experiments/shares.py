"""How people are divided among an experiment's arms: as it is, and as it is to be from now on."""

import math
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from campaigns.experiments import ranges
from campaigns.flows import editing, publish
from campaigns.models import Broadcast, Experiment, Flow, Segment
from delivery import authoring, channels, versions
from delivery.exposures import HELD_OUT, TREATED
from delivery.models import Message, SendingRules

Subject = Experiment.Subject


class SharesError(ValueError):
    """The shares can't be read or changed; the text says why."""


def current(experiment: Experiment) -> list[dict[str, Any]]:
    """The arms with the percent of people that each gets now, the control first; those that nobody gets left out.

    Raises:
        SharesError: what is tried out is gone, has no arms, or ones that can't be told apart, can't be sent by a
            channel of it, or do not share out all the people.
    """
    if experiment.subject == Subject.MESSAGE or (
        experiment.subject == Subject.BROADCAST and not experiment.splits
    ):
        message, by = (experiment.message, "") if experiment.subject == Subject.MESSAGE else (None, "")
        if experiment.subject == Subject.BROADCAST and experiment.broadcast:
            message, by = experiment.broadcast.message, experiment.broadcast.channel
        if message is None:
            raise SharesError(_("Choose what is tried out."))
        rows = list(message.variants.filter(weight__gt=0).order_by("key"))
        _written(message, [row.key for row in rows], by)
        total = sum(row.weight for row in rows)
        found = [_arm(row.key, str(row), 100 * row.weight / total) for row in rows]
    elif experiment.subject == Subject.STEP:
        found = [_arm(each["name"], each["name"], each["percent"]) for each in _branches(experiment)]
    elif experiment.subject == Subject.HOLDOUT:
        percent = _held_out(experiment)
        found = [
            _arm(HELD_OUT, str(_("Held out")), percent),
            _arm(TREATED, str(_("Everybody else")), 100 - percent),
        ]
    else:
        found = [dict(arm) for arm in experiment.arms]
    if experiment.broadcast and experiment.subject in (Subject.BROADCAST, Subject.AUDIENCE):
        _still_to_send(experiment.broadcast)
    if experiment.subject == Subject.AUDIENCE:
        _known_segments({arm.get("segment") or "" for arm in found})
    found = [arm for arm in found if arm["percent"] > 0]
    if len(found) < 2:
        raise SharesError(_("There are fewer than two ways that people get; there is nothing to compare."))
    names = [arm["name"] for arm in found]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise SharesError(_("Two ways are called “%s”; give each a name of its own.") % again)
    if not math.isclose(sum(arm["percent"] for arm in found), 100, abs_tol=0.01):
        raise SharesError(_("The shares must add up to 100 percent."))
    return found


def _still_to_send(broadcast: Broadcast) -> None:
    if broadcast.repeat:
        raise SharesError(
            _(
                "A broadcast that repeats goes out as a new one each time; try it out on one that is sent once."
            )
        )
    if broadcast.state in Broadcast.OVER:
        raise SharesError(_("The broadcast is over; nobody would come into it any more."))


def _known_segments(slugs: set[str]) -> None:
    if unknown := slugs - {"", *Segment.objects.filter(slug__in=slugs).values_list("slug", flat=True)}:
        raise SharesError(_("There is no segment “%s”.") % sorted(unknown)[0])


def _written(message: Message, keys: Sequence[str], by: str) -> None:
    """Refuse a variant without words for a channel of the message: who can be reached there alone would not get it."""
    offered = set(message.contents.values_list("variant", "channel"))
    kinds = {by} if by and by not in Broadcast.Route.values else {channel for _key, channel in offered}
    for key in keys:
        for kind in sorted(kinds):
            if (key, kind) not in offered:
                known = channels.everything().get(kind)
                raise SharesError(
                    _("Variant %(variant)s has no words for %(channel)s. Write them, or give it to nobody.")
                    % {"variant": key.upper(), "channel": known.label if known else kind}
                )


def change(experiment: Experiment, percents: dict[str, float], user: Any = None) -> None:
    """Give the arms these shares of people from now on, by the services that a person would use; in a transaction.

    Raises:
        SharesError: they belong to what is over, or were changed by somebody else meanwhile.
    """
    if experiment.subject == Subject.MESSAGE and experiment.message_id:
        _weigh(experiment.message_id, percents, user)
    elif experiment.subject == Subject.STEP and experiment.flow_id:
        _divide_step(experiment, percents, user)
    else:
        raise SharesError(_("Its shares can't be changed any more: it is sent once, or only measured."))


def _arm(key: str, name: str, percent: float) -> dict[str, Any]:
    return {"key": key, "name": name, "percent": percent}


def _weigh(message_id: int, percents: dict[str, float], user: Any) -> None:
    message = Message.objects.select_for_update().get(pk=message_id)
    given = ranges.quotas(percents)
    versions.keep(message)
    authoring.divide(
        message,
        [authoring.Variant(row.key, row.name, given.get(row.key, 0)) for row in message.variants.all()],
    )
    versions.keep(message, user)


def _branches(experiment: Experiment) -> list[dict[str, Any]]:
    flow = experiment.flow
    if flow is None or flow.live_version is None:
        raise SharesError(_("The flow is not live; publish it first."))
    try:
        step = editing.find(flow.live_version.definition, experiment.step)
    except KeyError as error:
        raise SharesError(_("The flow has no such random split any more.")) from error
    if step.get("kind") != "random":
        raise SharesError(_("That step is no random split."))
    return [
        {"name": each.get("name", ""), "percent": each.get("percent") or 0}
        for each in step.get("branches", [])
    ]


def _divide_step(experiment: Experiment, percents: dict[str, float], user: Any) -> None:
    """Publish the flow with other shares. A draft with changes of its own must not go live by this."""
    flow = Flow.objects.select_related("live_version").get(experiments=experiment)
    if publish.has_unpublished_changes(flow):
        raise SharesError(
            _("The flow's draft has changes that are not published; publish or undo them first.")
        )

    def divided(draft: dict[str, Any]) -> dict[str, Any]:
        branches = editing.find(draft, experiment.step)["branches"]
        return editing.update(
            draft,
            experiment.step,
            branches=[{**each, "percent": percents.get(each.get("name", ""), 0)} for each in branches],
        )

    try:
        flow = editing.save(flow.pk, flow.revision, divided, user)
        publish.publish(flow.pk, user, revision=flow.revision)
    except (KeyError, editing.StaleDraftError) as error:
        raise SharesError(_("The flow was changed at this moment; it is tried again.")) from error
    except ValueError as error:  # a definition that can't run, or waits for somebody's approval
        raise SharesError(str(error)) from error


def _held_out(experiment: Experiment) -> float:
    if experiment.message:
        return experiment.message.holdout_percent
    if experiment.flow:
        live = experiment.flow.live_version
        return float(live.definition.get("holdout_percent", 0)) if live else 0
    if experiment.broadcast:
        return experiment.broadcast.holdout_percent
    return SendingRules.of_account().global_holdout_percent
