"""What one broken flow, one removed person or one edit must not do to everybody else."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns.flows import claiming, engine, guards, program, publish, reading, steps, troubles
from campaigns.flows.steps.base import go_on
from campaigns.models import Enrollment, Flow, FlowVersion, Segment
from crm import identity
from crm.models import Alert, Profile
from delivery.models import Delivery
from tests.campaigns.flows.test_engine import BOUGHT, HELLO, WAIT
from tests.reading import settle

PURCHASE = [{"kind": "event", "name": "purchase"}]


@pytest.fixture(autouse=True)
def _programs_forgotten():
    program.of_version.cache_clear()


class TestReadingTheLog:
    def test_an_event_of_somebody_who_was_removed_holds_up_nobody(self, world):
        gone, bob = world.person("gone"), world.person("bob")
        world.flow([WAIT], entry=BOUGHT)
        world.flow([WAIT], slug="open")
        world.happens(gone, "signed_up")
        world.happens(bob, "signed_up")
        Profile.objects.filter(pk=gone).delete()
        world.run()
        assert list(Enrollment.objects.values_list("flow__slug", "profile_id")) == [("open", bob)]

    def test_somebody_merged_while_the_batch_is_read_enters_as_who_they_are_now(self, world, monkeypatch):
        visitor = identity.resolve([identity.Reference(anonymous_id="a")], world.now)[0]
        ann = world.person("ann")
        world.flow([WAIT])
        world.happens(visitor, "signed_up")
        settle()
        real = reading.log._next_rows

        def merged_meanwhile(*args):
            found = real(*args)
            # As if another connection had merged and committed right after the rows were read.
            identity.merge([(visitor, ann)], "identified", world.now)
            return found

        monkeypatch.setattr(reading.log, "_next_rows", merged_meanwhile)
        reading.read(world.now)
        assert Enrollment.objects.get().profile_id == ann

    @pytest.mark.parametrize("how", ["entry", "version"])
    def test_a_flow_that_cannot_be_asked_harms_no_other_and_catches_up_when_mended(self, world, how):
        ann = world.person("ann")
        segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
        broken = world.flow([WAIT], slug="broken", entry={"kind": "segment", "slug": "all"})
        world.flow([WAIT], slug="fine")
        good = broken.live_version.definition
        if how == "entry":
            Segment.objects.filter(pk=segment.pk).update(slug="renamed")
        else:
            FlowVersion.objects.filter(flow=broken).update(definition={"unheard": "of"})
            program.of_version.cache_clear()
        world.happens(ann, "signed_up")
        world.run()
        assert list(Enrollment.objects.values_list("flow__slug", flat=True)) == ["fine"]
        assert Flow.objects.get(slug="broken").error
        assert Alert.objects.get(resolved_at=None)
        bob = world.person("bob")
        world.happens(bob, "signed_up")
        world.run()
        assert Enrollment.objects.count() == 2

        Segment.objects.filter(pk=segment.pk).update(slug="all")
        FlowVersion.objects.filter(flow=broken).update(definition=good)
        program.of_version.cache_clear()
        world.run(minutes=2)
        assert set(Enrollment.objects.filter(flow=broken).values_list("profile_id", flat=True)) == {ann, bob}
        world.run()
        assert Enrollment.objects.count() == 4
        assert Flow.objects.get(slug="broken").error == ""
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_the_event_that_starts_a_run_does_not_end_it(self, world):
        ann = world.person("ann")
        world.flow([WAIT], trigger="purchase", exit_on=PURCHASE)
        world.happens(ann, "purchase")
        world.run()
        assert Enrollment.objects.get().state == "active"
        world.run(minutes=1)
        world.happens(ann, "purchase")
        world.run()
        assert Enrollment.objects.get().state == "exited"

    def test_an_exit_event_that_arrived_before_the_late_trigger_ends_the_run(self, world):
        ann = world.person("ann")
        world.flow([WAIT], exit_on=PURCHASE)
        world.happens(ann, "purchase")
        world.run()
        world.happens(ann, "signed_up", at=world.now - timedelta(minutes=1))
        world.run()
        assert Enrollment.objects.get().state == "exited"

    def test_whoever_left_and_came_back_within_one_batch_is_inside_again(self, world):
        ann = world.person("ann")
        world.flow([WAIT], exit_on=PURCHASE, reentry={"mode": "always"})
        for name in ("signed_up", "signed_up", "purchase", "signed_up"):
            world.now += timedelta(seconds=1)
            world.happens(ann, name)
        world.run()
        assert sorted(Enrollment.objects.values_list("state", flat=True)) == ["active", "exited"]

    def test_never_again_counts_the_runs_from_before_the_rule_was_changed(self, world):
        ann = world.person("ann")
        flow = world.flow([HELLO], reentry={"mode": "always"})
        world.happens(ann, "signed_up")
        world.run()
        Flow.objects.filter(pk=flow.pk).update(draft={**flow.draft, "reentry": {"mode": "never"}})
        publish.publish(flow.pk, now=world.now)
        world.now += timedelta(minutes=1)
        world.happens(ann, "signed_up")
        world.run()
        assert Enrollment.objects.count() == 1


class TestPausing:
    def test_an_exit_event_during_a_pause_counts(self, world):
        ann = world.person("ann")
        flow = world.flow(
            [WAIT, HELLO],
            exit_on=[{**PURCHASE[0], "where": [{"property": "total", "op": "gte", "value": 5}]}],
        )
        world.happens(ann, "signed_up")
        world.run()
        publish.pause(flow.pk)
        world.now += timedelta(minutes=5)
        world.happens(ann, "purchase", total=7)
        world.run()
        publish.resume(flow.pk, world.now)
        world.run(hours=3)
        assert Enrollment.objects.get().reason == "purchase"
        assert not Delivery.objects.exists()

    def test_messages_of_a_paused_flow_wait_and_those_of_a_stopped_one_are_dropped(self, world):
        ann = world.person("ann")
        flow = world.flow([HELLO])
        world.happens(ann, "signed_up")
        world.run()
        assert not guards.hold_back(list(Delivery.objects.all()), world.now)
        publish.pause(flow.pk)
        [verdict] = guards.hold_back(list(Delivery.objects.all()), world.now).values()
        assert (verdict.state, verdict.reason) == ("deferred", "flow paused")
        publish.resume(flow.pk, world.now)
        assert not guards.hold_back(list(Delivery.objects.all()), world.now)
        publish.stop(flow.pk, world.now)
        [verdict] = guards.hold_back(list(Delivery.objects.all()), world.now).values()
        assert (verdict.state, verdict.reason) == ("suppressed", "exit: flow stopped")

    def test_due_people_of_a_paused_flow_cost_the_others_nothing(self, world):
        flow = world.flow([WAIT])
        version = flow.live_version_id
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO crm_profile (first_seen, last_seen, attributes, created_at, updated_at) "
                "SELECT now(), now(), '{}', now(), now() FROM generate_series(1, 20000)"
            )
            cursor.execute(
                "INSERT INTO campaigns_enrollment (flow_id, version_id, profile_id, run_key, state, step, due_at,"
                " entered_at) SELECT %s, %s, id, 'once', 'active', 'w', %s, %s FROM crm_profile",
                [flow.pk, version, world.now, world.now],
            )
            cursor.execute("ANALYZE campaigns_enrollment")
        publish.pause(flow.pk)
        world.flow([WAIT], slug="other")
        world.happens(world.person("ann"), "signed_up")
        settle()
        reading.read(world.now)
        with transaction.atomic(), CaptureQueriesContext(connection) as captured:
            assert len(claiming.claim(world.now, 100)) == 1
        [claim] = [query["sql"] for query in captured if "SKIP LOCKED" in query["sql"]]
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + claim)
            [(plan,)] = cursor.fetchall()
        plan = json.loads(plan) if isinstance(plan, str) else plan
        assert max(_rows(plan[0]["Plan"])) < 100


def _rows(node):
    """How many rows each part of a plan looked at."""
    looked_at = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    yield sum(node.get(name, 0) for name in looked_at) * node.get("Actual Loops", 1)
    for child in node.get("Plans", []):
        yield from _rows(child)


class TestPublishing:
    def test_whoever_is_inside_keeps_the_exits_of_their_version(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        flow = world.flow([WAIT, HELLO], exit_on=PURCHASE)
        world.happens(ann, "signed_up")
        world.run()
        Flow.objects.filter(pk=flow.pk).update(
            draft={**flow.draft, "exit_on": [{"kind": "event", "name": "refund"}]}
        )
        publish.publish(flow.pk, now=world.now)
        world.now += timedelta(minutes=1)
        world.happens(bob, "signed_up")
        world.run()
        world.now += timedelta(minutes=1)
        for person in (ann, bob):
            world.happens(person, "purchase")
        world.run()
        assert dict(Enrollment.objects.values_list("profile_id", "state")) == {ann: "exited", bob: "active"}

    def test_publishing_again_loses_nobody_whose_event_was_still_unread(self, world):
        ann = world.person("ann")
        flow = world.flow([WAIT])
        world.happens(ann, "signed_up", at=world.now - timedelta(seconds=1))
        publish.publish(flow.pk, now=world.now)
        world.run()
        assert Enrollment.objects.get().profile_id == ann


class TestMovingOn:
    def test_a_broken_version_holds_only_its_own_people(self, world):
        ann = world.person("ann")
        broken = world.flow([WAIT, HELLO], slug="broken")
        world.flow([WAIT, {**HELLO, "key": "fine"}], slug="fine")
        world.happens(ann, "signed_up")
        world.run()
        good = broken.live_version.definition
        FlowVersion.objects.filter(flow=broken).update(definition={"unheard": "of"})
        program.of_version.cache_clear()
        world.run(hours=2)
        assert [delivery.origin_step for delivery in Delivery.objects.all()] == ["fine"]
        FlowVersion.objects.filter(flow=broken).update(definition=good)
        program.of_version.cache_clear()
        world.run(minutes=10)
        assert {delivery.origin_step for delivery in Delivery.objects.all()} == {"fine", "m"}
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_one_person_whom_a_step_cannot_handle_holds_up_nobody(self, world, monkeypatch):
        people = [world.person(f"p{number}") for number in range(40)]
        world.flow([HELLO])
        for person in people:
            world.happens(person, "signed_up")
        real = steps.registry["message"].run

        def fails_for_one(step, batch, now):
            if any(person.profile_id == people[17] for person in batch):
                raise RuntimeError("boom")
            return real(step, batch, now)

        monkeypatch.setattr(steps.registry["message"], "run", fails_for_one)
        world.run()
        assert Delivery.objects.count() == 39
        assert Enrollment.objects.get(state="active").profile_id == people[17]
        assert Alert.objects.filter(resolved_at=None).count() == 1

    def test_a_step_that_fails_for_everybody_is_given_up_soon_and_goes_on_when_mended(
        self, world, monkeypatch
    ):
        people = [world.person(f"p{number}") for number in range(100)]
        flow = world.flow([HELLO], slug="broken")
        world.flow([{**HELLO, "key": "fine"}], slug="fine", trigger="looked")
        for person in people:
            world.happens(person, "signed_up")
        world.happens(people[0], "looked")
        asked = []
        real = steps.registry["message"].run

        def fails(step, batch, now):
            if step.key != "fine":
                asked.append(len(batch))
                raise RuntimeError("of ann@example.com")
            return real(step, batch, now)

        monkeypatch.setattr(steps.registry["message"], "run", fails)
        world.run()
        assert len(asked) == engine.HOPELESS_TRIES
        assert Delivery.objects.get().origin_step == "fine"
        flow.refresh_from_db()
        assert flow.error == "m: RuntimeError"
        monkeypatch.undo()
        assert troubles.retry(flow.pk, world.now) == 100
        world.run()
        flow.refresh_from_db()
        assert (flow.error, Delivery.objects.filter(origin_step="m").count()) == ("", 100)
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_what_flows_with_few_people_leave_of_a_batch_goes_to_those_with_many(self, world):
        world.flow([HELLO], slug="big")
        for number in range(40):
            world.happens(world.person(f"p{number}"), "signed_up")
        for number in range(5):
            world.flow([HELLO], slug=f"small{number}", trigger=f"looked{number}")
            world.happens(world.person("ann"), f"looked{number}")
        settle()
        reading.read(world.now)
        assert engine.advance(world.now, limit=30) == 30
        assert Delivery.objects.filter(profile_id=world.person("ann")).count() == 5

    def test_more_flows_than_fit_take_turns(self, world, monkeypatch):
        monkeypatch.setattr(claiming, "AT_ONCE", 4)
        for number in range(10):
            world.flow([HELLO], slug=f"f{number}")
        world.happens(world.person("ann"), "signed_up")
        settle()
        reading.read(world.now)
        assert [engine.advance(world.now) for _turn in range(4)] == [4, 4, 2, 0]

    def test_a_failing_step_keeps_what_it_had_noted(self, world, monkeypatch):
        world.flow([WAIT])
        world.happens(world.person("ann"), "signed_up")
        world.run()
        until = Enrollment.objects.get().due_at
        monkeypatch.setattr(steps.registry["wait"], "run", lambda *args: 1 / 0)
        world.run(hours=2)
        monkeypatch.undo()
        world.run(minutes=6)
        run = Enrollment.objects.get()
        assert (run.state, until) == ("completed", world.now - timedelta(minutes=6))

    def test_a_branch_that_is_not_there_is_a_failure_of_that_step(self, world, monkeypatch):
        world.flow([WAIT], slug="broken")
        world.flow([{**HELLO, "key": "fine"}], slug="fine")
        monkeypatch.setattr(
            steps.registry["wait"],
            "run",
            lambda step, people, now: {person.enrollment_id: go_on(branch=7) for person in people},
        )
        world.happens(world.person("ann"), "signed_up")
        world.run()
        assert Delivery.objects.count() == 1
        assert Flow.objects.get(slug="broken").error

    def test_a_flow_with_a_backlog_lets_the_others_take_their_turn(self, world):
        flow = world.flow([WAIT], slug="big")
        for number in range(60):
            world.happens(world.person(f"p{number}"), "signed_up")
        world.run()
        world.flow([{**HELLO, "key": "small"}], trigger="looked", slug="small")
        world.now += timedelta(hours=3)
        world.happens(world.person("ann"), "looked")
        settle()
        reading.read(world.now)
        engine.advance(world.now, limit=20)
        assert Delivery.objects.count() == 1
        assert Enrollment.objects.filter(flow=flow, state="completed").count() == 10


class TestGuard:
    def test_an_order_of_one_cart_does_not_stop_the_message_about_the_other(self, world):
        ann = world.person("ann")
        world.flow([HELLO], trigger="cart_updated", key="properties.cart_id", exit_on=PURCHASE)
        for cart in ("a", "b"):
            world.happens(ann, "cart_updated", cart_id=cart)
        world.run()
        world.happens(ann, "purchase", cart_id="a", at=world.now + timedelta(minutes=1))
        verdicts = guards.hold_back(list(Delivery.objects.all()), world.now)
        stopped = {Delivery.objects.get(pk=pk).cause.split(":")[1] for pk in verdicts}
        assert stopped == {str(Enrollment.objects.get(run_key="key:a").pk)}

    def test_an_exit_event_is_asked_for_its_properties(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        where = [{"property": "total", "op": "gte", "value": 50}]
        world.flow([HELLO], exit_on=[{**PURCHASE[0], "where": where}])
        for person, total in ((ann, 60), (bob, 40)):
            world.happens(person, "signed_up")
            world.run()
            world.happens(person, "purchase", total=total, at=world.now + timedelta(minutes=1))
        verdicts = guards.hold_back(list(Delivery.objects.all()), world.now)
        assert [Delivery.objects.get(pk=pk).profile_id for pk in verdicts] == [ann]

    def test_a_run_that_is_gone_sends_nothing(self, world):
        ann = world.person("ann")
        world.flow([HELLO])
        world.happens(ann, "signed_up")
        world.run()
        Enrollment.objects.all().delete()
        [verdict] = guards.hold_back(list(Delivery.objects.all()), world.now).values()
        assert verdict.state == "suppressed"

    def test_a_broken_version_holds_back_only_its_own_messages(self, world):
        ann = world.person("ann")
        broken = world.flow([HELLO], slug="broken", exit_on=PURCHASE)
        world.flow([{**HELLO, "key": "fine"}], slug="fine", exit_on=PURCHASE)
        world.happens(ann, "signed_up")
        world.run()
        FlowVersion.objects.filter(flow=broken).update(definition={"unheard": "of"})
        program.of_version.cache_clear()
        [verdict] = guards.hold_back(list(Delivery.objects.all()), world.now).values()
        assert verdict.state == "deferred"


class TestMerging:
    def test_two_visitors_who_turn_out_to_be_one_person_merge_in_one_go(self, world):
        ann = world.person("ann")
        visitors = identity.resolve(
            [identity.Reference(anonymous_id="a"), identity.Reference(anonymous_id="b")], world.now
        )
        segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
        world.flow([WAIT, HELLO])
        world.flow([WAIT, HELLO], slug="again", reentry={"mode": "always"})
        for visitor in visitors:
            segment.memberships.create(profile_id=visitor, entered_at=world.now)
            world.happens(visitor, "signed_up")
        world.run()
        identity.merge([(visitor, ann) for visitor in visitors], "identified", world.now)
        assert segment.memberships.get().profile_id == ann
        assert Enrollment.objects.filter(flow__slug="welcome").count() == 1
        assert Enrollment.objects.filter(flow__slug="again", state="active").count() == 1
        world.run(hours=3)
        assert list(Delivery.objects.values_list("profile_id", flat=True)) == [ann, ann]
