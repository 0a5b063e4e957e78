"""When people open and click, by their own weekday and clock."""

from django.utils.translation import gettext_lazy as _

from analytics.reports import figures
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

DEFINITION = _(
    "By the weekday and hour of where the person lives, as far as that is known, else of the account."
    " What was sent counts when it was sent, what people did when they did it."
)


def week(period: Period, filters: Filters = EVERYTHING) -> list[list[Figures]]:
    """Figures of seven days, Monday first, of 24 hours each; without what was earned."""
    found = figures.by("slot", period, filters)
    return [[found.get(f"{day}-{hour:02d}", Figures()) for hour in range(24)] for day in range(1, 8)]
