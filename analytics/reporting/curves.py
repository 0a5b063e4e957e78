"""Figures over time: hour by hour of one day, else day by day."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from analytics.reporting import daily
from analytics.reporting.columns import columns
from analytics.reporting.query import Query
from analytics.reporting.shapes import Chart, Series
from analytics.reports import figures

DAILY = ("sent", "opened", "clicked", "people_converted")
HOURLY = ("sent", "opens", "clicks")


def over_time(query: Query, keys: Sequence[str] = DAILY) -> Chart:
    """The chart of a period, the one before beside it where that is asked for.

    Of one day it shows what happened in each hour of the account's clock (HOURLY), with labels such as "13:00"; there
    is nothing in hours that have yet to come.
    """
    if query.period.days > 1:
        return daily.of_figures("over_time", _("Day by day"), query, keys)
    now = figures.hours(query.period.first, query.filters)
    before = figures.hours(query.period.before.first, query.filters) if query.compare else None
    come = 24
    if query.unfinished:
        local = query.at.astimezone(ZoneInfo(settings.TIME_ZONE))
        come = local.hour + 1 if local.date() == query.period.first else 0
    return Chart(
        slug="over_time",
        title=_("Hour by hour"),
        head=_("Hour"),
        labels=[f"{hour:02d}:00" for hour in now],
        series=[
            Series(
                column=column,
                values=[getattr(each, column.key) if hour < come else None for hour, each in now.items()],
                before=[getattr(each, column.key) for each in before.values()] if before else None,
            )
            for column in columns(HOURLY)
        ],
    )
