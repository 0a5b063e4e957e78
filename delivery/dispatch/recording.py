"""Writing what the providers answered."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from time import monotonic

import msgspec
from django.db import connection, transaction

from crm import alerts, subscriptions
from crm.models import Device
from delivery import breaker, policies, reports
from delivery.channels.base import Channel, Outcome, Parcel, Result
from delivery.dispatch import backoff, states
from delivery.dispatch.lasting import lasting
from delivery.dispatch.lease import Lease
from delivery.dispatch.recovery import UNKNOWN
from delivery.models import Account, Attempt, Delivery

State = Delivery.State

CHUNK = 200  # deliveries recorded at once: what a crash may make us send again
SOON = 1.0  # seconds after which fewer are recorded

_FINISH = """
    UPDATE delivery_attempt a
    SET outcome = r.outcome, status_code = r.status_code, detail = r.detail, finished_at = %s,
        provider_id = r.provider_id, account_id = coalesce(r.account_id, a.account_id),
        cost = CASE WHEN a.account_id IS NOT NULL AND r.outcome = 'accepted' THEN r.parts *
            (SELECT c.cost_per_part FROM delivery_account c WHERE c.id = coalesce(r.account_id, a.account_id)) END
    FROM jsonb_to_recordset(%s::jsonb) AS r(
        id bigint, outcome text, status_code int, detail text, provider_id text, parts int,
        account_id bigint)
    WHERE a.id = r.id
"""


class Recorder:
    """Collects one account's results and writes them in chunks, each in one transaction with its log events.

    While the database is away it waits, as long as nobody else may take over: what was answered must not be lost.
    """

    def __init__(
        self,
        channel: Channel,
        account: Account | None,
        parcels: Sequence[Parcel],
        lease: Lease,
        clock: Callable[[], datetime],
    ):
        self.states: Counter[str] = Counter()
        self._channel = channel
        self._account = account
        self._lease = lease
        self._clock = clock
        self._parcels = {parcel.number: parcel for parcel in parcels}
        self._deliveries = {parcel.delivery.pk: parcel.delivery for parcel in parcels}
        self._waiting = dict(Counter(parcel.delivery.pk for parcel in parcels))  # a Counter deletes slowly
        self._results: dict[int, list[Result]] = {}
        self._done: list[int] = []
        self._flushed = monotonic()
        self._recorded: set[int] = set()
        self._alerted: set[str] = set()
        self._repeats: bool | None = None

    def add(self, result: Result) -> None:
        """Take one result; a delivery is recorded when all its devices have answered."""
        pk = self._parcels[result.number].delivery.pk
        self._results.setdefault(pk, []).append(result)
        self._waiting[pk] -= 1
        if not self._waiting[pk]:
            del self._waiting[pk]
            self._done.append(pk)
            if len(self._done) >= CHUNK or monotonic() - self._flushed > SOON:
                self._flush()

    def finish(self, failure: Exception | None = None) -> None:
        """Record the rest. A parcel that was begun and got no result has an unknown outcome.

        What was never begun was certainly not sent: it goes back to the queue, or is put off when the channel
        failed. The browsers of the same person that did answer are written down, so that they are not sent to again.
        """
        answered = {result.number for results in self._results.values() for result in results}
        answered |= self._recorded
        for number in self._lease.begun - answered:
            self.add(Result(number, Outcome.STARTED, None, UNKNOWN))
        self._flush()
        if self._waiting:
            self._give_back(failure)

    def _may_repeat(self) -> bool:
        """Whether what was sent twice is shown once; asked when it is needed, which is seldom."""
        if self._repeats is None:
            self._repeats = self._channel.repeats(self._account.pk if self._account else None)
        return self._repeats

    def _give_back(self, failure: Exception | None) -> None:
        now = self._clock()
        changes = [self._undone(self._deliveries[pk], failure, now) for pk in self._waiting]
        some = [result for found in self._results.values() for result in found]
        unused = [
            number
            for number, parcel in self._parcels.items()
            if parcel.delivery.pk in self._waiting and number not in self._lease.begun
        ]
        changed = lasting(partial(self._store_back, changes, some, unused, now), self._lease.ends)
        self.states.update(change.state for change in changes if change.id in changed)

    @transaction.atomic
    def _store_back(
        self, changes: Sequence[states.Change], some: Sequence[Result], unused: Sequence[int], now: datetime
    ) -> set[int]:
        changed = states.apply(changes, self._deliveries, now)
        self._finish_attempts(some, now)
        self._drop_gone_devices(some, now)
        Attempt.objects.filter(pk__in=unused).delete()
        return changed

    def _undone(self, delivery: Delivery, failure: Exception | None, now: datetime) -> states.Change:
        """What becomes of a delivery that was not tried everywhere."""
        results = self._results.get(delivery.pk)
        if results and not self._may_repeat():
            return self._change(delivery, results, now)  # part of it may have arrived: never again
        if failure is None:
            return states.Change(id=delivery.pk, held=delivery.attempts, state=State.QUEUED, due_at=now)
        return states.Change(
            id=delivery.pk,
            held=delivery.attempts,
            state=State.DEFERRED,
            reason=f"the channel failed: {type(failure).__name__}",
            due_at=backoff.next_try(delivery.attempts, now, delivery.expires_at),
        )

    def _flush(self) -> None:
        now = self._clock()
        done, self._done, self._flushed = self._done, [], monotonic()
        if not done:
            return
        results = {pk: self._results.pop(pk) for pk in done}
        self._recorded |= {result.number for found in results.values() for result in found}
        changes = [self._change(self._deliveries[pk], found, now) for pk, found in results.items()]
        flat = [result for found in results.values() for result in found]
        changed = lasting(partial(self._store, changes, flat, now), self._lease.ends)
        self.states.update(change.state for change in changes if change.id in changed)

    @transaction.atomic
    def _store(self, changes: Sequence[states.Change], results: Sequence[Result], now: datetime) -> set[int]:
        changed = states.apply(changes, self._deliveries, now)
        self._finish_attempts(results, now)
        self._drop_gone_devices(results, now)
        self._hear(results, now)
        self._alert(results)
        self._lease.renew([self._deliveries[pk] for pk in self._waiting], now)
        return changed

    def _change(self, delivery: Delivery, results: Sequence[Result], now: datetime) -> states.Change:
        """One browser reached is enough; otherwise whatever may still succeed is tried again."""
        by_outcome = {result.outcome: result for result in results}
        if Outcome.STARTED in by_outcome:  # asked, and nobody knows what became of it
            unknown = by_outcome.pop(Outcome.STARTED)
            again = Outcome.RETRY if self._may_repeat() else Outcome.REFUSED
            by_outcome.setdefault(again, Result(unknown.number, again, None, UNKNOWN))
        change = states.Change(id=delivery.pk, held=delivery.attempts, state=State.DEFERRED)
        if Outcome.ACCEPTED in by_outcome:
            change.state, change.sent_at = State.SENT, now
        elif Outcome.RETRY in by_outcome:
            wishes = [
                r.retry_after for r in results if r.outcome == Outcome.RETRY and r.retry_after is not None
            ]
            change.reason = _reason(by_outcome[Outcome.RETRY])
            change.due_at = backoff.next_try(
                delivery.attempts, now, delivery.expires_at, max(wishes, default=None)
            )
        elif Outcome.CONFIGURATION in by_outcome:
            change.reason = f"configuration: {_reason(by_outcome[Outcome.CONFIGURATION])}"
            change.due_at = backoff.next_configuration_try(now, delivery.expires_at)
        else:
            change.state = State.FAILED
            refused = by_outcome.get(Outcome.REFUSED)
            change.reason = _reason(refused) if refused else "device gone"
        return change

    def _finish_attempts(self, results: Sequence[Result], now: datetime) -> None:
        rows = [
            {
                "id": result.number,
                "outcome": result.outcome.value,
                "status_code": result.status_code,
                "detail": states.clean(result.detail),
                "provider_id": reports.identifier(result.provider_id),
                "parts": result.parts,
                "account_id": result.account_id or None,
            }
            for result in results
        ]
        with connection.cursor() as cursor:
            cursor.execute(_FINISH, [now, msgspec.json.encode(rows).decode()])

    def _drop_gone_devices(self, results: Sequence[Result], now: datetime) -> None:
        gone = {
            address.device.pk: address.value
            for result in results
            if result.outcome == Outcome.GONE and (address := self._parcels[result.number].address).device
        }
        if not gone:
            return
        # The browser may have renewed its subscription since: what was said of the old address is not true of it.
        same = [
            device.pk
            for device in Device.objects.filter(pk__in=gone).only("pk", "endpoint")
            if device.endpoint == gone[device.pk]
        ]
        subscriptions.mark_gone(same, "the push service says that it is gone", now)

    def _hear(self, results: Sequence[Result], now: datetime) -> None:
        """Draw the conclusions from what answers say about people besides."""
        told = []
        for result in results:
            if result.told:
                parcel = self._parcels[result.number]
                device_id = parcel.address.device.pk if parcel.address.device else None
                address, kind = parcel.address.value, self._channel.kind
                told.append(reports.Told(parcel.delivery.pk, kind, address, device_id, result.told, now))
        if told:
            # Read again: a merge may have moved deliveries since they were claimed.
            ids = [each.delivery_id for each in told]
            profiles = {
                delivery.pk: delivery.profile_id
                for delivery in Delivery.objects.filter(pk__in=ids).only(
                    "pk", "profile_id", "origin_type", "context"
                )
                if not policies.for_tester(delivery)
            }
            reports.consequences(told, profiles, now)

    def _alert(self, results: Sequence[Result]) -> None:
        refused = {
            result.group: result
            for result in results
            if result.outcome == Outcome.CONFIGURATION
            and result.status_code is not None
            and result.account_id is None
        }
        if self._account:
            for result in refused.values():
                breaker.tell(self._account, f"It refused our account: {_reason(result)}.")
            return
        for group in sorted(refused.keys() - self._alerted):
            alerts.raise_alert(
                f"{self._channel.kind}:configuration:{group}",
                f"{group or self._channel.kind} refuses our messages",
                f"It answered {_reason(refused[group])}. Messages to it wait and are tried again; nothing was "
                "deleted. Check that the key pair is the one people subscribed with, that the contact address "
                "(NUDGE_PUSH_CONTACT) is real, and that this machine's clock is right.",
            )
            self._alerted.add(group)


def _reason(result: Result) -> str:
    words = [str(result.status_code)] if result.status_code else []
    return " ".join([*words, states.clean(result.detail)]).strip() or str(result.outcome.label)
