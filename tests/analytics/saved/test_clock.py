"""When saved reports are due, summer time and short months included."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.models import SavedReport
from analytics.saved import clock

WARSAW = ZoneInfo("Europe/Warsaw")


@pytest.fixture(autouse=True)
def _warsaw(settings):
    settings.TIME_ZONE = "Europe/Warsaw"


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=WARSAW)


@pytest.mark.parametrize(
    ("schedule", "after", "due"),
    [
        ({"every": "day"}, local(2026, 3, 2, 7, 59), local(2026, 3, 2, 8)),
        ({"every": "day"}, local(2026, 3, 2, 8), local(2026, 3, 3, 8)),
        ({"every": "week", "weekday": 4}, local(2026, 3, 2, 9), local(2026, 3, 6, 8)),
        ({"every": "month", "day": 31}, local(2026, 2, 1), local(2026, 2, 28, 8)),
        ({"every": "month", "day": 31}, local(2026, 2, 28, 9), local(2026, 3, 31, 8)),
        ({"every": "month", "day": 1}, local(2026, 12, 1, 9), local(2027, 1, 1, 8)),
        # 2:30 is skipped on the 29th of March, and comes twice on the 25th of October.
        ({"every": "day", "at": time(2, 30)}, local(2026, 3, 29, 0), local(2026, 3, 29, 3, 30)),
        (
            {"every": "day", "at": time(2, 30)},
            local(2026, 10, 25, 0),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        ),
        (
            {"every": "day", "at": time(2, 30)},
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
        ),
    ],
)
def test_the_next_time(schedule, after, due):
    assert clock.following(SavedReport(**schedule), after) == due


def test_what_is_not_sent_is_never_due():
    assert clock.following(SavedReport(), local(2026, 1, 1)) is None


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["day", "week", "month"]),
    st.times().map(lambda at: at.replace(microsecond=0)),
    st.integers(0, 6),
    st.integers(1, 31),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_each_due_day_has_one_time_and_none_is_left_out(every, at, weekday, day, after):
    saved = SavedReport(every=every, at=at, weekday=weekday, day=day)
    found = []
    moment = after
    while moment < after + timedelta(days=70):
        following = clock.following(saved, moment)
        assert following is not None
        assert following > moment
        moment = following
        found.append(moment.astimezone(WARSAW).date())
    assert len(set(found)) == len(found)
    wanted = {"day": lambda each: True, "week": lambda each: each.weekday() == weekday}.get(
        every, lambda each: each.day == day or (each.day < day and (each + timedelta(days=1)).day == 1)
    )
    between = {found[0] + timedelta(days=number) for number in range((found[-1] - found[0]).days + 1)}
    assert {each for each in between if wanted(each)} == set(found)
    assert all(isinstance(each, date) for each in found)


@pytest.mark.parametrize(
    ("schedule", "next_at", "zone", "due"),
    [
        ({"every": "day"}, local(2026, 3, 2, 8), "Europe/Warsaw", local(2026, 3, 2, 8)),
        ({"every": "day"}, datetime(2026, 3, 2, 8, tzinfo=UTC), "Europe/Warsaw", local(2026, 3, 2, 8)),
        ({"every": "day"}, local(2026, 3, 2, 8), "America/New_York", datetime(2026, 3, 2, 13, tzinfo=UTC)),
        ({"every": "week", "weekday": 4}, local(2026, 3, 6, 8), "UTC", datetime(2026, 3, 6, 8, tzinfo=UTC)),
        # The same day on the calendar, though there it is almost a day earlier.
        ({"every": "month", "day": 1}, datetime(2026, 5, 1, 8, tzinfo=UTC), "Pacific/Kiritimati",
         datetime(2026, 4, 30, 18, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_the_next_time_follows_the_accounts_zone(settings, schedule, next_at, zone, due):
    settings.TIME_ZONE = zone
    assert clock.planned(SavedReport(**schedule, next_at=next_at)) == due


def test_what_has_no_next_time_is_not_planned():
    assert clock.planned(SavedReport(every="day")) is None


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["day", "week", "month"]),
    st.times().map(lambda at: at.replace(microsecond=0)),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
)
def test_in_the_same_zone_the_next_time_stays(every, at, after):
    saved = SavedReport(every=every, at=at, weekday=3, day=31)
    saved.next_at = clock.following(saved, after)
    assert clock.planned(saved) == saved.next_at
