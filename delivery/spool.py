"""Keeping what devices and readers of mails tell, on the disk of this host, until the database has it.

Each process appends to a file of its own, one record a line: a checksum, its kind and a JSON object with an id. A line
is in the system's hands when `append` returns, so it outlives a `kill -9` of the process; `sync` brings it to the disk
itself, which the drainer's thread asks for twice a second (delivery/spool_drain.py). A process holds a lock on the
file that it writes: what is not locked is complete, or its writer is dead.
"""

import fcntl
import logging
import os
import secrets
import threading
import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec
from django.conf import settings

ENDING = ".spool"
SEALED_AT = 4 * 1024 * 1024  # bytes; then the next file begins
OPEN_FOR = 10.0  # seconds; the same, for servers whose processes run no drainer
MEASURED_EVERY = 0.5  # seconds at least; what other processes write shows as late as that
RESTS = 50  # times as long as measuring took: after a long outage there are many files
_TOLD_EVERY = 60.0  # seconds between two lines in the log about the same trouble
logger = logging.getLogger(__name__)


class Full(Exception):
    """There is no room for another record, or the disk takes none."""


class Record(msgspec.Struct):
    """What every record has: an id, so that storing it twice stores it once."""

    record: uuid.UUID


class Spool:
    """The folder, and the file in it that this process writes. All methods may be called by several threads.

    `refused` counts the records that were turned away, until `told` of them.
    """

    def __init__(self, folder: Path, limit: int):
        """Args: limit: bytes that all files of the folder may have together."""
        self.folder = folder
        self.limit = limit
        self.refused = 0
        self._lock = threading.Lock()
        self._file = -1
        self._path = folder
        self._size = self._unsynced = 0
        self._total = 0
        self._opened = 0.0
        self._measure_at = 0.0
        self._logged = -_TOLD_EVERY

    def append(self, kind: str, *records: Record) -> None:
        """Keep records, all of them or none.

        Args:
            kind: a word; which function stores them, see `spool_drain.handlers`.

        Raises:
            Full: they are not kept.
        """
        data = b"".join([line(kind, record) for record in records])
        with self._lock:
            try:
                self._write(data)
            except (OSError, Full) as error:
                self._close()
                self.refused += len(records)
                self._tell(error)
                raise Full(Full.__doc__) from error

    def seal(self) -> bool:
        """End the file that is being written, so that it can be read; return whether there was anything in it."""
        with self._lock:
            if not self._size:
                return False
            self._close()
            return True

    def sync(self) -> None:
        """Bring what was appended to the disk itself. Others may append meanwhile."""
        with self._lock:
            if not self._unsynced or self._file < 0:
                return
            self._unsynced = 0
            copy = os.dup(self._file)
        try:
            os.fdatasync(copy)
        finally:
            os.close(copy)

    def told(self, count: int) -> None:
        """Take `count` off `refused`: a person was told of them."""
        with self._lock:
            self.refused -= count

    def size(self) -> int:
        """Return how many bytes all files of the folder have together."""
        total = 0
        for where, _folders, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):  # somebody has just read it
                    total += Path(where, name).stat().st_size
        return total

    def files(self) -> list[Path]:
        """Return the files with records, the oldest first."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == ENDING)
        except FileNotFoundError:
            return []

    def _write(self, data: bytes) -> None:
        now = time.monotonic()
        if now >= self._measure_at:
            self._total = self.size()
            self._measure_at = now + max(MEASURED_EVERY, RESTS * (time.monotonic() - now))
        if self._total + len(data) > self.limit:
            raise Full(Full.__doc__)
        if self._file < 0:
            self._open()
            self._opened = now
        written = os.write(self._file, data)
        if written < len(data):  # the disk is full: half a line is none
            os.ftruncate(self._file, self._size)
            raise Full(Full.__doc__)
        self._size += written
        self._unsynced += written
        self._total += written
        if self._size >= SEALED_AT or now - self._opened > OPEN_FOR:
            os.fdatasync(self._file)
            self._close()

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            name = f"{time.time_ns():020}-{os.getpid()}-{secrets.token_hex(4)}{ENDING}"
            self._path = self.folder / name
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
            with suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._file).st_nlink:
                    break
            self._close()  # a reader was quicker and found it empty
        _sync_folder(self.folder)

    def _close(self) -> None:
        file, empty = self._file, not self._size
        self._file, self._size, self._unsynced = -1, 0, 0
        if file >= 0:
            with suppress(OSError):
                if empty:  # on a full disk each try would leave another one
                    self._path.unlink(missing_ok=True)
            with suppress(OSError):
                os.close(file)

    def _tell(self, error: Exception) -> None:
        if time.monotonic() - self._logged >= _TOLD_EVERY:
            self._logged = time.monotonic()
            logger.error(
                "What devices and links tell can't be kept (%s): %d bytes in %s, of at most %d.",
                getattr(error, "strerror", None) or "no room",
                self._total,
                self.folder,
                self.limit,
            )

    def _forget(self) -> None:
        """In the child of a fork: the file is the parent's, and so is its lock, which lasts as long as anybody has it
        open."""
        self._lock = threading.Lock()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._unsynced = -1, 0, 0


def line(kind: str, record: Record) -> bytes:
    """Return a record as it is written: CRC-32 in hexadecimal, kind, JSON."""
    content = b"%s %s" % (kind.encode(), msgspec.json.encode(record))
    return b"%08x %s\n" % (zlib.crc32(content), content)


def parse(text: bytes) -> tuple[str, bytes]:
    """Return kind and JSON of a line without its end.

    Raises:
        ValueError: it is not as it was written.
    """
    checksum, _space, content = text.partition(b" ")
    kind, _space, body = content.partition(b" ")
    if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(content) or not body:
        raise ValueError("The checksum is wrong.")
    return kind.decode(), body


def number() -> uuid.UUID:
    """Return a new id, of version 7 (RFC 9562): those of one time lie together in an index."""
    value = time.time_ns() // 1_000_000 << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return uuid.UUID(int=value | 0b10 << 62 | secrets.randbits(62))


def current() -> Spool:
    """Return this process's spool in the folder of the settings."""
    folder, limit = Path(settings.NUDGE_SPOOL_DIR), settings.NUDGE_SPOOL_MB * 1024 * 1024
    found = _spools.get((folder, limit))
    if found is None:
        with _making:
            found = _spools.setdefault((folder, limit), Spool(folder, limit))
    return found


_spools: dict[tuple[Path, int], Spool] = {}
_making = threading.Lock()


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _forked() -> None:
    for spool in _spools.values():
        spool._forget()


os.register_at_fork(after_in_child=_forked)
