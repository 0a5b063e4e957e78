"""What runs, on the home: flows with their health, broadcasts with their progress, connections, alerts."""

from typing import Any

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from analytics.admin.home_cards import Card, share
from analytics.admin.home_kept import kept
from analytics.admin.home_lift import of_flow
from analytics.experiments.holdouts import Line
from analytics.reports import periods, running
from analytics.reports.definitions import Figures
from analytics.written import amounts, count, percent
from campaigns.models import Broadcast, Flow
from crm.models import Alert, Connection, SyncRun

ALERTS = 5
FLOWS = 8
BROADCASTS = 6
CHIPS = {"live": "good", "paused": "warning", "finishing": "warning"}
SYNC_CHIPS = {"queued": "", "running": "", "succeeded": "good", "failed": "bad"}


def flows(days: int, told: dict[int, Figures] | None, lifts: list[Line] | None) -> dict[str, Any]:
    """Flows that run or are paused, those in trouble first; two queries.

    Args:
        days: of the period, 0 for today.
        told: what came of their messages, None if the reader may not see that; so too for `lifts`.
    """
    found = running.flows()
    period = periods.last(max(days, 1))
    people = kept(f"people.{days}", lambda: running.people([flow.pk for flow in found], period))
    rows = [
        _flow(flow, people.get(flow.pk, running.People()), told and told.get(flow.pk), lifts)
        for flow in found
    ]
    rows.sort(key=lambda row: (-len(row["problems"]), row["flow"].state == Flow.State.LIVE))
    keys = ["inside", "entered"]
    if told is not None:
        keys += ["conversion_rate", "revenue"]
    if lifts is not None:
        keys.append("lift")
    labels = {
        "inside": _("Inside"),
        "entered": _("Entered"),
        "conversion_rate": _("Conversion rate"),
        "revenue": _("Revenue"),
        "lift": _("Extra conversions"),
    }
    return {
        "rows": [_cells(row, keys) for row in rows[:FLOWS]],
        "more": max(0, len(rows) - FLOWS),
        "heads": [
            Card(key=key, label=labels[key], value="", definition=str(running.DEFINITIONS[key]))
            for key in keys
        ],
        "well": sum(not row["problems"] for row in rows),
        "troubled": sum(bool(row["problems"]) for row in rows),
    }


def _flow(
    flow: Flow, people: running.People, told: Figures | None, lifts: list[Line] | None
) -> dict[str, Any]:
    extra = of_flow(lifts, flow.pk) if lifts else None
    return {
        "flow": flow,
        "chip": CHIPS[flow.state],
        "problems": _problems(flow, people, told),
        "inside": count(people.inside),
        "entered": count(people.entered),
        "conversion_rate": share(told.rate("people_converted")) if told else "–",
        "revenue": " · ".join(amounts(told.earned)) if told and told.earned else "–",
        "lift": f"{extra.value} ({extra.interval})" if extra else "–",
    }


def _problems(flow: Flow, people: running.People, told: Figures | None) -> list[str]:
    found = [flow.error] if flow.error else []
    if people.stuck:
        found.append(ngettext("%s run is stuck", "%s runs are stuck", people.stuck) % count(people.stuck))
    if told and running.failing(told):
        failed = told.failed + told.lost
        found.append(_("%s of the messages failed") % percent(failed / (told.sent + told.failed)))
    return found


def _cells(row: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    return row | {"cells": [row[key] for key in keys]}


def broadcasts() -> list[dict[str, Any]]:
    """Broadcasts that are on their way, held or planned."""
    lights = {
        Broadcast.State.PAUSED: "warning",
        Broadcast.State.SENDING: "good",
        Broadcast.State.EXPANDING: "good",
    }
    rows = []
    for one in running.broadcasts(BROADCASTS):
        broadcast = one.broadcast
        begun = broadcast.state in (*Broadcast.BUSY, Broadcast.State.PAUSED) and one.percent is not None
        words = ""
        if begun:
            words = _("%(done)s of %(audience)s done, %(sent)s sent") % {
                "done": count(one.done),
                "audience": count(broadcast.audience or 0),
                "sent": count(one.figures.sent),
            }
        rows.append(
            {
                "broadcast": broadcast,
                "chip": lights.get(Broadcast.State(broadcast.state), ""),
                "words": words,
                "percent": one.percent if begun else None,
                "starts": broadcast.next_slot or broadcast.starts_at,
            }
        )
    return rows


def syncs() -> list[dict[str, Any]]:
    """Each connection with its latest run."""
    latest = {
        run.connection_id: run
        for run in SyncRun.objects.order_by("connection", "-queued_at").distinct("connection")
    }
    rows = []
    for crm in Connection.objects.exclude(state=Connection.State.DRAFT).order_by("name"):
        run = latest.get(crm.pk)
        row: dict[str, Any] = {"connection": crm, "run": run, "chip": "", "words": _("No sync yet.")}
        if run:
            ended = run.finished_at or run.started_at or run.queued_at
            row["chip"] = SYNC_CHIPS[run.state]
            row["words"] = ngettext(
                "%(ago)s, %(read)s record read", "%(ago)s, %(read)s records read", run.read
            ) % {"ago": naturaltime(ended), "read": count(run.read)}
            if run.state == SyncRun.State.RUNNING and run.expected:
                row["progress"] = min(100, round(100 * run.read / run.expected))
        rows.append(row)
    return rows


def alerts() -> list[Alert]:
    """The open ones, one more than are shown if there are more."""
    return list(Alert.objects.filter(resolved_at=None).order_by("-last_at")[: ALERTS + 1])
