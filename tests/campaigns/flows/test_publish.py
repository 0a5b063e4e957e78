"""The life of a flow: versions, people who move to them, a second person's yes, and the ways to end it."""

import threading
from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.flows import editing, ending, engine, jobs, moving, program, publish
from campaigns.flows.definition import Branch, Definition, DefinitionError, Step
from campaigns.models import (
    Decision,
    Enrollment,
    Flow,
    FlowJob,
    FlowVersion,
)
from crm import log
from crm.models import Alert, AuditEntry, Event, Profile
from delivery.models import Delivery
from tests.campaigns.flows.conftest import NOW

WAIT = {"key": "w1", "kind": "wait", "config": {"amount": 2, "unit": "days"}}
HELLO = {"key": "m1", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}
LATER = {"key": "w2", "kind": "wait", "config": {"amount": 3, "unit": "days"}}
AGAIN = {"key": "m2", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}


def person(number: int = 1, *permissions: str) -> User:
    user = User.objects.create_user(f"user {number}")
    for codename in permissions:
        user.user_permissions.add(Permission.objects.get(codename=codename))
    return user


def enter(world, *names: str) -> list[int]:
    people = [world.person(name) for name in names]
    for each in people:
        world.happens(each, "signed_up")
    world.run()
    return people


def edit(flow: Flow, steps: list[dict], **parts) -> Flow:
    flow.refresh_from_db()
    return editing.save(flow.pk, flow.revision, lambda draft: {**draft, "steps": steps, **parts})


def run_of(person_id: int) -> Enrollment:
    return Enrollment.objects.select_related("version").get(profile_id=person_id)


def kinds(person_id: int) -> list[str]:
    return list(Decision.objects.filter(profile_id=person_id).order_by("pk").values_list("kind", flat=True))


class TestMoving:
    def test_people_finish_the_version_they_are_in_unless_they_are_moved(self, world):
        flow = world.flow([WAIT, HELLO])
        [ann] = enter(world, "ann")
        publish.publish(edit(flow, [WAIT, AGAIN]).pk, now=world.now)
        assert run_of(ann).version.number == 1
        publish.publish(edit(flow, [WAIT, LATER, AGAIN]).pk, now=world.now, people="move")
        assert run_of(ann).version.number == 3
        assert "moved" in kinds(ann)
        world.run(days=2)
        assert run_of(ann).step == "w2"
        world.run(days=3)
        assert run_of(ann).state == "completed"
        assert Delivery.objects.get().origin_step == "m2"

    def test_who_waits_at_a_step_that_stays_keeps_their_time(self, world):
        flow = world.flow([WAIT, HELLO])
        [ann] = enter(world, "ann")
        due = run_of(ann).due_at
        changed = {**WAIT, "config": {"amount": 9, "unit": "days"}}
        world.now += timedelta(hours=1)
        publish.publish(edit(flow, [changed, HELLO]).pk, now=world.now, people="move")
        assert run_of(ann).due_at == due

    def test_removed_steps_lead_on_out_or_where_the_map_says(self, world):
        flow = world.flow([WAIT, HELLO, LATER])
        for step_map, at, state in (
            (None, "w2", "active"),
            ({"w1": None}, "w1", "exited"),
            ({"w1": "w9"}, "w9", "active"),
        ):
            [ann] = enter(world, f"person {step_map}")
            run = run_of(ann)
            assert run.step == "w1"
            new = [LATER, {**WAIT, "key": "w9"}]
            publish.publish(edit(flow, new).pk, now=world.now, people="move", step_map=step_map)
            run.refresh_from_db()
            assert (run.step, run.state) == (at, state)
            if state == "exited":
                assert run.reason == moving.REMOVED
                assert world.names(ann)[-1] == "flow_exited"
            publish.publish(edit(flow, [WAIT, HELLO, LATER]).pk, now=world.now)

    def test_a_map_to_a_step_that_is_not_there_is_refused(self, world):
        flow = world.flow([WAIT, HELLO])
        edit(flow, [HELLO])
        with pytest.raises(ValueError, match="nowhere"):
            publish.publish(flow.pk, people="move", step_map={"w1": "nowhere"})
        assert flow.versions.count() == 1

    def test_nobody_is_put_on_a_message_that_they_got(self, world):
        """The new step has another key and the same message: whose run has asked for it goes on after it."""
        flow = world.flow([HELLO, WAIT])
        [ann] = enter(world, "ann")
        assert Delivery.objects.count() == 1
        new = [{**AGAIN, "key": "m9"}, LATER]
        publish.publish(edit(flow, new).pk, now=world.now, people="move", step_map={"w1": "m9"})
        world.run()
        assert run_of(ann).step == "w2"
        assert Delivery.objects.count() == 1

    def test_a_passed_message_that_now_stands_later_is_not_sent_again(self, world):
        flow = world.flow([HELLO, WAIT])
        [ann] = enter(world, "ann")
        publish.publish(edit(flow, [WAIT, HELLO]).pk, now=world.now, people="move")
        world.run(days=2)
        assert run_of(ann).state == "completed"
        assert Delivery.objects.count() == 1

    def test_who_did_what_ends_runs_by_the_new_version_leaves(self, world):
        flow = world.flow([WAIT, HELLO])
        ann, bob = enter(world, "ann", "bob")
        world.happens(ann, "order_paid")
        world.run()
        publish.publish(
            edit(flow, [WAIT, HELLO], exit_on=[{"name": "order_paid"}]).pk, now=world.now, people="move"
        )
        assert (run_of(ann).state, run_of(ann).reason) == ("exited", "order_paid")
        assert run_of(bob).state == "active"

    def test_a_later_move_takes_over_from_an_unfinished_one(self, world):
        flow = world.flow([WAIT, HELLO])
        people = enter(world, *"abcdef")
        with left_to_the_workers():
            publish.publish(edit(flow, [WAIT, LATER]).pk, now=world.now, people="move")
        publish.publish(edit(flow, [WAIT, HELLO, LATER]).pk, now=world.now, people="move")
        assert {run_of(each).version.number for each in people} == {3}
        assert set(FlowJob.objects.values_list("state", flat=True)) == {"cancelled", "done"}

    def test_the_number_of_queries_does_not_grow_with_people(self, world):
        flow = world.flow([WAIT, HELLO])
        numbers = []
        for index, size in enumerate((1, 2, 12)):
            enter(world, *(f"{index} {number}" for number in range(size)))
            edit(flow, [{**WAIT, "key": f"new{index}"}, HELLO])
            with CaptureQueriesContext(connection) as queries:
                publish.publish(flow.pk, now=world.now, people="move")
            numbers.append(len(queries))
        assert numbers[1] == numbers[2] < 60

    def test_nobody_is_lost_or_doubled_while_the_engine_and_the_reader_run(self, world):
        """Threads move people on, end them by an event and move them to new versions, all at once."""
        steps = [HELLO, {**WAIT, "config": {"amount": 1, "unit": "minutes"}}, LATER]
        flow = world.flow(steps, exit_on=[{"name": "order_paid"}])
        people = enter(world, *(f"person {number}" for number in range(30)))
        later = world.now + timedelta(minutes=2)
        stop = threading.Event()
        failures: list[BaseException] = []

        def work(act):
            try:
                while not stop.is_set():
                    act()
            except BaseException as error:
                failures.append(error)
            finally:
                connections.close_all()

        def pay():
            for each in people[::3]:
                world.happens(each, "order_paid", later)
                stop.wait(0.005)
            stop.wait(1)

        from campaigns.flows import reading

        threads = [
            threading.Thread(target=work, args=[act])
            for act in (lambda: engine.advance(later, 7), lambda: reading.read(later, 5), pay)
        ]
        for thread in threads:
            thread.start()
        try:
            for number in range(3):
                new = [*steps[:2], {**LATER, "key": f"x{number}"}, {**AGAIN, "key": f"y{number}"}]
                step_map = {"w2" if number == 0 else f"x{number - 1}": f"x{number}"}
                publish.publish(edit(flow, new).pk, now=later, people="move", step_map=step_map)
                while FlowJob.objects.filter(state="running").exists():
                    jobs.work(1, later)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures
        world.now = later
        world.run()
        assert Enrollment.objects.count() == 30
        assert {run.state for run in Enrollment.objects.filter(profile_id__in=people[::3])} == {"exited"}
        rest = Enrollment.objects.exclude(profile_id__in=people[::3])
        assert set(rest.values_list("state", "version__number", "step")) == {("active", 4, "x2")}
        assert Delivery.objects.filter(origin_step="m1").count() == 30


def left_to_the_workers():
    """Nothing of a long change is done at once."""
    return mock.patch.object(jobs, "work", return_value=True)


keys = st.sampled_from([f"k{number}" for number in range(8)])


@st.composite
def trees(draw) -> Definition:
    """Steps with unique keys, some of them splits with branches."""
    free = draw(st.permutations([f"k{number}" for number in range(8)]))[: draw(st.integers(1, 8))]
    pool = list(free)

    def sequence(depth: int) -> list[Step]:
        found = []
        for _index in range(draw(st.integers(0 if depth else 1, 4))):
            if not pool:
                break
            key = pool.pop()
            branches = []
            if depth < 2 and draw(st.integers(0, 3)) == 0:
                branches = [Branch("a", sequence(depth + 1)), Branch("b", sequence(depth + 1))]
            found.append(Step(key, "split" if branches else "wait", branches=branches))
        return found

    return Definition(steps=sequence(0) or [Step(free[0], "wait")])


class TestPlaces:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(trees(), trees(), st.sets(keys), st.dictionaries(keys, keys | st.none()))
    def test_everybody_is_at_a_step_that_exists_and_nobody_is_put_on_one_they_passed(
        self, before, after, passed, chosen
    ):
        old, new = program.link(before), program.link(after)
        wanted = {key: target for key, target in chosen.items() if target is None or target in new.nodes}
        step_map = {**moving.suggested(old, new), **moving.checked(wanted, new)}
        for step in old.nodes:
            at = moving.place(step, step_map, new, passed)
            if step in new.nodes:
                assert at == moving.Place(step)
                continue
            assert bool(at.ends) != (at.step in new.nodes)
            assert at.step not in passed or not at.step
            if step_map[step] is None:
                assert at.ends == "exited"


class TestStates:
    def test_let_people_finish(self, world):
        flow = world.flow([WAIT, HELLO])
        ann, bob = enter(world, "ann", "bob")
        ending.end_run(run_of(bob).pk, person())
        publish.finish(flow.pk, world.now)
        enter(world, "late")
        assert Enrollment.objects.count() == 2, "nobody enters any more"
        world.run(days=2)
        assert run_of(ann).state == "completed"
        flow.refresh_from_db()
        assert flow.state == Flow.State.FINISHING, "a message still waits"
        assert publish.close_finished(world.now) == 0
        Delivery.objects.update(state="expired")
        assert publish.close_finished(world.now) == 1
        flow.refresh_from_db()
        assert flow.state == Flow.State.STOPPED
        with pytest.raises(publish.StateError):
            publish.finish(flow.pk)

    def test_exits_go_on_while_a_flow_finishes(self, world):
        flow = world.flow([WAIT, HELLO], exit_on=[{"name": "order_paid"}])
        [ann] = enter(world, "ann")
        publish.finish(flow.pk, world.now)
        world.happens(ann, "order_paid")
        world.run()
        assert run_of(ann).reason == "order_paid"

    def test_stopping_ends_everybody_with_a_decision_and_an_event(self, world):
        flow = world.flow([WAIT, HELLO])
        [ann] = enter(world, "ann")
        assert publish.stop(flow.pk, world.now, user=person()) == 1
        assert (run_of(ann).state, run_of(ann).reason) == ("exited", "flow stopped")
        assert world.names(ann)[-1] == "flow_exited"
        assert kinds(ann)[-1] == "exited"
        entry = AuditEntry.objects.get(action="flow.stopped")
        assert (entry.actor, entry.detail["inside"]) == ("user 1", 1)

    def test_a_flow_is_not_published_while_people_are_taken_out(self, world):
        flow = world.flow([WAIT, HELLO])
        enter(world, "ann")
        with left_to_the_workers():
            publish.stop(flow.pk, world.now)
        with pytest.raises(publish.StateError, match="being taken out"):
            publish.publish(flow.pk)
        assert engine.advance(world.now + timedelta(days=9)) == 0, "nobody moves on meanwhile"
        with mock.patch.dict(jobs._kinds, {FlowJob.Kind.END: mock.Mock(side_effect=ValueError("odd"))}):
            jobs.work(5, world.now)
        with pytest.raises(publish.StateError, match="Not all people"):
            publish.publish(flow.pk)  # who was to leave would go on
        assert jobs.again(FlowJob.objects.get().pk)
        jobs.work(5, world.now)
        publish.publish(flow.pk)
        assert Flow.objects.get().state == Flow.State.LIVE

    def test_two_clicks_at_once_make_one_version(self, world):
        flow = world.flow([WAIT, HELLO])
        edit(flow, [HELLO])

        def click():
            publish.publish(flow.pk)
            connections.close_all()

        threads = [threading.Thread(target=click) for _index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert flow.versions.count() == 2

    def test_ending_a_run_by_hand_twice_ends_it_once(self, world):
        world.flow([WAIT, HELLO])
        [ann] = enter(world, "ann")
        by = person()
        assert ending.end_run(run_of(ann).pk, by, "asked on the phone", world.now)
        assert not ending.end_run(run_of(ann).pk, by)
        assert Decision.objects.get(kind="exited").detail["note"] == "asked on the phone"
        assert Event.objects.filter(name="flow_exited").count() == 1
        assert AuditEntry.objects.get(action="flow.run_ended").object_id == str(ann)

    def test_a_change_that_fails_is_told_and_can_be_tried_again(self, world, monkeypatch):
        flow = world.flow([WAIT, HELLO])
        enter(world, "ann")

        def broken(job, memory, now):
            raise ValueError("no way")

        monkeypatch.setitem(jobs._kinds, "end", broken)
        publish.stop(flow.pk, world.now)
        job = FlowJob.objects.get()
        assert (job.state, job.problem) == ("failed", "no way")
        assert Alert.objects.filter(key__startswith=f"flow:{flow.pk}:change").exists()
        monkeypatch.undo()
        assert jobs.again(job.pk)
        jobs.work(5, world.now)
        assert not Enrollment.objects.filter(state="active").exists()


def test_publishing_reports_all_problems_and_changes_nothing(world):
    flow = Flow.objects.create(slug="bad", name="Bad", draft={"steps": []})
    with pytest.raises(DefinitionError) as caught:
        publish.publish(flow.pk)
    assert {problem.path for problem in caught.value.problems} >= {"trigger", "steps"}
    assert Flow.objects.get().state == Flow.State.DRAFT


def test_the_reader_and_publishing_never_wait_in_a_circle(world):
    """Who publishes holds the log's cursor; a reader passes by meanwhile and does not wait."""
    flow = world.flow([WAIT, HELLO])
    [ann] = enter(world, "ann")
    edit(flow, [HELLO])
    with transaction.atomic():
        log.hold("flows")
        done: list[int] = []

        def read():
            from campaigns.flows import reading

            done.append(reading.read(NOW)[0])
            connections.close_all()

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(5)
        assert done == [0]
    assert Profile.objects.filter(pk=ann).exists()


def test_people_get_out_of_a_version_that_can_not_be_read_any_more(world):
    flow = world.flow([WAIT, HELLO])
    ann, bob = enter(world, "ann", "bob")
    Enrollment.objects.filter(profile_id=bob).update(step="gone")
    FlowVersion.objects.update(definition={"age": 7})
    program.of_version.cache_clear()
    publish.publish(edit(flow, [WAIT, LATER]).pk, now=world.now, people="move")
    assert (run_of(ann).step, run_of(ann).version.number) == ("w1", 2)
    assert run_of(bob).reason == moving.REMOVED
