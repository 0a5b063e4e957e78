"""A step that was copied, kept in the session, so that it can be pasted into any flow and any tab."""

from typing import Any

import msgspec
from django.http import HttpRequest
from django.utils.translation import gettext as _

from campaigns.flows import editing, steps
from campaigns.flows.definition import MAX_STEPS, Step

KEY = "flow-clipboard"


class Held(msgspec.Struct):
    """What was copied: the step as JSON, how it is told, and how many steps it is."""

    step: dict[str, Any]
    label: str
    icon: str
    number: int


def hold(request: HttpRequest, step: dict[str, Any]) -> None:
    """Remember a step with all in its branches instead of what was copied before."""
    request.session[KEY] = step


def held(request: HttpRequest) -> Held | None:
    """What was copied last; None if nothing was, or its kind is gone."""
    step = request.session.get(KEY)
    kind = steps.registry.get(step.get("kind", "")) if isinstance(step, dict) else None
    if kind is None:
        return None
    try:
        words = kind.summary(msgspec.convert(step, Step))
    except msgspec.ValidationError:
        return None
    return Held(step, f"{kind.label}: {words}", kind.icon, editing.size(step))


def inserted(draft: dict[str, Any], place: str, index: int, step: dict[str, Any]) -> dict[str, Any]:
    """The draft with a step. Raises ValueError if that makes too many steps, KeyError if there is no such place."""
    present = sum(1 for _step in editing.walk(draft.get("steps", [])))
    if present + editing.size(step) > MAX_STEPS:
        raise ValueError(_("A flow has at most %d steps.") % MAX_STEPS)
    return editing.insert(draft, place, index, step)
