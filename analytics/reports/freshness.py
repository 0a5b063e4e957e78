"""How far the figures are: up to which moment of the log, and whether they are being counted anew."""

from datetime import datetime

import msgspec
from django.db import connection
from django.utils import timezone

from analytics.rollups import rebuild

PROMISED = 10  # seconds that figures may be behind


class Freshness(msgspec.Struct):
    """Figures hold what came in before `upto`, `lag` seconds ago; `rebuilding` is the share done, None if none runs."""

    upto: datetime
    lag: float
    rebuilding: float | None

    @property
    def behind(self) -> bool:
        return self.lag > PROMISED


def freshness(now: datetime | None = None) -> Freshness:
    """Look at the first event that figures do not have yet. Two to three queries."""
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT next.received_at FROM crm_logcursor c CROSS JOIN LATERAL (
                SELECT e.received_at FROM crm_event e WHERE (e.txid, e.seq) > (c.txid, c.seq)
                ORDER BY e.txid, e.seq LIMIT 1
            ) next WHERE c.name = %s
            """,
            [rebuild.CURSOR],
        )
        row = cursor.fetchone()
    upto = min(now, row[0]) if row else now
    state = rebuild.status()
    return Freshness(upto, (now - upto).total_seconds(), state.done if state.running else None)
