"""Hours and ages where the clock or the calendar jumps."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from delivery.policies import clock
from delivery.policies.clock import Span

WARSAW = ZoneInfo("Europe/Warsaw")


@pytest.mark.parametrize(
    ("quiet", "now", "expected"),
    [
        # Over midnight.
        (Span(time(21), time(8)), "2026-06-10T20:00", "2026-06-11T06:00"),
        # 2:00 to 3:00 does not come on 29 March: hours that end in it end with the jump, at 1:00 UTC.
        (Span(time(21), time(2, 30)), "2026-03-28T23:00", "2026-03-29T01:00"),
        # 2:00 to 3:00 comes twice on 25 October: hours that end at 2:30 end at its first coming, and come once more.
        (Span(time(1), time(2, 30)), "2026-10-25T00:10", "2026-10-25T00:30"),
        (Span(time(1), time(2, 30)), "2026-10-25T01:10", "2026-10-25T01:30"),
        # Saturday's night ends on Sunday morning.
        (Span(time(22), time(6), (6,)), "2026-06-14T01:00", "2026-06-14T04:00"),
    ],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(quiet: Span, now: str, expected: str) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert not clock.allowed([quiet], [], WARSAW, at)
    assert clock.next_allowed([quiet], [], WARSAW, at) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_hours_that_leave_no_moment_end_never() -> None:
    at = datetime(2026, 6, 10, 12, tzinfo=UTC)
    assert clock.next_allowed([Span(time(), time())], [], WARSAW, at) is None
    assert clock.next_allowed([Span(time(8), time(20))], [Span(time(9), time(17))], WARSAW, at) is None


def test_a_day_that_was_left_out_is_stepped_over() -> None:
    apia, at = (
        ZoneInfo("Pacific/Apia"),
        datetime(2011, 12, 30, 9, tzinfo=UTC),
    )  # the 29th, 23:00; the 31st is next
    friday = Span(time(9), time(17), (5,))
    assert clock.next_allowed([], [friday], apia, at) == datetime(2012, 1, 5, 19, tzinfo=UTC)
    assert clock.period("day", apia, at)[1] == datetime(2011, 12, 30, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("born", "day", "of_age"),
    [
        ((2008, 2, 29), (2026, 2, 28), False),
        ((2008, 2, 29), (2026, 3, 1), True),
        ((2006, 6, 10), (2024, 6, 9), False),
        ((2006, 6, 10), (2024, 6, 10), True),
    ],
)
def test_of_age(born: tuple, day: tuple, of_age: bool) -> None:
    assert clock.is_of_age(date(*born), 18, date(*day)) is of_age
