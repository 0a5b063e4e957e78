"""Counting everybody: who is in by the rule is a member afterwards, and the log tells what has changed."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns.models import Segment, SegmentCandidate, SegmentMembership, SegmentSize
from campaigns.segments import keeping, memberships, refresh, sizes, states
from crm import changes, log, pg
from crm.models import Alert, Event, Profile
from tests.crm.concurrently import run

pytestmark = pytest.mark.django_db(transaction=True)

BUYERS = {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """As if nobody else used this server."""
    monkeypatch.setattr(changes, "settled", lambda fields: True)


@pytest.fixture
def segment():
    return Segment.objects.create(slug="buyers", name="Buyers", rule=BUYERS)


def buy(person, at):
    log.append([log.NewEvent(uuid.uuid4(), person.pk, "purchase", at, {}, "test")])


def members(segment):
    return set(segment.memberships.values_list("profile_id", flat=True))


def logged(name):
    found = Event.objects.filter(name=name).order_by("profile_id", "seq")
    return list(found.values_list("profile_id", "properties__cause"))


def test_only_the_difference_is_written(segment):
    ann, bob, cem = (Profile.objects.create() for _ in range(3))
    start = timezone.now()
    buy(ann, start)
    buy(bob, start - timedelta(days=29))
    first = refresh.refresh(segment, start)
    assert (first.entered, first.left, first.size) == (2, 0, 2)
    assert logged("segment_entered") == []  # nobody entered: it is new
    kept = SegmentMembership.objects.get(profile=ann)

    buy(cem, start + timedelta(days=1))
    second = refresh.refresh(segment, start + timedelta(days=2))
    assert (second.entered, second.left, second.size) == (1, 1, 2)
    assert members(segment) == {ann.pk, cem.pk}
    again = SegmentMembership.objects.get(profile=ann)
    assert (again.pk, again.entered_at) == (kept.pk, kept.entered_at)
    assert logged("segment_entered") == [(cem.pk, "check")]
    assert logged("segment_left") == [(bob.pk, "check")]
    told = Event.objects.get(name="segment_left").properties
    assert told == {"segment": "buyers", "name": "Buyers", "cause": "check"}

    third = refresh.refresh(segment, start + timedelta(days=2))
    assert (third.entered, third.left) == (0, 0)
    segment.refresh_from_db()
    assert (segment.state, segment.size, segment.error) == ("ready", 2, "")
    assert segment.evaluated_at == segment.passed_until == start + timedelta(days=2)
    assert segment.evaluation_ms is not None
    assert segment.plan
    history = list(SegmentSize.objects.order_by("hour").values_list("size", "entered", "departed"))
    assert history == [(2, 0, 0), (2, 1, 1)]


def test_many_people_are_written_in_pieces(segment, monkeypatch):
    monkeypatch.setattr(refresh, "CHUNK", 2)
    monkeypatch.setattr(keeping, "CANDIDATES", 2)
    monkeypatch.setattr(keeping, "WRITTEN", 1)
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(5)]
    for person in people[:3]:
        buy(person, now)
    assert refresh.refresh(segment, now).entered == 3
    for person in people[3:]:
        buy(person, now)
    assert refresh.refresh(segment, now).entered == 2
    later = now + timedelta(days=40)
    assert refresh.refresh(segment, later).left == 5
    assert (segment.size, members(segment)) == (0, set())
    assert not SegmentCandidate.objects.exists()


def test_a_new_rule_starts_nobody_and_says_so(segment):
    ann, bob = (Profile.objects.create(country=country) for country in ("PL", "SA"))
    refresh.refresh(segment)
    polish = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
    Segment.objects.filter(pk=segment.pk).update(rule=polish)
    done = refresh.refresh_all()
    assert done["buyers"].entered == 1
    assert logged("segment_entered") == [(ann.pk, "rule")]
    # What a segment asks changes with what those ask that it refers to.
    others = Segment.objects.create(
        slug="others", name="Others", rule={"not": {"kind": "segment", "slug": "buyers"}}
    )
    assert refresh.refresh_all()["others"].size == 1
    Segment.objects.filter(pk=segment.pk).update(rule={**polish, "value": "SA"})
    done = refresh.refresh_all()
    assert {slug: (each.entered, each.left) for slug, each in done.items()} == {
        "buyers": (1, 1),
        "others": (1, 1),
    }
    assert (members(segment), members(others)) == ({bob.pk}, {ann.pk})
    assert {cause for _pk, cause in logged("segment_left")} == {"rule"}
    assert refresh.refresh_all() == {}  # nothing is due


def test_a_failing_rule_marks_only_its_own_segment(segment):
    person = Profile.objects.create()
    buy(person, timezone.now())
    refresh.refresh(segment)
    Segment.objects.filter(pk=segment.pk).update(rule={"all": [BUYERS, {"kind": "segment", "slug": "gone"}]})
    Segment.objects.create(slug="everybody", name="Everybody", rule={"all": []})
    Segment.objects.create(slug="unruly", name="Unruly", rule={})
    done = refresh.refresh_all(timezone.now() + timedelta(hours=1))
    assert done["everybody"].size == 1
    assert done["buyers"].error == "all[1].slug: There is no segment “gone”."
    segment.refresh_from_db()
    assert (segment.state, segment.error) == ("failed", done["buyers"].error)
    assert members(segment) == {person.pk}
    assert Segment.objects.get(slug="unruly").state == "failed"
    refresh.refresh_all(timezone.now() + timedelta(hours=2))
    alert = Alert.objects.get(key=states.alert_key(segment.pk))
    assert (alert.count, alert.resolved_at) == (1, None)  # told once, however often it is tried
    Segment.objects.filter(pk=segment.pk).update(rule=BUYERS)
    refresh.refresh_all(timezone.now() + timedelta(hours=3))
    segment.refresh_from_db()
    assert (segment.state, segment.error) == ("ready", "")
    alert.refresh_from_db()
    assert alert.resolved_at is not None


def test_what_is_due_comes_by_urgency(segment):
    now = timezone.now()
    assert set(refresh.refresh_all(now)) == {"buyers"}
    assert refresh.refresh_all(now + timedelta(hours=1)) == {}
    Segment.objects.create(slug="second", name="Second", rule={"any": []})
    assert list(refresh.refresh_all(now)) == ["second"]
    tomorrow = now + timedelta(hours=25)
    assert len(refresh.refresh_all(tomorrow)) == 1  # one check at a time
    assert len(refresh.refresh_all(tomorrow)) == 1
    assert refresh.refresh_all(tomorrow) == {}
    refresh.ask(segment)
    assert list(refresh.refresh_all(tomorrow)) == ["buyers"]
    assert refresh.refresh_all(tomorrow) == {}
    assert set(refresh.refresh_all(tomorrow, everything=True)) == {"buyers", "second"}


def test_lists_are_left_alone(segment):
    person = Profile.objects.create()
    listed = Segment.objects.create(slug="guests", name="Guests", kind="list", rule={}, state="ready")
    with transaction.atomic():
        memberships.change(listed, [person.pk, 10**12], [], timezone.now(), memberships.LIST)
    assert listed.size == 1
    refresh.refresh_all(everything=True)
    keeping.keep()
    listed.refresh_from_db()
    assert (members(listed), listed.state, listed.size) == ({person.pk}, "ready", 1)


def test_two_refreshes_of_one_segment_do_not_collide(segment):
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(20)]
    for person in people:
        buy(person, now)
    results = []

    def work():
        results.append(refresh.refresh(Segment.objects.get(pk=segment.pk), now))

    run(work, work, work)
    assert sum(result.entered for result in results) == 20
    assert members(segment) == {person.pk for person in people}
    assert Segment.objects.get(pk=segment.pk).size == 20


def test_a_locked_segment_is_skipped(segment):
    locked, release = threading.Event(), threading.Event()

    def hold():
        with pg.locked(refresh._LOCK, segment.pk):
            locked.set()
            assert release.wait(30)

    def look():
        assert locked.wait(30)
        assert refresh.refresh(segment).skipped
        release.set()

    run(hold, look)
    assert not refresh.refresh(segment).skipped


def test_sizes_follow_whoever_writes_members(segment):
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(3)]
    refresh.refresh(segment, now)
    SegmentMembership.objects.bulk_create(
        SegmentMembership(segment=segment, profile=person, entered_at=now) for person in people
    )
    people[0].delete()
    assert sizes.waiting() == [segment.pk]
    sizes.add_up(sizes.waiting(), now)
    segment.refresh_from_db()
    assert segment.size == 2
    row = SegmentSize.objects.get()
    assert (row.size, row.entered, row.departed) == (2, 3, 1)
    Segment.objects.update(size=77)
    assert sizes.count(segment.pk, now) == 2


def test_the_number_of_statements_does_not_depend_on_the_number_of_people(segment):
    now = timezone.now()

    def cost(number):
        people = Profile.objects.bulk_create([Profile() for _ in range(number)])
        log.append([log.NewEvent(uuid.uuid4(), person.pk, "purchase", now, {}, "test") for person in people])
        with CaptureQueriesContext(connection) as captured:
            refresh.refresh(segment, now)
        return len(captured)

    refresh.refresh(segment, now)
    assert cost(2) == cost(300)
    assert segment.size == 302


def test_what_may_have_been_missed_is_counted_again_soon(segment, monkeypatch):
    now = timezone.now()
    monkeypatch.setattr(changes, "settled", lambda fields: False)
    refresh.refresh(segment, now)
    assert refresh.refresh_all(now) == {}
    monkeypatch.setattr(changes, "settled", lambda fields: True)
    assert set(refresh.refresh_all(now + refresh.SEEN_AFTER)) == {"buyers"}
    assert refresh.refresh_all(now + refresh.SEEN_AFTER) == {}


def test_only_what_some_segment_asks_for_is_watched(segment):
    refresh.refresh(segment)
    poles = Segment.objects.create(
        slug="poles", name="Poles", rule={"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
    )
    refresh.refresh(poles)
    refresh.count_due()
    assert changes.watched() == {"country", "event:purchase", *changes.ALWAYS}
    poles.delete()
    refresh.count_due()
    assert changes.watched() == {"event:purchase", *changes.ALWAYS}
    segment.delete()
    refresh.count_due()
    assert changes.watched() == set()
