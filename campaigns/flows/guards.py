"""Asked by the dispatcher at the moment of sending: may a flow's message still go out?"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from campaigns.flows import exits, program
from campaigns.models import Enrollment, Flow
from crm import alerts
from delivery.models import Delivery
from delivery.policies import Verdict, defer, suppress

logger = logging.getLogger(__name__)

PAUSED = "flow paused"
BROKEN = "the flow's exits could not be checked"
LOOK_AGAIN = timedelta(minutes=1)


def exit_events(deliveries: Sequence[Delivery], now: datetime) -> dict[int, Verdict]:
    """Suppress messages of runs that were ended, or whose exit event is in the log already.

    A run that completed after queueing its message is looked at too: an order that came while the message
    was put off still stops it. Messages of a paused flow wait. One query for each exit event of the flows in
    the batch, and two.
    """
    run_of = {delivery.pk: run_id for delivery in deliveries if (run_id := _run_id(delivery)) is not None}
    if not run_of:
        return {}
    runs = Enrollment.objects.select_related("flow").only(
        *("state", "reason", "version_id", "flow__state", "flow__slug")
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
    about: dict[int, Verdict | None] = {}
    open_runs: dict[int, list[int]] = defaultdict(list)
    for pk, run in runs.items():
        about[pk] = None
        if run.state == Enrollment.State.EXITED:
            about[pk] = suppress(f"exit: {run.reason or 'ended'}")
        elif run.flow.state == Flow.State.STOPPED:
            about[pk] = suppress("exit: flow stopped")
        else:
            if run.flow.state == Flow.State.PAUSED:
                about[pk] = defer(now + LOOK_AGAIN, PAUSED)
            open_runs[run.version_id].append(pk)
    for version_id, ids in open_runs.items():
        flow = runs[ids[0]].flow
        try:
            with transaction.atomic():
                reasons = exits.found(program.of_version(version_id).definition, ids, now)
            about |= {pk: suppress(f"exit: {reason}") for pk, reason in reasons.items()}
        except Exception as error:  # one flow's fault must not hold back what others send
            logger.exception("The exits of flow %s can't be checked", flow.slug)
            alerts.raise_alert(
                f"flow:{flow.pk}:exits",
                f"Messages of the flow “{flow.slug}” wait because its exits can't be checked",
                f"They are tried again every minute until they expire. The reason: {error}",
            )
            about |= dict.fromkeys(ids, defer(now + LOOK_AGAIN, BROKEN))
    return about
