"""When people's dates occur, against an obvious reference that walks through the minutes of one person's clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from campaigns.flows import dates
from campaigns.flows.triggers.occurring import SLACK, Rule, days_of_year, occurrences
from crm.rules.moments import Moment

ZONES = [
    "Europe/Warsaw",
    "America/New_York",
    "America/Santiago",  # puts its clocks forward at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Cairo",
    "Asia/Riyadh",
    "Pacific/Kiritimati",  # 14 hours ahead
    "Pacific/Pago_Pago",  # 11 behind
    "Pacific/Apia",  # left out 30 December 2011
    "UTC",
]
A_DAY = timedelta(days=1)


def expected(value, yearly, days, at, zone, since, until):
    """Look at each local day in turn whether the date falls on it, then for the first minute that shows the time."""
    found = []
    day = (since - timedelta(days=3)).date()
    while day <= (until + timedelta(days=3)).date():
        if falls_on(value, yearly, day - timedelta(days=days)):
            moment = first_minute(day, at, zone)
            if since < moment <= until:
                found.append(moment)
        day += A_DAY
    return found


def falls_on(value, yearly, day):
    if not yearly:
        return day == value
    if day.year <= value.year:
        return False
    if (value.month, value.day) == (2, 29):
        return (
            day.month == 2 and (day + A_DAY).month == 3
            if not leap(day.year)
            else (day.month, day.day) == (2, 29)
        )
    return (day.month, day.day) == (value.month, value.day)


def leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def first_minute(day, at, zone):
    """The first moment at which the clocks show this day and time, or more than it, as they do after a jump."""
    moment = datetime.combine(day, time(), UTC) - timedelta(hours=15)
    while moment.astimezone(zone).replace(tzinfo=None) < datetime.combine(day, at):
        moment += timedelta(minutes=15)
    return moment


quarters = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
nearby = st.dates(date(2011, 12, 20), date(2032, 3, 10))


@given(
    value=st.one_of(st.dates(date(1930, 1, 1), date(2031, 12, 31)), st.just(date(1996, 2, 29))),
    yearly=st.booleans(),
    days=st.integers(-20, 20),
    at=quarters,
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    begin=st.one_of(nearby, st.sampled_from([date(2023, 2, 26), date(2024, 2, 26), date(2011, 12, 28)])),
    length=st.integers(0, 12),
)
@example(date(2024, 3, 31), False, 0, time(2, 30), ZoneInfo("Europe/Warsaw"), date(2024, 3, 30), 3)
@example(date(2024, 10, 27), False, 0, time(2, 30), ZoneInfo("Europe/Warsaw"), date(2024, 10, 26), 3)
@example(date(1996, 2, 29), True, 0, time(9), ZoneInfo("Europe/Warsaw"), date(2023, 2, 27), 4)
@example(date(1996, 2, 29), True, -1, time(9), ZoneInfo("Europe/Warsaw"), date(2024, 2, 26), 4)
@settings(max_examples=120, deadline=None, database=None)
def test_a_day_occurs_when_the_clocks_say(value, yearly, days, at, zone, begin, length):
    since = datetime.combine(begin, time(7, 15), UTC)
    until = since + timedelta(days=length)
    if not yearly and abs(value - begin) > timedelta(days=60):
        value = begin + timedelta(days=value.toordinal() % 30 - 15)
    rule = Rule(yearly, dates.Offset(days=days), at)
    found = occurrences(
        Moment(datetime.combine(value, time(), UTC), datetime.max.replace(tzinfo=UTC)),
        rule,
        zone,
        since,
        until,
    )
    assert [each.at for each in found] == expected(value, yearly, days, at, zone, since, until)
    assert len({each.mark for each in found}) == len(found)


moments_ = st.datetimes(datetime(2023, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC))


@given(
    moments_, st.integers(-2000, 2000), st.sampled_from(ZONES).map(ZoneInfo), st.lists(moments_, max_size=6)
)
@settings(max_examples=100, deadline=None, database=None)
def test_any_cut_of_time_into_windows_finds_each_moment_once(value, minutes, zone, cuts):
    low, high = datetime(2022, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    rule = Rule(False, dates.Offset(minutes=minutes))
    edges = sorted({low, *cuts, value, value + timedelta(minutes=minutes), high})
    found = [
        each
        for since, until in zip(edges, edges[1:], strict=False)
        for each in occurrences(Moment(value), rule, zone, since, until)
    ]
    assert [each.at for each in found] == [value + timedelta(minutes=minutes)]


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.integers(0, 400))
@settings(max_examples=50, deadline=None, database=None)
def test_who_was_born_on_29_february_is_looked_at_wherever_the_28th_is(first, length):
    last = first + timedelta(days=length)
    wanted = days_of_year(first, last)
    for number in range(length + 1):
        day = first + timedelta(days=number)
        assert wanted is None or f"{day:%m-%d}" in wanted
        assert wanted is None or (day.month, day.day) != (2, 28) or "02-29" in wanted
    assert timedelta(days=3) <= SLACK


def test_a_moment_keeps_its_time_of_day_over_a_change_of_clocks_when_days_are_counted_and_not_when_hours_are():
    zone = ZoneInfo("Europe/Warsaw")
    booked = Moment(datetime(2024, 3, 31, 16, tzinfo=UTC))  # 18:00 there, a day of 23 hours before
    wide = (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 30, tzinfo=UTC))
    [day_before] = occurrences(booked, Rule(False, dates.Offset(days=-1)), zone, *wide)
    [hours_before] = occurrences(booked, Rule(False, dates.Offset(hours=-24)), zone, *wide)
    assert day_before.at == datetime(2024, 3, 30, 17, tzinfo=UTC)
    assert hours_before.at == datetime(2024, 3, 30, 16, tzinfo=UTC)


def test_the_first_anniversary_is_a_year_later_and_each_has_a_mark_of_its_own():
    zone = ZoneInfo("UTC")
    joined = Moment(datetime(2023, 5, 4, 8, tzinfo=UTC))
    found = occurrences(joined, Rule(True, at=time(9)), zone, joined.start, datetime(2026, 1, 1, tzinfo=UTC))
    assert [(each.at.year, each.at.hour, each.mark) for each in found] == [
        (2024, 9, "date:2024"),
        (2025, 9, "date:2025"),
    ]
