"""Tables and curves that several reports have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db.models import Model
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.reporting import names as named
from analytics.reporting.columns import USUAL, columns, compared
from analytics.reporting.query import UNKNOWN, Query
from analytics.reporting.shapes import Column, Row, Table
from analytics.reports import figures
from analytics.reports.definitions import RATES, Comparison, Figures
from analytics.reports.filters import Filters
from crm.rules import words

HEADS = {
    "locale": (gettext_lazy("By language"), gettext_lazy("Language")),
    "country": (gettext_lazy("By country"), gettext_lazy("Country")),
    "device": (gettext_lazy("By device"), gettext_lazy("Device")),
    "provider": (gettext_lazy("By provider"), gettext_lazy("Provider")),
    "channel": (gettext_lazy("By channel"), gettext_lazy("Channel")),
}
DEVICES = {
    "phone": gettext_lazy("Phone"),
    "desktop": gettext_lazy("Computer"),
    "tablet": gettext_lazy("Tablet"),
}


def total(query: Query, filters: Filters | None = None) -> Comparison:
    """The figures of the query's period, and of the one before where that is asked for."""
    return found("", query, filters).get((), Comparison(Figures(), Figures()))


def found(dimension: str, query: Query, filters: Filters | None = None) -> dict[Any, Comparison]:
    """The figures by a dimension, most sent first; nothing `before` where it is not asked for."""
    filters = filters or query.filters
    if query.compare:
        both = figures.by_before(dimension, query.period, filters)
    else:
        now = figures.by(dimension, query.period, filters)
        both = {key: Comparison(each, Figures()) for key, each in now.items()}
    return dict(sorted(both.items(), key=lambda item: (-item[1].now.sent, str(item[0]))))


def row(
    key: str, label: str, both: Comparison, query: Query, keys: Sequence[str] = USUAL, **more: Any
) -> Row:
    """A row of figures."""
    now, before = compared(both, keys, query.compare)
    return Row(key=key, label=label, values=now, before=before, **more)


def traits(dimension: str, query: Query, every: Row | None = None) -> Table:
    """The figures by "channel", "locale", "country", "device" or "provider"."""
    title, head = HEADS[dimension]
    called = namer(dimension)
    return Table(
        slug=f"by_{dimension}",
        title=str(title),
        head=str(head),
        columns=columns(USUAL),
        rows=[
            row(key or UNKNOWN, called(key), both, query, narrows={dimension: key or UNKNOWN})
            for key, both in found(dimension, query).items()
        ],
        total=every,
        empty=_("Nothing was sent in this period."),
    )


def namer(dimension: str) -> Callable[[str], str]:
    """What the values of a dimension are called in the reader's language."""
    called: Mapping[str, Any] = {}
    unknown = _("Not known")
    if dimension == "channel":
        return named.channel
    if dimension == "provider":
        return named.service
    if dimension == "country":
        called = words.country_names()
    elif dimension == "locale":
        called, unknown = words.language_names(), _("The text for everybody")
    elif dimension == "device":
        called = DEVICES
    return lambda key: str(called.get(key, key)) if key else unknown


def every_row(both: Comparison, query: Query, keys: Sequence[str] = USUAL, label: str = "") -> Row:
    """The row of all together, which the people behind its numbers need no narrowing for."""
    return row("", label or _("All"), both, query, keys, narrows={})


def carded(both: Comparison, query: Query, cards: Sequence[Column], label: str = "") -> Row:
    """The values of cards, and beside them all shares of those sent, for whoever shows both."""
    keys = list(dict.fromkeys([*(card.key for card in cards), *RATES]))
    return every_row(both, query, keys, label)


def names(model: type[Model], numbers: Sequence[Any], *fields: str) -> dict[int, tuple[Any, ...]]:
    """Of rows by number, the fields' values; those that are gone are not among them. One query."""
    rows = model._default_manager.filter(pk__in=[each for each in numbers if each]).values_list("pk", *fields)
    return {pk: tuple(rest) for pk, *rest in rows}
