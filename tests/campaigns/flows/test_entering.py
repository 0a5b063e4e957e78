"""Who is let in: by a flow's dates, its holdout, by hand, and because they qualified before."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns.flows import catching_up, enrolling, entries, publish
from campaigns.models import CatchUp, CatchUpPerson, Decision, Enrollment, Flow, Segment, SegmentMembership
from crm import normalise
from crm.models import Event, Profile
from tests.campaigns.flows.conftest import NOW
from tests.campaigns.flows.test_triggers import AGAIN, WAIT

BOUGHT = {"kind": "event", "name": "bought"}


def reasons(flow):
    found = Decision.objects.filter(flow=flow, kind="not_entered").order_by("profile_id", "pk")
    return list(found.values_list("profile_id", "detail__reason"))


def test_nobody_enters_before_the_flow_begins_or_after_it_is_over(world):
    people = [world.person(str(number)) for number in range(3)]
    flow = world.flow(
        [WAIT], starts_at=NOW.isoformat(), ends_at=(NOW + timedelta(days=1)).isoformat(), **AGAIN
    )
    for person, hours in zip(people, (-1, 1, 25), strict=True):
        world.happens(person, "signed_up", NOW + timedelta(hours=hours))
    world.run(hours=30)
    assert list(Enrollment.objects.values_list("profile_id", flat=True)) == [people[1]]
    assert reasons(flow) == [(people[0], "flow begins later"), (people[2], "flow is over")]


def test_who_is_held_out_gets_nothing_and_stays_held_out(world):
    people = [world.person(str(number)) for number in range(24)]
    flow = world.flow([WAIT], holdout_percent=50, **AGAIN)
    for person in people:
        world.happens(person, "signed_up")
    world.run()
    out = set(Enrollment.objects.filter(holdout=True).values_list("profile_id", flat=True))
    inside = set(Enrollment.objects.filter(state="active").values_list("profile_id", flat=True))
    assert out | inside == set(people)
    assert not out & inside
    assert 4 <= len(out) <= 20
    definition = publish.program.of_version(flow.live_version_id).definition
    assert entries.held_out("welcome", definition, people) == out
    assert entries.held_out("another", definition, people) != out
    held = Enrollment.objects.filter(holdout=True).first()
    assert (held.state, held.reason, held.step, held.due_at) == ("completed", "held out", "", None)
    told = Event.objects.filter(name="flow_entered", properties__holdout=True)
    assert set(told.values_list("profile_id", flat=True)) == out
    assert Decision.objects.filter(kind="held_out").count() == len(out)
    for person in people:
        for _time in range(2):
            world.happens(person, "signed_up")
    world.run(days=3)
    # Whoever is held out is never inside, so each event counts, whether it is read alone or with others.
    assert sorted(Enrollment.objects.filter(holdout=True).values_list("profile_id", flat=True)) == sorted(
        [*out] * 3
    )


class TestByHand:
    def test_people_enter_by_the_rules_and_are_told_why_not(self, world):
        Segment.objects.create(slug="vips", name="VIPs", rule={"any": []})
        ann, bob, eve, joe = (world.person(name) for name in ("ann", "bob", "eve", "joe"))
        Profile.objects.filter(pk__in=[ann, bob, joe]).update(country="PL")
        rule = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
        flow = world.flow([WAIT], entry=rule)
        first = enrolling.enroll(flow.pk, [ann, bob], {"source": "fair"}, by="ola", now=world.now)
        assert set(first.started) == {ann, bob}
        run = Enrollment.objects.get(pk=first.started[ann])
        assert run.context["by"] == "ola"
        assert run.context["event"]["properties"] == {"source": "fair"}
        world.run()
        Enrollment.objects.filter(profile_id=bob).update(state="completed", ended_at=world.now, due_at=None)
        again = enrolling.enroll(flow.pk, [ann, bob, eve, joe, 10**9], now=world.now)
        assert set(again.started) == {joe}
        assert again.refused == {
            ann: "inside already",
            bob: "was in it before",
            eve: "entry rule not met",
            10**9: "no such person",
        }
        assert reasons(flow) == [
            (ann, "inside already"),
            (bob, "was in it before"),
            (eve, "entry rule not met"),
        ]
        publish.pause(flow.pk)
        assert enrolling.enroll(flow.pk, [eve], now=world.now).refused == {eve: "flow is not live"}

    def test_a_key_makes_a_call_count_once(self, world):
        ann = world.person("ann")
        free = world.flow([WAIT], {"kind": "api"}, **AGAIN)
        carts = world.flow([WAIT], {"kind": "api"}, slug="carts", key="properties.cart.id")
        for _call in range(2):
            enrolling.enroll(free.pk, [ann], key="call-1", now=world.now)
            world.run()
            world.run(days=3)
            assert enrolling.enroll(carts.pk, [ann], {"cart": {"total": 3}}, key="7", now=world.now)
        assert list(Enrollment.objects.filter(flow=free).values_list("run_key", flat=True)) == [
            "enrolled:call-1"
        ]
        run = Enrollment.objects.get(flow=carts)
        assert run.run_key == "key:7"
        assert run.context["event"]["properties"] == {"cart": {"total": 3, "id": "7"}}
        refused = enrolling.enroll(carts.pk, [ann], {"cart": 3}, now=world.now).refused
        assert refused == {ann: "no run key"}

    def test_each_person_may_bring_a_context_of_their_own(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        flow = world.flow([WAIT], {"kind": "api"})
        event = {"name": "bought", "occurred_at": world.now.isoformat(), "properties": {"sku": "a"}}
        enrolling.enroll(flow.pk, [ann, bob], contexts={ann: {"event": event, "started_by": {"flow": "x"}}})
        contexts = dict(Enrollment.objects.values_list("profile_id", "context"))
        assert contexts[ann] == {"event": event, "started_by": {"flow": "x"}}
        assert contexts[bob]["event"]["properties"] == {}

    def test_what_a_caller_tells_can_stop_neither_the_reader_nor_the_engine(self, world):
        ann = world.person("ann")
        flow = world.flow([WAIT], {"kind": "api"}, exit_on=[BOUGHT])
        enrolling.enroll(flow.pk, [ann], {"event": {"occurred_at": "never"}}, now=world.now)
        assert Enrollment.objects.get().context["event"]["name"] == enrolling.NAME
        world.happens(ann, "bought")
        world.run()
        assert (Enrollment.objects.get().state, Flow.objects.get().error) == ("exited", "")
        deep: dict = {}
        for _level in range(900):
            deep = {"a": deep}
        with pytest.raises(normalise.Rejection):
            enrolling.enroll(flow.pk, [world.person("bob")], deep, now=world.now)

    def test_who_must_not_wait_is_told_that_another_process_is_at_it(self, world):
        import threading

        flow, ann = world.flow([WAIT], {"kind": "api"}), world.person("ann")
        held, done = threading.Event(), threading.Event()

        def other():
            try:
                with transaction.atomic():
                    entries.lock(flow.pk)
                    held.set()
                    done.wait(20)
            finally:
                connection.close()

        thread = threading.Thread(target=other)
        thread.start()
        try:
            assert held.wait(20)
            with pytest.raises(entries.Busy), transaction.atomic():
                enrolling.enroll(flow.pk, [ann], wait=False)
        finally:
            done.set()
            thread.join()
        assert set(enrolling.enroll(flow.pk, [ann], wait=False).started) == {ann}

    def test_the_number_of_queries_does_not_grow_with_the_people(self, world):
        flow = world.flow([WAIT], {"kind": "api"}, entry={"kind": "event", "name": "bought"})
        people = [world.person(str(number)) for number in range(12)]
        for person in people[::2]:
            world.happens(person, "bought", world.now - timedelta(days=1))
        enrolling.enroll(flow.pk, [world.person("first")], now=world.now)
        with CaptureQueriesContext(connection) as queries:
            found = enrolling.enroll(flow.pk, people, now=world.now)
        assert set(found.started) == set(people[::2])
        assert len(queries) <= 16


class TestCatchingUp:
    def caught_up(self, world, flow, days=7):
        job = catching_up.start(flow.pk, days)
        if job is not None:
            assert not catching_up.work(now=world.now)
            job.refresh_from_db()
        return job

    def test_those_who_qualify_are_let_in_in_batches_and_counted(self, world, monkeypatch):
        monkeypatch.setattr(catching_up, "BATCH", 2)
        people = [world.person(str(number)) for number in range(7)]
        for number, person in enumerate(people):
            for hours in (1, 2):
                world.happens(person, "bought", NOW - timedelta(days=number, hours=hours), n=hours)
        world.happens(people[0], "cancelled", NOW - timedelta(minutes=10))
        flow = world.flow([WAIT], "bought", exit_on=[{"name": "cancelled"}])
        definition = publish.program.of_version(flow.live_version_id).definition
        assert catching_up.number(definition, 3, world.now) == 3
        enrolling.enroll(flow.pk, [people[1]], now=world.now)
        job = self.caught_up(world, flow, days=3)
        assert (job.state, job.found, job.handled, job.entered) == (CatchUp.State.DONE, 3, 3, 2)
        assert job.refused == {"inside already": 1}
        assert not CatchUpPerson.objects.exists()
        runs = {run.profile_id: run for run in Enrollment.objects.filter(flow=flow)}
        assert set(runs) == set(people[:3])
        assert runs[people[2]].context["event"]["properties"] == {"n": 1}  # the latest of theirs
        assert runs[people[0]].state == "exited"
        assert catching_up.progress(flow.pk).entered == 2

    def test_with_run_keys_each_key_counts(self, world):
        ann = world.person("ann")
        for cart in ("a", "b", "a"):
            world.happens(ann, "bought", NOW - timedelta(hours=1), cart=cart)
        flow = world.flow([WAIT], "bought", key="properties.cart")
        self.caught_up(world, flow)
        assert set(Enrollment.objects.values_list("run_key", flat=True)) == {"key:a", "key:b"}

    def test_members_of_a_segment_and_holders_of_a_value_qualify_now(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        segment = Segment.objects.create(slug="vips", name="VIPs")
        SegmentMembership.objects.create(segment=segment, profile_id=ann, entered_at=NOW - timedelta(days=99))
        Profile.objects.filter(pk=bob).update(attributes={"plan": "pro"})
        members = world.flow([WAIT], {"kind": "segment", "segment": "vips"}, slug="members")
        pros = world.flow(
            [WAIT], {"kind": "attribute", "field": "attributes.plan", "to": ["pro"]}, slug="pros"
        )
        for flow in (members, pros):
            self.caught_up(world, flow)
        assert dict(Enrollment.objects.values_list("profile_id", "flow__slug")) == {
            ann: "members",
            bob: "pros",
        }

    def test_dates_that_have_just_passed_qualify_and_those_of_events_that_are_to_come(self, world):
        ann, bob, eve = (world.person(name) for name in ("ann", "bob", "eve"))
        Profile.objects.filter(pk=ann).update(birthday="1990-05-02")
        Profile.objects.filter(pk=bob).update(birthday="1990-04-01")
        birthdays = world.flow(
            [WAIT], {"kind": "date", "field": "birthday", "yearly": True, "at": "09:00"}, slug="b", **AGAIN
        )
        booked = world.flow([WAIT], {"kind": "date", "event": "booked", "property": "when"}, slug="c")
        definition = publish.program.of_version(birthdays.live_version_id).definition
        assert catching_up.number(definition, 7, world.now) == 1
        for person, days in ((bob, 3), (eve, -1)):
            at = (NOW + timedelta(days=days)).isoformat()
            world.happens(person, "booked", NOW - timedelta(days=2), when=at)
        for flow in (birthdays, booked):
            self.caught_up(world, flow)
        assert dict(Enrollment.objects.values_list("profile_id", "run_key")) == {
            ann: "date:2026",
            bob: "once",
        }
        assert Enrollment.objects.get(profile_id=bob).due_at == NOW + timedelta(days=3)

    def test_a_schedule_and_a_flow_by_hand_have_nobody_to_catch_up_with(self, world):
        flow = world.flow([WAIT], {"kind": "api"})
        assert catching_up.number(publish.program.of_version(flow.live_version_id).definition, 7) == 0
        assert self.caught_up(world, flow) is None

    def test_it_ends_with_the_flow(self, world):
        flow = world.flow([WAIT], "bought")
        world.happens(world.person("ann"), "bought", NOW - timedelta(hours=1))
        job = catching_up.start(flow.pk, 7)
        publish.stop(flow.pk)
        catching_up.work(now=world.now)
        job.refresh_from_db()
        assert job.state == CatchUp.State.ENDED
        assert not Enrollment.objects.exists()
        assert Flow.objects.get(pk=flow.pk).state == "stopped"


def test_a_trigger_that_names_no_kind_means_an_event(world):
    """Flows have been published so."""
    ann = world.person("ann")
    world.flow([WAIT], {"name": "signed_up"})
    world.happens(ann, "signed_up")
    world.run()
    assert Enrollment.objects.get().profile_id == ann
