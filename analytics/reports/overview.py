"""The home page's figures: the last days against as many before, or today against the same day of last week."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analytics.reports import audience, figures, periods, today
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

TREND = 30  # days at least, of how many could be reached
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
    converted: float = 0
    new_profiles: int = 0
    left: int = 0
    revenue: dict[str, Decimal] = {}


class Day(msgspec.Struct):
    """One day of the chart, in the account's time zone."""

    day: str
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    converted: float = 0


class Overview(msgspec.Struct):
    """Everything the home shows; `before` is the period of the same length just before."""

    days: int
    now: Totals
    before: Totals
    series: list[Day]
    profiles: int
    reachable: int


class Point(msgspec.Struct):
    """One day or hour of the chart: what happened in it, and in that of the period before. None: it has yet to come."""

    at: date | int
    now: Figures | None
    before: Figures | None


class Channel(msgspec.Struct):
    """One channel's audience: now, what the period brought and the one before, and how many could be reached by day."""

    channel: str
    agreed: int = 0
    reachable: int = 0
    joined: int = 0
    left: int = 0
    joined_before: int = 0
    left_before: int = 0
    trend: list[int] = []


class Home(msgspec.Struct):
    """All that the home shows of a period: sums, the chart's points, and figures by message, flow and broadcast."""

    days: int
    now: Figures
    before: Figures
    points: list[Point]
    messages: dict[int, Figures]
    flows: dict[int, Figures]
    profiles: int
    new_profiles: int
    new_before: int
    channels: list[Channel]


def home(days: int = 30, now: datetime | None = None, filters: Filters = EVERYTHING) -> Home:
    """The figures of the last `days` days, today included, against as many before.

    With 0 days it is today by hour, against the same weekday of last week as that stood at this time of day.
    """
    now = now or timezone.now()
    period = periods.last(max(days, 1), now)
    sums, before, points = _days(period, filters) if days else _hours(now, filters)
    growth = audience.growth(period)
    return Home(
        days=days,
        now=sums,
        before=before,
        points=points,
        messages=figures.by("message", period, filters),
        flows=figures.by("flow", period, filters),
        profiles=growth.profiles,
        new_profiles=sum(growth.new.values()),
        new_before=growth.before,
        channels=_channels(period),
    )


def _days(period: Period, filters: Filters) -> tuple[Figures, Figures, list[Point]]:
    both = figures.by("day", Period(period.before.first, period.last), filters)
    none = Figures()
    points = [
        Point(day, both.get(day, none), both.get(earlier, none))
        for day, earlier in zip(period.dates(), period.before.dates(), strict=True)
    ]
    return (
        today.summed(point.now for point in points if point.now),
        today.summed(point.before for point in points if point.before),
        points,
    )


def _hours(now: datetime, filters: Filters) -> tuple[Figures, Figures, list[Point]]:
    this, last = today.today(now, filters), today.a_week_before(now, filters)
    hour = now.astimezone(ZoneInfo(settings.TIME_ZONE)).hour
    points = [Point(at, this.hours[at] if at <= hour else None, last.hours[at]) for at in range(24)]
    return this.total, last.total, points


def _channels(period: Period) -> list[Channel]:
    found = {one.channel: Channel(one.channel, one.agreed, one.reachable) for one in audience.reach()}
    both = Period(period.before.first, period.last)
    trend = min(period.first, period.last - timedelta(days=TREND - 1))
    for name, by_day in audience.opt_ins(both).items():
        channel = found.setdefault(name, Channel(name))
        for day, one in by_day.items():
            if day < period.first:
                channel.joined_before += one.joined
                channel.left_before += one.left
            else:
                channel.joined += one.joined
                channel.left += one.left
    for name, reach in audience.reach_by_day(Period(trend, period.last)).items():
        found.setdefault(name, Channel(name)).trend = list(reach.values())
    return sorted(found.values(), key=lambda one: (-one.reachable, -one.agreed, one.channel))


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
