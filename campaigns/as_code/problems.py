"""What is wrong with a bundle, and where in its text."""

from collections.abc import Sequence
from typing import NamedTuple

from django.utils.translation import gettext as _

Path = tuple[str | int, ...]
"""The way from the root of a bundle to a value: names and indexes."""


class Position(NamedTuple):
    """A place in a text, both from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One mistake as a sentence, with its place; `position` is None where there is no text.

    One that is not `blocking` can be stored in a draft, but can't be published.
    """

    path: Path
    text: str
    position: Position | None = None
    blocking: bool = True

    def __str__(self) -> str:
        where = shown(self.path)
        text = f"{where}: {self.text}" if where else self.text
        return f"{self.position.line}:{self.position.column}: {text}" if self.position else text


class BundleError(ValueError):
    """A bundle that can't be taken; `problems` names every mistake that was found."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def shown(path: Path) -> str:
    """A path as people read it: `flows.welcome.steps[0].config`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def too_large(limit: int) -> BundleError:
    """More text than `limit` bytes."""
    return BundleError([Problem((), _("The file is larger than %d MB.") % (limit // 2**20))])
