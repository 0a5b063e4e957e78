"""Asked by the dispatcher at the moment of sending: may a flow's message still go out?"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction

from campaigns.flows import asking, exits, local, program, troubles
from campaigns.flows.definition import Definition
from campaigns.flows.windows import opening
from campaigns.models import Enrollment, Flow
from crm import alerts
from delivery.models import Delivery
from delivery.policies import Verdict, defer, limited, suppress

logger = logging.getLogger(__name__)

PAUSED = "flow paused"
BROKEN = "the flow's exits could not be checked"
NOT_ENTITLED = "entry rule not met"
OUTSIDE = "outside the flow's send window"
LOOK_AGAIN = timedelta(minutes=1)


def hold_back(deliveries: Sequence[Delivery], now: datetime) -> dict[int, Verdict]:
    """Hold back what flows do not want sent any more, or not now.

    Suppressed are messages of runs that were ended, whose exit event is in the log already, or whose person meets the
    exit rule or no longer the entry rule. A run that completed after queueing its message is looked at too: an order
    that came while the message was put off still stops it. Messages of a paused flow wait, and so do those outside
    the flow's send window. A handful of queries, however many flows there are in the batch.
    """
    run_of = {delivery.pk: run_id for delivery in deliveries if (run_id := _run_id(delivery)) is not None}
    if not run_of:
        return {}
    runs = Enrollment.objects.select_related("flow").only(
        *("state", "reason", "version_id", "profile_id", "flow__state", "flow__slug")
    )
    about = _verdicts(runs.in_bulk(set(run_of.values())), now)
    gone = suppress("exit: run removed")  # merged into another run of the same person, or deleted
    found = {pk: about.get(run_id, gone) for pk, run_id in run_of.items()}
    return {pk: verdict for pk, verdict in found.items() if verdict is not None}


def _run_id(delivery: Delivery) -> int | None:
    """The run whose step asked for a delivery (see steps.message.cause); None if it was something else."""
    origin, _colon, rest = delivery.cause.partition(":")
    number = rest.partition(":")[0]
    return int(number) if origin == Delivery.Origin.FLOW and number.isdecimal() else None


def _verdicts(runs: dict[int, Enrollment], now: datetime) -> dict[int, Verdict | None]:
    """By run; None for those that may send."""
    about: dict[int, Verdict | None] = dict.fromkeys(runs)
    open_runs: dict[int, list[Enrollment]] = defaultdict(list)
    for pk, run in runs.items():
        if run.state == Enrollment.State.EXITED:
            about[pk] = suppress(f"exit: {run.reason or 'ended'}")
        elif run.flow.state == Flow.State.STOPPED:
            about[pk] = suppress("exit: flow stopped")
        else:
            open_runs[run.version_id].append(run)
    definitions: dict[int, Definition] = {}
    for version_id, group in open_runs.items():
        try:
            definitions[version_id] = program.of_version(version_id).definition
        except Exception as error:
            about |= _broken(group, error, now)
    zones = local.zones(
        {
            run.profile_id
            for version_id, definition in definitions.items()
            if definition.window is not None
            for run in open_runs[version_id]
        }
    )
    groups = [(definition, open_runs[version_id]) for version_id, definition in definitions.items()]
    try:
        with transaction.atomic():
            return about | _of_versions(groups, zones, now)
    except Exception as error:
        if len(groups) == 1:
            return about | _broken(groups[0][1], error, now)
    for one in groups:  # whose fault it is
        try:
            with transaction.atomic():
                about |= _of_versions([one], zones, now)
        except Exception as error:
            about |= _broken(one[1], error, now)
    return about


def _broken(runs: Sequence[Enrollment], error: Exception, now: datetime) -> dict[int, Verdict]:
    """Let messages of one version wait: its fault must not hold back what others send."""
    flow = runs[0].flow
    logger.error("What stops messages of the flow %s can't be checked", flow.slug, exc_info=error)
    alerts.raise_alert(
        f"flow:{flow.pk}:exits",
        f"Messages of the flow “{flow.slug}” wait because its exits can't be checked",
        f"They are tried again every minute until they expire. The reason: {troubles.reason(error)}",
    )
    return {run.pk: defer(now + LOOK_AGAIN, BROKEN) for run in runs}


_Group = tuple[Definition, Sequence[Enrollment]]


def _of_versions(
    groups: Sequence[_Group], zones: Mapping[int, ZoneInfo], now: datetime
) -> dict[int, Verdict]:
    """What versions' rules have against their messages, by run; what counts most comes last."""
    about: dict[int, Verdict] = {}
    for definition, runs in groups:
        if definition.window is not None:
            for run in runs:
                opens = opening(definition.window, zones[run.profile_id], now)
                if opens is not None:
                    about[run.pk] = limited(opens, OUTSIDE)
        about |= {
            run.pk: defer(now + LOOK_AGAIN, PAUSED) for run in runs if run.flow.state == Flow.State.PAUSED
        }
    entry = [group for group in groups if group[0].recheck_entry and group[0].entry is not None]
    exit_ = [group for group in groups if group[0].exit_rule is not None]
    rules = [(definition.entry or {}, _people(runs)) for definition, runs in entry]
    rules += [(definition.exit_rule or {}, _people(runs)) for definition, runs in exit_]
    met = iter(asking.meeting(rules, now))
    for (_definition, runs), allowed in zip(entry, met, strict=False):
        about |= {run.pk: suppress(NOT_ENTITLED) for run in runs if run.profile_id not in allowed}
    for (_definition, runs), leaving in zip(exit_, met, strict=True):
        about |= {run.pk: suppress(f"exit: {exits.RULE}") for run in runs if run.profile_id in leaving}
    reasons = exits.found([(definition, [run.pk for run in runs]) for definition, runs in groups], now)
    return about | {pk: suppress(f"exit: {reason}") for pk, reason in reasons.items()}


def _people(runs: Sequence[Enrollment]) -> set[int]:
    return {run.profile_id for run in runs}
