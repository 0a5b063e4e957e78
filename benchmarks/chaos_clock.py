"""A clock that a harness sets for all processes at once: how many seconds it is ahead stands in a small file.

Only `benchmarks.chaos_settings` puts it into the product. The file is mapped into memory, so that asking for the time
costs no more than usual and everybody sees a change at once.
"""

import mmap
import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

ENVIRONMENT = "NUDGE_CHAOS_CLOCK"  # names the file
_SECONDS = struct.Struct("d")


class Clock:
    """The time of day and what the file says it is ahead of it."""

    def __init__(self, path: Path):
        if not path.exists():
            path.write_bytes(_SECONDS.pack(0.0))
        path.chmod(0o666)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SECONDS.size)

    def now(self) -> datetime:
        """The time with its zone, as `django.utils.timezone.now` gives it."""
        return datetime.now(UTC) + timedelta(seconds=_SECONDS.unpack(self._map[:])[0])

    def set(self, now: datetime) -> None:
        """Make it `now`, in every process. It is never put back: an earlier time changes nothing."""
        if now > self.now():
            self._map[:] = _SECONDS.pack((now - datetime.now(UTC)).total_seconds())


def install() -> None:
    """Give Django's `timezone.now`, which all services ask, the file's time."""
    from django.utils import timezone

    timezone.now = Clock(Path(os.environ[ENVIRONMENT])).now
