"""Senders and their connections are killed while bad services take, refuse, put off and hang up.

What must hold is said in benchmarks/chaos_delivery_world.py, which has the same in large.
"""

import json
import random
import smtplib
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db.models import Q

from benchmarks import chaos_delivery_world
from delivery.models import Delivery
from tests.campaigns.flows.nursery import ROOT, SLOWER, nursery

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = 48
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SENDERS = 2
BETWEEN_KILLS = (1, 10)  # messages, however quick the machine is
LINE = 130  # bytes of the journal for each
STILL = 0.4  # seconds without change: who lives has sent what they had; what the dead had is taken over later
TURNS = 50  # of the services' loop: more than any conversation has parts
ROUNDS, ROUND = 3, timedelta(minutes=5)  # what was put off for a while comes in a later one
LAST_ROUNDS = 20  # until what the very last of the dead held has been taken over, however slow the machine is
# Noon; the night, before which some leave and in which others get up; and when all has expired.
PHASES = (timedelta(), timedelta(hours=10, minutes=30), timedelta(days=3))
LEAVING = PHASES[1]


@pytest.fixture
def services(tmp_path):
    """Services on this machine; their ports and their journal."""
    journal = tmp_path / "journal"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.chaos_providers",
            str(journal),
            str(random.random()),
            str(tmp_path / "clock"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield json.loads(process.stdout.readline()), journal
    process.kill()
    process.communicate()


def waiting(now: datetime) -> bool:
    """Whether something is due and in nobody's hands, or in those of somebody who is known to be dead."""
    due = Q(state__in=["queued", "deferred"], due_at__lte=now)
    return Delivery.objects.filter(due | Q(state="sending", lease_until__lte=now)).exists()


def comes_to_an_end(until: datetime) -> bool:
    """Whether nothing is in anybody's hands, or due until then."""
    soon = Delivery.objects.filter(state__in=["queued", "deferred"], due_at__lte=until)
    return not (soon.exists() or Delivery.objects.filter(state="sending").exists())


def until_some_came(journal: Path, many: int, seconds: float) -> None:
    """Wait until so many more messages have come to the services, or for so long."""
    size, end = journal.stat().st_size + many * LINE, time.monotonic() + seconds
    while journal.stat().st_size < size and time.monotonic() < end:
        time.sleep(0.01)


def let_services_catch_up(port: int) -> None:
    """Wait until the services have taken all that the dead had sent them: one loop does that and answers us."""
    with smtplib.SMTP("127.0.0.1", port) as there:
        for _turn in range(TURNS):
            there.noop()


def until_still(look) -> None:
    """Wait until what `look` sees has not changed for a moment."""
    seen, since = look(), time.monotonic()
    while time.monotonic() < since + STILL and seen:
        time.sleep(0.05)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()


def test_nobody_is_written_to_twice_or_against_the_rules_whoever_is_killed(services, tmp_path):
    ports, journal = services
    clock = tmp_path / "clock"
    clock.write_text(NOON.isoformat())
    chaos_delivery_world.fill(PEOPLE, ports, NOON)
    chance = random.Random()
    here = [f"127.0.0.1:{ports['http']}"]
    settings = {"NUDGE_PUSH_HOSTS": here, "NUDGE_PROVIDER_HOSTS_TRUSTED": here}
    with nursery(clock, ["sender"] * SENDERS, settings=settings) as processes:
        for phase in PHASES:
            if phase == LEAVING:
                left_at = chaos_delivery_world.leave(PEOPLE, NOON + phase)
            rounds = LAST_ROUNDS if phase == PHASES[-1] else ROUNDS
            for round_ in range(rounds):
                now = NOON + phase + round_ * ROUND
                ahead = tmp_path / "ahead"
                ahead.write_text(now.isoformat())
                ahead.rename(clock)
                began = time.monotonic()
                while waiting(now):
                    lasts = time.monotonic() - began
                    assert lasts < 180, "the senders do not come to an end"
                    until_some_came(journal, chance.randint(*BETWEEN_KILLS), 1 + lasts / SLOWER)
                    processes.kill(chance.choice(["sender", "connection"]))
                    if not waiting(now):
                        until_still(lambda: Delivery.objects.filter(state="sending").count())
                        for _sender in range(SENDERS):
                            processes.kill("sender")  # nothing is being sent when the clock jumps
                if comes_to_an_end(NOON + phase + rounds * ROUND):
                    break
            let_services_catch_up(ports["smtp"])  # nor on its way to a service
        kills = processes.kills

    found = chaos_delivery_world.judge(journal, PEOPLE, left_at)
    assert not +found["wrong"], found
    assert min(kills["sender"], kills["connection"]) > 3
    assert set(found["taken"]) == set(chaos_delivery_world.CHANNELS)
    # Of taken, refused, gone, later, busy, error, cut, taken and cut: which ones come is a matter of luck.
    assert len({answer.split(" ", 1)[1] for answer in found["answers"]}) >= 5
    assert {state.split(" ", 2)[1] for state in found["states"]} >= {"sent", "suppressed", "failed"}
