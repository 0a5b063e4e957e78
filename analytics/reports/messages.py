"""What came of one message.

Every figure counts deliveries queued in the period. Rates are of those sent; the definitions are in
`DEFINITIONS`, which pages and API documents show as they stand.
"""

from datetime import datetime
from decimal import Decimal

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from delivery.models import Message

DEFINITIONS = {
    "audience": _("People this message was meant for: sent + waiting + not sent by rule + failed + expired."),
    "waiting": _("Not sent yet: queued, put off, or just being sent."),
    "sent": _("Accepted by the push service, mail server or provider."),
    "delivered": _("Sent, and the device told us that it has shown it."),
    "opened": _("Sent, and the person opened it. A tap on a push counts as opened and clicked."),
    "clicked": _("Sent, and the person followed a link in it."),
    "dismissed": _("Sent, and the person swiped it away."),
    "converted": _(
        "Goal events credited to this message: its click was the last one before, within the window."
    ),
    "people_converted": _("Deliveries that have at least one conversion."),
    "revenue": _("The amounts of those goal events, by currency."),
    "suppressed": _("Not sent because a rule said no: no consent, no device, an exit event …"),
    "failed": _("The provider refused it, or it could not be written."),
    "expired": _("It could not go out before its time was up."),
    "open_rate": _("Opened ÷ sent."),
    "click_rate": _("Clicked ÷ sent."),
    "conversion_rate": _("Deliveries with a conversion ÷ sent."),
    "delivery_rate": _("Delivered ÷ sent."),
}


class Figures(msgspec.Struct):
    """Counts of deliveries; audience = sent + waiting + suppressed + failed + expired at any instant."""

    audience: int = 0
    waiting: int = 0
    sent: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    dismissed: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    people_converted: int = 0
    converted: int = 0
    revenue: dict[str, Decimal] = {}
    reasons: dict[str, dict[str, int]] = {}

    def rate(self, name: str) -> float | None:
        """The named count as a share of `sent`, None where nothing was sent."""
        return getattr(self, name) / self.sent if self.sent else None


FIGURES = """
    SELECT count(*) AS audience,
        count(*) FILTER (WHERE d.state IN ('queued', 'deferred', 'sending')) AS waiting,
        count(*) FILTER (WHERE d.state IN ('sent', 'delivered')) AS sent,
        count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
        count(g.opened_at) AS opened, count(g.clicked_at) AS clicked, 
        count(*) FILTER (WHERE g.dismissed_at IS NOT NULL AND g.clicked_at IS NULL) AS dismissed,
        count(*) FILTER (WHERE d.state = 'suppressed') AS suppressed,
        count(*) FILTER (WHERE d.state = 'failed') AS failed,
        count(*) FILTER (WHERE d.state = 'expired') AS expired,
        count(*) FILTER (WHERE EXISTS (SELECT FROM analytics_conversion c WHERE c.delivery_id = d.id))
            AS people_converted
    FROM delivery_delivery d LEFT JOIN analytics_engagement g ON g.delivery_id = d.id
    WHERE {where}
"""


def report(message: Message, since: datetime | None = None, until: datetime | None = None) -> Figures:
    """Figures of `message` for deliveries queued from `since` to before `until` (default: all)."""
    where, values = "d.message_id = %(message)s AND d.origin_type <> 'test'", {"message": message.pk}
    return figures(*_period(where, values, since, until))


def step_report(
    flow_id: int, step: str, since: datetime | None = None, until: datetime | None = None
) -> Figures:
    """The same for what one step of a flow has sent."""
    where = "d.origin_type = 'flow' AND d.origin_id = %(flow)s AND d.origin_step = %(step)s"
    return figures(*_period(where, {"flow": flow_id, "step": step}, since, until))


def figures(where: str, values: dict) -> Figures:
    """Count the deliveries `d` that a constant SQL condition with parameters selects."""
    with connection.cursor() as cursor:
        cursor.execute(FIGURES.format(where=where), values)
        names = [column[0] for column in cursor.description]
        found = Figures(**dict(zip(names, cursor.fetchone(), strict=True)))
        cursor.execute(
            f"""
            SELECT d.state, d.reason, count(*) FROM delivery_delivery d
            WHERE {where} AND d.state IN ('suppressed', 'failed', 'deferred') GROUP BY 1, 2 ORDER BY 3 DESC
            """,
            values,
        )
        for state, reason, number in cursor.fetchall():
            found.reasons.setdefault(state, {})[reason] = number
        cursor.execute(
            f"""
            SELECT c.currency, count(*), coalesce(sum(c.value), 0) FROM analytics_conversion c
            JOIN delivery_delivery d ON d.id = c.delivery_id WHERE {where} GROUP BY 1 ORDER BY 1
            """,
            values,
        )
        for currency, number, value in cursor.fetchall():
            found.converted += number
            if value:
                found.revenue[currency] = value
    return found


def _period(where: str, values: dict, since: datetime | None, until: datetime | None) -> tuple[str, dict]:
    if since is not None:
        where, values = f"{where} AND d.queued_at >= %(since)s", {**values, "since": since}
    if until is not None:
        where, values = f"{where} AND d.queued_at < %(until)s", {**values, "until": until}
    return where, values
