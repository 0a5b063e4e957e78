"""Bringing the spool's records (delivery/spool.py) into the database, in batches, each once.

A file is removed when all of it is stored. Whoever stops in between leaves it, and what comes twice has the same ids.
The web server's processes do this for what they wrote themselves, in a thread; a sweep does it for what dead ones have
left. Lines that are damaged, and records that the database refuses, are set aside for a person to look at.
"""

import fcntl
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from crm import alerts
from delivery import spool

BATCH = 500
TICK = 0.5  # seconds
PATIENCE = 2.0  # seconds between two tries while the database is away
SET_ASIDE = "set-aside"
_DOWN = (OperationalError, InterfaceError)
logger = logging.getLogger(__name__)

# What stores the records of each kind, given as JSON objects, in one transaction with others. What is stored already
# it leaves alone. Layers above add to it.
Handler = Callable[[Sequence[bytes]], None]
handlers: dict[str, Handler] = {}
_rests_until = 0.0


class Away(Exception):
    """The database can't be reached, is too busy to answer, or takes nothing now."""


def run(budget: float = 20.0) -> int:
    """Store what is complete, and what this process has written so far; return how many records were handled.

    Files that another process writes or reads are left to it.

    Raises:
        Away: what is not stored yet stays where it is.
        Exception: the first that met a file; it stays where it is, the others are stored.
    """
    own, end, handled = spool.current(), time.monotonic() + budget, 0
    failed: dict[Path, Exception] = {}
    for sealed in (True, False):
        if not sealed and (time.monotonic() > end or not own.seal()):
            break
        for path in own.files():
            if time.monotonic() > end:
                break
            if path in failed:
                continue
            try:
                handled += _file(path)
            except Away:
                raise
            except Exception as error:  # a file that can't be read must not hold up all others
                failed[path] = error
    if failed:
        raise next(iter(failed.values()))
    return handled


def keep(kind: str, *records: spool.Record) -> bool:
    """Keep records until they are stored a moment later; where there is no room, store them now.

    Returns False if neither is possible; they are lost unless they are sent again.
    """
    try:
        spool.current().append(kind, *records)
    except spool.Full:
        return _directly(kind, records)
    return True


def _directly(kind: str, records: Sequence[spool.Record]) -> bool:
    global _rests_until
    if time.monotonic() < _rests_until:
        return False
    try:
        refused = _stored([(kind, msgspec.json.encode(record)) for record in records])
    except Away:  # connecting may take seconds; not every request is to wait for that
        _rests_until = time.monotonic() + PATIENCE
        return False
    if not refused:
        spool.current().told(len(records))
    return not refused


def start() -> None:
    """Do so twice a second for as long as the process lives, in a thread."""
    threading.Thread(target=_keep, name="spool", daemon=True).start()


def _keep() -> None:
    trouble = ""  # told once, not every two seconds
    while True:
        time.sleep(PATIENCE if trouble else TICK)
        try:
            spool.current().sync()
            connection.close_if_unusable_or_obsolete()
            run()
            _tell_of_refused()
            if trouble:
                logger.warning("What devices and links told is stored again.")
            trouble = ""
        except (*_DOWN, Away) as error:
            if trouble != "away":
                logger.warning("What devices and links tell waits on disk (%s).", type(error).__name__)
            trouble = "away"
            connection.close()
        except Exception:
            if trouble != "fault":
                logger.exception("What devices and links tell could not be stored.")
            trouble = "fault"
            connection.close()


def _tell_of_refused() -> None:
    own = spool.current()
    count = own.refused
    if not count:
        return
    alerts.raise_alert(
        "spool:full",
        f"{count} opens, clicks or reports of devices were turned away",
        f"The files in {own.folder} hold {own.size() // 2**20} MB of at most {own.limit // 2**20} (NUDGE_SPOOL_MB), "
        "or the disk is full. They wait there while the database is away.",
    )
    own.told(count)


def _file(path: Path) -> int:
    with _taken(path) as content:
        if content is None:
            return 0
        lines = content.split(b"\n")
        if torn := lines.pop():  # its writer died before anybody was told that it was kept
            logger.info("The last %d bytes of %s were never finished.", len(torn), path.name)
        for first in range(0, len(lines), BATCH):
            _batch(path, lines[first : first + BATCH])
        path.unlink(missing_ok=True)
        return len(lines)


@contextmanager
def _taken(path: Path) -> Iterator[bytes | None]:
    """The content of a file that nobody writes and nobody else reads; None of others."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        if not os.fstat(file).st_nlink:
            yield None
            return
        with open(file, "rb", closefd=False) as opened:
            yield opened.read()
    finally:
        os.close(file)


def _batch(path: Path, lines: Sequence[bytes]) -> None:
    """Store these; what can't be stored is set aside."""
    records, damaged = [], []
    for text in lines:
        try:
            kind, body = spool.parse(text)
            if kind not in handlers:
                raise ValueError("No such kind.")
            records.append((kind, body))
        except ValueError:
            damaged.append(text)
    refused = _stored(records)
    wrong = damaged + [b"%s %s" % (kind.encode(), body) for kind, body in refused]
    if wrong:
        _set_aside(path, wrong)


def _stored(records: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Store all, and return those that the database will not have.

    Raises:
        Away
    """
    if not records:
        return []
    by_kind: dict[str, list[bytes]] = defaultdict(list)
    for kind, body in records:
        by_kind[kind].append(body)
    try:
        with transaction.atomic():
            for kind, bodies in sorted(by_kind.items()):
                handlers[kind](bodies)
    except (DataError, IntegrityError, ValueError, msgspec.MsgspecError) as error:
        if len(records) == 1:
            logger.error("A record of devices or links can't be stored (%s).", type(error).__name__)
            return list(records)
        half = len(records) // 2
        return _stored(records[:half]) + _stored(records[half:])
    except (DatabaseError, InterfaceError) as error:
        # Also one that is being upgraded or only lets itself be read: that is no fault of the records.
        raise Away(Away.__doc__) from error
    return []


def _set_aside(path: Path, lines: Sequence[bytes]) -> None:
    folder = path.parent / SET_ASIDE
    folder.mkdir(mode=0o700, exist_ok=True)
    aside = folder / path.name
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(file, "ab") as opened:
        opened.write(b"".join(b"%s\n" % text for text in lines))
        opened.flush()
        os.fsync(opened.fileno())
    with suppress(*_DOWN):
        alerts.raise_alert(
            "spool:damaged",
            f"{len(lines)} records of opens, clicks or reports could not be read",
            f"They were damaged on the disk and are kept in {aside}; all others were stored. Look at the disk, and "
            "remove the file when you need it no more.",
        )
