"""Customers by recency, frequency and monetary value of their purchases, as ordinary segments.

Recency and frequency make a grid of nine cells with the names that the field gives them; what somebody spent makes one
more. The cut-offs come from the quantiles of the real purchases and can be changed. See
https://en.wikipedia.org/wiki/RFM_(market_research)
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from campaigns.models import Segment
from campaigns.segments import editing, starting
from campaigns.segments.gallery import event, never, often
from campaigns.segments.limits import fetch
from campaigns.segments.topspenders import rounded
from crm.rules import moments, paths
from crm.rules.sql import Sql, sql

TIMEOUT_MS = 10_000
WINDOW = 365
LONGEST = 3_650  # days
RECENCY = ("recent", "while", "long")
FREQUENCY = ("often", "some", "few")
BIG = "big-spenders"
_DAYS = (1, 2, 3, 5, 7, 14, 21, 30, 45, 60, 75, 90, 120, 150, 180, 240, 270, 300, 365, 540, 730)

NAMES: dict[str, tuple[Promise, Promise]] = {
    "recent-often": (_("Champions"), _("Bought just now, and often: thank them, let them in first.")),
    "recent-some": (_("Potential loyalists"), _("Came back and bought lately: offer membership.")),
    "recent-few": (_("New customers"), _("A first order lately: make the second one easy.")),
    "while-often": (_("Loyal customers"), _("Bought often, a while ago: remind them before they drift off.")),
    "while-some": (_("Need attention"), _("Neither recent nor frequent: a limited offer may help.")),
    "while-few": (_("About to sleep"), _("Bought little and a while ago: show them what is popular.")),
    "long-often": (_("Can't lose them"), _("Used to buy often, not for long: win them back in person.")),
    "long-some": (_("At risk"), _("Bought several times, long ago: send a reason to return.")),
    "long-few": (_("Hibernating"), _("One order, long ago: write seldom.")),
    BIG: (_("Big spenders"), _("Spent more than others, whenever it was.")),
}


class Cuts(NamedTuple):
    """Where the lines are drawn.

    Args:
        purchase: name of the event.
        amount: its property that says what was paid, or "".
        window: days looked back.
        recent, lately: days; who bought within `recent` days is recent, within `lately` a while ago, else long ago.
        some, often: orders in the window from which on somebody bought several times, or often.
        spent: from which sum on somebody is a big spender; 0 without amounts.
    """

    purchase: str
    amount: str = ""
    window: int = WINDOW
    recent: int = 30
    lately: int = 90
    some: int = 2
    often: int = 4
    spent: float = 0

    @property
    def sound(self) -> bool:
        """Whether the lines lie in order."""
        days = 0 < self.recent < self.lately < self.window <= LONGEST
        return bool(self.purchase) and days and 1 < self.some < self.often <= 100_000 and self.spent >= 0


class Cell(NamedTuple):
    """The customers of one cell: how many, their share of all customers, and what they spent on average."""

    key: str
    name: Promise
    help: Promise
    people: int
    share: float
    average: float | None


class Grid(NamedTuple):
    """The nine cells, a row for each of RECENCY and in it a column for each of FREQUENCY; big spenders beside them."""

    rows: tuple[tuple[Cell, ...], ...]
    big: Cell | None
    people: int


def propose(purchase: str, amount: str = "", window: int = WINDOW, now: datetime | None = None) -> Cuts:
    """Cut-offs that split the real customers: thirds by recency, half and the upper seventh by frequency, the upper
    fifth by value; rounded to what people say. One statement.

    Args:
        window: days, three at least.

    Raises:
        TooSlow: it takes longer than ten seconds.
    """
    moment = _moment(now)
    statement = sql(
        "SELECT percentile_disc(ARRAY[0.33, 0.67]) WITHIN GROUP (ORDER BY ceil(extract(epoch FROM {}::timestamptz"
        " - last) / 86400)), percentile_disc(ARRAY[0.5, 0.85]) WITHIN GROUP (ORDER BY orders),"
        " percentile_cont(0.8) WITHIN GROUP (ORDER BY spent)::float8 FROM ({}) AS customers",
        moment,
        _customers(purchase, amount, window, moment),
    )
    [(days, orders, spent)] = fetch(statement, TIMEOUT_MS)
    days, orders = days or (window / 12, window / 4), orders or (1, 1)
    recent = min((each for each in _DAYS if each < window - 1), key=lambda each: abs(each - float(days[0])))
    later = [each for each in (*_DAYS, window - 1) if recent < each < window]
    lately = min(later, key=lambda each: abs(each - float(days[1])))
    some = max(2, int(orders[0]))
    often_ = max(some + 1, int(orders[1]))
    return Cuts(purchase, amount, window, recent, lately, some, often_, rounded(spent or 0))


def grid(cuts: Cuts, now: datetime | None = None) -> Grid:
    """How many customers are in each cell; one statement.

    Raises:
        TooSlow: it takes longer than ten seconds.
    """
    moment = _moment(now)
    statement = sql(
        "SELECT CASE WHEN last >= {}::timestamptz THEN 0 WHEN last >= {}::timestamptz THEN 1 ELSE 2 END AS recency,"
        " CASE WHEN orders >= {} THEN 0 WHEN orders >= {} THEN 1 ELSE 2 END AS frequency, count(*),"
        " sum(spent)::float8, count(*) FILTER (WHERE spent >= {}::numeric),"
        " sum(spent) FILTER (WHERE spent >= {}::numeric)::float8 FROM ({}) AS customers GROUP BY 1, 2",
        moment - moments.Span(days=cuts.recent).length,
        moment - moments.Span(days=cuts.lately).length,
        cuts.often,
        cuts.some,
        str(cuts.spent),
        str(cuts.spent),
        _customers(cuts.purchase, cuts.amount, cuts.window, moment),
    )
    found = {(recency, frequency): rest for recency, frequency, *rest in fetch(statement, TIMEOUT_MS)}
    everybody = sum(people for people, *_rest in found.values())

    def cell(key: str, people: int, spent: float | None) -> Cell:
        name, help_ = NAMES[key]
        average = spent / people if people and spent is not None else None
        return Cell(key, name, help_, people, people / everybody if everybody else 0.0, average)

    rows = tuple(
        tuple(
            cell(f"{recency}-{frequency}", *(found.get((row, column)) or (0, None))[:2])
            for column, frequency in enumerate(FREQUENCY)
        )
        for row, recency in enumerate(RECENCY)
    )
    big = None
    if cuts.amount and cuts.spent:
        people = sum(rest[2] for rest in found.values())
        big = cell(BIG, people, sum(rest[3] or 0 for rest in found.values()))
    return Grid(rows, big, everybody)


def rule(cuts: Cuts, key: str) -> dict[str, Any]:
    """The rule of a cell, in the ordinary language. Raises KeyError for a cell that there is none."""
    if key == BIG:
        spent = {"fn": "sum", "property": cuts.amount, "op": "gte", "value": cuts.spent}
        return {"all": [event(cuts.purchase, cuts.window, aggregate=spent)]}
    if key not in NAMES:
        raise KeyError(key)
    recency, _dash, frequency = key.partition("-")
    name, window = cuts.purchase, cuts.window
    when = {
        "recent": [event(name, cuts.recent)],
        "while": [event(name, cuts.lately), never(name, cuts.recent)],
        "long": [event(name, window), never(name, cuts.lately)],
    }
    how_often = {
        "often": [often(name, window, cuts.often)],
        "some": [often(name, window, cuts.some), often(name, window, cuts.often, "lt")],
        "few": [often(name, window, cuts.some, "lt")],
    }
    return {"all": when[recency] + how_often[frequency]}


@transaction.atomic
def create(cuts: Cuts, keys: Sequence[str], by: str = "", now: datetime | None = None) -> list[Segment]:
    """Store the chosen cells as segments.

    Raises:
        RuleError: a rule can't be asked, such as one about a property with an impossible name.
        KeyError: there is no such cell.
    """
    made = []
    for key in dict.fromkeys(keys):
        name, help_ = NAMES[key]
        segment = Segment(
            slug=starting.free(f"rfm-{key}"), name=str(name), description=str(format_lazy("RFM: {}", help_))
        )
        made.append(editing.save(segment, rule(cuts, key), by, now))
    return made


def _customers(purchase: str, amount: str, window: int, moment: datetime) -> Sql:
    """One row for each customer of the window: `last`, `orders`, `spent` (NULL without amounts)."""
    spent = Sql("NULL::numeric")
    if amount:
        paid = paths.json_operand("e.properties", paths.json_path(amount, "amount")).value
        spent = sql("sum(CASE WHEN jsonb_typeof({}) = 'number' THEN ({})::numeric END)", paid, paid)
    return sql(
        "SELECT max(e.occurred_at) AS last, count(*) AS orders, {} AS spent FROM crm_event e"
        " WHERE e.name = {} AND e.profile_id IS NOT NULL AND e.occurred_at >= {}::timestamptz"
        " AND e.occurred_at <= {}::timestamptz GROUP BY e.profile_id",
        spent,
        purchase,
        moment - moments.Span(days=window).length,
        moment,
    )


def _moment(now: datetime | None) -> datetime:
    return (now or timezone.now()).astimezone(UTC)
