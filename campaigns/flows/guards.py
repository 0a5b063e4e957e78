"""Asked by the dispatcher at the moment of sending: may a flow's message still go out?"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from campaigns.flows import program
from campaigns.models import Enrollment
from delivery.models import Delivery
from delivery.policies import Verdict, suppress


def exit_events(deliveries: Sequence[Delivery], now: datetime) -> dict[int, Verdict]:
    """Suppress messages of runs that were ended, or whose exit event is in the log already.

    A run that completed after queueing its message is looked at too: an order that came while the message
    was put off still stops it.
    """
    runs_by_cause: dict[str, int] = {}
    for delivery in deliveries:
        if delivery.origin_type == Delivery.Origin.FLOW:
            runs_by_cause[delivery.cause] = int(delivery.cause.split(":")[1])
    if not runs_by_cause:
        return {}
    reasons = _ended(set(runs_by_cause.values()))
    return {
        delivery.pk: suppress(reasons[runs_by_cause[delivery.cause]])
        for delivery in deliveries
        if runs_by_cause.get(delivery.cause) in reasons
    }


def _ended(run_ids: set[int]) -> dict[int, str]:
    """Run id to reason, for those that an exit event or rule took out."""
    runs = list(Enrollment.objects.filter(pk__in=run_ids).only("state", "reason", "version_id", "profile_id"))
    reasons = {
        run.pk: f"exit: {run.reason}" for run in runs if run.state == Enrollment.State.EXITED and run.reason
    }
    names_by_version = defaultdict(list)
    for run in runs:
        if run.pk not in reasons:
            names_by_version[run.version_id].append(run.pk)
    asked: list[tuple[int, str]] = []
    for version_id, ids in names_by_version.items():
        plain = [t.name for t in program.of_version(version_id).definition.exit_on if not t.where]
        asked += [(run_id, name) for run_id in ids for name in plain]
    if asked:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT e.id, a.name FROM unnest(%s::bigint[], %s::text[]) AS a(id, name)
                JOIN campaigns_enrollment e ON e.id = a.id
                WHERE EXISTS (
                    SELECT 1 FROM crm_event v WHERE v.profile_id = e.profile_id AND v.name = a.name
                    AND v.occurred_at >= (e.context -> 'event' ->> 'occurred_at')::timestamptz
                )
                """,
                [[run_id for run_id, _ in asked], [name for _, name in asked]],
            )
            reasons |= {run_id: f"exit: {name}" for run_id, name in cursor.fetchall()}
    return reasons
