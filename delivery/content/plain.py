"""Texts that hold nothing but words and names, filled in without Liquid at a tenth of the effort."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from delivery.content.liquid import MAX_OUTPUT

_OUTPUT = re.compile(r"\{\{\s*([a-zA-Z_]\w*(?:\.[a-zA-Z_]\w*)*)\s*\}\}")
LONG = 1000  # characters of one value; longer ones are Liquid's, which has limits


class PlainText:
    """A text such as "Hello {{ profile.first_name }}".

    Args:
        source: the template.

    Raises:
        ValueError: it holds more than that.
    """

    def __init__(self, source: str):
        pieces = _OUTPUT.split(source)
        self._words = pieces[::2]
        self._paths = [path.split(".") for path in pieces[1::2]]
        if any(mark in word for word in self._words for mark in ("{{", "{%")):
            raise ValueError("more than names")

    @classmethod
    def of(cls, source: str) -> "PlainText | None":
        """Return the text; None where only Liquid can fill it in."""
        try:
            return cls(source)
        except ValueError:
            return None

    def render(self, data: Mapping[str, Any]) -> str | None:
        """Return what Liquid would make of it; None where that takes Liquid."""
        pieces = [self._words[0]]
        for place, path in enumerate(self._paths, start=1):
            found = value(path, data)
            if found is None or len(found) > LONG:
                return None
            pieces += (found, self._words[place])
        text = "".join(pieces)
        return text if len(text.encode()) <= MAX_OUTPUT else None


def value(path: Sequence[str], data: Mapping[str, Any]) -> str | None:
    """Return the text or whole number that a path leads to, as Liquid prints it; None for all else."""
    found: Any = data
    for key in path:
        found = found.get(key) if type(found) is dict else None
    if type(found) is str:
        return found.replace("\x00", "")
    return str(found) if type(found) is int else None
