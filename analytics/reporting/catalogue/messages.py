"""All messages beside each other."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from analytics.reporting import curves, origins, parts
from analytics.reporting.columns import USUAL, columns
from analytics.reporting.query import ALL_FILTERS, GOALS, ORIGINS, Query
from analytics.reporting.shapes import Choice, Report, Row, Sheet, Table
from analytics.reports.definitions import Comparison
from delivery.models import Message

CARDS = (*USUAL, "revenue_per_message")
COLUMNS = (
    *("sent", "delivered", "delivery_rate", "opened", "open_rate", "clicked", "click_rate"),
    *("people_converted", "conversion_rate", "converted", "revenue", "unsubscribe_rate"),
)
BY = {
    "message": (gettext_lazy("message"), gettext_lazy("Message")),
    "variant": (gettext_lazy("message and variant"), gettext_lazy("Variant")),
    "broadcast": (gettext_lazy("broadcast"), gettext_lazy("Broadcast")),
    "flow": (gettext_lazy("flow"), gettext_lazy("Flow")),
    "origin": (gettext_lazy("what asked for them"), gettext_lazy("Asked for by")),
}


def build(query: Query) -> Sheet:
    """A row for each message, or for what else is chosen, that anything is counted of; most sent first."""
    by = query.choice("by")
    found = parts.found(by, query)
    every = parts.every_row(parts.total(query), query, tuple(dict.fromkeys((*CARDS, *COLUMNS))))
    rows = _ROWS[by](found, query)
    return Sheet(
        cards=columns(CARDS),
        figures=every,
        charts=[curves.over_time(query)],
        tables=[
            Table(
                slug="messages",
                title=_("Messages") if by == "message" else _("Messages by %s") % BY[by][0],
                head=str(BY[by][1]),
                columns=columns(COLUMNS),
                rows=rows,
                total=every,
                empty=_("Nothing was sent in this period."),
            )
        ],
    )


def _messages(found: dict[Any, Comparison], query: Query) -> list[Row]:
    names = parts.names(Message, list(found), "slug", "name")
    return [
        parts.row(
            names[pk][0],
            names[pk][1],
            both,
            query,
            COLUMNS,
            narrows={"message": str(pk)},
            leads=("message", {"message": names[pk][0]}),
        )
        for pk, both in found.items()
        if pk in names
    ]


def _variants(found: dict[Any, Comparison], query: Query) -> list[Row]:
    names = parts.names(Message, [pk for pk, _variant in found], "slug", "name")
    return [
        parts.row(
            f"{names[pk][0]}:{variant}",
            _("%(message)s, variant %(variant)s") % {"message": names[pk][1], "variant": variant.upper()},
            both,
            query,
            COLUMNS,
            narrows={"message": str(pk), "variant": variant},
            leads=("message", {"message": names[pk][0]}),
        )
        for (pk, variant), both in found.items()
        if pk in names
    ]


def _origins(found: dict[Any, Comparison], query: Query) -> list[Row]:
    return [
        parts.row(key, str(ORIGINS.get(key, key)), both, query, COLUMNS, narrows={"origin": key})
        for key, both in found.items()
    ]


_ROWS = {
    "message": _messages,
    "variant": _variants,
    "origin": _origins,
    "broadcast": lambda found, query: origins.rows("broadcast", found, query, COLUMNS),
    "flow": lambda found, query: origins.rows("flow", found, query, COLUMNS),
}

REPORT = Report(
    slug="messages",
    title=gettext_lazy("Messages"),
    description=gettext_lazy("What came of each message, its variants, and what asked for it."),
    group="messages",
    permission="delivery.view_message",
    takes=ALL_FILTERS | GOALS | {"variant"},
    build=build,
    choices=(
        Choice(
            name="by",
            label=pgettext_lazy("rows of a report", "By"),
            options=tuple((name, label) for name, (label, _head) in BY.items()),
        ),
    ),
    icon="mail",
)
