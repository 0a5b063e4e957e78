"""A report's sheet as its page shows it: written values, changes, links, shades and bars."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from analytics.admin.figures import ICONS, Figure
from analytics.reporting import query as asking
from analytics.reporting.query import Query
from analytics.reporting.registry import reports
from analytics.reporting.shapes import Column, Kind, Layout, Report, Row, Sheet, Table
from analytics.reporting.writing import Change, change, missing, number, written
from analytics.reports.definitions import RATES
from analytics.written import count, percent

SHOWN = 200  # rows of a table at once
DARKEST = 0.95  # of a table's values, this share is not in the darkest shade
PARAMETERS = ("sort", "rows")
_RATE_OF = {counted: rate for rate, counted in RATES.items()}


class Head(msgspec.Struct):
    """A column: its definition, and where the table is sorted by it."""

    figure: Figure
    sort_link: str = ""
    sorted: str = ""
    is_number: bool = True


class Cell(msgspec.Struct):
    """A value. `level` (0 to 1) shades it, None where nothing is to be shaded."""

    text: str
    is_number: bool = True
    link: str = ""
    before: str = ""
    change: Change | None = None
    level: float | None = None


class Line(msgspec.Struct):
    """A row. `bar` is its share of a funnel's first step, `lost` how many fewer there are than in the step before."""

    row: Row
    cells: list[Cell]
    link: str = ""
    bar: str = ""
    lost: str = ""


class Shown(msgspec.Struct):
    """A table with one page of its rows."""

    table: Table
    heads: list[Head]
    lines: list[Line]
    total: Line | None
    explained: bool
    first: int
    last: int
    number: int
    earlier: str = ""
    later: str = ""
    folded: bool = False

    @property
    def layout(self) -> str:
        return self.table.layout.value

    @property
    def is_cut(self) -> bool:
        return self.number > len(self.lines)


class Frame(msgspec.Struct):
    """What is common to a page: the report, the question, the reader, and how its tables are sorted and paged."""

    report: Report
    query: Query
    user: Any
    given: Mapping[str, str]
    params: dict[str, str]
    period: dict[str, str]
    people: str = ""

    def address(self, **more: str) -> str:
        """The page with the same question; what is given as "" is left out."""
        kept = {name: self.given[name] for name in PARAMETERS if self.given.get(name)}
        return "?" + urlencode({name: value for name, value in (self.params | kept | more).items() if value})


def frame(report: Report, query: Query, user: Any, given: Mapping[str, str]) -> Frame:
    """What tables of this question need to be shown to this user."""
    period = {"period": query.preset}
    if query.preset == "custom":
        period = {"from": query.period.first.isoformat(), "to": query.period.last.isoformat()}
    if not query.compare:
        period["compare"] = "0"
    may = user.has_perm("crm.view_profile")
    people = "people/" if may else ""  # beside the page: this stands in each cell
    return Frame(report, query, user, given, asking.params(report, query), period, people)


def cards(sheet: Sheet, of: Frame) -> list[Figure]:
    """The figures at the top, each with its change against the period before."""
    if sheet.figures is None:
        return []
    found = []
    row = sheet.figures
    for column in sheet.cards:
        value = row.values.get(column.key)
        text = written(column, value)
        note = ""
        if column.kind == Kind.MONEY:  # different currencies can't be added
            text, _dot, note = text.partition(" · ")
        else:
            note = _share(column.key, row)
        card = Figure(column.key, str(column.label), text, str(column.definition), note)
        card.icon = ICONS.get(column.key, "")
        card.link = _people(of, row, column, value)
        moved = None
        if row.before is not None:
            moved = change(column, value, row.before.get(column.key), missing(of.query))
        if moved:
            card.change, card.change_words, card.tone = moved.text, moved.words, moved.tone
        found.append(card)
    return found


def all_shown(tables: list[Table], of: Frame) -> list[Shown]:
    """All tables; the first one with changes in it explains them, and later ones that tell nothing new are folded."""
    found = [shown(table, of) for table in tables]
    for later in found[1:]:
        rows, total = later.table.rows, later.table.total
        later.folded = bool(total and len(rows) == 1 and rows[0].values == total.values)
    for later in [one for one in found if one.explained and not one.folded][1:]:
        later.explained = False
    return found


def _share(key: str, row: Row) -> str:
    """How much of those sent a count is, where the sheet tells that beside it."""
    rate = row.values.get(_RATE_OF.get("people_converted" if key == "converted" else key, ""))
    if rate is None or (key == "converted" and "people_converted" not in row.values):
        return ""
    if key != "converted":
        return _("%s of those sent") % percent(rate)
    people = row.values["people_converted"]
    words = ngettext(
        "%(people)s person, %(rate)s of those sent", "%(people)s people, %(rate)s of those sent", people
    )
    return words % {"people": count(people), "rate": percent(rate)}


def shown(table: Table, of: Frame) -> Shown:
    """One table, sorted and paged as the address says."""
    rows, by, descending = _sorted(table, of.given.get("sort", ""))
    first = _first(table, of.given.get("rows", ""), len(rows))
    part = rows[first : first + SHOWN]
    shade = shades(table)
    plain = table.layout == Layout.SHADED
    lines = [_line(row, table, of, shade, plain) for row in part]
    if table.layout == Layout.FUNNEL:
        _bars(table, part, lines)
    sortable = table.layout == Layout.TABLE and len(rows) > 1
    heads = []
    for column in table.columns:
        figure = Figure(column.key, str(column.label), "", str(column.definition))
        head = Head(figure, is_number=_is_number(column))
        if sortable:
            up = column.key == by and descending
            head.sort_link = of.address(sort=f"{'' if up else '-'}{table.slug}.{column.key}", rows="")
            head.sorted = ("descending" if descending else "ascending") if column.key == by else ""
        heads.append(head)
    found = Shown(
        table=table,
        heads=heads,
        lines=lines,
        total=_line(table.total, table, of, lambda _column, _value: None, plain) if table.total else None,
        explained=not plain and any(cell.change for line in lines for cell in line.cells),
        first=first + 1,
        last=first + len(part),
        number=len(rows),
    )
    if first:
        found.earlier = of.address(rows=f"{table.slug}.{max(first - SHOWN, 0)}")
    if found.last < len(rows):
        found.later = of.address(rows=f"{table.slug}.{found.last}")
    return found


def _sorted(table: Table, asked: str) -> tuple[list[Row], str, bool]:
    """The rows as `[-]table.column` says; those without a number come last."""
    descending = asked.startswith("-")
    slug, _dot, key = asked.removeprefix("-").partition(".")
    column = next((column for column in table.columns if column.key == key), None)
    if slug != table.slug or column is None or table.layout != Layout.TABLE:
        return table.rows, "", False
    values = {id(row): _sortable(column, row.values.get(key)) for row in table.rows}
    known = [row for row in table.rows if values[id(row)] is not None]
    known.sort(key=lambda row: values[id(row)], reverse=descending)
    return [*known, *(row for row in table.rows if values[id(row)] is None)], key, descending


def _sortable(column: Column, value: Any) -> Any:
    if column.kind == Kind.TEXT:
        return str(value).casefold() if value not in (None, "") else None
    return number(column, value)


def _first(table: Table, asked: str, rows: int) -> int:
    slug, _dot, first = asked.rpartition(".")
    wanted = slug == table.slug and first.isascii() and first.isdecimal() and len(first) < 8
    return min(int(first), max(rows - 1, 0)) // SHOWN * SHOWN if wanted else 0


def _line(
    row: Row, table: Table, of: Frame, shade: Callable[[Column, Any], float | None], plain: bool
) -> Line:
    cells = []
    for column in table.columns:
        value = row.values.get(column.key)
        cell = Cell(
            _short(column, value) if plain else written(column, value),
            _is_number(column),
            level=shade(column, value),
        )
        cell.link = _people(of, row, column, value)
        if row.before is not None and not plain:
            cell.change = change(column, value, row.before.get(column.key), missing(of.query))
            if cell.change and number(
                column, row.before.get(column.key)
            ):  # from nothing it is new, which says it all
                cell.before = written(column, row.before.get(column.key))
        cells.append(cell)
    return Line(row, cells, _leads(row, of))


def _short(column: Column, value: Any) -> str:
    """A value where there is little room: no digits after the point but of small shares, and nothing for nothing."""
    if value is None:
        return ""
    if column.kind == Kind.SHARE:
        return percent(value, 1 if 0 < value < 0.095 else 0)
    return written(column, value)


def _leads(row: Row, of: Frame) -> str:
    if row.leads:
        slug, params = row.leads
        report = reports().get(slug)
        if report and of.user.has_perm(report.permission):
            return f"{reverse('admin:report', args=[slug])}?{urlencode({**params, **of.period})}"
    if row.link and of.user.has_perm(row.link[1]):
        return row.link[0]
    return ""


def _people(of: Frame, row: Row, column: Column, value: Any) -> str:
    """The address of the people behind a number, empty where there are none or the reader may not see them."""
    if not column.counts or row.narrows is None or not value or not of.people:
        return ""
    return f"{of.people}?{urlencode({**of.params, **of.period, **row.narrows, 'column': column.counts})}"


def _is_number(column: Column) -> bool:
    return column.kind != Kind.TEXT


def shades(table: Table) -> Callable[[Column, Any], float | None]:
    """How much of the table's large values a value is, at most all; where there are shares, counts are not shaded."""
    if table.layout != Layout.SHADED:
        return lambda _column, _value: None
    kinds = {column.kind for column in table.columns}
    shaded = Kind.SHARE if Kind.SHARE in kinds else Kind.COUNT if Kind.COUNT in kinds else Kind.MONEY
    columns = [column for column in table.columns if column.kind == shaded]
    values = sorted(
        found
        for row in table.rows
        for column in columns
        if (found := number(column, row.values.get(column.key))) is not None
    )
    # A few cells that stand out must not leave all others pale.
    largest = values[int(len(values) * DARKEST)] if values else 0
    largest = largest or (values[-1] if values else 0)

    def shade(column: Column, value: Any) -> float | None:
        found = number(column, value) if column.kind == shaded else None
        return round(min(found / largest, 1), 3) if found is not None and largest else None

    return shade


def _bars(table: Table, rows: list[Row], lines: list[Line]) -> None:
    """Give each step its bar, and how many fewer it has than the one before unless a column tells what was lost."""
    column = next((column for column in table.columns if column.key == table.bar), None)
    if column is None:
        return
    values = [number(column, row.values.get(column.key)) for row in rows]
    most = 1.0 if column.kind == Kind.SHARE else max((value or 0 for value in values), default=0)
    tells = all(column.key != "drop_off" for column in table.columns)
    above: dict[int, float | None] = {}
    for row, line, value in zip(rows, lines, values, strict=True):
        line.bar = f"{100 * min((value or 0) / most, 1):.2f}%" if most else "0%"
        before = above.get(row.depth)
        if tells and before and value is not None and value < before:
            share = Column(key="", label="", kind=Kind.SHARE)
            line.lost = "−" + written(share, round(1 - value / before, 3))
        above = {depth: found for depth, found in above.items() if depth < row.depth} | {row.depth: value}
