"""The circuit breaker of sending accounts: a provider that fails is left alone for a while, then tried with one.

After `THRESHOLD` failures in a row, whoever saw them, nothing goes by the account for `FIRST`, then twice as long each
time up to `LONGEST`. Then one message is sent; what becomes of it decides. Anything but a failure, also a refusal of
one message, shows that the provider is well.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import F

from crm import alerts
from delivery.channels.base import Outcome, Result
from delivery.models import Account

THRESHOLD = 10
FIRST = timedelta(seconds=30)
LONGEST = timedelta(hours=1)
FAILURES = (Outcome.RETRY, Outcome.CONFIGURATION, Outcome.STARTED)


class Breaker:
    """Watches the answers to one batch. `open` tells that nothing more is to be sent."""

    def __init__(self, account: Account, clock: Callable[[], datetime]):
        """Args: account: as it was when the batch was claimed."""
        self._account = account
        self._clock = clock
        self._failures = account.failures
        self._seen_well = False
        self._wish = timedelta()
        self.open = False

    def note(self, result: Result) -> None:
        """Take one answer into account."""
        if result.outcome not in FAILURES:
            self._failures = 0
            self._wish = timedelta()
            if not self._seen_well and (self._account.trips or self._account.failures):
                close(self._account)
            self._seen_well = True
            return
        self._failures += 1
        self._wish = max(self._wish, result.retry_after or timedelta())
        # An account that was held sent one message to find out; that one decides.
        probing = bool(self._account.trips) and not self._seen_well
        if not self.open and (probing or self._failures >= THRESHOLD):
            self._trip(result)

    def finish(self) -> None:
        """Keep the failures at the end of the batch, for the next one to go on counting."""
        if self.open:
            return
        mine = Account.objects.filter(pk=self._account.pk)
        if self._seen_well:
            if self._failures:
                mine.update(failures=self._failures)
        elif self._failures > self._account.failures:
            mine.update(failures=F("failures") + (self._failures - self._account.failures))

    def _trip(self, result: Result) -> None:
        self.open = True
        now = self._clock()
        # Only the first of several that see the same fault makes the wait longer.
        first = Account.objects.filter(
            pk=self._account.pk, trips=0 if self._seen_well else self._account.trips
        )
        rest = max(min(FIRST * 2 ** min(self._account.trips, 10), LONGEST), min(self._wish, LONGEST))
        if not first.update(trips=F("trips") + 1, failures=0, held_until=now + rest):
            return
        answer = f"{result.status_code or ''} {result.detail}".strip() or str(result.outcome.label)
        tell(
            self._account,
            f"It answered: {answer[:200]}. Nothing is sent by it until {now + rest:%H:%M} UTC; then one message is "
            "tried, and the wait doubles while that fails.",
        )


def tell(account: Account, what: str) -> None:
    """Tell the operators of an account that fails."""
    alerts.raise_alert(
        alert_key(account.pk),
        f"{account.name} does not take our messages",
        f"{what} Nothing is lost: messages wait until they expire. Check the account with “Test connection” and the "
        "provider's status page.",
    )


def close(account: Account) -> None:
    """Let the account send again: its provider is well."""
    Account.objects.filter(pk=account.pk).update(failures=0, trips=0, held_until=None)
    alerts.resolve(alert_key(account.pk))


def alert_key(account_id: int) -> str:
    """What alerts about a provider that fails are kept under."""
    return f"delivery:account:{account_id}"
