"""Memberships follow the rule, with one log event for each change."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from campaigns.models import Segment, SegmentMembership
from campaigns.segments import evaluate, grammar, refresh
from crm import log, pg
from crm.models import Event, Profile

pytestmark = pytest.mark.django_db(transaction=True)

BUYERS = {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}}


@pytest.fixture
def segment():
    return Segment.objects.create(slug="buyers", name="Buyers", rule=BUYERS)


def buy(person, at):
    log.append([log.NewEvent(uuid.uuid4(), person.pk, "purchase", at, {}, "test")])


def members(segment):
    return set(segment.memberships.values_list("profile_id", flat=True))


def logged(name):
    return sorted(Event.objects.filter(name=name).values_list("profile_id", flat=True))


def test_only_the_difference_is_written(segment):
    ann, bob, cem = (Profile.objects.create() for _ in range(3))
    start = timezone.now()
    buy(ann, start)
    buy(bob, start - timedelta(days=29))
    first = refresh.refresh(segment, start)
    assert (first.entered, first.left, first.size) == (2, 0, 2)
    kept = SegmentMembership.objects.get(profile=ann)

    buy(cem, start + timedelta(days=1))
    second = refresh.refresh(segment, start + timedelta(days=2))
    assert (second.entered, second.left, second.size) == (1, 1, 2)
    assert members(segment) == {ann.pk, cem.pk}
    again = SegmentMembership.objects.get(profile=ann)
    assert (again.pk, again.entered_at) == (kept.pk, kept.entered_at)
    assert logged("segment_entered") == sorted([ann.pk, bob.pk, cem.pk])
    assert logged("segment_left") == [bob.pk]
    assert Event.objects.filter(name="segment_left").get().properties == {
        "segment": "buyers",
        "name": "Buyers",
    }

    third = refresh.refresh(segment, start + timedelta(days=2))
    assert (third.entered, third.left) == (0, 0)
    segment.refresh_from_db()
    assert (segment.state, segment.size, segment.error) == ("ready", 2, "")
    assert segment.evaluated_at == start + timedelta(days=2)
    assert segment.evaluation_ms is not None


def test_large_differences_are_written_in_pieces(segment, monkeypatch):
    monkeypatch.setattr(refresh, "CHUNK", 2)
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(5)]
    for person in people:
        buy(person, now)
    assert refresh.refresh(segment, now).entered == 5
    assert logged("segment_entered") == sorted(person.pk for person in people)


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
    Segment.objects.filter(pk=segment.pk).update(rule=BUYERS)
    refresh.refresh_all(timezone.now() + timedelta(hours=2))
    segment.refresh_from_db()
    assert (segment.state, segment.error) == ("ready", "")


def test_a_rule_that_takes_too_long_is_stopped(segment, monkeypatch):
    monkeypatch.setattr(refresh, "TIMEOUT_MS", 50)
    monkeypatch.setattr(refresh, "_difference", lambda *args: _sleep())
    assert "took longer" in refresh.refresh(segment).error


def _sleep():
    with evaluate.limits(50), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")


def test_only_the_touched_people_are_looked_at(segment):
    now = timezone.now()
    ann, bob, cem = (Profile.objects.create() for _ in range(3))
    buy(ann, now)
    refresh.refresh(segment, now)
    buy(bob, now)
    buy(cem, now)
    done = refresh.touch([ann.pk, bob.pk], now)
    assert (done["buyers"].entered, done["buyers"].left, done["buyers"].size) == (1, 0, 2)
    assert members(segment) == {ann.pk, bob.pk}
    later = now + timedelta(days=31)
    assert refresh.touch([ann.pk], later)["buyers"].left == 1
    assert members(segment) == {bob.pk}


def test_two_refreshes_of_one_segment_do_not_collide(segment):
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(20)]
    for person in people:
        buy(person, now)
    barrier, results = threading.Barrier(4), []

    def work():
        try:
            barrier.wait()
            results.append(refresh.refresh(Segment.objects.get(pk=segment.pk), now))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.entered for result in results) == 20
    assert len(members(segment)) == 20
    assert logged("segment_entered") == sorted(person.pk for person in people)


def test_a_locked_segment_is_skipped(segment):
    locked, release = threading.Event(), threading.Event()

    def hold():
        try:
            with pg.locked(refresh._LOCK, segment.pk):
                locked.set()
                release.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(10)
    assert refresh.refresh(segment).skipped
    release.set()
    thread.join()
    assert not refresh.refresh(segment).skipped


def test_incremental_and_full_answers_agree(segment):
    now = timezone.now()
    people = [Profile.objects.create() for _ in range(6)]
    for days, person in enumerate(people):
        buy(person, now - timedelta(days=10 * days))
        refresh.touch([person.pk], now)
    refresh.refresh(segment, now)
    refresh.touch([person.pk for person in people], now + timedelta(days=15))
    assert members(segment) == set(evaluate.members(grammar.parse(BUYERS), now + timedelta(days=15)))


def test_the_number_of_queries_does_not_grow_with_the_people(segment, django_assert_max_num_queries):
    now = timezone.now()
    for person in Profile.objects.bulk_create([Profile() for _ in range(300)]):
        buy(person, now)
    with django_assert_max_num_queries(25):
        assert refresh.refresh(segment, now).entered == 300
