"""Where a computed attribute is used, so that nobody deletes or changes it unawares.

The layers above, which use them, add functions that tell.
"""

from collections.abc import Callable
from typing import NamedTuple


class Use(NamedTuple):
    """One thing that needs the attribute: in words, with the address of its admin page."""

    text: str
    url: str


Finder = Callable[[], dict[str, list[Use]]]
_finders: list[Finder] = []


def register(finder: Finder) -> None:
    """Ask `finder` too: it returns slug -> uses, in few queries however many there are."""
    if finder not in _finders:
        _finders.append(finder)


def uses() -> dict[str, list[Use]]:
    """Everything that uses each attribute, by the attribute's slug."""
    found: dict[str, list[Use]] = {}
    for finder in _finders:
        for slug, there in finder().items():
            found.setdefault(slug, []).extend(there)
    return found
