"""Editing a draft: pure functions on its tree, and saving with an optimistic lock and undo."""

import copy
import secrets
from collections.abc import Callable, Iterator

from django.db import transaction
from django.utils.translation import gettext as _

from campaigns.flows.definition import parse
from campaigns.models import Flow, FlowRevision

KEPT_REVISIONS = 100


class StaleDraftError(Exception):
    """Somebody else changed the draft meanwhile. Reload to see it, then make your change again."""


def empty() -> dict:
    """A draft to begin with."""
    return {"reentry": {"mode": "never"}, "exit_on": [], "steps": []}


def new_key(draft: dict) -> str:
    """A step key that the draft does not use."""
    used = {step["key"] for step, _siblings in walk(draft.get("steps", []))}
    while True:
        key = f"s{secrets.token_hex(3)}"
        if key not in used:
            return key


def find(draft: dict, key: str) -> dict:
    """The step called `key`. Raises KeyError."""
    for step, _siblings in walk(draft.get("steps", [])):
        if step["key"] == key:
            return step
    raise KeyError(key)


def locate(draft: dict, key: str) -> tuple[str, int, int]:
    """Where a step is: its sequence as `insert` names it, its index there and how many steps that has. KeyError."""

    def search(steps: list[dict], place: str) -> tuple[str, int, int] | None:
        for index, step in enumerate(steps):
            if step["key"] == key:
                return place, index, len(steps)
            for number, branch in enumerate(step.get("branches", [])):
                if found := search(branch.get("steps", []), f"{step['key']}:{number}"):
                    return found
        return None

    found = search(draft.get("steps", []), "")
    if found is None:
        raise KeyError(key)
    return found


def insert(draft: dict, sequence: str, index: int, step: dict) -> dict:
    """The draft with `step` at `index` of a sequence: "" for the trunk, "<split key>:<branch index>" for a branch."""
    changed = copy.deepcopy(draft)
    steps = _sequence(changed, sequence)
    steps.insert(max(0, min(index, len(steps))), copy.deepcopy(step))
    return changed


def update(draft: dict, key: str, **parts: object) -> dict:
    """The draft with parts of a step (config, branches) replaced. Raises KeyError."""
    changed = copy.deepcopy(draft)
    find(changed, key).update(copy.deepcopy(parts))
    return changed


def remove(draft: dict, key: str) -> tuple[dict, int]:
    """The draft without a step and, if it is a split, what is in its branches; and how many steps that were."""
    changed = copy.deepcopy(draft)
    for step, siblings in walk(changed.get("steps", [])):
        if step["key"] == key:
            siblings.remove(step)
            return changed, 1 + sum(
                1 for branch in step.get("branches", []) for _step in walk(branch.get("steps", []))
            )
    raise KeyError(key)


def move(draft: dict, key: str, sequence: str, index: int) -> dict:
    """The draft with a step moved to `index` of another sequence (as it is without the step).

    Raises:
        KeyError: there is no such step or sequence.
        ValueError: a split can't go into its own branch.
    """
    step = copy.deepcopy(find(draft, key))
    inside = {
        child["key"]
        for branch in step.get("branches", [])
        for child, _siblings in walk(branch.get("steps", []))
    } | {key}
    if sequence.split(":")[0] in inside:
        raise ValueError(_("A split can't be moved into itself."))
    return insert(remove(draft, key)[0], sequence, index, step)


def save(flow_id: int, revision: int, change: Callable[[dict], dict], user=None) -> Flow:
    """Apply `change` to the draft at `revision` and keep what it was for undo.

    Raises:
        StaleDraftError: the draft has another revision by now.
        DefinitionError: the result does not have the shape of a flow.
    """
    with transaction.atomic():
        flow = Flow.objects.select_for_update().get(pk=flow_id)
        if flow.revision != revision:
            raise StaleDraftError(StaleDraftError.__doc__)
        changed = change(flow.draft or empty())
        parse(changed)
        if changed != flow.draft:
            FlowRevision.objects.update_or_create(
                flow=flow, number=flow.revision, defaults={"definition": flow.draft, "made_by": user}
            )
            FlowRevision.objects.filter(flow=flow, number__lte=flow.revision - KEPT_REVISIONS).delete()
            flow.draft, flow.revision = changed, flow.revision + 1
            flow.save(update_fields=["draft", "revision", "updated_at"])
        return flow


def undo(flow_id: int, revision: int) -> Flow:
    """Go back to the draft before the last change. Raises StaleDraftError, or LookupError if there is none."""
    with transaction.atomic():
        flow = Flow.objects.select_for_update().get(pk=flow_id)
        if flow.revision != revision:
            raise StaleDraftError(StaleDraftError.__doc__)
        last = flow.revisions.order_by("-number").first()
        if last is None:
            raise LookupError(_("There is nothing to undo."))
        flow.draft = last.definition
        flow.revision += 1
        last.delete()
        flow.save(update_fields=["draft", "revision", "updated_at"])
        return flow


def walk(steps: list[dict]) -> Iterator[tuple[dict, list[dict]]]:
    """Every step in reading order, with the sequence it is in."""
    for step in list(steps):
        yield step, steps
        for branch in step.get("branches", []):
            yield from walk(branch.setdefault("steps", []))


def _sequence(draft: dict, place: str) -> list[dict]:
    if not place:
        return draft.setdefault("steps", [])
    key, _colon, branch = place.partition(":")
    branches = find(draft, key).get("branches", [])
    if not branch.isdecimal() or int(branch) >= len(branches):
        raise KeyError(place)
    return branches[int(branch)].setdefault("steps", [])
