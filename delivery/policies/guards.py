"""Questions that other apps want asked before anything is sent, such as: has the person left the flow since?"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from crm import alerts
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, defer

logger = logging.getLogger(__name__)

Guard = Callable[[Sequence[Delivery], datetime], Mapping[int, Verdict]]

BROKEN = "a rule could not be checked"
RETRY = timedelta(minutes=1)

_guards: list[Guard] = []


def register(guard: Guard) -> Guard:
    """Add a batch function: it gets deliveries and the time, and returns verdicts by delivery id.

    It runs inside the transaction that claims the batch, so it must be quick and use a fixed number of queries.
    """
    if guard not in _guards:
        _guards.append(guard)
    return guard


def unregister(guard: Guard) -> None:
    """Take a guard away again."""
    _guards.remove(guard)


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Ask every guard; the first verdict about a delivery counts.

    Sending without an answer would be wrong, so what a broken guard should have judged waits.
    """
    verdicts: dict[int, Verdict] = {}
    for guard in _guards:
        waiting = [delivery for delivery in deliveries if delivery.pk not in verdicts]
        if not waiting:
            break
        try:
            with transaction.atomic():
                verdicts |= guard(waiting, now)
        except Exception as error:
            logger.exception("A guard failed")
            name = f"{guard.__module__}.{getattr(guard, '__name__', guard)}"
            alerts.raise_alert(
                f"delivery:guard:{name}",
                "Messages wait because a rule can't be checked",
                f"{name} failed with {type(error).__name__}. The log has the details.",
            )
            verdicts |= {delivery.pk: defer(now + RETRY, BROKEN) for delivery in waiting}
    return verdicts
