"""How the audience grows, who says yes and no, and who can be reached: from numbers kept by day."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period

DEFINITIONS = {
    "profiles": _("People we know at the end of the period, whether or not they may be written to."),
    "new": _("Profiles that came in the period, from CRMs, the API and websites; merged ones count once."),
    "gone": _(
        "Profiles that were there at the beginning or came, and are there no more: deleted, or found to be another one."
    ),
    "came": _(
        "Of the new profiles, those of which this one was the first to tell anything, as it was known within a month."
    ),
    "joined": _("People who said yes to a channel, and had not said so before or had left."),
    "left": _("People who said no to a channel after they had said yes."),
    "topic_joined": _("People who said yes to a topic, and had not said so before or had left."),
    "topic_left": _("People who said no to a topic after they had said yes, or who had not been asked."),
    "net": _("Yes less no."),
    "agreed": _("People whose yes to the channel holds, at the end of the period as far as it was counted."),
    "reachable": _(
        "Those who agreed, have an address or device for it and are on no list of those not to write to."
    ),
    "reach": _("Reachable ÷ profiles."),
    "counted": _("Counted from seconds to some minutes ago, the less often the more people there are."),
}
Days = Mapping[date, int]
Series = Mapping[str, Days]


class OptIns(msgspec.Struct):
    """Yes and no in all: of one channel, topic or teller, on one day or in a period."""

    joined: int = 0
    left: int = 0

    @property
    def net(self) -> int:
        return self.joined - self.left


class Changes(msgspec.Struct):
    """Yes and no of a period by key and day; `told` by key and who told it; both of the period before as well."""

    days: dict[str, dict[date, OptIns]]
    told: dict[tuple[str, str], tuple[OptIns, OptIns]]

    def of(self, key: str, period: Period) -> OptIns:
        """All of a key's within a period."""
        inside = [one for day, one in self.days.get(key, {}).items() if period.first <= day <= period.last]
        return OptIns(sum(one.joined for one in inside), sum(one.left for one in inside))


class History(msgspec.Struct):
    """What is kept of a period and the one before it, by day. `agreed` and `reachable` have a channel as key."""

    profiles: Days
    new: Days
    came: Series
    agreed: Series
    reachable: Series

    def known(self, series: Days, period: Period) -> int | None:
        """The number of the day of the period that was counted last; None: nothing was counted."""
        days = [day for day in self.profiles if period.first <= day <= period.last]
        return series.get(max(days), 0) if days else None

    def gone(self, period: Period) -> int | None:
        """How many profiles went; None where it was not counted how many there were before."""
        start, end = self.profiles.get(period.first - timedelta(days=1)), self.known(self.profiles, period)
        if start is None or end is None:
            return None
        return max(0, start + within(self.new, period) - end)


class Growth(msgspec.Struct):
    """`profiles` at the end, `new` ones by day, and of the period before all new ones."""

    profiles: int
    new: dict[date, int]
    before: int


class Reach(msgspec.Struct):
    """One channel now."""

    channel: str
    agreed: int = 0
    reachable: int = 0


def within(series: Days, period: Period) -> int:
    """The sum of a period's days."""
    return sum(number for day, number in series.items() if period.first <= day <= period.last)


def growth(period: Period) -> Growth:
    """How many people there are, and how many came. Counted every few minutes."""
    found = _read(("new",), period)["new"].get("", {})
    new = {day: found.get(day, 0) for day in period.dates()}
    before = within(found, period.before)
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
    found = changes(period).days
    return {
        channel: {day: series.get(day, OptIns()) for day in period.dates()}
        for channel, series in found.items()
        if not series.keys().isdisjoint(period.dates())
    }


def history(period: Period) -> History:
    """How many people there are, how many came and from where, and how many can be reached; one query."""
    found = _read(("profiles", "new", "came", "agreed", "reachable"), period)
    return History(
        found["profiles"].get("", {}),
        found["new"].get("", {}),
        found["came"],
        found["agreed"],
        found["reachable"],
    )


def changes(period: Period, about: str = "") -> Changes:
    """Yes and no of a period and the one before; one query.

    Args:
        about: "" for channels, "topic_" for topics.
    """
    joined, left = f"{about}joined", f"{about}left"
    found = _read((joined, left, f"{joined}_by", f"{left}_by"), period)
    days: dict[str, dict[date, OptIns]] = defaultdict(lambda: defaultdict(OptIns))
    told: dict[tuple[str, str], tuple[OptIns, OptIns]] = defaultdict(lambda: (OptIns(), OptIns()))
    for name, measure in (("joined", joined), ("left", left)):
        for key, series in found[measure].items():
            for day, number in series.items():
                setattr(days[key][day], name, number)
        for key, series in found[f"{measure}_by"].items():
            channel, _blank, source = key.partition(" ")
            for one, span in zip(told[channel, source], (period, period.before), strict=True):
                setattr(one, name, within(series, span))
    return Changes({key: dict(series) for key, series in sorted(days.items())}, dict(told))


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
    found = _read(("reachable",), period)["reachable"]
    inside = {
        channel: {day: people for day, people in series.items() if day >= period.first}
        for channel, series in found.items()
    }
    return {channel: series for channel, series in inside.items() if series}


def _read(measures: Iterable[str], period: Period) -> dict[str, dict[str, dict[date, int]]]:
    """{measure: {channel: {day: people}}} of the period, the one before it and the day before that."""
    found: dict[str, dict[str, dict[date, int]]] = {measure: {} for measure in measures}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT measure, day, channel, people FROM analytics_audienceday
            WHERE measure = ANY(%s) AND day BETWEEN %s AND %s ORDER BY measure, channel, day
            """,
            [list(found), period.before.first - timedelta(days=1), period.last],
        )
        for measure, day, channel, people in cursor.fetchall():
            found[measure].setdefault(channel, {})[day] = people
    return found
