"""What runs is killed at random moments, and nobody is left out, goes another way or is written to twice."""

import json
import random
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta

from campaigns.flows import engine, reading
from campaigns.models import Decision, Enrollment
from crm import api_keys, identity, log
from crm.models import Event, Profile
from delivery import dispatch
from delivery.models import Delivery, InAppMessage, MessageContent
from tests.campaigns.flows.nursery import nursery, pause
from tests.campaigns.flows.test_engine import HELLO as OUTSIDE
from tests.campaigns.flows.test_engine import WAIT, split
from tests.reading import drain

PEOPLE = 200
PROCESSES = ("engine", "engine", "sender", "web")
LIVING = 2.0  # seconds in which a sender that lives has long sent all that it claimed
KINDS = (*PROCESSES, "connection")  # what may be killed: a process, or somebody's connection to the database

HELLO = {**OUTSIDE, "config": {**OUTSIDE["config"], "channel": "inapp"}}
COUNT = {"key": "count", "kind": "update", "config": {"set": {"attributes.passes": {"add": 1}}}}
VIP = {"kind": "event", "name": "vip"}
AWAITED = {
    "key": "awaited",
    "kind": "wait_for",
    "config": {
        "events": [{"name": "opened"}],
        "timeout": {"amount": 100, "unit": "minutes"},
        "since": "step",
    },
    "branches": [{"name": "opened", "steps": [{**HELLO, "key": "thanks"}]}, {"name": "late"}],
}
STEPS = [
    WAIT,
    AWAITED,
    split(
        ("vip", VIP, [{**HELLO, "key": "gift"}]),
        ("else", None, [{**WAIT, "key": "longer"}]),
    ),
    COUNT,
    {**HELLO, "key": "news", "condition": VIP},
    {**WAIT, "key": "last_wait"},
    {**HELLO, "key": "bye"},
]


def history(prefix: str):
    """(minutes to let pass, [(person, event)]) in order: what happens at moments when nobody's wait ends."""
    choice = random.Random(7)
    half, people = PEOPLE // 2, range(PEOPLE)
    yield 1, [(person, f"{prefix}_began") for person in people[:half]]
    yield 1, [(person, f"{prefix}_began") for person in [*people[half:], *choice.sample(people, 30)]]
    yield 30, [(person, "vip") for person in choice.sample(people, 70)]
    yield 30, [(person, f"{prefix}_bought") for person in choice.sample(people, 25)]
    yield 70, []  # the first waits are over
    yield 10, [(person, "opened") for person in choice.sample(people, 100)]
    yield 10, [(person, f"{prefix}_bought") for person in choice.sample(people, 25)]
    yield 120, []
    yield 20, [(person, f"{prefix}_bought") for person in choice.sample(people, 25)]
    yield 90, [(person, "won") for person in choice.sample(people, 40)]
    yield 150, []
    yield 240, []
    yield 10, []  # whoever was killed while sending has lost the lease


def everything_done(now) -> bool:
    # In the order in which one brings about the other: what is looked at first must not be made by what comes later.
    if log.lag(reading.CURSOR) or Enrollment.objects.filter(state="active", due_at__lte=now).exists():
        return False
    return not Delivery.objects.filter(state__in=["queued", "deferred"], due_at__lte=now).exists()


def catch_up(now) -> None:
    """Have what a kill has put off, or left with somebody who is dead, done at this moment.

    Left until the next events, a message may rightly be suppressed for a goal that came before it was tried again, and
    a wait that began later ends later.
    """
    soon = Enrollment.objects.filter(state="active", due_at__gt=now, due_at__lt=now + timedelta(seconds=30))
    unsent = Delivery.objects.filter(state__in=["queued", "deferred", "sending"])
    began = time.monotonic()
    while soon.exists() or unsent.exists() or not everything_done(now):
        assert time.monotonic() < began + 60, "what the killed had claimed is not done"
        soon.update(due_at=now)
        unsent.filter(state="deferred").update(due_at=now)
        if time.monotonic() > began + LIVING:
            unsent.filter(state="sending").update(lease_until=now)
        time.sleep(0.02)


def outcome(flow, people: list[int]):
    """What became of each person, in the order of `people`: the end, the path, the log, messages and number."""
    ends = {
        run.profile_id: (run.state, run.step, run.reason, run.converted_at is not None)
        for run in flow.enrollments.all()
    }
    paths, told, sent, shown = ({person: [] for person in people} for _ in range(4))
    for person, step, kind in (
        Decision.objects.filter(flow=flow).order_by("pk").values_list("profile_id", "step", "kind")
    ):
        if kind != "update:wait":  # somebody else was writing about the person: asked again a moment later
            paths[person].append((step, kind))
    for person, name in (
        Event.objects.filter(profile_id__in=people, name__startswith="flow_")
        .order_by("txid", "seq")
        .values_list("profile_id", "name")
    ):
        told[person].append(name)
    for person, step in (
        InAppMessage.objects.filter(delivery__origin_id=flow.pk)
        .order_by("delivery__origin_step")
        .values_list("delivery__profile_id", "delivery__origin_step")
    ):
        shown[person].append(step)
    for person, name in (
        Event.objects.filter(profile_id__in=people, name__startswith="message_")
        .order_by("properties__origin__step")
        .values_list("profile_id", "name")
    ):
        told[person].append(name)
    for person, step, state, reason in (
        Delivery.objects.filter(origin_id=flow.pk)
        .order_by("origin_step")
        .values_list("profile_id", "origin_step", "state", "reason")
    ):
        sent[person].append((step, state, reason))
    passed = dict(Profile.objects.filter(pk__in=people).values_list("pk", "attributes__passes"))
    return [
        (ends.get(person), paths[person], told[person], sent[person], shown[person], passed[person])
        for person in people
    ]


def without_names(found, prefix: str):
    return json.loads(json.dumps(found).replace(f"{prefix}_", ""))


def test_killed_processes_and_connections_change_nothing(world, tmp_path):
    MessageContent.objects.create(message=world.message, channel="inapp", content={"title": "Hello"})
    flows, people = {}, {}
    for prefix in ("calm", "stormy"):
        flows[prefix] = world.flow(
            STEPS,
            trigger=f"{prefix}_began",
            slug=prefix,
            exit_on=[{"kind": "event", "name": f"{prefix}_bought"}],
            goal={"name": "won"},
        )
        people[prefix] = identity.resolve(
            [
                identity.Reference(
                    external_id=f"{prefix}{number}", anonymous_id=f"{prefix}-visitor-{number:020d}"
                )
                for number in range(PEOPLE)
            ],
            world.now,
        )
    began = world.now

    for minutes, events in history("calm"):
        world.now += timedelta(minutes=minutes)
        log.append(
            [
                log.NewEvent(uuid.uuid4(), people["calm"][person], name, world.now, {}, "test")
                for person, name in events
            ]
        )
        drain(reading.CURSOR, lambda: reading.read(world.now))
        while engine.advance(world.now):
            pass
        while not dispatch.run(world.now).idle:
            pass

    world.now = began
    clock = tmp_path / "clock"
    clock.write_text(world.now.isoformat())
    chance = random.Random()
    _key, secret = api_keys.create("chaos", ["write"])
    with nursery(clock, PROCESSES, secret) as processes:
        for minutes, events in history("stormy"):
            world.now += timedelta(minutes=minutes)
            ahead = tmp_path / "ahead"
            ahead.write_text(world.now.isoformat())
            ahead.rename(clock)
            rows = [
                {
                    "id": str(uuid.uuid4()),
                    "name": name,
                    "profile": {"external_id": f"stormy{person}"},
                    "occurred_at": world.now.isoformat(),
                }
                for person, name in events
            ]
            batches = [rows[start : start + 50] for start in range(0, len(rows), 50)]
            client = threading.Thread(
                target=lambda batches=batches: [*map(processes.send, batches)], daemon=True
            )
            client.start()
            phase = time.monotonic()
            while client.is_alive() or not everything_done(world.now):
                assert time.monotonic() < phase + 90, "the processes do not come to an end"
                pause(chance, phase)
                processes.kill(chance.choice(KINDS))
            catch_up(world.now)
        kills = processes.kills
    world.now += timedelta(minutes=10)  # who was killed at the very end has lost the lease, too
    while not dispatch.run(world.now).idle:
        pass

    calm, stormy = (without_names(outcome(flows[p], people[p]), p) for p in ("calm", "stormy"))
    assert stormy == calm
    assert set(kills) == set(KINDS)
    assert kills.total() >= 10
    reached = {step for _end, path, *_rest in calm for step, _kind in path}
    assert reached >= {"awaited", "thanks", "gift", "longer", "count", "news", "bye"}
    assert len({end[2] for end, *_rest in calm}) == 3  # at the end, by an exit event and by the goal
    ends = Counter(end[0] for end, *_rest in calm)
    assert set(ends) == {"completed", "exited"}
    assert min(ends.values()) > 30
    assert {tuple(row[1:]) for *_some, sent, _shown, _passed in calm for row in sent} == {("sent", "")}
