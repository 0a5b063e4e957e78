"""What a batch costs depends neither on how many flows look at it, nor on what the database knows of its tables."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from campaigns.flows import awaited, engine, guards, reading
from campaigns.models import Decision, Enrollment, Flow, FlowVersion
from crm import log
from delivery.models import Delivery
from tests.campaigns.flows.test_engine import HELLO, WAIT
from tests.reading import drain

FEW, MANY = 2, 40
LARGE = [{"property": "total", "op": "gte", "value": 100}]


def flows_for(world, number: int, tag: str, steps, trigger, **parts) -> None:
    """Live flows that differ in their names only."""
    first = world.flow(steps, trigger, slug=f"{tag}-0", **parts)
    definition = first.live_version.definition
    copies = Flow.objects.bulk_create(
        Flow(
            slug=f"{tag}-{n}",
            name=tag,
            draft=first.draft,
            state=first.state,
            listening_since=first.listening_since,
        )
        for n in range(1, number)
    )
    versions = FlowVersion.objects.bulk_create(
        FlowVersion(flow=flow, number=1, definition=definition, published_at=first.published_at)
        for flow in copies
    )
    for flow, version in zip(copies, versions, strict=True):
        flow.live_version = version
    Flow.objects.bulk_update(copies, ["live_version"])


def large(name: str) -> dict:
    return {"kind": "event", "name": name, "where": LARGE}


def queries(world) -> int:
    """How many statements reading what is new takes, in one batch."""
    world.now += timedelta(seconds=1)
    found = []

    def read():
        with CaptureQueriesContext(connection) as captured:
            done = reading.read(world.now)
        if done.handled:
            found.append(len(captured))
        return done

    drain(reading.CURSOR, read)
    [number] = found
    return number


@pytest.fixture
def ann(world):
    return world.person("ann")


@pytest.mark.parametrize("total", [1, 100], ids=["none starts anybody", "all start somebody"])
def test_the_number_of_statements_does_not_grow_with_the_flows(world, ann, total):
    cost = {}
    parts = {
        "entry": {"kind": "event", "name": "came"},
        "goal": {"name": "paid", "where": LARGE},
        "exit_on": [{"name": "left", "where": LARGE}],
        "reentry": {"mode": "always"},
    }
    world.happens(ann, "came")
    for number in (FEW, MANY):
        tag = f"asked{number}"
        flows_for(world, number, tag, [WAIT], large(tag), **parts)
        world.happens(ann, tag, total=total)  # reads the definitions, which stay known
        queries(world)
        Enrollment.objects.all().delete()
        with transaction.atomic():
            world.happens(ann, tag, total=total)
            world.happens(ann, "paid", total=100)
        cost[number] = queries(world)
        started = Enrollment.objects.filter(flow__slug__startswith=tag)
        assert started.count() == (number if total == 100 else 0)
        assert started.filter(reason="goal").count() == started.count()
        Flow.objects.update(state=Flow.State.STOPPED)
    assert cost[FEW] == cost[MANY]


def test_one_flow_that_cannot_be_asked_harms_no_other(world, ann):
    flows_for(world, 3, "asked", [WAIT], large("asked"), entry={"kind": "event", "name": "came"})
    broken = Flow.objects.get(slug="asked-1")
    broken.live_version.definition["entry"] = {"kind": "segment", "slug": "gone"}
    broken.live_version.save()
    world.happens(ann, "came")
    world.happens(ann, "asked", total=100)
    world.run()
    broken.refresh_from_db()
    assert "gone" in broken.error
    assert set(Enrollment.objects.values_list("flow__slug", flat=True)) == {"asked-0", "asked-2"}


def test_guards_ask_for_all_flows_at_once(world, ann):
    cost = {}
    rules = {
        "exit_rule": {"kind": "event", "name": "left"},
        "entry": {"kind": "event", "name": "came"},
        "recheck_entry": True,
        "exit_on": [{"name": "bought", "where": LARGE}],
    }
    world.happens(ann, "came")
    for number in (FEW, MANY):
        flows_for(world, number, f"guard{number}", [HELLO], f"asked{number}", **rules)
        world.happens(ann, f"asked{number}")
        world.run()
        waiting = list(Delivery.objects.filter(state="queued", origin_type="flow"))
        assert len(waiting) == number
        assert guards.hold_back(waiting, world.now) == {}
        with CaptureQueriesContext(connection) as captured:
            guards.hold_back(waiting, world.now)
        cost[number] = len(captured)
        world.happens(ann, "bought", total=99)
        assert guards.hold_back(waiting, world.now) == {}
        world.happens(ann, "bought", total=100)
        found = guards.hold_back(waiting, world.now)
        assert {verdict.reason for verdict in found.values()} == {"exit: bought"}
        assert found.keys() == {each.pk for each in waiting}
        Delivery.objects.all().delete()
        world.now += timedelta(hours=1)
    assert cost[FEW] == cost[MANY]


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("first", ["left", "paid"])
@pytest.mark.parametrize("late", [False, True])
def test_what_stands_first_in_the_log_ends_a_run(world, ann, first, late, batch):
    """Whether they are read one by one or at once, and whether what started the run came before them or after."""
    world.flow([WAIT], "asked", goal={"name": "paid"}, exit_on=[{"name": "left"}])
    second = "paid" if first == "left" else "left"
    names = [first, second, "asked"] if late else ["asked", first, second]
    for name in names:
        at = world.now - timedelta(minutes=5) if name == "asked" else world.now
        world.happens(ann, name, at)
    drain(reading.CURSOR, lambda: reading.read(world.now, batch))
    run = Enrollment.objects.get()
    assert (run.state, run.reason) == ("exited", "goal" if first == "paid" else "left")
    assert run.converted_at is not None
    told = list(Decision.objects.order_by("pk").values_list("kind", flat=True))
    assert told == ["entered", *(["converted", "exited"] if first == "paid" else ["exited", "converted"])]
    assert world.names(ann).count("flow_exited") == 1
    while engine.advance(world.now + timedelta(days=30)):
        pass
    run.refresh_from_db()
    assert run.state == "exited"


def test_an_event_that_is_the_goal_and_ends_runs_reaches_the_goal(world, ann):
    world.flow([WAIT], "asked", goal={"name": "paid"}, exit_on=[{"name": "paid"}])
    world.happens(ann, "asked")
    world.happens(ann, "paid")
    world.run()
    assert Enrollment.objects.get().reason == "goal"


def test_awaited_events_are_looked_for_by_person_even_without_statistics(world, ann):
    """A server that crashed has lost count of its rows, and plans as if tables were small."""
    people = [ann, *(world.person(f"p{number}") for number in range(60))]
    log.append(
        [
            log.NewEvent(log.event_id("crowd", person, n), person, "bought", world.now, {}, "test")
            for person in people
            for n in range(50)
        ]
    )
    watches = [awaited.Watch(person, person, world.now, world.now + timedelta(hours=1)) for person in people]
    events = [awaited.AwaitedEvent("bought"), awaited.AwaitedEvent("paid")]
    with CaptureQueriesContext(connection) as captured:
        found = awaited.first(events, watches, world.now)
    assert found.keys() == set(people)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {captured[0]['sql']}")
        plan = cursor.fetchone()[0]
    scans = list(_scans(plan[0]["Plan"] if isinstance(plan, list) else json.loads(plan)[0]["Plan"]))
    assert scans
    for scan in scans:
        assert "profile_id" in scan.get("Index Cond", ""), scan


def _scans(node):
    if node.get("Relation Name", "").startswith("crm_event"):
        yield node
    for inner in node.get("Plans", ()):
        yield from _scans(inner)
