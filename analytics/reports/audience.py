"""How the audience grows, who says yes and no, and who can be reached."""

from datetime import date

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period

DEFINITIONS = {
    "profiles": _("People we know at the end of the period, whether or not they may be written to."),
    "new": _("Profiles that came in the period, from CRMs, the API and websites; merged ones count once."),
    "joined": _("People who said yes to a channel, and had not said so before or had left."),
    "left": _("People who said no to a channel after they had said yes."),
    "agreed": _("People whose yes to the channel holds."),
    "reachable": _(
        "Those who agreed, have an address or device for it and are on no list of those not to write to."
    ),
}


class OptIns(msgspec.Struct):
    """Yes and no of one channel on one day."""

    joined: int = 0
    left: int = 0


class Reach(msgspec.Struct):
    """One channel now."""

    channel: str
    agreed: int = 0
    reachable: int = 0


class Growth(msgspec.Struct):
    """`profiles` at the end, `new` ones by day, and of the period before all new ones."""

    profiles: int
    new: dict[date, int]
    before: int


def growth(period: Period) -> Growth:
    """How many people there are, and how many came. Counted every few minutes."""
    found = _days(("new",), period.before.first, period.last)
    new = {day: found.get(("new", day, ""), 0) for day in period.dates()}
    before = sum(number for (_measure, day, _channel), number in found.items() if day < period.first)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT people FROM analytics_audienceday
            WHERE measure = 'profiles' AND day <= %s ORDER BY day DESC LIMIT 1
            """,
            [period.last],
        )
        row = cursor.fetchone()
    return Growth(row[0] if row else 0, new, before)


def opt_ins(period: Period) -> dict[str, dict[date, OptIns]]:
    """Yes and no by channel and day; every day of each channel that has any."""
    found = _days(("joined", "left"), period.first, period.last)
    channels = sorted({channel for _measure, _day, channel in found})
    return {
        channel: {
            day: OptIns(found.get(("joined", day, channel), 0), found.get(("left", day, channel), 0))
            for day in period.dates()
        }
        for channel in channels
    }


def reach() -> list[Reach]:
    """Who can be written to, by channel, the widest first; as it was counted last."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT measure, channel, people FROM analytics_audienceday
            WHERE measure IN ('agreed', 'reachable')
                AND day = (SELECT max(day) FROM analytics_audienceday WHERE measure = 'profiles')
            """
        )
        found: dict[str, Reach] = {}
        for measure, channel, people in cursor.fetchall():
            setattr(found.setdefault(channel, Reach(channel)), measure, people)
    return sorted(found.values(), key=lambda one: (-one.reachable, one.channel))


def reach_by_day(period: Period) -> dict[str, dict[date, int]]:
    """How many could be reached, by channel and day, as far as it was counted then."""
    series: dict[str, dict[date, int]] = {}
    for (_measure, day, channel), people in sorted(_days(("reachable",), period.first, period.last).items()):
        series.setdefault(channel, {})[day] = people
    return series


def _days(measures: tuple[str, ...], first: date, last: date) -> dict[tuple[str, date, str], int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT measure, day, channel, people FROM analytics_audienceday
            WHERE measure = ANY(%s) AND day BETWEEN %s AND %s
            """,
            [list(measures), first, last],
        )
        return {(measure, day, channel): people for measure, day, channel, people in cursor.fetchall()}
