"""How fast an account may send, held to by any number of dispatchers at once.

The generic cell rate algorithm (ITU-T I.371): one time in the account's row, `next_at`, says when all that was sent
would have been sent at the even pace. What was not used within a second is lost. Whoever asks holds the row's lock.
"""

import math
from datetime import datetime, timedelta

from delivery.models import Account

BURST = 1.0  # seconds' worth that may go out at once
# Seconds' worth that is waited for: one claim for each message would take longer than many a pace allows.
GATHERED = 0.25


def allowance(account: Account, now: datetime) -> float:
    """Return how many messages may go out now; infinity where no pace is set."""
    if not account.per_second:
        return math.inf
    ahead = max(0.0, (account.next_at - now).total_seconds()) if account.next_at else 0.0
    return math.floor(_depth(account) - ahead * account.per_second + 1e-6)


def wait(account: Account, now: datetime) -> float:
    """Return after how many seconds to ask again: when one more may go out, at a high pace some more."""
    if not account.per_second or not account.next_at:
        return 0.0
    ahead = (account.next_at - now).total_seconds()
    wanted = max(1.0, account.per_second * GATHERED)
    return max(0.0, ahead - (_depth(account) - wanted) / account.per_second)


def after(account: Account, count: int, now: datetime) -> datetime | None:
    """Return `next_at` when `count` more are sent."""
    if not account.per_second:
        return account.next_at
    start = max(account.next_at, now) if account.next_at else now
    return start + timedelta(seconds=count / account.per_second)


def _depth(account: Account) -> float:
    return max(1.0, (account.per_second or 0) * BURST)
