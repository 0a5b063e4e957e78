"""Workers are killed at random moments, and nobody is left out, goes another way or is written to twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.db import connection

from campaigns.flows import engine, reading
from campaigns.models import Decision, Enrollment
from crm import identity, log
from crm.models import Event
from delivery.models import Delivery
from tests.campaigns.flows.test_engine import HELLO, WAIT, split
from tests.reading import drain

PEOPLE = 300
WORKERS = 3
SECONDS_BETWEEN_KILLS = (0.02, 0.15)
ROOT = Path(__file__).resolve().parents[3]

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
    {**HELLO, "key": "news", "condition": VIP},
    {**WAIT, "key": "last_wait"},
    {**HELLO, "key": "bye"},
]


class Nursery:
    """Starts and kills workers."""

    def __init__(self, clock: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.flows.worker"],
            cwd=ROOT,
            env=os.environ | {"NUDGE_LOG_LEVEL": "ERROR"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.workers: list[int] = []
        self.kills = 0
        self._tell(json.dumps({"database": connection.settings_dict["NAME"], "clock": str(clock)}))

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def start(self) -> None:
        self._tell("start")
        assert self.process.stdout
        self.workers.append(int(self.process.stdout.readline()))

    def kill(self, number: int) -> None:
        os.kill(self.workers.pop(number), signal.SIGKILL)
        self.kills += 1

    def close(self) -> None:
        while self.workers:
            self.kill(0)
        self.process.communicate(timeout=30)


@contextmanager
def nursery(clock: Path):
    found = Nursery(clock)
    try:
        yield found
    finally:
        found.close()


def history(prefix: str, people: list[int]):
    """(minutes to let pass, [(person, event)]) in order: what happens at moments when nobody's wait ends."""
    choice = random.Random(7)
    half = len(people) // 2
    yield 1, [(person, f"{prefix}_began") for person in people[:half]]
    yield 1, [(person, f"{prefix}_began") for person in [*people[half:], *choice.sample(people, 50)]]
    yield 30, [(person, "vip") for person in choice.sample(people, 100)]
    yield 30, [(person, f"{prefix}_bought") for person in choice.sample(people, 40)]
    yield 70, []  # the first waits are over
    yield 10, [(person, "opened") for person in choice.sample(people, 150)]
    yield 10, [(person, f"{prefix}_bought") for person in choice.sample(people, 40)]
    yield 120, []
    yield 20, [(person, f"{prefix}_bought") for person in choice.sample(people, 40)]
    yield 90, [(person, "won") for person in choice.sample(people, 60)]
    yield 150, []
    yield 240, []


def happen(events, now) -> None:
    log.append([log.NewEvent(uuid.uuid4(), person, name, now, {}, "test") for person, name in events])


def everything_done(now) -> bool:
    due = Enrollment.objects.filter(state="active", due_at__lte=now).exists()
    return not due and not log.lag(reading.CURSOR)


def outcome(flow, people: list[int]):
    """What became of each person, in the order of `people`: the end, the path, the log and the messages."""
    ends = {
        run.profile_id: (run.state, run.step, run.reason, run.converted_at is not None)
        for run in flow.enrollments.all()
    }
    paths, told, sent = ({person: [] for person in people} for _ in range(3))
    for person, step, kind in (
        Decision.objects.filter(flow=flow).order_by("pk").values_list("profile_id", "step", "kind")
    ):
        paths[person].append((step, kind))
    for person, name in (
        Event.objects.filter(profile_id__in=people, name__startswith="flow_")
        .order_by("txid", "seq")
        .values_list("profile_id", "name")
    ):
        told[person].append(name)
    for person, step in (
        Delivery.objects.filter(origin_id=flow.pk)
        .order_by("origin_step")
        .values_list("profile_id", "origin_step")
    ):
        sent[person].append(step)
    return [(ends.get(person), paths[person], told[person], sent[person]) for person in people]


def without_names(found, prefix: str):
    return json.loads(json.dumps(found).replace(f"{prefix}_", ""))


def test_killed_workers_change_nothing(world, tmp_path):
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
            [identity.Reference(external_id=f"{prefix}{number}") for number in range(PEOPLE)], world.now
        )
    began = world.now

    for minutes, events in history("calm", people["calm"]):
        world.now += timedelta(minutes=minutes)
        happen(events, world.now)
        drain(reading.CURSOR, lambda: reading.read(world.now))
        while engine.advance(world.now):
            pass

    world.now = began
    clock = tmp_path / "clock"
    clock.write_text(world.now.isoformat())
    chance = random.Random()
    with nursery(clock) as workers:
        for _number in range(WORKERS):
            workers.start()
        for minutes, events in history("stormy", people["stormy"]):
            world.now += timedelta(minutes=minutes)
            ahead = tmp_path / "ahead"
            ahead.write_text(world.now.isoformat())
            ahead.rename(clock)
            happen(events, world.now)
            deadline = time.monotonic() + 30
            while not everything_done(world.now):
                assert time.monotonic() < deadline, "the workers do not come to an end"
                time.sleep(chance.uniform(*SECONDS_BETWEEN_KILLS))
                workers.kill(chance.randrange(WORKERS))
                workers.start()
        killed = workers.kills

    calm, stormy = (without_names(outcome(flows[p], people[p]), p) for p in ("calm", "stormy"))
    assert stormy == calm
    assert killed >= 10
    reached = {step for _end, path, *_rest in calm for step, _kind in path}
    assert reached >= {"awaited", "thanks", "gift", "longer", "news", "bye"}
    assert len({end[2] for end, *_rest in calm}) == 3  # at the end, by an exit event and by the goal
    ends = Counter(end[0] for end, *_rest in calm)
    assert set(ends) == {"completed", "exited"}
    assert min(ends.values()) > 50
