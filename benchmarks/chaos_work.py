"""The part of the chaos harness that knows the product: `python -m benchmarks.chaos_work prepare|judge PEOPLE SEED`.

`prepare` makes people, a message and a live flow. `judge` holds what became of everybody against the interpreter of the
tests, which knows no batches, no processes and no database, and prints JSON.
"""

import json
import os
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from benchmarks import chaos_plan  # noqa: E402
from campaigns.flows import publish, shares  # noqa: E402
from campaigns.models import Decision, Enrollment, Flow  # noqa: E402
from crm import identity  # noqa: E402
from crm.models import Event, Identifier, Profile  # noqa: E402
from delivery.models import Delivery, InAppMessage, Message, MessageContent  # noqa: E402
from tests.campaigns.flows.reference import Happened, Reference  # noqa: E402

CHUNK = 1000
EXAMPLES = 5
# What only tells that a step was asked again a moment later.
MOMENTARY = {"error", "update:wait"}


def prepare(people: int) -> None:
    """Make everybody known under a name and a visitor's number, and publish the flow."""
    now = timezone.now()
    for start in range(0, people, CHUNK):
        identity.resolve(
            [
                identity.Reference(external_id=f"p{number}", anonymous_id=f"visitor-{number:032d}")
                for number in range(start, min(people, start + CHUNK))
            ],
            now,
        )
    message = Message.objects.create(slug=chaos_plan.WORD, name="Hello")
    MessageContent.objects.create(message=message, channel="inapp", content={"title": "Hello"})
    flow = Flow.objects.create(slug=chaos_plan.SLUG, name="Chaos", draft=chaos_plan.DEFINITION)
    publish.publish(flow.pk, now=now - timedelta(days=1))


def judge(people: int, seed: int) -> dict[str, Any]:
    """Count whose path, messages, profile and log differ from what the interpreter says."""
    found = Found(people)
    told: list[list[tuple[int, str]]] = [[] for _ in range(people)]
    for minutes, events in chaos_plan.history(people, seed):
        for person, name in events:
            told[person].append((minutes, name))
    moments = [minutes for minutes, _events in chaos_plan.history(people, seed)]
    result: Counter[str] = Counter(people=people, transitions=found.transitions, momentary=found.momentary)
    examples: list[str] = []
    for person in range(people):
        run = _lived(told[person], moments, found.ids[person])
        expected = (
            [(run.state, run.reason, run.converted)] if run else [],
            run.decisions if run else [],
        )
        if found.paths(person) != expected:
            result["different"] += 1
            if len(examples) < EXAMPLES:
                examples.append(f"p{person}: {found.paths(person)} instead of {expected}")
        for kind, what, wanted in (
            ("messages", found.messages, Counter(run.messages) if run else Counter()),
            ("in the inbox", found.inbox, Counter(run.messages) if run else Counter()),
            (
                "in the log",
                found.log,
                Counter({"flow_entered": 1, f"flow_{run.state}": 1, "message_sent": len(run.messages)})
                if run
                else Counter(),
            ),
            (
                "added",
                found.added,
                Counter(step for step, what in (run.decisions if run else []) if step == "count"),
            ),
        ):
            there, wanted = what[found.ids[person]], +Counter(wanted)
            missing, doubled = (wanted - there).total(), (there - wanted).total()
            result[f"{kind}: expected"] += wanted.total()
            result[f"{kind}: missing"] += missing
            result[f"{kind}: too many"] += doubled
            if (missing or doubled) and len(examples) < EXAMPLES:
                examples.append(f"p{person}, {kind}: {dict(there)} instead of {dict(wanted)}")
    return {**result, "states": found.states, "examples": examples}


def _lived(told: list[tuple[int, str]], moments: list[int], profile_id: int) -> Any:
    """The run of one person, as the interpreter has it; None for somebody who never entered."""
    zero = datetime(2026, 1, 1, tzinfo=timezone.get_default_timezone())
    definition = {**chaos_plan.DEFINITION}
    reference = Reference(
        definition,
        zero - timedelta(days=1),
        lambda _person, what: shares.place(profile_id, chaos_plan.SLUG, what),
    )
    for minutes in moments:
        now = zero + timedelta(minutes=minutes)
        reference.work(now)
        reference.log += [Happened(0, name, now, {}) for at, name in told if at == minutes]
        reference.work(now)
    runs = reference.runs.get(0, [])
    return runs[0] if runs else None


class Found:
    """What the database holds of everybody."""

    def __init__(self, people: int):
        names = dict(Identifier.objects.filter(kind="external_id").values_list("value", "profile_id"))
        self.ids = [names[f"p{number}"] for number in range(people)]
        self._runs: dict[int, list] = defaultdict(list)
        for profile_id, *rest in Enrollment.objects.values_list(
            "profile_id", "state", "reason", "converted_at"
        ):
            self._runs[profile_id].append((*rest[:2], rest[2] is not None))
        self._decisions: dict[int, list] = defaultdict(list)
        self.momentary = self.transitions = 0
        rows = Decision.objects.order_by("pk").values_list("profile_id", "step", "kind")
        for profile_id, step, kind in rows.iterator():
            if kind in MOMENTARY:
                self.momentary += 1
            else:
                self._decisions[profile_id].append((step, kind))
                self.transitions += 1
        self.messages = self._counted(Delivery.objects.values_list("profile_id", "origin_step"))
        self.inbox = self._counted(
            InAppMessage.objects.values_list("delivery__profile_id", "delivery__origin_step")
        )
        names = ("flow_entered", "flow_completed", "flow_exited", "message_sent")
        self.log = self._counted(Event.objects.filter(name__in=names).values_list("profile_id", "name"))
        self.added = defaultdict(Counter)
        for profile_id, attributes in Profile.objects.values_list("pk", "attributes").iterator():
            if passes := attributes.get("passes"):
                self.added[profile_id]["count"] = passes
        self.states = dict(Counter(Delivery.objects.values_list("state", flat=True)))

    @staticmethod
    def _counted(rows: Any) -> dict[int, Counter[str]]:
        found: dict[int, Counter[str]] = defaultdict(Counter)
        for profile_id, name in rows.iterator():
            found[profile_id][name] += 1
        return found

    def paths(self, person: int) -> tuple[list, list]:
        """The ends of somebody's runs, and their decisions in order."""
        return self._runs[self.ids[person]], self._decisions[self.ids[person]]


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    if what == "prepare":
        prepare(int(numbers[0]))
    else:
        print(json.dumps(judge(int(numbers[0]), int(numbers[1]))))
