"""Waits until a time or a date: never early, at most a period late, and the same whenever they are asked."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.flows import local, steps
from crm.models import Profile
from tests.campaigns.flows.stepping import ask, first_minute, held, run_of, step_of

ZONES = (
    *("Europe/Warsaw", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Casablanca"),
    *("Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "UTC"),
)
# Days around which clocks jump somewhere, and others.
DAYS = st.one_of(
    st.sampled_from(
        [date(2026, 3, 29), date(2026, 10, 25), date(2026, 3, 8), date(2026, 11, 1), date(2018, 11, 4)]
        + [date(2026, 4, 5), date(2026, 10, 4), date(2011, 12, 30), date(2024, 2, 29), date(2026, 2, 15)]
    ),
    st.dates(date(2010, 1, 1), date(2030, 12, 31)),
)
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
# Zone, day and hour of clocks being put forward (the hour is left out) or back (it comes twice).
JUMPS = [
    ("Europe/Warsaw", date(2026, 3, 29), 2),
    ("Europe/Warsaw", date(2026, 10, 25), 2),
    ("America/New_York", date(2026, 3, 8), 2),
    ("America/New_York", date(2026, 11, 1), 1),
    ("America/Sao_Paulo", date(2018, 11, 4), 0),
    ("America/Sao_Paulo", date(2018, 2, 17), 23),
    ("Australia/Lord_Howe", date(2026, 10, 4), 2),
    ("Australia/Lord_Howe", date(2026, 4, 5), 1),
    *(("Pacific/Apia", date(2011, 12, 30), hour) for hour in (0, 9, 23)),
]
MOMENTS = st.builds(lambda day, at: datetime.combine(day, at, UTC), DAYS, CLOCKS)
examples = settings(deadline=None, max_examples=60)


@given(
    st.one_of(
        st.tuples(st.sampled_from(ZONES), DAYS, st.integers(0, 23)),
        st.sampled_from(JUMPS),
    ),
    st.sampled_from([0, 15, 30, 59]),
)
@examples
def test_a_local_time_is_the_first_moment_at_which_clocks_show_it_or_more(where, minute):
    name, day, hour = where
    zone, at = ZoneInfo(name), time(hour, minute)
    assert local.moment(day, at, zone) == first_minute(datetime.combine(day, at), zone)


@pytest.mark.parametrize("jump", JUMPS)
def test_waiting_for_a_time_that_clocks_leave_out_or_show_twice(jump):
    """From each hour of the days around: the first such moment of a day that there is."""
    name, day, hour = jump
    zone, at = ZoneInfo(name), time(hour, 30)
    days = [day + timedelta(days=ahead) for ahead in range(-3, 10)]
    found = [(each, first_minute(datetime.combine(each, at), zone)) for each in days]
    for weekdays in ((), (day.isoweekday(),)):
        moments = [
            moment
            for each, moment in found
            if moment.astimezone(zone).date() == each and (not weekdays or each.isoweekday() in weekdays)
        ]
        for hours in range(-30, 31):
            now = datetime.combine(day, time(12), UTC) + timedelta(hours=hours)
            assert local.next_at(now, at, zone, weekdays) == min(each for each in moments if each >= now)


@given(st.sampled_from(ZONES), st.dates(date(2010, 1, 1), date(2030, 1, 1)), st.integers(0, 200))
@examples
def test_the_offsets_of_a_zone_cover_the_days_without_a_gap(name, first, length):
    zone, last = ZoneInfo(name), first + timedelta(days=length)
    parts = local.offsets(zone, first, last)
    ends = [datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1))]
    assert [parts[0][0], parts[-1][1]] == ends
    for (since, until, shift), following in zip(parts, [*parts[1:], None], strict=True):
        for at in (since, since + (until - since) / 2, until - timedelta(seconds=1)):
            assert at.astimezone(zone).utcoffset() == shift
        assert following is None or following[0] == until


@pytest.fixture
def people(db):
    """Somebody in each zone, and some whose zone is missing or none: of a country, of a place, of nowhere."""
    made = {Profile.objects.create(timezone=name).pk: ZoneInfo(name) for name in ZONES}
    made[Profile.objects.create(timezone="Mars/Base", country="PL").pk] = ZoneInfo("Europe/Warsaw")
    made[Profile.objects.create(latitude=40.7, longitude=-74.0).pk] = ZoneInfo("America/New_York")
    made[Profile.objects.create().pk] = ZoneInfo("UTC")
    return made


@pytest.fixture(autouse=True)
def _account(settings):
    settings.TIME_ZONE = "UTC"


def asked_again(step, person, outcome, now, later):
    """Ask at some moments after a wait; the answers must be those that the first one promised."""
    until = outcome.until
    assert until > now
    for after in sorted(later):
        at = now + timedelta(minutes=after)
        for _twice in range(2):
            again = ask(step, [held(person, outcome)], at)[person.enrollment_id]
            assert (again.kind, again.until) == (("wait", until) if at < until else ("go_on", None))
            if again.kind == "wait":
                outcome = again
            else:
                assert again.facts["waited_until"] == until.isoformat()


def test_until_a_time_and_weekdays(people):
    """The reference looks at each day's time, found minute by minute."""

    @given(
        MOMENTS,
        st.none() | CLOCKS,
        st.lists(st.integers(1, 7), unique=True),
        st.sampled_from(sorted(people)),
        st.lists(st.integers(0, 12_000), max_size=2),
    )
    @examples
    def check(now, at, days, profile_id, later):
        if at is None and not days:
            return
        config = {
            "until": "time",
            **({"at": f"{at:%H:%M}"} if at else {}),
            **({"days": days} if days else {}),
        }
        step, person, zone = step_of("wait", config), run_of(profile_id), people[profile_id]
        outcome = ask(step, [person], now)[profile_id]
        until = outcome.until or now
        today = now.astimezone(zone).date()
        if at is None and today.isoweekday() in days:
            assert outcome.kind == "go_on"
            return
        possible = []
        for ahead in range(16):
            day = today + timedelta(days=ahead)
            found = first_minute(datetime.combine(day, at or time()), zone)
            if (not days or day.isoweekday() in days) and found.astimezone(zone).date() == day:
                possible.append(found)
        assert until == min(found for found in possible if found >= now)
        assert timedelta() <= until - now <= timedelta(days=15 if zone.key == "Pacific/Apia" else 7, hours=2)
        if not days:
            assert until - now <= timedelta(hours=49)
        if outcome.kind == "wait":
            assert outcome.facts["zone"] == zone.key
            asked_again(step, person, outcome, now, later)

    check()


OFFSETS = st.sampled_from(
    [{}, {"days": -1}, {"days": 3}, {"days": -30}, {"hours": -24}, {"hours": 2}, {"minutes": -90}]
)


def reference(day, moment, zone, offset, at, year):
    """What an offset from a day or a moment means, by the words of the documentation."""
    wall = datetime.combine(day, time()) if day else moment.astimezone(zone).replace(tzinfo=None)
    if year is not None:
        leaps = (wall.month, wall.day) == (2, 29) and not (year % 4 == 0 and (year % 100 or year % 400 == 0))
        wall = wall.replace(year=year, day=28 if leaps else wall.day)
    if moment and year is None and "days" not in offset:
        reached = moment
    else:
        reached = first_minute(wall + timedelta(days=offset.get("days", 0)), zone)
    reached += timedelta(hours=offset.get("hours", 0), minutes=offset.get("minutes", 0))
    return reached if at is None else first_minute(datetime.combine(reached.astimezone(zone), at), zone)


def test_until_a_date(people):
    @given(
        MOMENTS,
        st.one_of(st.none(), DAYS, MOMENTS, st.sampled_from(["soon", "2026-02-30", 17, {"day": 1}])),
        st.sampled_from(["attribute", "property"]),
        OFFSETS,
        st.none() | CLOCKS,
        st.booleans(),
        st.sampled_from(["go_on", "leave"]),
        st.sampled_from(sorted(people)),
        st.lists(st.integers(0, 12_000), max_size=2),
    )
    @settings(deadline=None, max_examples=70)
    def check(now, value, source, offset, at, yearly, if_past, profile_id, later):
        told = value.isoformat() if isinstance(value, date) else value
        Profile.objects.filter(pk=profile_id).update(attributes={"due": {"on": told}})
        config = {"until": "date", "offset": offset, "yearly": yearly, "if_past": if_past}
        config |= {"field": "attributes.due.on"} if source == "attribute" else {"property": "due.on"}
        config |= {"at": f"{at:%H:%M}"} if at else {}
        step, zone = step_of("wait", config), people[profile_id]
        context = {"event": {"properties": {"due": {"on": told}}}} if source == "property" else {}
        person = run_of(profile_id, context=context)
        outcome = ask(step, [person], now)[profile_id]
        moment = value if isinstance(value, datetime) else None
        day = value if isinstance(value, date) and moment is None else None
        until = None
        if day or moment:
            years = range(now.year - 3, now.year + 4) if yearly else [None]
            reached = [reference(day, moment, zone, offset, at, year) for year in years]
            until = min((found for found in reached if found >= now), default=None)
        if until is None:
            assert outcome.kind == if_past
            assert outcome.facts["reason"] == ("date past" if day or moment else "no date")
        elif until == now:
            assert outcome.kind == "go_on"
            assert "reason" not in outcome.facts
        else:
            assert (outcome.kind, outcome.until) == ("wait", until)
            asked_again(step, person, outcome, now, later)

    check()


def test_a_birthday_on_29_february_is_kept_on_the_28th(people):
    leaper = Profile.objects.create(birthday=date(2000, 2, 29), timezone="Asia/Kathmandu")
    step = step_of(
        "wait",
        {"until": "date", "field": "birthday", "yearly": True, "offset": {"days": -1}, "at": "09:00"},
    )
    now = datetime(2026, 2, 27, 12, tzinfo=UTC)
    for year, day in ((2027, 27), (2028, 28)):
        [outcome] = ask(step, [run_of(leaper.pk)], now).values()
        there = outcome.until.astimezone(ZoneInfo("Asia/Kathmandu"))
        assert there.replace(tzinfo=None) == datetime(year, 2, day, 9)
        now = outcome.until + timedelta(hours=1)


def test_a_wait_keeps_to_what_it_decided_when_the_date_is_moved(people):
    ann = Profile.objects.create(attributes={"due": "2026-05-10"})
    step = step_of("wait", {"until": "date", "field": "attributes.due"})
    person = run_of(ann.pk)
    now = datetime(2026, 5, 1, tzinfo=UTC)
    outcome = ask(step, [person], now)[ann.pk]
    Profile.objects.filter(pk=ann.pk).update(attributes={"due": "2026-06-10"})
    asked_again(step, person, outcome, now, [60, 9 * 1440])


@pytest.mark.parametrize(
    "config",
    [
        {"amount": 2},
        {"until": "time", "at": "09:00"},
        {"until": "date", "field": "attributes.due"},
        {"until": "date", "property": "due"},
        {"until": "date", "field": "birthday", "yearly": True},
        {"until": "best_hour"},
    ],
)
def test_a_hundred_people_take_as_many_queries_as_one(people, config):
    step, now = step_of("wait", config), datetime(2026, 5, 1, tzinfo=UTC)
    ids = [profile.pk for profile in Profile.objects.bulk_create([Profile() for _n in range(100)])]
    ask(step, [run_of(pk) for pk in ids[:1]], now)  # the account's hours are kept from here on
    counts = set()
    for some in (ids[:1], ids):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            steps.registry["wait"].run(step, [run_of(pk) for pk in some], now)
        counts.add(len(captured))
    assert len(counts) == 1
    assert counts.pop() < 4
