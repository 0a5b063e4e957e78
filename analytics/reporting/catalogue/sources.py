"""What people are worth by where they came from, and how well CRMs bring them."""

from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import names
from analytics.reporting.query import GOALS, Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports import sources
from analytics.reports.deliverability import ENOUGH, LIMITS
from analytics.reports.sources import DEFINITIONS, RATES, Imported, Line, Reject, Runs
from analytics.written import percent
from crm.models import ListImport

_LABELS = {
    "people": gettext_lazy("People"),
    "new": gettext_lazy("New"),
    "email": gettext_lazy("With email"),
    "phone": gettext_lazy("With phone"),
    "consent": gettext_lazy("Agreed"),
    "sent": gettext_lazy("Sent"),
    "opened": gettext_lazy("Opened"),
    "clicked": gettext_lazy("Clicked"),
    "bounced": gettext_lazy("Bounced"),
    "conversions": gettext_lazy("Conversions"),
    "earned": gettext_lazy("Revenue"),
    "rejected": gettext_lazy("Not taken"),
    "duplicates": gettext_lazy("Possible duplicates"),
    "runs": gettext_lazy("Syncs"),
    "failed": gettext_lazy("Failed"),
    "read": gettext_lazy("Records read"),
    "created": gettext_lazy("People brought"),
    "updated": gettext_lazy("Changed"),
    "refused": gettext_lazy("Not taken"),
    "merged": gettext_lazy("Merged"),
    "synced_at": gettext_lazy("Last sync"),
    "age": gettext_lazy("Ago"),
    "rows": gettext_lazy("Rows"),
    "taken": gettext_lazy("Taken"),
    "changed": gettext_lazy("Changed"),
    "invalid": gettext_lazy("Not taken"),
}
_KINDS = {"earned": Kind.MONEY, "synced_at": Kind.MOMENT, "age": Kind.SECONDS}
_WORSE = {"bounced", "rejected", "duplicates", "failed", "refused", "invalid", "age"}
QUALITY = (
    *("people", "new", "email", "phone", "consent", "sent", "opened", "clicked", "bounced"),
    *("conversions", "earned", "rejected", "duplicates"),
)
SYNCS = ("runs", "failed", "read", "created", "updated", "refused", "merged", "synced_at", "age")
IMPORTS = ("rows", "taken", "changed", "invalid")
OVERDUE = 10  # intervals, and a day at least, until a sync is missed
REFUSED = 0.05  # share of the records read


def columns(keys: tuple[str, ...]) -> list[Column]:
    """Columns by their names; those of RATES are shares."""
    return [
        Column(
            key=key,
            label=_LABELS[key],
            definition=_("%(what)s As a share of %(whole)s.")
            % {"what": DEFINITIONS[key], "whole": _LABELS[RATES[key]]}
            if key in RATES
            else DEFINITIONS[key],
            kind=Kind.SHARE if key in RATES else _KINDS.get(key, Kind.COUNT),
            better="down" if key in _WORSE else "up",
        )
        for key in keys
    ]


def build(query: Query) -> Sheet:
    """A row for each source, why records wait, how syncs and imports went; seven queries."""
    now = timezone.now()
    found = sources.report(query.period, query.filters)
    syncs = sources.runs(query.period)
    crms = {line.slug: line.name for line in found if line.crm is not None}
    return Sheet(
        tables=[
            Table(
                slug="sources",
                title=_("By where people came from"),
                head=_("Source"),
                columns=columns(QUALITY),
                rows=[_row(line, crms) for line in found],
                note=_("How many people there are is as of now; the rest is about the period."),
                empty=_("There is nobody yet."),
            ),
            _rejects(sources.rejects()),
            Table(
                slug="syncs",
                title=_("Syncs of the CRMs"),
                head=_("CRM"),
                columns=columns(SYNCS),
                rows=[_sync(each, now) for each in syncs],
                empty=_("No CRM is connected yet."),
            ),
            Table(
                slug="imports",
                title=_("Imported lists"),
                head=_("File"),
                columns=columns(IMPORTS),
                rows=[_import(each) for each in sources.imports(query.period)],
                empty=_("No list was imported in this period."),
            ),
        ],
        warnings=_warnings(found, syncs, crms, now),
    )


def _row(line: Line, crms: dict[str, str]) -> Row:
    return Row(
        key=f"crm:{line.slug}" if line.crm is not None else line.slug or "-",
        label=_label(line, crms),
        values={key: line.rate(key) if key in RATES else getattr(line, key) for key in QUALITY},
        link=(reverse("admin:crm_connection_change", args=[line.crm]), "crm.view_connection")
        if line.crm is not None
        else None,
    )


def _label(line: Line, crms: dict[str, str]) -> str:
    if line.crm is not None:
        return line.name
    return names.sender(line.slug, crms) if line.slug else _("visitors without a name")


def _rejects(found: list[Reject]) -> Table:
    return Table(
        slug="rejects",
        title=_("Why records were not taken"),
        head=_("Reason"),
        columns=[
            Column(
                key="crm",
                label=_("CRM"),
                definition=_("The connection that the record came by."),
                kind=Kind.TEXT,
            ),
            Column(
                key="object",
                label=_("Object"),
                definition=_("What the CRM calls such records."),
                kind=Kind.TEXT,
            ),
            Column(
                key="number", label=_LABELS["rejected"], definition=DEFINITIONS["rejected"], better="down"
            ),
            Column(
                key="since",
                label=_("Since"),
                definition=_("When the oldest of them was seen first."),
                kind=Kind.MOMENT,
            ),
        ],
        rows=[
            Row(
                key=f"{each.crm}/{each.object}/{each.code}/{each.field}",
                label=_reason(each),
                values={
                    "crm": each.name,
                    "object": each.object,
                    "number": each.number,
                    "since": each.since,
                },
                link=(
                    f"{reverse('admin:crm_syncreject_changelist')}?connection__id__exact={each.crm}",
                    "crm.view_syncreject",
                ),
            )
            for each in found
        ],
        empty=_("Everything was taken."),
    )


def _reason(reject: Reject) -> str:
    words = reject.code.replace("_", " ")
    return f"{reject.field}: {words}" if reject.field else words


def _sync(each: Runs, now: datetime) -> Row:
    values: dict[str, Any] = {key: getattr(each, key) for key in SYNCS if key != "age"}
    values["age"] = (now - each.synced_at).total_seconds() if each.synced_at else None
    return Row(
        key=str(each.crm),
        label=each.name,
        values=values,
        note=_("Paused.") if each.paused else "",
        link=(reverse("admin:crm_connection_change", args=[each.crm]), "crm.view_connection"),
    )


def _import(each: Imported) -> Row:
    at = formats.date_format(timezone.localtime(each.at), "SHORT_DATE_FORMAT")
    return Row(
        key=str(each.number),
        label=each.name,
        values={"rows": each.rows, "taken": each.taken, "changed": each.changed, "invalid": each.refused},
        note=f"{ListImport.Kind(each.kind).label}, {at}",
        link=(reverse("admin:crm_listimport_change", args=[each.number]), "crm.view_listimport"),
    )


def _warnings(found: list[Line], syncs: list[Runs], crms: dict[str, str], now: datetime) -> list[str]:
    said = []
    for each in syncs:
        overdue = max(24 * 60, OVERDUE * each.minutes) * 60
        if not each.paused and each.synced_at and (now - each.synced_at).total_seconds() > overdue:
            said.append(
                _("%(name)s: the last sync that ended well was %(ago)s ago.")
                % {"name": each.name, "ago": timesince(each.synced_at, now, depth=1)}
            )
        if each.read and each.refused / each.read >= REFUSED:
            said.append(
                _("%(name)s: %(share)s of the records could not be taken; see why below.")
                % {"name": each.name, "share": percent(each.refused / each.read)}
            )
    limit = LIMITS["bounced"][-1].share
    for line in found:
        rate = line.rate("bounced") or 0.0
        if line.sent >= ENOUGH and rate >= limit:
            said.append(
                _(
                    "%(name)s: %(share)s of the messages to these people came back. Its addresses are old or wrong."
                )
                % {"name": _label(line, crms), "share": percent(rate)}
            )
    return said


REPORT = Report(
    slug="sources",
    title=gettext_lazy("CRM source quality"),
    description=gettext_lazy(
        "What people from each CRM and other source are worth, and what could not be taken."
    ),
    group="quality",
    permission="crm.view_connection",
    takes=frozenset({"channel"}) | GOALS,
    compares=False,
    build=build,
    icon="hub",
)
