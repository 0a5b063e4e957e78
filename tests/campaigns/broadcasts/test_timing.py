"""When: by each person's clock, at a limited pace, again and again."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from campaigns import audience, broadcasts
from campaigns.broadcasts import timing
from campaigns.models import Broadcast
from delivery import dispatch
from delivery.models import Delivery
from tests.campaigns.broadcasts.conftest import DAY, HOUR, MINUTE, NOW, SECOND, draft, people
from tests.delivery import world

State = Broadcast.State


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.django_db
class TestLocal:
    def test_each_by_their_own_clock_also_when_it_jumps_or_is_wrong(self, memory):
        zones = {
            "Europe/Warsaw": utc(2026, 3, 29, 1, 0),  # 2:30 does not exist that night: after the gap
            "America/New_York": utc(2026, 3, 29, 6, 30),
            "Pacific/Kiritimati": utc(2026, 3, 28, 12, 30),
            "Mars/Phobos": utc(2026, 3, 29, 2, 30),  # the account's
            "Etc/GMT+12": utc(2026, 3, 29, 14, 30),
        }
        due = {world.person(place, timezone=zone).pk: zones[zone] for place, zone in enumerate(zones)}
        broadcast = draft(when="local", day=date(2026, 3, 29), time=time(2, 30))
        planned = broadcasts.plan(broadcast.pk, now=NOW)
        assert planned.starts_at == utc(2026, 3, 28, 12, 30)
        broadcasts.work(now=planned.starts_at - SECOND)
        assert not Delivery.objects.exists()
        broadcasts.work(now=planned.starts_at)
        assert dict(Delivery.objects.values_list("profile_id", "due_at")) == due
        sent = []
        for hour in range(27):
            sent.append(dispatch.run(planned.starts_at + hour * HOUR).sent)
        assert (sum(sent), sent[0], sent[26]) == (5, 1, 1)
        broadcasts.work(now=planned.starts_at + 26 * HOUR)
        broadcast.refresh_from_db()
        assert broadcast.state == State.FINISHED

    def test_a_time_that_is_over_everywhere_is_refused(self):
        broadcast = draft(when="local", day=NOW.date() - DAY, time=time(23))
        broadcasts.plan(broadcast.pk, now=NOW)  # some are behind by more than a day
        other = draft(message=broadcast.message, when="local", day=NOW.date() - 2 * DAY, time=time(9))
        with pytest.raises(broadcasts.LaunchError, match="over"):
            broadcasts.plan(other.pk, now=NOW)
        other.when, other.time = "at", None
        with pytest.raises(timing.TimeError):
            timing.check(other)


@pytest.mark.django_db
class TestPace:
    def per_second(self, broadcast, start, seconds):
        return [dispatch.run(start + second * SECOND).sent for second in range(seconds)]

    def test_so_many_a_minute_and_no_burst_after_a_pause(self, memory):
        people(10)
        broadcast = draft(per_minute=60)
        broadcasts.launch(broadcast.pk, now=NOW)
        assert self.per_second(broadcast, NOW, 3) == [1, 1, 1]
        broadcasts.pause(broadcast.pk, NOW)
        assert self.per_second(broadcast, NOW + 3 * SECOND, 12) == [0] * 12
        later = NOW + HOUR
        broadcasts.resume(broadcast.pk, later)
        broadcasts.work(now=later)
        found = self.per_second(broadcast, later, 12)
        assert (sum(found), max(found) <= 2) == (7, True), found
        assert len(memory.sent) == 10

    def test_nobody_sending_for_a_while_makes_no_burst(self, memory):
        people(6)
        broadcast = draft(per_minute=60)
        broadcasts.launch(broadcast.pk, now=NOW)
        found = self.per_second(broadcast, NOW + HOUR, 8)
        assert (sum(found), max(found) <= 2) == (6, True), found

    def test_where_all_are_due_at_once_by_their_clocks(self, memory):
        for place in range(6):
            world.person(place, timezone="Europe/Warsaw")
        broadcast = draft(per_minute=60, when="local", day=date(2026, 3, 3), time=time(9))
        broadcasts.plan(broadcast.pk, now=NOW)
        broadcasts.work(now=utc(2026, 3, 2, 19))
        found = self.per_second(broadcast, utc(2026, 3, 3, 8), 8)
        assert (sum(found), max(found) <= 2) == (6, True), found


@pytest.mark.django_db
class TestRepeating:
    def daily(self, **fields):
        return draft(**{"when": "at", "day": NOW.date(), "time": time(10), "repeat": "daily", **fields})

    def test_each_time_is_a_broadcast_of_its_own_and_only_one(self, memory):
        people(2)
        broadcast = self.daily(last_day=NOW.date() + DAY)
        broadcasts.plan(broadcast.pk, now=NOW)
        for minutes in (0, 59, 60, 61, 90):
            broadcasts.work(now=NOW + minutes * MINUTE)
        [first] = broadcast.occurrences.all()
        assert (first.occurrence, first.audience) == (NOW + HOUR, 2)
        assert dispatch.run(NOW + 2 * HOUR).sent == 2
        broadcasts.work(now=NOW + DAY + HOUR)
        assert broadcast.occurrences.count() == 2
        broadcast.refresh_from_db()
        assert broadcast.state == State.FINISHED
        assert dispatch.run(NOW + DAY + HOUR).sent == 2
        broadcasts.work(now=NOW + DAY + HOUR)
        assert set(broadcast.occurrences.values_list("state", flat=True)) == {State.FINISHED}
        assert {each.audience for each in audience.figures(broadcast.occurrences.all()).values()} == {2}

    def test_what_was_missed_is_not_sent_many_times(self, memory):
        people(1)
        broadcast = self.daily()
        broadcasts.plan(broadcast.pk, now=NOW)
        broadcasts.work(now=NOW + 4 * DAY)
        assert [each.occurrence for each in broadcast.occurrences.all()] == [NOW + 3 * DAY + HOUR]
        broadcasts.pause(broadcast.pk)
        broadcasts.work(now=NOW + 6 * DAY)
        broadcasts.resume(broadcast.pk, now=NOW + 6 * DAY)
        broadcasts.work(now=NOW + 6 * DAY)
        assert broadcast.occurrences.count() == 1
        broadcasts.cancel(broadcast.pk)
        broadcasts.work(now=NOW + 9 * DAY)
        assert broadcast.occurrences.count() == 1

    def test_the_last_of_a_short_month(self):
        broadcast = Broadcast(when="at", repeat="monthly", day=date(2026, 1, 31), time=time(9))
        found, at = [], utc(2026, 1, 31, 10)
        for _month in range(3):
            at = timing.following(broadcast, at)
            found.append(at.date())
        assert found == [date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30)]

    @trying(max_examples=40, deadline=None, derandomize=True)
    @given(
        st.sets(st.integers(1, 7), min_size=1),
        st.times(),
        st.integers(0, 500),
        st.sampled_from(["at", "local"]),
    )
    def test_on_the_chosen_days_and_always_later(self, weekdays, at, ahead, when):
        broadcast = Broadcast(
            when=when, repeat="weekly", weekdays=sorted(weekdays), day=date(2025, 12, 1), time=at
        )
        after = NOW + ahead * DAY
        first = timing.following(broadcast, after)
        second = timing.following(broadcast, first)
        assert after < first < second <= first + 8 * DAY
        zone = ZoneInfo("Pacific/Kiritimati") if when == "local" else UTC
        assert first.astimezone(zone).isoweekday() in weekdays
        assert first.astimezone(zone).time() == at
