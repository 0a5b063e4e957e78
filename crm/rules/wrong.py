"""Which input of a form a mistake in a rule is about."""

import re
from collections.abc import Iterable

from crm.rules.errors import Problem

# The parts of an event condition whose inputs have names of their own.
_PARTS = (("not_followed_by.", "follow."), ("aggregate.", "figure."))
# What is left of the path inside its part -> the inputs that may hold it, the likeliest first.
_INPUTS = (
    (r"value\[1\].*", ("high", "value")),
    (r"value.*", ("value", "low")),
    (r"(name|property|field)", (r"\1_other", r"\1")),
    (r"within\.from", ("start",)),
    (r"within\.to", ("end",)),
    (r"within.*", ("span", "start", "window")),
    (r"count.*", ("times",)),
    (r"percent\[0\]", ("low", "percent")),
    (r"percent.*", ("high", "percent")),
    (r"(latitude|longitude)", (r"\1", "place")),
)


class Wrong:
    """The mistakes of one condition, handed out to the inputs they are about while a page is drawn.

    Args:
        problems: with paths inside the condition, such as `where[0].value`.
    """

    def __init__(self, problems: Iterable[Problem] = ()):
        self._left = [(problem, inputs_of(problem.path)) for problem in problems]
        self._untold: list[tuple[str, str]] = []

    def claim(self, name: str, element: str) -> bool:
        """Whether a mistake is about the input `name`, whose id on the page is `element`; it is told there then."""
        found = [item for item in self._left if name in item[1]]
        self._untold += [(element, problem.message) for problem, _names in found]
        self._left = [item for item in self._left if item not in found]
        return bool(found)

    def told(self) -> list[tuple[str, str]]:
        """(id of the input, message) of what was claimed since the last call."""
        told, self._untold = self._untold, []
        return told

    def rest(self) -> list[str]:
        """The messages that no input took."""
        rest, self._left = [problem.message for problem, _names in self._left], []
        return rest


def inputs_of(path: str) -> list[str]:
    """Names of the inputs that may hold what `path` says: `aggregate.value` is in `figure.value`."""
    prefix = ""
    for start, name in _PARTS:
        if path.startswith(start):
            prefix, path = name, path.removeprefix(start)
    if where := re.match(r"where\[([0-9]+)\]\.?", path):
        prefix, path = f"{prefix}where{where[1]}.", path[where.end() :]
    for pattern, names in _INPUTS:
        if found := re.fullmatch(pattern, path):
            return [prefix + found.expand(name) for name in names]
    return [prefix + path]
