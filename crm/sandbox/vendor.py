"""What the server and the control API ask of a CRM vendor's imitation."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from aiohttp import web

# A coroutine function that runs beside the server until it is cancelled.
Task = Callable[[], Coroutine[Any, Any, None]]


class Vendor(Protocol):
    """One CRM: its API's routes, and its store as the control API sees it.

    A record is shown as {"id", "archived" (in the recycle bin), "created", "modified", "archived_at",
    "merged_ids", "properties"}; erased records are not shown. Methods that take a `kind` (the
    name of an object, such as `contacts`) and a `key` (a record's id) raise KeyError
    for an object or record that does not exist and ValueError for a body that makes no sense.

    A vendor with settings of its own has `configure(body) -> dict`.
    """

    name: str
    prefixes: tuple[str, ...]  # the URL paths it answers begin so
    accepts: set[str] | None  # the credentials it accepts; None: any that are not empty
    lag_seconds: float  # how long its searches trail its store

    def routes(self) -> list[web.RouteDef]:
        """The route table."""
        ...

    def tasks(self) -> list[Task]:
        """What runs beside the server."""
        ...

    def error_response(self, status: int, path: str) -> web.Response:
        """What the vendor sends with a bare status: for scripted faults and unknown paths."""
        ...

    def dump(self, kind: str, /) -> Iterator[dict[str, Any]] | None:
        """Every record of the object, or None if there is no such object."""
        ...

    def create(self, kind: str, properties: dict[str, Any], /) -> dict[str, Any]:
        """A new record, as `dump` shows it."""
        ...

    def edit(self, kind: str, key: str, body: dict[str, Any], /) -> dict[str, Any]:
        """Change a record: {"properties"?, "archived"?, "erased"?, "merge"?: other id, "modified"?}."""
        ...

    def random_write(self, rng: random.Random) -> str:
        """Make one believable change, chosen by `rng` alone; says what it did."""
        ...

    def expire_tokens(self) -> int:
        """Refuse from now on every access token issued so far; says how many."""
        ...

    def change_schema(self, kind: str, body: dict[str, Any], /) -> dict[str, Any]:
        """Add, remove or rename a field: {"add": {...}}, {"remove": name} or {"rename": [old, new]}."""
        ...
