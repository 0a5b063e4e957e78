"""All broadcasts beside each other."""

from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from msgspec import structs

from analytics.reporting import curves, parts
from analytics.reporting.columns import columns
from analytics.reporting.query import ALL_FILTERS, GOALS, Query
from analytics.reporting.shapes import Column, Kind, Report, Row, Sheet, Table
from analytics.reports.definitions import Comparison, Figures
from campaigns.models import Broadcast

CARDS = (
    *("sent", "delivery_rate", "open_rate", "click_rate", "conversion_rate", "unsubscribe_rate"),
    *("revenue", "revenue_per_message"),
)
KEYS = (
    *("sent", "suppressed", "delivery_rate", "opened", "open_rate", "clicked", "click_rate"),
    *("people_converted", "conversion_rate", "revenue", "unsubscribe_rate", "complaint_rate"),
)
FIELDS = ("name", "state", "started_at", "audience", "message__name", "message__slug")


def build(query: Query) -> Sheet:
    """A row for each broadcast that began in the period or of which anything is counted; the latest first."""
    found = parts.found("broadcast", query)
    query = structs.replace(query, filters=structs.replace(query.filters, origin="broadcast"))
    every = parts.every_row(
        parts.total(query), query, tuple(dict.fromkeys((*CARDS, *KEYS))), _("All broadcasts")
    )
    every.narrows = {"origin": "broadcast"}
    every.values |= {"state": "", "started_at": None, "audience": None}
    since, until = query.period.bounds()
    began = Q(started_at__gte=since, started_at__lt=until)
    wanted = Broadcast.objects.filter(Q(pk__in=list(found)) | began)
    if query.filters.message is not None:
        wanted = wanted.filter(message=query.filters.message)
    if query.filters.broadcast is not None:
        wanted = wanted.filter(pk=query.filters.broadcast)
    rows = [
        _row(pk, dict(zip(FIELDS, told, strict=True)), found.get(pk), query)
        for pk, *told in wanted.order_by("-started_at", "-pk").values_list("pk", *FIELDS)
    ]
    return Sheet(
        cards=columns(CARDS),
        figures=every,
        charts=[curves.over_time(query)],
        tables=[
            Table(
                slug="broadcasts",
                title=_("Broadcasts"),
                head=_("Broadcast"),
                columns=[*_about(), *columns(KEYS)],
                rows=rows,
                total=every,
                empty=_("No broadcast went out in this period."),
            )
        ],
    )


def _about() -> list[Column]:
    return [
        Column(
            key="state", label=_("State"), definition=_("What the broadcast is doing now."), kind=Kind.TEXT
        ),
        Column(
            key="started_at",
            label=_("Began"),
            definition=_("When its audience was taken down and queueing began."),
            kind=Kind.MOMENT,
        ),
        Column(
            key="audience",
            label=_("Audience"),
            definition=_("People who were in its audience when it began, whenever they were written to."),
        ),
    ]


def _row(pk: int, told: dict[str, Any], both: Comparison | None, query: Query) -> Row:
    row = parts.row(
        str(pk),
        told["name"],
        both or Comparison(Figures(), Figures()),
        query,
        KEYS,
        narrows={"broadcast": str(pk)},
        leads=("broadcast", {"broadcast": str(pk)}),
        note=told["message__name"],
    )
    row.values |= {
        "state": str(Broadcast.State(told["state"]).label),
        "started_at": told["started_at"],
        "audience": told["audience"],
    }
    return row


REPORT = Report(
    slug="broadcasts",
    title=gettext_lazy("Broadcasts"),
    description=gettext_lazy("What came of each broadcast."),
    group="messages",
    permission="campaigns.view_broadcast",
    takes=(ALL_FILTERS | GOALS | {"variant"}) - {"flow", "origin"},
    build=build,
    icon="campaign",
)
