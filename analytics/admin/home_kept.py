"""What takes long to count is kept for a while, in each process."""

import time
from collections.abc import Callable
from typing import Any

from django.core.cache import cache

SLOW = 0.2  # seconds; figures that take longer are kept
KEEP = 30  # seconds at least
RESTS = 50  # times as long as counting took


def kept(key: str, count: Callable[[], Any]) -> Any:
    """What `count` returns, or what it did return under the same key a short while ago."""
    key = f"analytics.home.{key}"
    found = cache.get(key)
    if found is not None:
        return found
    began = time.monotonic()
    found = count()
    took = time.monotonic() - began
    if took > SLOW:
        cache.set(key, found, max(KEEP, RESTS * took))
    return found
