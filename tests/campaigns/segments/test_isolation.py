"""What counts or keeps segments waits for nobody and holds nobody up, and is right whoever does what meanwhile."""

import threading
import time
import uuid

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from campaigns.models import Enrollment, Segment, SegmentCandidate, SegmentMembership
from campaigns.segments import editing, keeping, lists, refresh, states
from campaigns.segments.limits import TooSlow
from crm import changes, log, merging, unmerging
from crm.models import Alert, Event, Profile, ProfileMerge
from tests.campaigns.flows.conftest import World
from tests.campaigns.segments.alone import alone  # noqa: F401
from tests.crm.concurrently import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("alone")]

BUYERS = {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}}
POLES = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}


def buy(pk):
    log.append([log.NewEvent(uuid.uuid4(), pk, "purchase", timezone.now(), {}, "test")])


def members(segment):
    return set(segment.memberships.values_list("profile_id", flat=True))


def state(segment):
    return Segment.objects.values_list("state", "size", "error").get(pk=segment.pk)


@pytest.fixture
def people():
    return Profile.objects.bulk_create([Profile(country="SA") for _ in range(4)])


@pytest.fixture
def segment(people):
    return Segment.objects.create(slug="either", name="Either", rule={"any": [BUYERS, POLES]})


def test_what_changes_while_a_new_segment_is_counted_is_not_lost(segment, people, monkeypatch):
    """Everything happens between the look at everybody and the storing of who was found."""
    ann, bob, cem, dan = people
    Profile.objects.filter(pk__in=[ann.pk, bob.pk]).update(country="PL")
    plain = refresh._differences

    def meanwhile(one, now):
        found = plain(one, now)

        def others():
            Profile.objects.filter(pk=ann.pk).update(country="SA")
            Profile.objects.filter(pk=cem.pk).update(country="PL")
            buy(dan.pk)
            keeping.keep()  # takes all of it, and must not forget it

        run(others)
        return found

    monkeypatch.setattr(refresh, "_differences", meanwhile)
    refresh.count(segment)
    assert members(segment) == {ann.pk, bob.pk}
    keeping.keep()
    assert members(segment) == {bob.pk, cem.pk, dan.pk}
    assert state(segment) == ("ready", 3, "")
    told = Event.objects.filter(name__startswith="segment_").values_list("profile_id", "name")
    assert sorted(told) == [
        (ann.pk, "segment_left"),
        (cem.pk, "segment_entered"),
        (dan.pk, "segment_entered"),
    ]


def test_what_changes_while_a_kept_segment_is_counted_is_kept_on(segment, people, monkeypatch):
    ann, bob, cem, _dan = people
    refresh.refresh(segment)
    segment.memberships.create(profile=bob, entered_at=timezone.now())  # by whatever mistake
    plain = refresh._differences

    def meanwhile(one, now):
        def others():
            Profile.objects.filter(pk=ann.pk).update(country="PL")
            keeping.keep()

        found = plain(one, now)
        run(others)
        assert members(segment) == {ann.pk, bob.pk}  # it did not wait for the count
        Profile.objects.filter(pk=cem.pk).update(country="PL")
        return found

    monkeypatch.setattr(refresh, "_differences", meanwhile)
    refresh.count(segment)
    keeping.keep()
    assert members(segment) == {ann.pk, cem.pk}
    assert state(segment) == ("ready", 2, "")


def test_an_answer_to_an_old_question_is_thrown_away(segment, people, monkeypatch):
    ann = people[0]
    refresh.refresh(segment)
    plain = keeping._differences

    def meanwhile(group, now):
        found = plain(group, now)
        Segment.objects.filter(pk=segment.pk).update(rule={"not": POLES})
        return found

    monkeypatch.setattr(keeping, "_differences", meanwhile)
    Profile.objects.filter(pk=ann.pk).update(country="PL")
    keeping.keep()
    assert members(segment) == set()
    monkeypatch.undo()
    refresh.refresh_all()
    keeping.keep()
    assert members(segment) == {person.pk for person in people[1:]}


def test_who_was_asked_an_old_question_is_asked_again_although_it_comes_back(segment, people, monkeypatch):
    ann = people[0]
    refresh.refresh(segment)
    rule = segment.rule
    plain = keeping._differences

    def meanwhile(*asked):
        found = plain(*asked)
        Segment.objects.filter(pk=segment.pk).update(rule={"not": POLES})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "_differences", meanwhile)
        Profile.objects.filter(pk=ann.pk).update(country="PL")
        keeping.keep()
    Segment.objects.filter(pk=segment.pk).update(rule=rule)
    keeping.keep()
    assert members(segment) == {ann.pk}


def test_a_rule_that_was_in_force_for_a_moment_leaves_nobody_behind(segment, people):
    """Changed, kept by, and changed back before anybody was counted by it."""
    ann = people[0]
    refresh.refresh(segment)
    rule = segment.rule
    Segment.objects.filter(pk=segment.pk).update(rule={"not": POLES})
    Profile.objects.filter(pk=ann.pk).update(country="DE")
    keeping.keep()
    assert members(segment) == {ann.pk}
    Segment.objects.filter(pk=segment.pk).update(rule=rule)
    refresh.refresh_all()
    assert members(segment) == set()
    assert refresh.refresh_all() == {}


def test_a_recount_that_is_asked_for_while_a_check_fails_is_not_forgotten(segment, people, monkeypatch):
    refresh.refresh(segment)
    Profile.objects.update(country="PL")

    def slow(one, now):
        changes.drop([row.id for row in changes.peek(99)])
        keeping._recount()  # as keeping does with a backlog that is too long
        raise TooSlow

    with monkeypatch.context() as patched:
        patched.setattr(refresh, "_differences", slow)
        refresh.count(segment)
    assert state(segment)[0] == "ready"
    refresh.refresh_all()
    assert members(segment) == {person.pk for person in people}


def test_a_lock_that_is_not_to_be_had_is_nobodys_fault(segment, people, monkeypatch):
    refresh.refresh(segment)
    monkeypatch.setattr(states, "LOCK_TIMEOUT_MS", 50)
    Profile.objects.update(country="PL")
    held, tried = threading.Event(), threading.Event()

    def migration():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE crm_profile IN ACCESS EXCLUSIVE MODE")
            held.set()
            assert tried.wait(30)

    def keeper():
        assert held.wait(30)
        try:
            with pytest.raises(OperationalError):
                keeping.keep()
            assert refresh.count(Segment.objects.get(pk=segment.pk)).skipped
        finally:
            tried.set()

    run(migration, keeper)
    assert state(segment) == ("ready", 0, "")
    keeping.keep()
    assert members(segment) == {person.pk for person in people}


def test_nobody_is_left_in_a_list_that_is_deleted_while_it_is_filled(people):
    guests = lists.create("Guests")
    written, deleting = threading.Event(), threading.Event()

    def fill():
        with transaction.atomic():
            lists.add(guests, [people[0].pk])
            written.set()
            assert deleting.wait(30)
            until_waiting()

    def delete():
        assert written.wait(30)
        deleting.set()
        editing.delete(Segment.objects.get(pk=guests.pk))

    run(fill, delete)
    assert not Segment.objects.filter(pk=guests.pk).exists()
    assert not SegmentMembership.objects.exists()


def test_people_are_merged_while_a_new_segment_stores_them(segment, people):
    """Counting locks nobody: what it stores comes between the merge's look at the members and its own change."""
    ann, bob, *_others = people
    segment.memberships.create(profile=bob, entered_at=timezone.now())
    stored = threading.Event()

    def store():
        with transaction.atomic():
            segment.memberships.create(profile=ann, entered_at=timezone.now())
            stored.set()
            until_waiting()

    def merge():
        assert stored.wait(30)
        merging.merge([(bob.pk, ann.pk)], "test")

    run(store, merge)
    assert members(segment) == {ann.pk}


def test_nobody_comes_back_into_a_segment_that_is_being_deleted(segment, people):
    ann, bob, *_others = people
    for person in (ann, bob):
        segment.memberships.create(profile=person, entered_at=timezone.now())
    merging.merge([(bob.pk, ann.pk)], "test")
    deleted = threading.Event()

    def delete():
        with transaction.atomic():
            editing.delete(Segment.objects.get(pk=segment.pk))
            deleted.set()
            until_waiting()

    def part():
        assert deleted.wait(30)
        unmerging.undo(ProfileMerge.objects.get().pk)

    run(delete, part)
    assert not SegmentMembership.objects.exists()


def until_waiting():
    """Return when another connection waits for a lock of ours."""
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_sleep(0.02)")
    raise AssertionError("nobody waits")


def test_two_keepers_do_everything_once(segment, people):
    refresh.refresh(segment)
    for person in people:
        buy(person.pk)
    run(keeping.keep, keeping.keep, keeping.keep)
    keeping.keep()
    assert members(segment) == {person.pk for person in people}
    entered = Event.objects.filter(name="segment_entered").values_list("profile_id", flat=True)
    assert sorted(entered) == sorted(person.pk for person in people)
    assert state(segment)[1] == 4


def test_a_keeper_that_dies_before_the_end_is_repeated(segment, people, monkeypatch):
    refresh.refresh(segment)
    Profile.objects.update(country="PL")

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "_close", die)
        with pytest.raises(KeyboardInterrupt):
            keeping.keep()
    assert len(changes.peek(99)) == 4
    keeping.keep()
    assert changes.peek(99) == []
    entered = Event.objects.filter(name="segment_entered").values_list("profile_id", flat=True)
    assert sorted(entered) == sorted(person.pk for person in people)
    assert state(segment) == ("ready", 4, "")


def test_a_person_who_is_being_written_holds_nobody_up(segment, people):
    ann, bob, *_others = people
    refresh.refresh(segment)
    Profile.objects.filter(pk__in=[ann.pk, bob.pk]).update(country="PL")
    held, kept = threading.Event(), threading.Event()

    def writer():
        with transaction.atomic():
            Profile.objects.select_for_update().get(pk=ann.pk)
            held.set()
            assert kept.wait(30)

    def keeper():
        assert held.wait(30)
        try:
            keeping.keep()
            assert members(segment) == {bob.pk}
            assert list(SegmentCandidate.objects.values_list("profile_id", "cause")) == [(ann.pk, "change")]
            Segment.objects.create(slug="all", name="All", rule={"all": []})
            assert refresh.refresh_all()["all"].size == 4  # counting locks nobody at all
        finally:
            kept.set()

    run(writer, keeper)
    keeping.keep()
    assert members(segment) == {ann.pk, bob.pk}


class TestSlowRules:
    @pytest.fixture
    def sleepy(self, segment, monkeypatch):
        """The segment's rule sleeps for as long as it is allowed to."""
        from campaigns.segments.conditions.attribute import Attribute

        plain = Attribute.predicate

        def predicate(self, query):
            found = plain(self, query)
            return (
                found._replace(text=f"({found.text}) AND pg_sleep(20) IS NOT NULL")
                if self.config.value == "PL"
                else found
            )

        monkeypatch.setattr(Attribute, "predicate", predicate)
        Profile.objects.all()[:1].get().delete()
        Profile.objects.update(country="PL")
        return segment

    def test_a_rule_that_takes_too_long_marks_its_segment_and_the_others_go_on(self, sleepy, monkeypatch):
        monkeypatch.setattr(refresh, "TIMEOUT_MS", 300)
        other = Segment.objects.create(slug="buyers", name="Buyers", rule=BUYERS)
        done = refresh.refresh_all()
        assert "took longer" in done["either"].error
        assert state(sleepy)[0] == "failed"
        assert state(other)[0] == "ready"
        assert Alert.objects.get(key=states.alert_key(sleepy.pk)).resolved_at is None
        buy(Profile.objects.first().pk)
        keeping.keep()
        assert state(other)[1] == 1

    def test_a_check_that_takes_too_long_leaves_the_members_in_use(self, segment, monkeypatch):
        refresh.refresh(segment)

        def slow(one, now):
            with states.calmly(50), connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(20)")

        monkeypatch.setattr(refresh, "_differences", slow)
        assert "took longer" in refresh.refresh(segment).error
        assert state(segment)[0] == "ready"
        assert Alert.objects.filter(key=states.alert_key(segment.pk), resolved_at=None).exists()

    def test_a_count_can_be_stopped_and_asked_for_again(self, sleepy, monkeypatch):
        assert not refresh.cancel(sleepy)
        results = []

        def count():
            results.append(refresh.count(Segment.objects.get(pk=sleepy.pk)))

        def stop():
            until = time.monotonic() + 30
            with connection.cursor() as cursor:
                while time.monotonic() < until:
                    cursor.execute(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()"
                    )
                    if cursor.fetchone()[0]:
                        break
                    cursor.execute("SELECT pg_sleep(0.02)")
            assert state(sleepy)[0] == "counting"
            assert refresh.cancel(sleepy)

        run(count, stop)
        assert results[0].error
        assert state(sleepy)[0] == "stopped"
        assert refresh.refresh_all() == {}  # until somebody asks
        monkeypatch.undo()
        refresh.ask(sleepy)
        assert refresh.refresh_all()["either"].size == 3


def test_writers_go_on_while_everybody_is_counted(segment, people, monkeypatch):
    """The log's readers do not wait for a count or for keeping: neither writes before it is done looking."""
    seen = []
    plain = refresh._differences

    def look(one, now):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NULL")
            seen.append(cursor.fetchone()[0])
        return plain(one, now)

    monkeypatch.setattr(refresh, "_differences", look)
    refresh.refresh(segment)
    scoped = keeping._differences

    def look_at_some(group, now):
        found = scoped(group, now)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id_if_assigned() IS NULL")
            seen.append(cursor.fetchone()[0])
        return found

    monkeypatch.setattr(keeping, "_differences", look_at_some)
    Profile.objects.update(country="PL")
    keeping.keep()
    assert seen == [True, True]


def test_flows_do_not_start_because_somebody_has_changed_a_rule(transactional_db):
    world = World()
    world.flow(
        [{"key": "end", "kind": "wait", "config": {"amount": 1, "unit": "days"}}], trigger="segment_entered"
    )
    person = world.person("ann")
    world.happens(person, "segment_entered", segment="vip", cause="rule")
    world.run()
    assert not Enrollment.objects.exists()
    world.happens(person, "segment_entered", segment="vip", cause="event", event="purchase")
    world.run()
    assert Enrollment.objects.get().profile_id == person
