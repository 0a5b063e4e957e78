"""The brake on deletions: a CRM that suddenly shows nothing must not empty this database.

Within a day at most a tenth of an object's live records may go, or ten if that is more. What goes beyond waits
as a hint (see `hints`) until a person agrees, and is then looked up in the CRM once more before it is believed.
So cursors may move on: what is held is remembered by its id, not by a place in the CRM's feed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection as database
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import alerts
from crm.connectors.base import Record
from crm.models import Connection, SourceRecord, SyncHint, SyncRun
from crm.sync import hints, queue

SHARE = 10  # percent of the live records
ALWAYS = 10  # records
WINDOW = timedelta(hours=24)
AGREED = timedelta(hours=24)  # how long a yes counts


class HeldError(Exception):
    """More records would go at once than may go without a person's yes."""


def check(connection: Connection, object_name: str, count: int, now: datetime) -> None:
    """Make sure that `count` more live records may go.

    Raises:
        HeldError: a person has to agree first.
    """
    if not count or agreed(connection, now):
        return
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FILTER (WHERE state = 'live'),
                count(*) FILTER (WHERE state IN ('deleted', 'missing', 'erased') AND synced_at > %s)
            FROM crm_sourcerecord WHERE connection_id = %s AND object = %s
            """,
            [now - WINDOW, connection.pk, object_name],
        )
        live, gone = cursor.fetchone()
    if gone + count > max(ALWAYS, (live + gone) * SHARE // 100):
        raise HeldError


def agreed(connection: Connection, now: datetime) -> bool:
    """Whether a person has agreed to many deletions."""
    return bool(connection.deletions_allowed_until and connection.deletions_allowed_until > now)


def hold(
    connection: Connection, object_name: str, records: Sequence[Record], now: datetime
) -> Sequence[Record]:
    """Those of these records, gone in the CRM, that may go now: of the ones that are live here all, or none.

    The others wait as hints, in the caller's transaction. That somebody was erased who is not live here is only
    to be remembered, so nothing holds it back.
    """
    live = {record.id for record in records}
    if any(record.erased for record in records):
        live &= set(
            SourceRecord.objects.filter(
                connection=connection, object=object_name, record_id__in=live, state=SourceRecord.State.LIVE
            ).values_list("record_id", flat=True)
        )
    try:
        check(connection, object_name, len(live), now)
    except HeldError:
        held = [record for record in records if record.id in live]
        rows = [(record.id, hints.HELD_ERASED if record.erased else hints.HELD) for record in held]
        hints.remember(connection, object_name, rows, now)
        return [record for record in records if record.id not in live]
    return records


def waiting(connection: Connection) -> int:
    """How many deletions wait for a person's yes."""
    return SyncHint.objects.filter(connection=connection, kind__in=hints.WAITING).count()


@transaction.atomic
def allow(connection: Connection, by: str, now: datetime | None = None) -> SyncRun:
    """A person agrees: for a day, everything that is gone in the CRM may go here. Returns the run that does it.

    Args:
        by: who agreed, shown in the run.
    """
    connection.deletions_allowed_until = (now or timezone.now()) + AGREED
    connection.save(update_fields=["deletions_allowed_until"])
    return queue.request_sync(connection, by=by)


def report(connection: Connection, more: bool) -> None:
    """Tell the operators that `more` waits for them now, or that nothing does any longer."""
    count = waiting(connection)
    key = f"sync:{connection.slug}:held"
    if not count:
        alerts.resolve(key)
    if not count or not more:
        return
    alerts.raise_alert(
        key,
        _("“%s” has lost many records at once.") % connection,
        ngettext(
            "%d record is gone in the CRM, or its access token may no longer see it. It is still here. "
            "If that is right, allow the deletions on the connection's page; if not, check the token's "
            "permissions in the CRM.",
            "%d records are gone in the CRM, or its access token may no longer see them. They are still here. "
            "If that is right, allow the deletions on the connection's page; if not, check the token's "
            "permissions in the CRM.",
            count,
        )
        % count,
    )
