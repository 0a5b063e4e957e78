"""Answers that single deliveries have to be looked at for are kept for a while, in each process."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from django.core.cache import cache

SLOW = 0.3  # seconds; what is quicker is always asked anew
RESTS = 20  # times as long as it took
LONGEST = 300.0  # seconds


def kept(name: str, question: object, answer: Callable[[], Any]) -> Any:
    """What `answer` returns, or what it returned to the same question a short while ago.

    Args:
        question: written out by `repr`, it is the same where the answer is.
    """
    digest = hashlib.sha256(repr(question).encode()).hexdigest()
    key = f"analytics.reports.{name}.{digest}"
    found = cache.get(key)
    if found is not None:
        return found
    began = time.monotonic()
    found = answer()
    took = time.monotonic() - began
    if took > SLOW:
        cache.set(key, found, min(LONGEST, RESTS * took))
    return found


def span() -> int:
    """The number of the present stretch of LONGEST seconds: what was kept in one is not told after the next."""
    return int(time.time() // LONGEST)
