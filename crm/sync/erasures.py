"""Having CRMs erase the records of people who were erased here.

What is to be erased waits in `CrmErasure`. A batch is taken by moving its next attempt ahead before the CRM is called,
so that no transaction is open meanwhile; asking for the same erasure twice does no harm, as a CRM that has no such
record any more counts as done.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import connectors
from crm.connectors.base import ConnectorError
from crm.models import Connection, CrmErasure
from crm.normalise import shortened

LEASE = timedelta(minutes=10)
FIRST, LONGEST = timedelta(minutes=2), timedelta(hours=6)
ATTEMPTS = 8  # that a CRM may refuse one record; a CRM that can't be reached is tried for ever
BATCHES = 20  # of one connection in one call


def due(now: datetime | None = None) -> list[int]:
    """Ids of the connections with records to erase now."""
    waiting = CrmErasure.objects.filter(state=CrmErasure.State.WAITING, due_at__lte=now or timezone.now())
    return list(waiting.order_by("connection_id").values_list("connection_id", flat=True).distinct())


def run(connection_id: int, now: datetime | None = None) -> int:
    """Send what is due of one connection; return how many records the CRM has erased.

    A paused connection is asked too: pausing stops reading, not what the law asks for.
    """
    connection = Connection.objects.filter(pk=connection_id).first()
    done = 0
    for _batch in range(BATCHES):
        if connection is None:
            break
        rows = _claim(connection, now or timezone.now())
        if not rows:
            break
        erased, go_on = _send(connection, rows, now or timezone.now())
        done += erased
        if not go_on:
            break
    return done


@transaction.atomic
def _claim(connection: Connection, now: datetime) -> list[CrmErasure]:
    """The next records of one object, put off so that nobody else takes them while the CRM is called."""
    kind = connectors.kinds().get(connection.kind)
    most = max(kind.erase_batch if kind else 1, 1)
    waiting = (
        CrmErasure.objects.select_for_update(skip_locked=True)
        .filter(connection=connection, state=CrmErasure.State.WAITING, due_at__lte=now)
        .order_by("due_at", "pk")[:most]
    )
    rows = list(waiting)
    rows = [row for row in rows if row.object == rows[0].object]
    CrmErasure.objects.filter(pk__in=[row.pk for row in rows]).update(due_at=now + LEASE)
    return rows


def _send(connection: Connection, rows: Sequence[CrmErasure], now: datetime) -> tuple[int, bool]:
    """Ask the CRM and keep its answers; how many it erased, and whether to go on."""
    go_on = True
    pause: timedelta | None = None
    try:
        connector = connectors.connector(connection)
        if not connector.erase_batch:
            raise ConnectorError(_("This kind of connection cannot erase records."))
        said = connector.erase(rows[0].object, [row.record_id for row in rows])
    except (ConnectorError, KeyError) as error:
        words = str(error) if isinstance(error, ConnectorError) else _("There is no connector for this CRM.")
        minutes = error.retry_minutes if isinstance(error, ConnectorError) else None
        pause = timedelta(minutes=minutes) if minutes else None
        said, go_on = [words] * len(rows), False
    for row, refusal in zip(rows, said, strict=True):
        row.attempts += 1
        row.detail = shortened(refusal or "", 300)
        if refusal is None:
            row.state, row.settled_at = CrmErasure.State.DONE, now
        elif go_on and row.attempts >= ATTEMPTS:
            row.state, row.settled_at = CrmErasure.State.FAILED, now
        else:
            row.due_at = now + (pause or min(FIRST * 2 ** min(row.attempts - 1, 10), LONGEST))
    CrmErasure.objects.bulk_update(rows, ["attempts", "detail", "state", "settled_at", "due_at"])
    return sum(refusal is None for refusal in said), go_on


def again(rows: Sequence[CrmErasure], now: datetime | None = None) -> int:
    """Ask the CRM once more for what it refused; return how many."""
    failed = CrmErasure.objects.filter(pk__in=[row.pk for row in rows], state=CrmErasure.State.FAILED)
    return failed.update(
        state=CrmErasure.State.WAITING, attempts=0, due_at=now or timezone.now(), settled_at=None
    )
