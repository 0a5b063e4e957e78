"""What became of coupon codes."""

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period

DEFINITIONS = {
    "given": _("Codes that were put into a message for somebody in the period."),
    "used": _("Those of them that were used since: the event that tells so names the code."),
    "left": _("Codes that nobody has yet; none are counted where everybody gets the same code."),
}


class Line(msgspec.Struct):
    """One pool of codes."""

    pool: int
    name: str
    kind: str
    given: int
    used: int
    left: int

    @property
    def rate(self) -> float | None:
        return self.used / self.given if self.given else None


def report(period: Period) -> list[Line]:
    """Each pool with what was given in the period, the one with most first."""
    since, until = period.bounds()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT p.id, p.name, p.kind,
                count(c.id) FILTER (WHERE c.given_at >= %(since)s AND c.given_at < %(until)s) AS given,
                count(c.redeemed_at) FILTER (WHERE c.given_at >= %(since)s AND c.given_at < %(until)s) AS used,
                count(c.id) FILTER (WHERE c.given_at IS NULL) AS left
            FROM delivery_couponpool p LEFT JOIN delivery_couponcode c ON c.pool_id = p.id
            GROUP BY p.id ORDER BY given DESC, p.name
            """,
            {"since": since, "until": until},
        )
        return [Line(*row) for row in cursor.fetchall()]
