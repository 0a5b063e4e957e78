"""The live writer: keeps changing records of every vendor, as the people who use a CRM do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping

from crm.sandbox.vendor import Vendor

TICK_SECONDS = 0.05


class Writer:
    """Changes records at a settable rate; for the same seed each vendor gets the same sequence of changes.

    The rate may be set from any thread; the changes are made in the server's.
    """

    def __init__(self, vendors: Mapping[str, Vendor], seed: int) -> None:
        self.vendors = vendors
        self.writes_per_second = 0.0
        self.chosen: tuple[str, ...] = tuple(vendors)
        self.done = 0
        self._random = {name: random.Random(f"{seed}/{name}") for name in vendors}  # noqa: S311

    def set_rate(self, writes_per_second: float, vendors: Iterable[str] | None = None) -> None:
        """Write so often from now on, in turn to each of the vendors (default: all); KeyError if unknown."""
        chosen = tuple(self.vendors if vendors is None else vendors)
        for name in chosen:
            self.vendors[name]
        self.chosen, self.writes_per_second = chosen, writes_per_second

    def write(self, vendor: str) -> str:
        """Make the next change of one vendor; says what it was."""
        self.done += 1
        return self.vendors[vendor].random_write(self._random[vendor])

    async def run(self) -> None:
        """Write at the set rate until cancelled."""
        loop = asyncio.get_running_loop()
        owed, turn, last = 0.0, 0, loop.time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            # A loop that was held up catches up at most a second's writes, rather than flood the CRM.
            owed = min(owed + (now - last) * self.writes_per_second, max(1.0, self.writes_per_second))
            last = now
            if not self.chosen or not self.writes_per_second:
                owed = 0.0
                continue
            while owed >= 1:
                self.write(self.chosen[turn % len(self.chosen)])
                turn += 1
                owed -= 1
