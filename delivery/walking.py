"""Walking through real people one by one, to look at a message as each of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from crm.models import Profile


class Source(NamedTuple):
    """Groups of people to walk through; the layers above add theirs.

    `groups()` returns [(key, name)]; `beside(key, profile_id, step)` the number of the next (1) or previous (-1) person
    of a group, going round at its end, or None if there is nobody.
    """

    groups: Callable[[], list[tuple[str, str]]]
    beside: Callable[[str, int, int], int | None]


_sources: dict[str, Source] = {}


def register(name: str, source: Source) -> None:
    """Offer these groups too; their keys are known as `name:key`."""
    _sources[name] = source


def groups() -> list[tuple[str, str]]:
    """Return (key, name) of the groups that previews walk through, beside everybody."""
    return [(f"{name}:{key}", label) for name, source in _sources.items() for key, label in source.groups()]


def beside(group: str, profile_id: int, step: int) -> Profile | None:
    """Return the person before (-1) or behind (1) one in a group, or among everybody; nobody in an empty one."""
    name, _sep, key = group.partition(":")
    if name in _sources:
        found = _sources[name].beside(key, profile_id, step)
        return Profile.objects.filter(pk=found).first() if found is not None else None
    return neighbour(Profile.objects.all(), "pk", profile_id, step)


def neighbour(rows: Any, column: str, profile_id: int, step: int) -> Any:
    """Return the row next to a person's in the order of `column`, going round; two queries at most."""
    way, order = ("gt", column) if step > 0 else ("lt", f"-{column}")
    ordered = rows.order_by(order)
    return ordered.filter(**{f"{column}__{way}": profile_id}).first() or ordered.first()
