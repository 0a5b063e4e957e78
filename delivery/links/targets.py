"""Where tracked links lead, found in milliseconds or not at all.

The ledger knows. What was looked up stays in this process's memory: some seconds, as whatever follows all links of a
message asks for each of them, and an hour for when the database can't answer.
"""

import threading
import time
from collections import OrderedDict

import msgspec
import psycopg
from django.db import InterfaceError, OperationalError, connection
from msgspec.json import decode
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus

from delivery.content.addresses import is_web
from delivery.links import silence

FRESH = 5.0  # seconds
STALE = 3600.0
KEPT = 5000  # deliveries, of which each may have
MAX_LENGTH = 16_000  # characters of links
PATIENCE_MS = 1500
SILENCE_SECONDS = 2.0  # of a server that hangs or is cut off, and can't even tell that the patience is over
RESTS = 2.0  # seconds, after the database did not answer
TRIES = 10.0  # seconds that one thread may then try to reach it, while the others know that it is away

# One message to the server: a click that meets a locked table must not hold a thread of the web server. Outside of a
# transaction the patience ends with it.
_FIND = """
    SET LOCAL statement_timeout = {patience};
    SELECT d.links, d.origin_type = 'test', to_jsonb(s.own_hosts)
    FROM delivery_delivery d LEFT JOIN delivery_linksettings s ON s.id = 1 WHERE d.id = {delivery}
"""
_IMPATIENT_NO_MORE = "SET LOCAL statement_timeout TO DEFAULT"


class Unreachable(Exception):
    """The database can't tell now where this leads."""


class Target(msgspec.Struct, frozen=True):
    """Where a link leads; `sites` are the account's own. `test`: whoever follows it need not be the person that the
    message was filled in for."""

    url: str
    test: bool
    sites: tuple[str, ...]


class _Links(msgspec.Struct, frozen=True):
    """The links of a delivery as they were at `at` (seconds of the monotonic clock)."""

    urls: tuple[str, ...]
    test: bool
    sites: tuple[str, ...]
    at: float


_known: OrderedDict[int, _Links] = OrderedDict()
_lock = threading.Lock()
_rests_until = 0.0


def find(delivery_id: int, link: int) -> Target | None:
    """Return where a link of a delivery leads; None if nowhere.

    Raises:
        Unreachable: see there; it is raised within about two seconds, or five where a connection has to be made.
    """
    now = time.monotonic()
    links = _known.get(delivery_id)
    if links is None or now - links.at > FRESH:
        links = _looked_up(delivery_id, links, now)
    if links is None or link >= len(links.urls) or not is_web(links.urls[link]):
        return None
    return Target(links.urls[link], links.test, links.sites)


def forget() -> None:
    """Keep in mind nothing of what was looked up, nor that the database did not answer."""
    global _rests_until
    with _lock:
        _known.clear()
        _rests_until = 0.0


def _looked_up(delivery_id: int, before: _Links | None, now: float) -> _Links | None:
    global _rests_until
    error: Exception | None = None
    if now >= _rests_until:
        if _rests_until:
            _rests_until = now + TRIES
        try:
            links = _ask(delivery_id, now)
        except (OperationalError, InterfaceError) as caught:
            error = caught
            _rests_until = time.monotonic() + RESTS
        else:
            _rests_until = 0.0
            _remember(delivery_id, links)
            return links
    if before is None or now - before.at > STALE:
        raise Unreachable(Unreachable.__doc__) from error
    return before


def _ask(delivery_id: int, now: float) -> _Links | None:
    connection.health_check_done = True  # type: ignore[attr-defined] # this statement tells as much
    try:
        return _asked(delivery_id, now)
    except (OperationalError, InterfaceError):
        if time.monotonic() - now >= SILENCE_SECONDS:
            connection.close()
            raise
        if connection.in_atomic_block or connection.is_usable():
            raise
        connection.close()  # the server was started anew since the last click
        return _asked(delivery_id, now)


def _asked(delivery_id: int, now: float) -> _Links | None:
    """By the client library alone: a cursor costs more than twice as much as the answer."""
    connection.ensure_connection()
    line = connection.connection.pgconn
    with connection.wrap_database_errors, silence.cut_after(line.socket, SILENCE_SECONDS):
        result = line.exec_(_FIND.format(patience=PATIENCE_MS, delivery=int(delivery_id)).encode())
        if line.status != ConnStatus.OK:
            raise psycopg.OperationalError("The server is gone.")
        if result.status != ExecStatus.TUPLES_OK:
            raise error_from_result(result)
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(_IMPATIENT_NO_MORE)
    if not result.ntuples:
        return None
    links, test, sites = (result.get_value(0, column) or b"null" for column in range(3))
    urls = decode(links)
    return _Links(
        tuple(urls) if isinstance(urls, list) else (), test == b"t", tuple(decode(sites) or ()), now
    )


def _remember(delivery_id: int, links: _Links | None) -> None:
    with _lock:
        _known.pop(delivery_id, None)
        if links is None or sum(map(len, links.urls)) > MAX_LENGTH:
            return
        _known[delivery_id] = links
        while len(_known) > KEPT:
            _known.popitem(last=False)
