"""What a report is made of. Values are raw; whoever shows them writes them out in the reader's language."""

from collections.abc import Callable, Mapping
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from analytics.reporting.query import Query

Values = Mapping[str, Any]


class Kind(StrEnum):
    """What the values of a column are; None means that there is no number."""

    TEXT = "text"
    COUNT = "count"  # int, or Decimal where goals are divided
    SHARE = "share"  # float, 0 to 1
    MONEY = "money"  # {currency: Decimal}
    SECONDS = "seconds"  # float
    DAY = "day"  # date
    MOMENT = "moment"  # aware datetime


class Layout(StrEnum):
    """How a table wants to be looked at; its rows and columns are the same."""

    TABLE = "table"
    SHADED = "shaded"  # the more, the darker: a heat map, cohorts
    FUNNEL = "funnel"  # rows are steps, with a bar for `Table.bar`


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column. `counts` names the column of `reports.people` whose deliveries are behind its numbers, if there is one.

    `better` says which way is good: "up", "down" or "" for neither. `digits` are those of a share behind the point of
    its percentage, at most.
    """

    key: str
    label: Any
    definition: Any = ""
    kind: Kind = Kind.COUNT
    counts: str = ""
    better: str = ""
    digits: int = 1


class Row(msgspec.Struct, kw_only=True):
    """A row of a table.

    Args:
        key: stable and unique in its table; the API pages by it.
        before: values of the period that is compared with; None where nothing is.
        narrows: parameters of a query that is about this row only, for the people behind its numbers.
        leads: (slug of a report, its parameters) about this row; the period is passed on.
        link: path of another page about it, and the permission that it needs.
        depth: how far a step of a funnel is indented, from 0.
        note: a line below the label.
    """

    key: str
    label: str
    values: dict[str, Any]
    before: dict[str, Any] | None = None
    narrows: dict[str, str] | None = None
    leads: tuple[str, dict[str, str]] | None = None
    link: tuple[str, str] | None = None
    depth: int = 0
    note: str = ""
    icon: str = ""


class Table(msgspec.Struct, kw_only=True):
    """Rows that have a label under `head` and the columns' values. `total` is about all of them together."""

    slug: str
    title: str
    head: str
    columns: list[Column]
    rows: list[Row]
    total: Row | None = None
    layout: Layout = Layout.TABLE
    bar: str = ""
    note: str = ""
    empty: str = ""


class Series(msgspec.Struct, kw_only=True):
    """Values of a chart, one for each label; `before` are those of the period that is compared with."""

    column: Column
    values: list[Any]
    before: list[Any] | None = None


class Chart(msgspec.Struct, kw_only=True):
    """Lines over days (`kind` "lines") or bars beside each other ("bars", "stacked").

    `days` are those of the labels where it is about days, for whoever writes them otherwise.
    """

    slug: str
    title: str
    head: str
    labels: list[str]
    series: list[Series]
    kind: str = "lines"
    days: list[date] = []


class Sheet(msgspec.Struct, kw_only=True):
    """What a report found: figures at the top, charts, tables, and sentences about how to read them.

    `warnings` are sentences about what somebody should do something about, the gravest first.
    """

    cards: list[Column] = []
    figures: Row | None = None
    charts: list[Chart] = []
    tables: list[Table] = []
    notes: list[str] = []
    warnings: list[str] = []


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that only this report lets choose, such as by what to break down; the first option is the default."""

    name: str
    label: Any
    options: tuple[tuple[str, Any], ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report.

    Args:
        slug: its name in addresses, saved reports and the API.
        group: "messages", "people", "money" or "quality".
        takes: the filters that it heeds, of `query.FILTERS`; all of them take a period unless `timeless`.
        subject: what a single row's report is about: "message", "flow" or "broadcast"; the query then has it as a
            filter, and needs it.
        compares: whether the period before can stand beside it.
        default: key of `query.PRESETS` that it begins with.
        build: makes the sheet in a number of queries that does not depend on how much there is.
    """

    slug: str
    title: Any
    description: Any
    group: str
    permission: str
    build: "Callable[[Query], Sheet]"
    takes: frozenset[str] = frozenset()
    subject: str = ""
    compares: bool = True
    timeless: bool = False
    default: str = "30"
    choices: tuple[Choice, ...] = ()
    icon: str = "monitoring"
