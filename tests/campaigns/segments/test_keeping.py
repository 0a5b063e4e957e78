"""Whatever happens, keeping leaves exactly those in a segment who are in it when everybody is counted."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from campaigns.models import Segment, SegmentCandidate, SegmentMembership, SegmentSize
from campaigns.segments import compiler, evaluate, keeping, loading, refresh
from crm import changes, log, merging, partitions, privacy, unmerging
from crm.models import Event, Profile, ProfileMerge
from tests.campaigns.segments import happenings, population
from tests.campaigns.segments.alone import alone  # noqa: F401

pytestmark = pytest.mark.usefixtures("alone")

BUYERS = {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}}
POLES = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}


def make(slug, rule, now=None):
    segment = Segment.objects.create(slug=slug, name=slug.title(), rule=rule)
    refresh.refresh(segment, now)
    return segment


def members(segment):
    return set(SegmentMembership.objects.filter(segment=segment).values_list("profile_id", flat=True))


def moves(segment):
    """What the log tells: (profile, whether they came in, cause, event)."""
    found = Event.objects.filter(name__startswith="segment_", properties__segment=segment.slug)
    return [
        (
            event.profile_id,
            event.name == "segment_entered",
            event.properties["cause"],
            event.properties.get("event"),
        )
        for event in found.order_by("txid", "seq")
    ]


def do(person, name, at):
    log.append([log.NewEvent(uuid.uuid4(), person.pk, name, at, {}, "test")])


@pytest.mark.django_db
class TestAgainstCountingEverybody:
    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(
        people=st.lists(population.people, min_size=1, max_size=6),
        rules=st.lists(population.rules, min_size=2, max_size=6),
        turns=st.lists(st.lists(happenings.steps, min_size=1, max_size=6), min_size=1, max_size=3),
    )
    def test_the_members_are_the_same(self, people, rules, turns):
        now = population.NOW
        with transaction.atomic():
            partitions.ensure([now + timedelta(days=days) for days in range(0, 150, 25)])
            alive = population.store(people)
            for number, rule in enumerate(rules):
                Segment.objects.create(slug=f"s{number}", name=str(number), rule=rule)
            segments = list(Segment.objects.filter(kind="rule").order_by("pk"))
            for segment in segments:
                refresh.refresh(segment, now)
            known = {segment.pk: members(segment) for segment in segments}
            told_by_log = set(alive)
            for turn in turns:
                for step, one, other, values in turn:
                    alive = list(Profile.objects.order_by("pk").values_list("pk", flat=True))
                    if not alive:
                        break
                    pk, second = alive[one % len(alive)], alive[other % len(alive)]
                    note((step.__name__, pk, second, values))
                    if step is happenings.wait:
                        now += values
                    if step in happenings.LEAVES_THE_LOG:
                        told_by_log -= {pk, second}
                    step(pk, second, now, values)
                keeping.keep(now)
                for segment in segments:
                    segment.refresh_from_db()
                    note((segment.slug, population.shown(segment.rule), str(now)))
                    assert segment.state == "ready", segment.error
                    expected = set(evaluate.members(compiler.rule_of(segment), now))
                    assert members(segment) == expected
                    assert segment.size == len(expected)
            for segment in segments:
                present = known[segment.pk] & told_by_log
                for pk, enters, _cause, _event in moves(segment):
                    if pk in told_by_log:
                        assert (pk in present) != enters
                        (present.add if enters else present.discard)(pk)
                assert present == members(segment) & told_by_log
            transaction.set_rollback(True)


@pytest.mark.django_db
class TestCauses:
    def test_an_event_a_change_and_the_time_move_people_and_say_so(self):
        now = timezone.now()
        ann, bob = Profile.objects.create(), Profile.objects.create(country="PL")
        buyers, poles = make("buyers", BUYERS, now), make("poles", POLES, now)
        do(ann, "purchase", now)
        keeping.keep(now)
        Profile.objects.filter(pk=ann.pk).update(country="PL")
        keeping.keep(now)
        later = now + timedelta(days=31)
        keeping.keep(later)
        assert moves(buyers) == [(ann.pk, True, "event", "purchase"), (ann.pk, False, "time", None)]
        assert moves(poles) == [(ann.pk, True, "change", None)]
        assert (members(buyers), members(poles)) == (set(), {ann.pk, bob.pk})
        buyers.refresh_from_db()
        assert buyers.passed_until == later
        sizes = SegmentSize.objects.filter(segment=poles).order_by("hour").values_list("size", "entered")
        assert list(sizes) == [(2, 1)]

    def test_a_merge_is_told_and_its_undoing_too(self):
        now = timezone.now()
        one, other, third = (Profile.objects.create() for _ in range(3))
        do(one, "purchase", now)
        twice = make("twice", {**BUYERS, "count": {"op": "gte", "value": 2}}, now)
        quiet = make("quiet", {"not": BUYERS}, now)
        assert (members(twice), members(quiet)) == (set(), {other.pk, third.pk})
        do(other, "purchase", now)
        keeping.keep(now)
        merging.merge([(other.pk, one.pk)], "test", now)
        keeping.keep(now)
        assert (members(twice), members(quiet)) == ({one.pk}, {third.pk})
        assert moves(twice) == [(one.pk, True, "merge", None)]
        unmerging.undo(ProfileMerge.objects.get().pk, now)
        keeping.keep(now)
        assert (members(twice), members(quiet)) == (set(), {third.pk})
        assert moves(twice)[-1] == (one.pk, False, "merge", None)
        for segment in (twice, quiet):
            segment.refresh_from_db()
            assert segment.size == len(members(segment))

    def test_who_is_erased_is_asked_about_anew(self):
        now = timezone.now()
        person = Profile.objects.create(country="PL")
        poles, others = make("poles", POLES, now), make("others", {"not": POLES}, now)
        privacy.erase([person.pk], "test", now)
        keeping.keep(now)
        assert (members(poles), members(others)) == (set(), {person.pk})
        poles.refresh_from_db()
        assert poles.size == 0

    def test_a_segment_follows_the_list_and_the_segments_it_refers_to(self):
        now = timezone.now()
        person = Profile.objects.create(country="PL")
        guests = Segment.objects.create(slug="guests", name="Guests", kind="list", rule={}, state="ready")
        poles = make("poles", POLES, now)
        rule = {"all": [{"kind": "list", "slug": "guests"}, {"kind": "segment", "slug": "poles"}]}
        both = make("both", rule, now)
        happenings.enlist(person.pk, None, now, ("guests", True))
        keeping.keep(now)
        assert members(both) == {person.pk}
        Profile.objects.update(country="SA")
        keeping.keep(now)
        assert (members(both), members(poles), members(guests)) == (set(), set(), {person.pk})


@pytest.mark.django_db
class TestBounds:
    def test_the_number_of_statements_does_not_depend_on_the_number_of_people(self):
        now = timezone.now()
        segments = [
            make(f"s{number}", rule, now) for number, rule in enumerate([BUYERS, POLES, {"not": POLES}])
        ]

        def cost(number):
            people = Profile.objects.bulk_create([Profile(country="PL") for _ in range(number)])
            log.append(
                [log.NewEvent(uuid.uuid4(), pk, "purchase", now, {}, "test") for pk in [p.pk for p in people]]
            )
            with CaptureQueriesContext(connection) as captured:
                keeping.keep(now)
            return len(captured)

        assert cost(2) == cost(300)
        assert [len(members(segment)) for segment in segments] == [302, 302, 0]

    def test_only_who_can_have_changed_is_asked_about(self, monkeypatch):
        now = timezone.now()
        ann, bob = Profile.objects.create(), Profile.objects.create()
        make("buyers", BUYERS, now), make("poles", POLES, now)
        asked = []
        plain = keeping._differences

        def differences(group, at):
            asked.extend((one.segment.slug, group.profile_ids) for one in group.segments)
            return plain(group, at)

        monkeypatch.setattr(keeping, "_differences", differences)
        do(ann, "purchase", now)
        do(bob, "page_viewed", now)
        Profile.objects.filter(pk=bob.pk).update(country="PL", city="Łódź")
        Profile.objects.filter(pk=ann.pk).update(city="Łódź")
        keeping.keep(now)
        assert sorted(asked) == [("buyers", [ann.pk]), ("poles", [bob.pk])]

    def test_a_long_backlog_is_given_up_for_counting_everybody(self, monkeypatch):
        now = timezone.now()
        segment = make("poles", POLES, now)
        people = Profile.objects.bulk_create([Profile(country="PL") for _ in range(10)])
        monkeypatch.setattr(keeping, "LONGEST_FEED", 5)
        monkeypatch.setattr(keeping, "DROPPED", 3)
        keeping.keep(now)
        assert (members(segment), changes.peek(9)) == (set(), [])
        refresh.refresh_all(timezone.now())
        assert members(segment) == {person.pk for person in people}
        assert {cause for _pk, _in, cause, _event in moves(segment)} == {"change"}
        assert refresh.refresh_all(timezone.now()) == {}

    def test_a_long_log_is_given_up_for_counting_everybody(self, monkeypatch):
        now = timezone.now()
        segment = make("buyers", BUYERS, now)
        person = Profile.objects.create()
        keeping.keep(now)
        for _ in range(3):
            do(person, "purchase", now)
        monkeypatch.setattr(keeping, "EVENTS", 2)
        monkeypatch.setattr(keeping, "LONGEST_LAG", 3)
        monkeypatch.setattr(log, "lag", lambda cursor: 3)
        keeping.keep(now, seconds=0)
        assert members(segment) == set()
        refresh.refresh_all(timezone.now())
        assert members(segment) == {person.pk}

    def test_a_long_stop_loses_nobody(self, monkeypatch):
        now = timezone.now()
        people = [Profile.objects.create() for _ in range(4)]
        for person in people:
            do(person, "purchase", now)
        segment = make("buyers", BUYERS, now)
        keeping.keep(now)
        monkeypatch.setattr("campaigns.segments.passing.MANY", 4)  # then everybody is counted
        later = now + timedelta(days=60)
        keeping.keep(later)
        assert members(segment) == {person.pk for person in people}
        refresh.refresh_all(timezone.now() + timedelta(days=60))
        assert members(segment) == set()
        assert not SegmentCandidate.objects.exists()

    def test_a_clock_that_was_ahead_and_is_put_back_hides_nobody(self):
        now = timezone.now()
        person = Profile.objects.create()
        do(person, "purchase", now - timedelta(days=29))
        segment = make("buyers", BUYERS, now)
        keeping.keep(now + timedelta(days=5))
        assert members(segment) == set()
        keeping.keep(now)
        do(person, "purchase", now - timedelta(days=28))
        keeping.keep(now)
        assert members(segment) == {person.pk}
        keeping.keep(now + timedelta(days=3))
        assert members(segment) == set()

    def test_many_segments_are_loaded_with_as_many_queries_as_few(self, django_assert_num_queries):
        Segment.objects.create(slug="poles", name="Poles", rule=POLES)
        rule = {"all": [BUYERS, {"kind": "segment", "slug": "poles"}]}
        Segment.objects.bulk_create([Segment(slug=f"s{n}", name=str(n), rule=rule) for n in range(20)])
        with django_assert_num_queries(2):
            loaded, broken = loading.load(Segment.objects.all())
        assert (len(loaded), broken) == (21, [])
