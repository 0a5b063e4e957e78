"""Somebody whose run can't be read or stored holds up nobody else; and a run ends once, whoever ends it."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from campaigns.flows import engine, entering, steps, troubles
from campaigns.flows.steps.base import go_on
from campaigns.models import Decision, Enrollment, Flow
from crm.models import Alert
from tests.campaigns.flows.conftest import NOW
from tests.crm.concurrently import until_readable

HELLO = {"key": "m", "kind": "message", "config": {"message": "hello"}}
WAIT = {"key": "w", "kind": "wait", "config": {"amount": 1, "unit": "hours"}}


@pytest.fixture
def crowd(world):
    """Nine people who wait in one flow, and one in another."""
    for slug, trigger in (("many", "signed_up"), ("one", "looked")):
        world.flow([WAIT, {**HELLO, "key": f"m_{slug}"}], slug=slug, trigger=trigger)
    people = [world.person(f"p{number}") for number in range(9)]
    for person in people:
        world.happens(person, "signed_up")
    world.happens(people[0], "looked")
    world.run()
    return people


def state_of(person, flow="many"):
    return Enrollment.objects.get(flow__slug=flow, profile_id=person)


def test_who_cannot_be_read_is_set_aside_shown_and_goes_on_when_mended(world, crowd):
    broken = state_of(crowd[4])
    Enrollment.objects.filter(pk=broken.pk).update(context=["no", "object"])
    world.run(hours=1)

    assert Enrollment.objects.filter(state="completed").count() == 9
    held = state_of(crowd[4])
    assert (held.state, held.step) == ("active", "w")
    assert held.step_state["error"]
    assert held.due_at == world.now + engine.RETRY_AFTER
    assert Decision.objects.get(kind="error").enrollment_id == broken.pk
    flow = Flow.objects.get(slug="many")
    assert flow.error == "w: ValidationError"
    assert "many" in Alert.objects.get(resolved_at=None).title

    Enrollment.objects.filter(pk=broken.pk).update(context=broken.context)
    assert troubles.retry(flow.pk, world.now) == 1
    world.run()
    flow.refresh_from_db()
    assert (state_of(crowd[4]).state, flow.error) == ("completed", "")


def test_who_cannot_be_stored_is_set_aside(world, crowd, monkeypatch):
    real = steps.registry["wait"].run

    def run(step, people, now):
        found = real(step, people, now)
        return found | {
            person.enrollment_id: go_on(note="\0") for person in people if person.profile_id == crowd[7]
        }

    monkeypatch.setattr(steps.registry["wait"], "run", run)
    world.run(hours=1)

    assert Enrollment.objects.filter(state="completed").count() == 9
    assert state_of(crowd[7]).step == "w"


def test_an_error_of_a_library_is_told_by_its_kind_only():
    assert troubles.reason(ValueError("ann@example.com")) == "ValueError"
    assert troubles.reason(Flow.DoesNotExist("no such flow")) == "no such flow"


def test_a_goal_reached_while_the_engine_ends_the_run_ends_it_once(world):
    goal = {"name": "bought", "within_days": 7, "exit": True}
    world.flow([WAIT], goal=goal)
    ann = world.person("ann")
    world.happens(ann, "signed_up")
    world.run()
    ending, go = threading.Event(), threading.Event()

    def end():
        with transaction.atomic():
            Enrollment.objects.update(state="exited", reason="exit rule", due_at=None, ended_at=NOW)
            ending.set()
            go.wait(60)
        connection.close()

    world.happens(ann, "bought")
    until_readable()
    other = threading.Thread(target=end)
    other.start()
    ending.wait(60)
    threading.Timer(0.3, go.set).start()
    world.run()
    other.join()

    run = Enrollment.objects.get()
    assert (run.state, run.reason, run.converted_at) == ("exited", "exit rule", world.now)
    assert "exited" not in Decision.objects.values_list("kind", flat=True)
    assert "flow_exited" not in world.names(ann)


@pytest.mark.parametrize("parts", [{"reentry": {"mode": "always"}}, {"key": "properties.cart"}])
def test_who_enters_again_and_again_is_stopped_for_the_hour_and_it_is_told(world, settings, parts):
    """As by two flows each of which writes what starts the other."""
    settings.NUDGE_FLOW_ENTRIES_PER_HOUR = 3
    world.flow([HELLO], slug="looping", **parts)
    ann, bob = world.person("ann"), world.person("bob")
    for turn in range(5):
        world.happens(ann, "signed_up", cart=turn)
        world.run(minutes=1)
    world.happens(bob, "signed_up", cart=1)
    world.run()
    assert Enrollment.objects.filter(profile_id=ann).count() == 3
    assert Enrollment.objects.filter(profile_id=bob).count() == 1
    assert "looping" in Alert.objects.get(resolved_at=None).title

    world.happens(ann, "signed_up", cart=9)
    world.run(hours=1)
    assert Enrollment.objects.filter(profile_id=ann).count() == 4

    told = Alert.objects.get()
    for after, left in ((59, 1), (61, 0)):
        entering.forget_loops(told.last_at + timedelta(minutes=after))
        assert Alert.objects.filter(resolved_at=None).count() == left
