"""Who came back: by the week in which people were written to, and by the month of their first purchase."""

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

import msgspec
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analytics.models import CohortCell, RollupState
from analytics.rollups import cohorts
from analytics.rollups.keeping import account_zone

DEFINITIONS = {
    cohorts.MESSAGE: _(
        "Of the people who were sent a message in this week: how many did something of their own, on the site, in the"
        " app or in the shop, in the same week and in each week after it. Counted once a day."
    ),
    cohorts.PURCHASE: _(
        "Of the people whose first purchase was in this month: how many bought again in each month after it."
        " Counted once a day."
    ),
    "average": _(
        "“All together” has those who came back of all people of the cohorts that are old enough, so that large cohorts"
        " count for more; weeks and months that still run are left out of it."
    ),
    "running": _("The last number of each row is about a week or month that still runs, and grows."),
}
SIZES = {
    cohorts.MESSAGE: _("People who were sent a message in this week."),
    cohorts.PURCHASE: _("People whose first purchase was in this month."),
}
FIRST = {cohorts.MESSAGE: 0, cohorts.PURCHASE: 1}  # the first `later` that tells something


class Cohort(msgspec.Struct):
    """`size` people began at `start`; `returned[n]` of them came back n weeks or months later.

    `running` is the n whose week or month was not over when it was counted.
    """

    start: date
    size: int
    returned: list[int]
    running: int = 0

    def share(self, later: int) -> float | None:
        """How many came back then, of all; None where it is not known yet."""
        return self.returned[later] / self.size if later < len(self.returned) and self.size else None

    def shares(self) -> list[float | None]:
        """`share` of everything that is known."""
        return [self.share(later) for later in range(len(self.returned))]


def after_message(now: datetime | None = None) -> list[Cohort]:
    """By week, the latest first; `returned` begins with the same week."""
    return _cohorts(cohorts.MESSAGE, now)


def by_first_purchase(months: int = 12, now: datetime | None = None) -> list[Cohort]:
    """By month, the latest first; `returned[0]` are those who came at all."""
    return _cohorts(cohorts.PURCHASE, now)[:months]


def average(found: Sequence[Cohort]) -> list[float | None]:
    """Of all cohorts' people together, how many came back each week or month later that was over for them."""
    shares: list[float | None] = []
    for later in range(max((cohort.running for cohort in found), default=0)):
        known = [cohort for cohort in found if later < cohort.running]
        size = sum(cohort.size for cohort in known)
        shares.append(sum(cohort.returned[later] for cohort in known) / size if size else None)
    return shares


def counted_at() -> datetime | None:
    """When cohorts were counted last; None: not yet."""
    return RollupState.objects.filter(pk=1).values_list("cohorts_counted_at", flat=True).first()


def _cohorts(kind: str, now: datetime | None) -> list[Cohort]:
    cells: dict[date, dict[int, int]] = {}
    rows = CohortCell.objects.filter(kind=kind).values_list("start", "later", "people")
    for start, later, people in rows:
        cells.setdefault(start, {})[later] = people
    today = (counted_at() or now or timezone.now()).astimezone(ZoneInfo(account_zone())).date()
    found = []
    for start in sorted(cells, reverse=True):
        known = cells[start]
        size = known.pop(cohorts.SIZE, 0)
        running = max(_later(kind, start, today), *known, 0)
        returned = [known.get(later, 0) for later in range(running + 1)]
        if FIRST[kind]:
            returned[0] = size
        found.append(Cohort(start, size, returned, running))
    return found


def _later(kind: str, start: date, today: date) -> int:
    """How many weeks or months `today` is later than the cohort's beginning."""
    if kind == cohorts.PURCHASE:
        return 12 * (today.year - start.year) + today.month - start.month
    return (today - start).days // 7
