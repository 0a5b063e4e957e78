"""What happened at the push service, in order, and blocking waits on it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from tests.push.client import ClientKeys
from tests.push.loopthread import WAIT

Entry = TypeVar("Entry")


class Journal(Generic[Entry]):
    """Append-only list shared by threads; waiting wakes on each new entry and never polls.

    `limit` keeps only the newest entries (for benchmarks); `total` counts all of them.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._entries: deque[tuple[int, Entry]] = deque(maxlen=limit)
        self._changed = threading.Condition()
        self.total = 0

    def append(self, entry: Entry) -> None:
        """Add an entry and wake all waiting threads."""
        with self._changed:
            self.total += 1
            self._entries.append((self.total, entry))
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Entry]:
        with self._changed:
            return iter([entry for _, entry in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget all entries; `total` goes on counting."""
        with self._changed:
            self._entries.clear()

    def wait_for_news(self, seen: int, timeout: float) -> bool:
        """Wait until `total` has passed `seen`; False when it has not within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.total > seen, timeout)

    def wait_for(
        self, predicate: Callable[[Entry], Any] = lambda entry: True, timeout: float = WAIT
    ) -> Entry:
        """Return the oldest entry, present or future, for which `predicate` is true.

        Raises TimeoutError after `timeout` seconds, with the newest entries in its text.
        """
        return self.wait_for_count(1, predicate, timeout)[0]

    def wait_for_count(
        self, count: int, predicate: Callable[[Entry], Any] = lambda entry: True, timeout: float = WAIT
    ) -> list[Entry]:
        """Return the oldest `count` entries for which `predicate` is true, once there are that many."""
        found: list[Entry] = []
        seen = 0

        def news() -> bool:
            return self.total > seen

        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                if not self._changed.wait_for(news, deadline - time.monotonic()):
                    newest = [entry for _, entry in self._entries][-5:]
                    got = f"{len(found)} of {count} awaited entries in {timeout} s"
                    raise TimeoutError(f"{got}; newest of {len(self)}: {newest}")
                fresh = [entry for number, entry in self._entries if number > seen]
                seen = self.total
            for entry in fresh:  # outside the lock: a predicate may decrypt
                if predicate(entry):
                    found.append(entry)
                    if len(found) == count:
                        return found


@dataclass(frozen=True)
class Push:
    """One POST to a push endpoint and what it was answered.

    `headers` has lower-case names, `body` is as received (encrypted), `status` is the answer (0: connection
    closed without one), `errno` is autopush's number for a refusal.
    """

    token: str
    endpoint: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    status: int
    errno: int | None = None
    message: str = ""
    keys: ClientKeys | None = None

    @property
    def accepted(self) -> bool:
        """Whether the push service took the message for delivery."""
        return self.status == 201

    @cached_property
    def payload(self) -> bytes | None:
        """The decrypted body; None when the private key is in a browser or the push is empty.

        Raises http_ece.ECEException when it was not encrypted for this subscription.
        """
        return self.keys.decrypt(self.body) if self.keys and self.body else None

    @property
    def json(self) -> Any:
        """The decrypted body as JSON."""
        return msgspec.json.decode(self.payload or b"null")


@dataclass(frozen=True)
class Ack:
    """A client's word on a message: 100 delivered, 101 undecryptable, 102 lost, 301-303 worker failed."""

    endpoint: str
    version: str
    code: int


@dataclass(frozen=True)
class Registration:
    """A subscription made (`code` None) or ended: 200 by the page, 201 quota, 202 permission revoked."""

    endpoint: str
    code: int | None = None
