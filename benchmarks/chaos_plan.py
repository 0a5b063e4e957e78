"""What happens to whom in the chaos harness: a flow, and a history that is the same for the same seed.

Whoever waits does so for half an hour more than a number of hours, and what happens happens at full hours, after all
that was due is done. So it is never a matter of minutes what becomes of somebody, however long a phase takes.
"""

import random
from collections.abc import Iterator
from typing import Any

SLUG = "chaos"
WORD = "hello"  # the message
VIP = {"kind": "event", "name": "vip"}
OPENED = {"kind": "event", "name": "opened"}


def _wait(key: str, minutes: int) -> dict[str, Any]:
    return {"key": key, "kind": "wait", "config": {"amount": minutes, "unit": "minutes"}}


def _say(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "kind": "message", "config": {"message": WORD, "channel": "inapp"}, **more}


STEPS: list[dict[str, Any]] = [
    _wait("first_wait", 150),
    {
        "key": "awaited",
        "kind": "wait_for",
        "config": {
            "events": [{"name": "opened"}],
            "timeout": {"amount": 270, "unit": "minutes"},
            "since": "step",
        },
        "branches": [{"name": "opened", "steps": [_say("thanks")]}, {"name": "late", "steps": []}],
    },
    {
        "key": "by_rank",
        "kind": "split",
        "config": {},
        "branches": [
            {"name": "vip", "rule": VIP, "steps": [_say("gift")]},
            {"name": "else", "steps": [_wait("longer", 90)]},
        ],
    },
    {"key": "count", "kind": "update", "config": {"set": {"attributes.passes": {"add": 1}}}},
    {
        "key": "lots",
        "kind": "random",
        "config": {},
        "branches": [
            {"name": "a", "percent": 50, "steps": [_say("offer_a")]},
            {"name": "b", "percent": 50, "steps": [_wait("b_waits", 30), _say("offer_b")]},
        ],
    },
    _say("news", condition=VIP),
    _wait("second_wait", 90),
    {
        "key": "returned",
        "kind": "wait_for",
        "config": {
            "events": [{"name": "came_back"}],
            "timeout": {"amount": 150, "unit": "minutes"},
            "since": "entry",
        },
        "branches": [
            {"name": "came", "steps": [_say("again")]},
            {"name": "lost", "steps": [{"key": "gone", "kind": "exit", "config": {"reason": "lost"}}]},
        ],
    },
    {
        "key": "by_reading",
        "kind": "split",
        "config": {},
        "branches": [
            {"name": "read", "rule": OPENED, "steps": [_wait("read_waits", 30)]},
            {"name": "else", "steps": []},
        ],
    },
    _say("bye"),
]
DEFINITION: dict[str, Any] = {
    "trigger": {"kind": "event", "name": "began"},
    "reentry": {"mode": "never"},
    "exit_on": [{"kind": "event", "name": "bought"}],
    "goal": {"name": "won", "within_days": 3, "exit": True},
    "steps": STEPS,
}


def history(people: int, seed: int) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """(minutes since the beginning, [(person, event)]): the clock jumps, all that is due is done, and this happens."""
    lots = random.Random(seed)
    everybody = range(people)

    def some(name: str, share: float) -> list[tuple[int, str]]:
        return [(person, name) for person in lots.sample(everybody, int(people * share))]

    half = people // 2
    yield 0, [(person, "began") for person in everybody[:half]]
    yield (
        60,
        [(person, "began") for person in (*everybody[half:], *lots.sample(everybody[:half], half // 10))],
    )
    yield 120, some("vip", 0.35)
    yield 180, some("bought", 0.05)
    yield 240, some("opened", 0.5)
    yield 300, some("came_back", 0.3)
    yield 360, some("won", 0.05)
    yield 480, some("vip", 0.1)
    yield 540, some("bought", 0.05)
    yield 600, some("came_back", 0.3)
    yield 660, some("opened", 0.2)
    yield 780, some("won", 0.05)
    yield 960, []
    yield 1140, []
