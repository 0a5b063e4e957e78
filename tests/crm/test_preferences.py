"""How people want to be written to."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crm import identity, preferences
from crm.models import Preference
from crm.preferences import Wishes, quiet_until

NIGHT = Wishes(quiet_from=time(22), quiet_to=time(7))
WARSAW = ZoneInfo("Europe/Warsaw")
clocks = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
zones = st.sampled_from(["Europe/Warsaw", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])


def quiet(wishes, at):
    clock = at.time()
    if wishes.quiet_from < wishes.quiet_to:
        return wishes.quiet_from <= clock < wishes.quiet_to
    return clock >= wishes.quiet_from or clock < wishes.quiet_to


@settings(max_examples=150, deadline=None)
@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC)),
    begin=clocks,
    end=clocks,
    name=zones,
)
def test_quiet_hours_end_where_the_clock_on_the_wall_says(now, begin, end, name):
    assume(begin != end)
    wishes, zone = Wishes(quiet_from=begin, quiet_to=end), ZoneInfo(name)
    until = quiet_until(wishes, zone, now)
    assert (until is not None) is quiet(wishes, now.astimezone(zone))
    if until is not None:
        assert now < until <= now + timedelta(hours=26)
        assert not quiet(wishes, until.astimezone(zone))


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-03-28T22:00", "2026-03-29T05:00"),  # the clock is put forward in this night
        ("2026-10-24T21:00", "2026-10-25T06:00"),  # and back in this
        ("2026-06-01T05:00", None),
    ],
)
def test_nights_in_which_the_clock_changes(now, until):
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    expected = datetime.fromisoformat(until).replace(tzinfo=UTC) if until else None
    assert quiet_until(NIGHT, WARSAW, at) == expected


def test_an_end_that_the_clock_skips_comes_with_the_jump():
    wishes = Wishes(quiet_from=time(1), quiet_to=time(2, 30))
    at = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert quiet_until(wishes, WARSAW, at) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.django_db
class TestSaving:
    def test_what_is_saved_is_what_is_read(self):
        [ann, bob] = identity.resolve([identity.Reference(email=f"{n}@example.com") for n in "ab"])
        wishes = Wishes({"news": "weekly", "deals": "all", "x": "nonsense"}, time(22), time(7), "email")
        assert preferences.save(ann, wishes)
        assert preferences.of([ann, bob]) == {ann: Wishes({"news": "weekly"}, time(22), time(7), "email")}
        assert not preferences.save(ann, wishes)
        assert Preference.objects.count() == 1

    def test_hours_that_are_none_are_refused(self):
        for wishes in (Wishes(quiet_from=time(1)), Wishes(quiet_from=time(1), quiet_to=time(1))):
            with pytest.raises(ValueError):
                preferences.save(1, wishes)
