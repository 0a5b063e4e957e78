"""Each person's best hour: their own history by their own clock, steadied by everybody's."""

import random
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from campaigns.flows import best_hour
from crm import log
from crm.models import Profile
from tests.campaigns.flows.stepping import ask, run_of, step_of

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
examples = settings(deadline=None, max_examples=50)


@pytest.fixture(autouse=True)
def _forgotten():
    cache.clear()
    yield
    cache.clear()


def did(profile_id, times, name="page_viewed"):
    log.append([log.NewEvent(uuid.uuid4(), profile_id, name, at, {}, "test") for at in times])


def at_hours(zone, hours, days=10):
    """A moment in each of these hours of a zone's clock on each of the last days."""
    return [
        datetime(2026, 4, 20 + day % 10, hour, 17, tzinfo=ZoneInfo(zone))
        for day in range(days)
        for hour in hours
    ]


def test_hours_are_counted_by_each_persons_own_clock(db):
    chance = random.Random(4)  # noqa: S311
    zones = ("America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Warsaw")
    people = {Profile.objects.create(timezone=name).pk: ZoneInfo(name) for name in zones}
    expected = {}
    for profile_id, zone in people.items():
        times = [NOW - timedelta(minutes=chance.randrange(100 * 24 * 60)) for _n in range(60)]
        did(profile_id, times, chance.choice(best_hour.EVENTS))
        did(profile_id, times[:9], "cart_updated")  # tells nothing about when they look
        counted = [at for at in times if at >= NOW - timedelta(days=best_hour.DAYS)]
        expected[profile_id] = Counter(at.astimezone(zone).hour for at in counted)
    account = [
        sum(hours[hour] / hours.total() / len(people) for hours in expected.values()) for hour in range(24)
    ]
    found = best_hour.best_hours(people, NOW)
    for profile_id, hours in expected.items():
        weights = [hours[hour] + best_hour.STEADYING * account[hour] for hour in range(24)]
        assert found[profile_id].weights == pytest.approx(weights)
        assert weights[found[profile_id].hour] == pytest.approx(max(weights))
        assert (found[profile_id].events, found[profile_id].source) == (hours.total(), best_hour.PERSON)


def test_a_few_events_do_not_decide_and_many_do(db):
    for _number in range(10):
        did(Profile.objects.create(timezone="Asia/Kathmandu").pk, at_hours("Asia/Kathmandu", [18]))
    new, owl, lark, idle = (Profile.objects.create(timezone="Europe/Warsaw").pk for _n in range(4))
    did(new, at_hours("Europe/Warsaw", [3], days=2), "purchase")
    did(owl, at_hours("Europe/Warsaw", [23], days=20), "message_opened")
    did(lark, at_hours("Europe/Warsaw", [6], days=20), "message_clicked")
    found = best_hour.best_hours([new, owl, lark, idle], NOW)
    assert [found[pk].hour for pk in (new, owl, lark, idle)] == [18, 23, 6, 18]
    assert (found[idle].events, found[idle].source) == (0, best_hour.ACCOUNT)

    step = step_of("wait", {"until": "best_hour"})
    outcomes = ask(step, [run_of(pk) for pk in (new, owl, lark)], NOW)
    there = [outcomes[pk].until.astimezone(ZoneInfo("Europe/Warsaw")) for pk in (new, owl, lark)]
    assert [(at.day, at.hour, at.minute) for at in there] == [(4, 18, 0), (4, 23, 0), (5, 6, 0)]
    told = outcomes[owl].facts
    assert (told["best_hour"], told["events"], told["source"]) == (23, 20, "person")
    assert told["zone"] == "Europe/Warsaw"
    assert ask(step, [run_of(owl)], outcomes[owl].until + timedelta(minutes=59))[owl].kind == "go_on"


def test_where_nothing_is_known_of_anybody_now_is_best(db):
    ann = Profile.objects.create().pk
    outcome = ask(step_of("wait", {"until": "best_hour"}), [run_of(ann)], NOW)[ann]
    assert (outcome.kind, outcome.facts["best_hour"], outcome.facts["source"]) == ("go_on", None, "none")


def test_a_batch_takes_one_query_once_the_accounts_hours_are_known(db):
    ids = [profile.pk for profile in Profile.objects.bulk_create([Profile() for _n in range(50)])]
    zones = dict.fromkeys(ids, UTC_ZONE)
    did(ids[0], at_hours("UTC", [9]))
    best_hour.best_hours(ids[:1], NOW, zones)
    with CaptureQueriesContext(connection) as captured:
        found = best_hour.best_hours(ids, NOW, zones)
    assert len(captured) == 1
    assert {each.hour for each in found.values()} == {9}


@given(
    st.lists(st.integers(0, 5), min_size=24, max_size=24),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
    st.sampled_from(["Europe/Warsaw", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.integers(1, 48),
)
@examples
def test_the_best_hour_within_the_limit_is_taken(counts, naive, name, within):
    """The reference looks at every minute."""
    assume(any(counts))
    now, zone = naive.replace(second=0, microsecond=0, tzinfo=UTC), ZoneInfo(name)
    best = best_hour.choose(counts, ())
    assert counts[best.hour] == max(counts)
    found = best_hour.next_at(best, zone, now, within)
    hours = [
        (now + timedelta(minutes=minute), (now + timedelta(minutes=minute)).astimezone(zone).hour)
        for minute in range(within * 60 + 1)
    ]
    top = max(counts[hour] for _at, hour in hours)
    assert found == next(at for at, hour in hours if counts[hour] == top)
