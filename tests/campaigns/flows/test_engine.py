from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.flows import engine, guards, people, publish, reading
from campaigns.flows.definition import DefinitionError
from campaigns.models import Decision, Enrollment, Flow
from crm.models import Alert, LogCursor
from delivery.models import Delivery
from tests.reading import settle

WAIT = {"key": "w", "kind": "wait", "config": {"amount": 2, "unit": "hours"}}
HELLO = {"key": "m", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}
EXIT = {"key": "x", "kind": "exit", "config": {"reason": "has bought"}}


def split(*branches, key="s"):
    return {
        "key": key,
        "kind": "split",
        "config": {"name": "Bought?"},
        "branches": [
            {"name": name, "steps": steps, **({"rule": rule} if rule else {})}
            for name, rule, steps in branches
        ],
    }


BOUGHT = {"kind": "event", "name": "purchase"}


def test_a_person_waits_and_then_gets_the_message(world):
    ann, bob = world.person("ann"), world.person("bob")
    flow = world.flow([WAIT, HELLO])
    world.happens(ann, "signed_up", plan="vip")
    world.happens(bob, "looked")
    world.run()
    run = Enrollment.objects.get()
    assert (run.profile_id, run.step, run.due_at) == (ann, "w", world.now + timedelta(hours=2))
    world.run(hours=1, minutes=59)
    assert not Delivery.objects.exists()
    world.run(minutes=1)
    delivery = Delivery.objects.get()
    assert (delivery.profile_id, delivery.origin_id, delivery.origin_step) == (ann, flow.pk, "m")
    assert delivery.context["event"]["properties"] == {"plan": "vip"}
    run.refresh_from_db()
    assert (run.state, run.ended_at) == ("completed", world.now)
    assert world.names(ann) == ["signed_up", "flow_entered", "flow_completed"]
    assert world.names(bob) == ["looked"]
    kinds = list(Decision.objects.filter(profile_id=ann).order_by("pk").values_list("kind", flat=True))
    assert kinds == ["entered", "wait:wait", "wait:go_on", "message:go_on"]


def test_a_split_sends_people_different_ways_and_they_meet_again(world):
    ann, bob = world.person("ann"), world.person("bob")
    world.flow([split(("bought", BOUGHT, [EXIT]), ("else", None, [{**WAIT, "key": "w2"}])), HELLO])
    world.happens(ann, "purchase", at=world.now - timedelta(days=1))
    for person in (ann, bob):
        world.happens(person, "signed_up")
    world.run()
    assert Enrollment.objects.get(profile_id=ann).reason == "has bought"
    assert Enrollment.objects.get(profile_id=bob).step == "w2"
    world.run(hours=3)
    assert [delivery.profile_id for delivery in Delivery.objects.all()] == [bob]
    counts = people.step_counts(Flow.objects.get())
    assert counts["s"].branches == {"bought": 1, "else": 1}
    assert (counts["s"].reached, counts["w2"].reached, counts["w2"].here, counts["m"].reached) == (2, 1, 0, 1)


def test_the_same_person_enters_once_unless_the_flow_says_otherwise(world):
    ann = world.person("ann")
    world.flow([WAIT])
    world.flow([WAIT], slug="again", reentry={"mode": "always"})
    world.flow([WAIT], slug="monthly", reentry={"mode": "after", "days": 30})
    for hours in (0, 3, 24, 24 * 31):
        world.run(hours=hours)
        world.happens(ann, "signed_up")
        world.run()
    runs = dict.fromkeys(("welcome", "again", "monthly"), 0)
    for slug in Enrollment.objects.values_list("flow__slug", flat=True):
        runs[slug] += 1
    assert runs == {"welcome": 1, "again": 4, "monthly": 2}


def test_two_carts_run_side_by_side_and_an_order_ends_only_its_own(world):
    ann = world.person("ann")
    world.flow(
        [WAIT, HELLO],
        trigger="cart_updated",
        key="properties.cart_id",
        exit_on=[{"kind": "event", "name": "purchase"}],
    )
    for cart in ("a", "b", "a"):
        world.happens(ann, "cart_updated", cart_id=cart)
    world.happens(ann, "cart_updated")
    world.run()
    assert sorted(Enrollment.objects.values_list("run_key", flat=True)) == ["key:a", "key:b"]
    world.now += timedelta(minutes=5)
    world.happens(ann, "purchase", cart_id="a")
    world.run()
    assert dict(Enrollment.objects.values_list("run_key", "state")) == {"key:a": "exited", "key:b": "active"}


def test_an_order_that_came_before_the_cart_does_not_end_the_run(world):
    ann = world.person("ann")
    world.flow([WAIT], trigger="cart_updated", exit_on=[{"kind": "event", "name": "purchase"}])
    world.happens(ann, "cart_updated")
    world.happens(ann, "purchase", at=world.now - timedelta(minutes=1))
    world.run()
    assert Enrollment.objects.get().state == "active"


def test_an_order_while_the_message_waits_to_be_sent_stops_it(world):
    ann, bob = world.person("ann"), world.person("bob")
    world.flow([HELLO], trigger="cart_updated", exit_on=[{"kind": "event", "name": "purchase"}])
    for person in (ann, bob):
        world.happens(person, "cart_updated")
    world.run()
    assert set(Enrollment.objects.values_list("state", flat=True)) == {"completed"}
    world.happens(ann, "purchase", at=world.now + timedelta(minutes=1))
    verdicts = guards.hold_back(list(Delivery.objects.all()), world.now)
    assert {Delivery.objects.get(pk=pk).profile_id: verdict.reason for pk, verdict in verdicts.items()} == {
        ann: "exit: purchase"
    }


def test_property_filters_and_entry_rules_keep_people_out(world):
    ann, bob, eve = world.person("ann"), world.person("bob"), world.person("eve")
    world.flow(
        [WAIT],
        trigger={"kind": "event", "name": "cart", "where": [{"property": "total", "op": "gte", "value": 50}]},
        entry={"kind": "event", "name": "purchase"},
    )
    world.happens(ann, "purchase")
    world.happens(ann, "cart", total=50)
    world.happens(eve, "cart", total=80)
    world.happens(bob, "purchase")
    world.happens(bob, "cart", total=49.99)
    world.happens(bob, "cart", total="80")
    world.run()
    assert list(Enrollment.objects.values_list("profile_id", flat=True)) == [ann]
    assert Decision.objects.get(profile_id=eve).detail["reason"] == "entry rule not met"


def test_a_pause_holds_everybody_in_place(world):
    ann, bob = world.person("ann"), world.person("bob")
    flow = world.flow([WAIT, HELLO])
    world.happens(ann, "signed_up")
    world.run()
    publish.pause(flow.pk)
    world.happens(bob, "signed_up")
    world.run(hours=5)
    assert not Delivery.objects.exists()
    publish.resume(flow.pk)
    world.run()
    assert [d.profile_id for d in Delivery.objects.all()] == [ann]
    with pytest.raises(publish.StateError):
        publish.resume(flow.pk)


def test_stopping_ends_all_runs_and_their_unsent_messages(world):
    ann = world.person("ann")
    flow = world.flow([HELLO, WAIT])
    world.happens(ann, "signed_up")
    world.run()
    assert publish.stop(flow.pk, world.now) == 1
    [verdict] = guards.hold_back(list(Delivery.objects.all()), world.now).values()
    assert verdict.reason == "exit: flow stopped"


def test_whoever_is_inside_finishes_the_version_they_entered(world):
    ann, bob = world.person("ann"), world.person("bob")
    flow = world.flow([WAIT, HELLO])
    world.happens(ann, "signed_up")
    world.run()
    Flow.objects.filter(pk=flow.pk).update(draft={**flow.draft, "steps": [{**WAIT, "key": "other"}]})
    publish.publish(flow.pk, now=world.now - timedelta(days=1000))
    world.happens(bob, "signed_up")
    world.run(hours=3)
    assert [delivery.profile_id for delivery in Delivery.objects.all()] == [ann]


def test_a_step_that_fails_keeps_its_people_and_harms_nobody_else(world, monkeypatch):
    ann = world.person("ann")
    broken = world.flow([WAIT, HELLO], slug="broken")
    world.flow([WAIT, {**HELLO, "key": "fine"}], slug="fine")
    world.happens(ann, "signed_up")
    world.run()
    real = engine.steps.registry["message"].run

    def fails_for_one_flow(step, batch, now):
        if batch[0].flow_id == broken.pk:
            raise RuntimeError("boom")
        return real(step, batch, now)

    monkeypatch.setattr(engine.steps.registry["message"], "run", fails_for_one_flow)
    world.run(hours=2)
    assert [delivery.origin_step for delivery in Delivery.objects.all()] == ["fine"]
    assert "RuntimeError" in Alert.objects.get(resolved_at=None).detail
    monkeypatch.undo()
    world.run(minutes=6)
    assert Delivery.objects.count() == 2
    assert not Alert.objects.filter(resolved_at=None).exists()
    broken.refresh_from_db()
    assert broken.error == ""


def test_a_crash_while_reading_starts_nobody_twice_or_never(world, monkeypatch):
    ann = world.person("ann")
    world.flow([WAIT])
    world.happens(ann, "signed_up")
    settle()

    def killed(*args):
        raise SystemExit

    monkeypatch.setattr(reading.leaving, "leave", killed)
    with pytest.raises(SystemExit):
        reading.read(world.now)
    assert not Enrollment.objects.exists()
    assert not LogCursor.objects.exclude(txid=0).exists()
    monkeypatch.undo()
    world.run()
    world.run()
    assert Enrollment.objects.count() == 1


def test_a_batch_takes_as_many_queries_as_a_person(world):
    def queries(people: int, tag: str) -> int:
        for number in range(people):
            world.happens(world.person(f"{tag}{number}"), "signed_up")
        settle()
        with CaptureQueriesContext(connection) as captured:
            reading.read(world.now)
            engine.advance(world.now)
        return len(captured)

    world.flow([split(("bought", BOUGHT, []), ("else", None, [HELLO])), WAIT])
    queries(1, "warm")
    assert queries(1, "a") == queries(60, "b")
    assert Enrollment.objects.count() == 62


def test_a_draft_that_cannot_run_is_not_published(world):
    flow = Flow.objects.create(
        slug="bad",
        name="Bad",
        draft={
            "steps": [
                {"key": "a", "kind": "wait", "config": {"amount": 0}},
                {"key": "a", "kind": "message", "config": {"message": "gone"}},
                {"key": "b", "kind": "jump"},
                {
                    "key": "c",
                    "kind": "split",
                    "branches": [{"name": "x", "rule": {"kind": "event", "name": ""}}],
                },
            ]
        },
    )
    with pytest.raises(DefinitionError) as error:
        publish.publish(flow.pk)
    paths = [path for path, _ in error.value.problems]
    assert paths == ["trigger", "a.amount", "a", "a.message", "b", "c"]
    assert not flow.versions.exists()
