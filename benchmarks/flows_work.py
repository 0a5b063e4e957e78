"""Measures flows in the database of NUDGE_DATA; see benchmarks/flows.py. Prints JSON."""

import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402

from benchmarks import flows_by_hand, flows_latency  # noqa: E402
from campaigns.flows import engine, publish, reading  # noqa: E402
from campaigns.models import Enrollment, Flow  # noqa: E402
from crm import log  # noqa: E402

RUNS = int(os.environ.get("NUDGE_BENCH_PROFILES", "1000000"))
SECONDS = float(os.environ.get("NUDGE_BENCH_SECONDS", "20"))  # of advancing, for each kind of flow
BY_HAND = 1500  # runs that the per-person implementation moves
HANDS = 2  # processes of a worker, see the Procfile
STORM = 20_000  # events
FLOWS = 200
WAIT = {"kind": "wait", "config": {"amount": 2, "unit": "hours"}}
STRAIGHT = [{**WAIT, "key": f"w{number}"} for number in range(1, 6)]
SPLIT = [
    {**WAIT, "key": "w1"},
    {
        "key": "s",
        "kind": "split",
        "config": {},
        "branches": [
            {
                "name": "gold",
                "rule": {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "gold"},
                "steps": [{**WAIT, "key": "w2"}],
            },
            {"name": "else", "steps": [{**WAIT, "key": "w3"}]},
        ],
    },
    {**WAIT, "key": "w4"},
]


def tell(text: str) -> None:
    """A line about how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Fill, measure, print."""
    found: dict[str, Any] = {"runs": RUNS, "flows": FLOWS, "storm": STORM}
    _people()
    for name, steps in (("straight", STRAIGHT), ("split", SPLIT)):
        flow = _waiting(name, steps)
        found[name] = _advancing(flow)
        if name == "straight":
            found["two_hands"] = _two_hands()
        found[f"{name}_by_hand"] = flows_by_hand.advancing(flow, BY_HAND)
        tell(
            f"{name}: {found[name]['rate']:,.0f} runs/s ({found[name]['by_cpu']:,.0f} by processor time)"
            f" beside {found[f'{name}_by_hand']:,.0f} runs/s"
        )
        Flow.objects.filter(pk=flow.pk).update(state=Flow.State.STOPPED)
    found |= _matching()
    found |= flows_latency.measured()
    tell(f"latency p50 {found['latency_p50']:.0f} ms, p99 {found['latency_p99']:.0f} ms")
    print(json.dumps(found))


def _people() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM crm_profile)")
        if cursor.fetchone()[0]:
            return
        cursor.execute("SET session_replication_role = replica")  # nobody follows what is only filled in
        cursor.execute(
            "INSERT INTO crm_profile (external_id, attributes, first_seen, last_seen)"
            " SELECT 'p' || n, jsonb_build_object('plan', CASE WHEN n %% 3 = 0 THEN 'gold' ELSE 'free' END),"
            " now(), now() FROM generate_series(1, %s) AS n",
            [RUNS],
        )
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM (ANALYZE) crm_profile")
    tell(f"{RUNS:,} people")


def _flow(name: str, steps: list[dict], **parts: Any) -> Flow:
    trigger = {"kind": "event", "name": f"{name}_began"}
    flow = Flow.objects.create(
        slug=f"{name}-{time.time_ns()}", name=name, draft={"trigger": trigger, "steps": steps, **parts}
    )
    publish.publish(flow.pk)
    flow.refresh_from_db()
    return flow


def _waiting(name: str, steps: list[dict]) -> Flow:
    """A live flow in which everybody waits at the first step and is due by now, at times of the last day."""
    flow = _flow(name, steps)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE campaigns_enrollment, campaigns_decision RESTART IDENTITY CASCADE")
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "INSERT INTO campaigns_enrollment (flow_id, version_id, profile_id, run_key, state, step, due_at,"
            " step_state, context, entered_at) SELECT %s, %s, id, 'once', 'active', 'w1', due,"
            " jsonb_build_object('until', to_char(due, 'YYYY-MM-DD\"T\"HH24:MI:SS+00:00')), jsonb_build_object("
            " 'event', jsonb_build_object('id', gen_random_uuid(), 'name', 'began',"
            " 'occurred_at', due - interval '2 hours', 'properties',"
            " jsonb_build_object('cart_id', id, 'total', 12.5))), due - interval '2 hours'"
            " FROM (SELECT id, now() - random() * interval '1 day' AS due FROM crm_profile) AS p",
            [flow.pk, flow.live_version_id],
        )
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM (ANALYZE) campaigns_enrollment")
        cursor.execute("CHECKPOINT")
    return flow


def _advancing(flow: Flow) -> dict[str, float]:
    """Runs per second that one process moves from one wait to the next: by the clock, and by the processor's time.

    A machine that does other things at once makes the clock's figure smaller; the processor's is of this work alone.
    """
    return _hand(datetime.now(UTC))


def _two_hands() -> float:
    """Runs per second that two processes at once move, as many as a worker has: what an installation gets."""
    now = datetime.now(UTC)
    with get_context("spawn").Pool(HANDS) as hands:
        return sum(found["rate"] for found in hands.map(_hand, [now] * HANDS, chunksize=1))


def _hand(now: datetime) -> dict[str, float]:
    """What one process moves of those who are due."""
    engine.advance(now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    used = time.process_time() + _processor_time(backend)
    began, moved = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < SECONDS:
        number = engine.advance(now)
        moved += number
        if not number:
            break
    used = time.process_time() + _processor_time(backend) - used
    return {"rate": moved / taken, "by_cpu": moved / used}


def _processor_time(pid: int) -> float:
    """Seconds that a process has run, see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _matching() -> dict[str, float]:
    """Events per second that are read for many live flows."""
    Flow.objects.update(state=Flow.State.STOPPED)
    for number in range(FLOWS):
        where = [{"property": "total", "op": "gte", "value": number}] if number % 4 == 0 else []
        flow = _flow(f"f{number % 20}", STRAIGHT, exit_on=[{"name": f"f{number % 20}_ended"}])
        trigger = {"kind": "event", "name": f"f{number % 20}_began", "where": where}
        Flow.objects.filter(pk=flow.pk).update(draft={**flow.draft, "trigger": trigger})
        publish.publish(flow.pk)
    log.move_to_end(reading.CURSOR)
    now = datetime.now(UTC)
    names = [
        *(f"f{number}_began" for number in range(20)),
        *(f"f{number}_ended" for number in range(20)),
        *["page_viewed"] * 120,
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(id) FROM crm_profile")
        [first] = cursor.fetchone()
    for start in range(0, STORM, 5000):
        log.append(
            [
                log.NewEvent(
                    uuid.uuid4(),
                    first + number * 7 % RUNS,
                    names[number * 31 % len(names)],
                    now,
                    {"total": number % 300},
                    "bench",
                )
                for number in range(start, start + 5000)
            ]
        )
    began, turns = time.perf_counter(), []
    while log.lag(reading.CURSOR):
        turn = time.perf_counter()
        reading.read()
        turns.append(time.perf_counter() - turn)
    took = time.perf_counter() - began
    entered = Enrollment.objects.filter(flow__state=Flow.State.LIVE).count()
    tell(f"{STORM / took:,.0f} events/s read, {entered:,} runs began, longest turn {max(turns):.2f} s")
    return {"matching": STORM / took, "began": entered, "longest_turn": max(turns)}


if __name__ == "__main__":
    main()
