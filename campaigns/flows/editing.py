"""Editing a draft: pure functions on its tree, and saving with an optimistic lock and undo."""

import copy
import secrets
from collections.abc import Callable, Iterator
from typing import Any

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


def insert(draft: dict, place: str, index: int, step: dict) -> dict:
    """The draft with `step` at `index` of a sequence: "" for the trunk, "<split key>:<branch index>" for a branch."""
    changed = copy.deepcopy(draft)
    steps = sequence(changed, place)
    steps.insert(max(0, min(index, len(steps))), copy.deepcopy(step))
    return changed


def update(draft: dict, key: str, **parts: object) -> dict:
    """The draft with parts of a step (config, branches, …) replaced; None takes a part out. Raises KeyError."""
    changed = copy.deepcopy(draft)
    step = find(changed, key)
    step.update(copy.deepcopy(parts))
    for name in [name for name, value in step.items() if value is None]:
        del step[name]
    return changed


def made(draft: dict, kind: str, **parts: object) -> dict:
    """A new step for `draft`; parts that are None are left out."""
    known = {name: value for name, value in parts.items() if value is not None}
    return {"key": new_key(draft), "kind": kind, **copy.deepcopy(known)}


def copied(draft: dict, step: dict) -> dict:
    """A copy of a step and of all in its branches, with keys that neither `draft` nor the copy has twice."""
    copy_of = copy.deepcopy(step)
    used = {other["key"] for other, _siblings in walk(draft.get("steps", []))}
    for each, _siblings in walk([copy_of]):
        while True:
            each["key"] = f"s{secrets.token_hex(3)}"
            if each["key"] not in used:
                break
        used.add(each["key"])
    return copy_of


def size(step: dict) -> int:
    """How many steps a step is, with those in its branches."""
    return sum(1 for _step in walk([step]))


def remove(draft: dict, key: str) -> tuple[dict, int]:
    """The draft without a step and, if it is a split, what is in its branches; and how many steps that were."""
    changed = copy.deepcopy(draft)
    for step, siblings in walk(changed.get("steps", [])):
        if step["key"] == key:
            siblings.remove(step)
            return changed, size(step)
    raise KeyError(key)


def move(draft: dict, key: str, place: str, index: int) -> dict:
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
    if place.split(":")[0] in inside:
        raise ValueError(_("A split can't be moved into itself."))
    return insert(remove(draft, key)[0], place, index, step)


def save(
    flow_id: int, revision: int, change: Callable[[dict], dict], user: Any = None, merge: bool = False
) -> Flow:
    """Apply `change` to the draft at `revision` and keep what it was for undo.

    Args:
        merge: the change goes on with the one before, so that one undo takes both back.

    Raises:
        StaleDraftError: the draft has another revision by now.
        DefinitionError: the result does not have the shape of a flow.
    """
    with transaction.atomic():
        flow = _locked(flow_id, revision)
        changed = change(flow.draft or empty())
        parse(changed)
        if changed != flow.draft:
            flow.revisions.filter(undone=True).delete()
            last = flow.revisions.order_by("-number").first() if merge else None
            if last is None:
                _keep(flow, user, undone=False)
            elif user is not None and last.made_by_id != user.pk:
                last.made_by = user
                last.save(update_fields=["made_by"])
            flow.revisions.filter(number__lte=flow.revision - KEPT_REVISIONS).delete()
            flow.draft, flow.revision = changed, flow.revision + 1
            flow.save(update_fields=["draft", "revision", "updated_at"])
        return flow


def undo(flow_id: int, revision: int, user: Any = None) -> Flow:
    """Go back to the draft before the last change. Raises StaleDraftError, or LookupError if there is none."""
    return _travel(flow_id, revision, user, back=True)


def redo(flow_id: int, revision: int, user: Any = None) -> Flow:
    """Go forth to the draft before the last undo. Raises StaleDraftError, or LookupError if there is none."""
    return _travel(flow_id, revision, user, back=False)


def _travel(flow_id: int, revision: int, user: Any, back: bool) -> Flow:
    with transaction.atomic():
        flow = _locked(flow_id, revision)
        last = flow.revisions.filter(undone=not back).order_by("-number").first()
        if last is None:
            raise LookupError(_("There is nothing to undo.") if back else _("There is nothing to redo."))
        _keep(flow, user, undone=back)
        flow.draft = last.definition
        flow.revision += 1
        last.delete()
        flow.save(update_fields=["draft", "revision", "updated_at"])
        return flow


def _locked(flow_id: int, revision: int) -> Flow:
    flow = Flow.objects.select_for_update().get(pk=flow_id)
    if flow.revision != revision:
        raise StaleDraftError(StaleDraftError.__doc__)
    return flow


def _keep(flow: Flow, user: Any, undone: bool) -> None:
    FlowRevision.objects.update_or_create(
        flow=flow,
        number=flow.revision,
        defaults={"definition": flow.draft, "made_by": user, "undone": undone},
    )


def walk(steps: list[dict]) -> Iterator[tuple[dict, list[dict]]]:
    """Every step in reading order, with the sequence it is in."""
    for step in list(steps):
        yield step, steps
        for branch in step.get("branches", []):
            yield from walk(branch.setdefault("steps", []))


def sequence(draft: dict, place: str) -> list[dict]:
    """The steps of the sequence that `place` names as `insert` does. Raises KeyError."""
    if not place:
        return draft.setdefault("steps", [])
    key, _colon, branch = place.partition(":")
    branches = find(draft, key).get("branches", [])
    if not branch.isdecimal() or int(branch) >= len(branches):
        raise KeyError(place)
    return branches[int(branch)].setdefault("steps", [])
