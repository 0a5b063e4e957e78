"""Values that steps write somewhere: as they stand, from what the run knows, a number to add, or nothing.

In a step's settings a value is plain JSON, `{"from": "event.properties.plan"}`, `{"add": 1}` or null. In forms it is
a text: `gold`, `12`, `true`, `"12"` (a text), `{{ event.properties.plan }}`, `+1` (to add), `=-1` (not to add), and
nothing.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows.steps.base import Person
from delivery.content import people as facts

FROM, ADD = "from", "add"
MISSING: Any = object()
PROFILE = "profile"
HELP = gettext_lazy(
    "A word or number as it stands, “{{ event.properties.plan }}” for what the run knows, “+1” to add to a number; "
    "leave it empty to clear. Quotes make a text of anything."
)

_REFERENCE = re.compile(r"\{\{\s*([^\s{}][^{}]*?)\s*\}\}")
_BRACES = re.compile(r"\{\{|\}\}|\{%")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,10})?")
_ADDED = re.compile(r"[+-](0|[1-9][0-9]{0,14})(\.[0-9]{1,10})?")
_WORDS: dict[str, Any] = {"true": True, "false": False}


def read(text: str, adding: bool = False) -> Any:
    """The setting that a form's text means.

    Args:
        adding: whether a number with a sign is one to add; else “-1” is just a number.
    """
    text = text.strip()
    if not text:
        return None
    if found := _REFERENCE.fullmatch(text):
        return {FROM: found[1]}
    if adding and _ADDED.fullmatch(text):
        return {ADD: _number(text)}
    plain = text.removeprefix("=") if adding else text
    if _NUMBER.fullmatch(plain):
        return _number(plain)
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in '"[{':
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if not isinstance(value, dict) else text
    return text


def show(value: Any, adding: bool = False) -> str:
    """The text that `read` makes this setting of."""
    match value:
        case None:
            return ""
        case {"from": str(path)}:
            return f"{{{{ {path} }}}}"
        case {"add": int() | float() as amount}:
            return f"+{amount}" if amount >= 0 else str(amount)
        case str() if value and value == value.strip() and read(value, adding) == value:
            return value
    text = json.dumps(value, ensure_ascii=False)
    return f"={text}" if adding and _ADDED.fullmatch(text) else text


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def reference(value: Any) -> str | None:
    """The path that a setting takes its value from."""
    return value[FROM] if isinstance(value, dict) and isinstance(value.get(FROM), str) else None


def amount(value: Any) -> int | float | None:
    """The number that a setting adds."""
    found = value.get(ADD) if isinstance(value, dict) and len(value) == 1 else None
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def problem(value: Any, adding: bool = False) -> str:
    """What is wrong with a setting, in a sentence; empty if nothing is."""
    if isinstance(value, str) and _BRACES.search(value):
        return _(
            "“%s” would be written as it stands. Write “{{ event.properties.plan }}” and nothing around it to take "
            "over a value."
        ) % (value if len(value) <= 60 else f"{value[:60]}…")
    if not isinstance(value, dict):
        return ""
    if reference(value) is not None and len(value) == 1:
        return ""
    if amount(value) is not None:
        return "" if adding else _("Nothing can be added here.")
    return _("Give a value, {“from”: path} or {“add”: number}.")


def look_up(path: str, known: Mapping[str, Any]) -> Any:
    """What stands at a path such as `event.properties.plan`; MISSING if nothing does.

    A key that holds points itself is found, too: the longest one counts.
    """
    names = path.split(".")
    place: Any = known
    while names:
        if not isinstance(place, Mapping):
            return MISSING
        for end in range(len(names), 0, -1):
            key = ".".join(names[:end])
            if key in place:
                place, names = place[key], names[end:]
                break
        else:
            return MISSING
    return place


def known(people: Sequence[Person], settings: Iterable[Any]) -> dict[int, dict[str, Any]]:
    """By run, what its values may come from: its context and, in one query if a setting asks, the profile."""
    paths = [path for setting in settings if (path := reference(setting))]
    if not any(path == PROFILE or path.startswith(f"{PROFILE}.") for path in paths):
        return {person.enrollment_id: person.context for person in people}
    profiles = facts.data({person.profile_id for person in people})
    return {
        person.enrollment_id: {**person.context, PROFILE: profiles.get(person.profile_id, {})}
        for person in people
    }


def resolve(setting: Any, about: Mapping[str, Any]) -> Any:
    """The value of a setting for one run; MISSING if what it comes from is not there."""
    path = reference(setting)
    return setting if path is None else look_up(path, about)
