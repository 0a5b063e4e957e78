"""What became of coupon codes, what they brought, and how long they last."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period

DEFINITIONS = {
    "given": _("Codes that were put into a message for somebody in the period."),
    "used": _("Those of them that were used since: the event that tells so names the code."),
    "rate": _("Used ÷ given."),
    "left": _("Codes that nobody has yet; none are counted where everybody gets the same code."),
    "revenue": _(
        "The amounts of the orders that used the codes given in the period, in the currencies of the orders: of the"
        " event that told so, its “total” and “currency”."
    ),
    "pace": _("Codes given a day, on average of the last 7 days; of a newer pool since its first code."),
    "days": _("Left ÷ pace: the days until nobody can get one, if it goes on like that."),
}
PACE = timedelta(days=7)
SOON = 7  # days
AMOUNT, CURRENCY = "total", "currency"  # properties of the orders' events

_LINES = """
    SELECT p.id, p.name, p.kind, p.expires_at,
        count(*) FILTER (WHERE c.given_at >= %(since)s AND c.given_at < %(until)s),
        count(c.redeemed_at) FILTER (WHERE c.given_at >= %(since)s AND c.given_at < %(until)s),
        count(*) FILTER (WHERE c.given_at >= %(early)s AND c.given_at < %(since)s),
        count(c.redeemed_at) FILTER (WHERE c.given_at >= %(early)s AND c.given_at < %(since)s),
        count(*) FILTER (WHERE c.id IS NOT NULL AND c.given_at IS NULL),
        count(*) FILTER (WHERE c.given_at > %(lately)s AND c.given_at <= %(now)s), min(c.given_at)
    FROM delivery_couponpool p LEFT JOIN delivery_couponcode c ON c.pool_id = p.id GROUP BY p.id
"""
# The event that told of a code is the one of its name, at that moment, that names the code.
_ORDERS = f"""
    WITH used AS MATERIALIZED (
        SELECT c.id, p.id AS pool, c.redeemed_at, p.event_name, p.event_property, p.kind, c.profile_id,
            coalesce(nullif(c.code, ''), p.code) AS code, c.given_at >= %(since)s AS late
        FROM delivery_couponcode c JOIN delivery_couponpool p ON p.id = c.pool_id
        WHERE c.redeemed_at IS NOT NULL AND c.given_at >= %(early)s AND c.given_at < %(until)s
    ), orders AS (
        SELECT DISTINCT ON (u.id) u.pool, u.late, CASE jsonb_typeof(e.properties -> '{AMOUNT}')
                WHEN 'number' THEN (e.properties -> '{AMOUNT}')::numeric END AS amount,
            e.properties ->> '{CURRENCY}' AS currency
        FROM used u JOIN crm_event e ON e.name = u.event_name AND e.occurred_at = u.redeemed_at
            AND (u.kind = 'unique' OR e.profile_id = u.profile_id)
            AND (btrim(e.properties ->> u.event_property) = u.code
                OR EXISTS (SELECT FROM jsonb_array_elements_text(
                    CASE jsonb_typeof(e.properties -> u.event_property) WHEN 'array'
                        THEN e.properties -> u.event_property ELSE '[]' END) x WHERE btrim(x) = u.code))
        ORDER BY u.id, e.id
    )
    SELECT pool, late, CASE WHEN currency ~ '^[A-Za-z]{{3}}$' THEN upper(currency) ELSE %(currency)s END,
        sum(round(amount, 4))
    FROM orders WHERE abs(amount) < 1e13 GROUP BY 1, 2, 3
"""


class Given(msgspec.Struct):
    """What became of the codes given in a period. `revenue` has amounts by currency."""

    given: int = 0
    used: int = 0
    revenue: dict[str, Decimal] = {}

    @property
    def rate(self) -> float | None:
        return self.used / self.given if self.given else None


class Line(msgspec.Struct):
    """One pool of codes: of the period, of the one before, and how it stands now."""

    pool: int
    name: str
    kind: str
    expires_at: datetime | None
    now: Given
    before: Given
    left: int | None
    pace: float

    @property
    def days(self) -> float | None:
        """Until none is left, at the present pace; None where codes don't run out, or nobody gets one."""
        return self.left / self.pace if self.left is not None and self.pace else None


def report(period: Period, currency: str = "", now: datetime | None = None) -> list[Line]:
    """Each pool, the one that gave most in the period first; two queries.

    Args:
        currency: that of orders whose event tells none.
    """
    now = now or timezone.now()
    since, until = period.bounds()
    values: dict[str, Any] = {
        "early": period.before.bounds()[0],
        "since": since,
        "until": until,
        "lately": now - PACE,
        "now": now,
        "currency": currency,
    }
    lines = {}
    with connection.cursor() as cursor:
        cursor.execute(_LINES, values)
        for pool, name, kind, expires_at, *numbers, left, lately, first in cursor.fetchall():
            age = min(PACE, max(timedelta(days=1), now - first)) if first else PACE
            lines[pool] = Line(
                pool,
                name,
                kind,
                expires_at,
                Given(numbers[0], numbers[1], {}),
                Given(numbers[2], numbers[3], {}),
                left if kind == "unique" else None,
                lately / (age / timedelta(days=1)),
            )
        cursor.execute(_ORDERS, values)
        for pool, late, code, amount in cursor.fetchall():
            (lines[pool].now if late else lines[pool].before).revenue[code] = amount
    return sorted(lines.values(), key=lambda line: (-line.now.given, line.name, line.pool))
