"""The home page's figures: the last days against as many before."""

from datetime import datetime
from decimal import Decimal

import msgspec
from django.utils.translation import gettext_lazy as _

from analytics.reports import audience, figures, periods
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

DEFINITIONS = {
    "sent": _("Messages accepted by push services and providers in these days."),
    "opened": _("Messages opened for the first time in these days, whenever they were sent."),
    "clicked": _("Messages clicked for the first time in these days, whenever they were sent."),
    "converted": _("Goal events in these days that are credited to a message."),
    "revenue": _("The amounts of those goal events, by currency."),
    "new_profiles": _("Profiles that came in these days, from CRMs, the API and websites."),
    "reachable": _("People who agreed to web push and have a browser that can receive it."),
    "left": _("People who withdrew their consent to a channel in these days."),
}


class Totals(msgspec.Struct):
    """Sums over a period."""

    sent: int = 0
    opened: int = 0
    clicked: int = 0
    converted: int = 0
    new_profiles: int = 0
    left: int = 0
    revenue: dict[str, Decimal] = {}


class Day(msgspec.Struct):
    """One day of the chart, in the account's time zone."""

    day: str
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    converted: int = 0


class Overview(msgspec.Struct):
    """Everything the home shows; `before` is the period of the same length just before."""

    days: int
    now: Totals
    before: Totals
    series: list[Day]
    profiles: int
    reachable: int


def overview(now: datetime | None = None, days: int = 30, filters: Filters = EVERYTHING) -> Overview:
    """Figures of the last `days` days, today included, and of as many days before."""
    period = periods.last(days, now)
    both = figures.by("day", Period(period.before.first, period.last), filters)
    series = []
    for day in period.dates():
        one = both.get(day, Figures())
        series.append(Day(day.isoformat(), one.sent, one.opens, one.clicks, one.conversions))
    reach = {one.channel: one.reachable for one in audience.reach()}
    growth = audience.growth(period)
    new = (sum(growth.new.values()), growth.before)
    return Overview(
        days,
        _totals(period, both, new[0]),
        _totals(period.before, both, new[1]),
        series,
        growth.profiles,
        reach.get("webpush", 0),
    )


def _totals(period: Period, found: dict[object, Figures], new: int) -> Totals:
    totals = Totals(new_profiles=new)
    for day in period.dates():
        if one := found.get(day):
            totals.sent += one.sent
            totals.opened += one.opens
            totals.clicked += one.clicks
            totals.converted += one.conversions
            for currency, value in one.earned.items():
                totals.revenue[currency] = totals.revenue.get(currency, Decimal()) + value
    for channel in audience.opt_ins(period).values():
        totals.left += sum(one.left for one in channel.values())
    return totals
