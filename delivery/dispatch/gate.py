"""Whether and how much an account may send just now: its pace, and its circuit breaker."""

from datetime import datetime

from delivery import throttle
from delivery.dispatch.lease import LEASE
from delivery.models import Account


def open_for(account: Account, now: datetime, limit: int) -> tuple[Account, int, float | None]:
    """Return the account as it is now, how many of `limit` may be taken, and else after how many seconds to ask again.

    In the caller's transaction: an account with a pace or a fault is locked until it ends, so that what one dispatcher
    takes is gone for the others.
    """
    if not account.per_second and not account.trips:
        return account, limit, None
    account = Account.objects.select_for_update(no_key=True).get(pk=account.pk)
    if account.trips:
        if account.held_until and account.held_until > now:
            return account, 0, (account.held_until - now).total_seconds()
        limit = min(limit, 1)  # a probe
    allowed = min(throttle.allowance(account, now), limit)
    if allowed < 1:
        return account, 0, throttle.wait(account, now)
    return account, int(allowed), None


def take(account: Account, count: int, now: datetime) -> None:
    """Note that `count` messages go out, in the transaction of `open_for`."""
    if not count:
        return
    if account.per_second:
        account.next_at = throttle.after(account, count, now)
    if account.trips:  # nobody else probes until this one's outcome is known, or its worker is dead
        account.held_until = now + LEASE
    if account.per_second or account.trips:
        Account.objects.filter(pk=account.pk).update(next_at=account.next_at, held_until=account.held_until)
