"""Who came back: by the week in which people were written to, and by the month of their first purchase."""

from datetime import date

import msgspec
from django.utils.translation import gettext_lazy as _

from analytics.models import CohortCell
from analytics.rollups import cohorts

DEFINITIONS = {
    cohorts.MESSAGE: _(
        "Of the people who were sent a message in this week: how many did something of their own, on the site, in the"
        " app or in the shop, in the same week and in each week after it. Counted once a day."
    ),
    cohorts.PURCHASE: _(
        "Of the people whose first purchase was in this month: how many bought again in each month after it."
        " Counted once a day."
    ),
}


class Cohort(msgspec.Struct):
    """`size` people began at `start`; `returned[n]` of them came back n weeks or months later."""

    start: date
    size: int
    returned: list[int]

    def share(self, later: int) -> float | None:
        """How many came back then, of all; None where it is not known yet."""
        return self.returned[later] / self.size if later < len(self.returned) and self.size else None


def after_message() -> list[Cohort]:
    """By week, the latest first; `returned` begins with the same week."""
    return _cohorts(cohorts.MESSAGE, 0)


def by_first_purchase(months: int = 12) -> list[Cohort]:
    """By month, the latest first; `returned[0]` are those who came at all."""
    return _cohorts(cohorts.PURCHASE, 1)[:months]


def _cohorts(kind: str, first: int) -> list[Cohort]:
    cells: dict[date, dict[int, int]] = {}
    rows = CohortCell.objects.filter(kind=kind).values_list("start", "later", "people")
    for start, later, people in rows:
        cells.setdefault(start, {})[later] = people
    found = []
    for start in sorted(cells, reverse=True):
        known = cells[start]
        size = known.pop(cohorts.SIZE, 0)
        last = max(known, default=-1)
        returned = [known.get(later, 0) for later in range(last + 1)]
        found.append(Cohort(start, size, [size, *returned[1:]] if first else returned))
    return found
