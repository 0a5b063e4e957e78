"""How the syncs of a connection go: everything that its page shows, in a handful of queries."""

from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm import connectors
from crm.admin.connection_forms import BECOMES
from crm.models import Connection, SourceRecord, SyncHint, SyncReject, SyncRun, Upload, WrittenRecord
from crm.sync import brake, hints

STATES = {
    "draft": ("warning", gettext_lazy("not started yet")),
    "paused": ("warning", gettext_lazy("paused")),
    "held": ("warning", gettext_lazy("needs your answer")),
    "failed": ("danger", gettext_lazy("last sync failed")),
    "running": ("info", gettext_lazy("syncing")),
    "queued": ("info", gettext_lazy("waiting")),
    "succeeded": ("success", gettext_lazy("up to date")),
    "": ("info", gettext_lazy("new")),
}
RUNS, STRIP, REJECTS, HELD = 6, 40, 8, 20  # rows shown
BUSY = ("running", "queued")
NEARLY = 80  # percent of the CRM's budget of calls from which on it is a warning


class ObjectHealth(msgspec.Struct):
    """One kind of records: how many are here, and how far the present run is with it."""

    name: str
    label: Any
    icon: str
    live: int
    missing: int
    progress: str  # "", "waiting", "now", "done"


class Budget(msgspec.Struct):
    """Calls to the CRM in its own counting period."""

    used: int
    limit: int
    percent: int
    tight: bool


class Report(msgspec.Struct):
    """One run in the table."""

    run: SyncRun
    took: str
    style: str


def state_of(connection: Connection, latest: str, held: int = 0) -> str:
    """A key of STATES. A run that is on outranks everything else."""
    if connection.state == Connection.State.DRAFT:
        return connection.state
    if latest in BUSY:
        return latest
    if connection.state == Connection.State.PAUSED and scheduled(connection):
        return connection.state
    return "held" if held and latest != SyncRun.State.FAILED else latest


def lag(connection: Connection, now: datetime | None = None) -> float | None:
    """Seconds since the time up to which everything is here; None before the first complete run, and for files."""
    if connection.synced_until is None or not scheduled(connection):
        return None
    return max(0.0, ((now or timezone.now()) - connection.synced_until).total_seconds())


def lag_words(seconds: float | None) -> str:
    """Such as "8 s behind"; empty if nothing is known."""
    if seconds is None:
        return ""
    if seconds < 120:
        return _("%d s behind") % round(seconds)
    if seconds < 2 * 3600:
        return _("%d min behind") % (seconds // 60)
    if seconds < 2 * 86400:
        return _("%d h behind") % (seconds // 3600)
    days = int(seconds // 86400)
    return ngettext("%d day behind", "%d days behind", days) % days


def took(run: SyncRun) -> str:
    """From start to end, or to the last sign of life."""
    end = run.finished_at or run.beat_at
    if not run.started_at or not end:
        return "–"
    seconds = (end - run.started_at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else timesince(run.started_at, end)


def health(connection: Connection) -> dict[str, Any]:
    """What the panel shows."""
    runs = list(SyncRun.objects.filter(connection=connection).order_by("-pk")[:STRIP])
    latest = runs[0] if runs else None
    called = SyncHint.objects.filter(connection=connection).aggregate(
        held=Count("pk", filter=Q(kind__in=hints.WAITING)),
        waiting=Count("pk", filter=~Q(kind__in=hints.WAITING)),
    )
    agreed = brake.agreed(connection, timezone.now())
    held = 0 if agreed else called["held"]
    state = state_of(connection, latest.state if latest else "", held)
    rejects = SyncReject.objects.filter(connection=connection, resolved_at=None)
    shown = list(rejects.order_by("-last_seen", "-pk")[:REJECTS])
    return {
        "latest": latest,
        "scheduled": scheduled(connection),
        "upload": Upload.objects.filter(pk=connection.config.get("upload")).first()
        if not scheduled(connection)
        else None,
        "reports": [Report(run, took(run), _style(run)) for run in runs[:RUNS]],
        "strip": [(run, _style(run)) for run in reversed(runs) if run.started_at],
        "failures": sum(run.state == SyncRun.State.FAILED for run in runs),
        "state": state,
        "state_label": STATES[state][1],
        "state_style": STATES[state][0],
        "busy": state in BUSY,
        "percent": _percent(latest),
        "progress_words": progress_words(latest) if latest else "",
        "objects": _objects(connection, latest),
        "lag": lag_words(lag(connection)),
        "budget": _budget(runs),
        "drift": _drift(connection),
        "held": held,
        "held_records": _held(connection) if held else [],
        "agreed_until": connection.deletions_allowed_until if agreed and called["held"] else None,
        "rejects": shown,
        "reject_count": len(shown) if len(shown) < REJECTS else rejects.count(),
        "refused": _refused(connection),
        "hints": called,
    }


def _refused(connection: Connection) -> int:
    """How many records the CRM would not let us write into."""
    if not any(part.get("write") for part in connection.mapping.values()):
        return 0
    return WrittenRecord.objects.filter(connection=connection).exclude(error="").count()


def scheduled(connection: Connection) -> bool:
    """Whether it is synced by itself; a file is read when somebody asks."""
    kind = connectors.kinds().get(connection.kind)
    return kind is None or kind.scheduled


def _style(run: SyncRun) -> str:
    return {"failed": "danger", "succeeded": "success"}.get(run.state, "info")


def _percent(latest: SyncRun | None) -> int | None:
    if latest is None or latest.state != SyncRun.State.RUNNING or not latest.expected:
        return None
    return min(100, 100 * latest.read // latest.expected)


def _objects(connection: Connection, latest: SyncRun | None) -> list[ObjectHealth]:
    kind = connectors.kinds().get(connection.kind)
    counts: dict[str, dict[str, int]] = {}
    rows = SourceRecord.objects.filter(connection=connection).order_by()
    for name, state, number in rows.values_list("object", "state").annotate(Count("pk")):
        counts.setdefault(name, {})[state] = number
    found = [each for each in kind.objects if each.name in connection.mapping] if kind else []
    running = latest if latest and latest.state == SyncRun.State.RUNNING else None
    touched = [
        place
        for place, each in enumerate(found)
        if running and running.cursor_after.get(each.name) != running.cursor_before.get(each.name)
    ]
    now = touched[-1] if touched else 0
    return [
        ObjectHealth(
            name=each.name,
            label=each.label,
            icon=BECOMES[each.role][0],
            live=counts.get(each.name, {}).get(SourceRecord.State.LIVE, 0),
            missing=counts.get(each.name, {}).get(SourceRecord.State.MISSING, 0),
            progress="" if not running else "done" if place < now else "now" if place == now else "waiting",
        )
        for place, each in enumerate(found)
    ]


def _budget(runs: list[SyncRun]) -> Budget | None:
    """As the newest run that was told."""
    for run in runs:
        if run.budget_limit and run.budget_used is not None:
            percent = min(100, 100 * run.budget_used // run.budget_limit)
            return Budget(run.budget_used, run.budget_limit, percent, percent >= NEARLY)
    return None


def _drift(connection: Connection) -> list[str]:
    """Fields of the mapping that the CRM no longer has, by what it had at the last run."""
    words = []
    for name, part in connection.mapping.items():
        known = connection.schema.get(name)
        if not known or not isinstance(part, dict):
            continue
        wanted = {*part.get("fields", {}), *part.get("consent", {}), *part.get("write", {})}
        if part.get("won"):
            wanted.add(part["won"]["field"])
        gone = sorted(wanted - set(known))
        if gone:
            words.append(
                ngettext(
                    "The field %(names)s of %(object)s is mapped, but no longer in the CRM.",
                    "The fields %(names)s of %(object)s are mapped, but no longer in the CRM.",
                    len(gone),
                )
                % {"names": ", ".join(gone), "object": name}
            )
    return words


def _held(connection: Connection) -> list[tuple[str, str]]:
    waiting = SyncHint.objects.filter(connection=connection, kind__in=hints.WAITING)
    return list(waiting.order_by("pk").values_list("object", "record_id")[:HELD])


def progress_words(run: SyncRun) -> str:
    """Such as "50 of about 200 records"."""
    if run.expected:
        return _("%(read)s of about %(expected)s records") % {
            "read": intcomma(run.read),
            "expected": intcomma(max(run.expected, run.read)),
        }
    return ngettext("%s record so far", "%s records so far", run.read) % intcomma(run.read)


def hook_url(connection: Connection) -> str:
    """The address that the CRM has to call; with the key, where the connector's settings have one."""
    key = connection.config.get("hook_key")
    query = f"?key={key}" if key else ""
    return f"{settings.NUDGE_PUBLIC_URL}/hooks/crm/{connection.slug}/{query}"
