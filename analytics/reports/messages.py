"""What came of one message.

Every figure counts deliveries queued in the period. Rates are of those sent; the definitions are in
`DEFINITIONS`, which pages and API documents show as they stand.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
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


_COUNTS = """
    count(*) AS audience,
    count(*) FILTER (WHERE d.state IN ('queued', 'deferred', 'sending')) AS waiting,
    count(*) FILTER (WHERE d.state IN ('sent', 'delivered')) AS sent,
    count(*) FILTER (WHERE d.state = 'delivered') AS delivered,
    count(g.opened_at) AS opened, count(g.clicked_at) AS clicked, count(g.dismissed_at) AS dismissed,
    count(*) FILTER (WHERE d.state = 'suppressed') AS suppressed,
    count(*) FILTER (WHERE d.state = 'failed') AS failed,
    count(*) FILTER (WHERE d.state = 'expired') AS expired,
    count(*) FILTER (WHERE EXISTS (SELECT FROM analytics_conversion c WHERE c.delivery_id = d.id))
        AS people_converted
"""


def report(message: Message, since: datetime | None = None, until: datetime | None = None) -> Figures:
    """Figures of `message` for deliveries queued from `since` to before `until` (default: all)."""
    return grouped("0", *_of_message(message, since, until)).get(0, Figures())


def by_message(since: datetime | None = None, until: datetime | None = None) -> dict[int, Figures]:
    """The same for every message that has any, by its number."""
    return grouped("d.message_id", *_period("d.origin_type <> 'test'", {}, since, until))


def by_locale(
    message: Message, since: datetime | None = None, until: datetime | None = None
) -> dict[str, Figures]:
    """The same by the language that was sent; "" is the text for everybody, and what has not been written yet."""
    return grouped("d.locale", *_of_message(message, since, until))


def by_day(
    message: Message, since: datetime | None = None, until: datetime | None = None
) -> dict[date, Figures]:
    """The same by the day of queueing, in the account's time zone."""
    where, values = _of_message(message, since, until)
    return grouped("(d.queued_at AT TIME ZONE %(zone)s)::date", where, values | {"zone": settings.TIME_ZONE})


def by_step(flow_id: int, since: datetime | None = None, until: datetime | None = None) -> dict[str, Figures]:
    """The same for what each step of a flow has sent, by the step's key."""
    where = "d.origin_type = 'flow' AND d.origin_id = %(flow)s"
    return grouped("d.origin_step", *_period(where, {"flow": flow_id}, since, until))


def by_flow(since: datetime | None = None, until: datetime | None = None) -> dict[int, Figures]:
    """The same for what each flow has sent, by the flow's number."""
    return grouped("d.origin_id", *_period("d.origin_type = 'flow'", {}, since, until))


def grouped(key: str, where: str, values: dict[str, Any]) -> dict[Any, Figures]:
    """Figures of the deliveries `d` that `where` selects, by `key`, in three queries however many there are.

    Args:
        key, where: constant SQL; `values` are its parameters.
    """
    found: dict[Any, Figures] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {key}, {_COUNTS} FROM delivery_delivery d
            LEFT JOIN analytics_engagement g ON g.delivery_id = d.id WHERE {where} GROUP BY 1
            """,
            values,
        )
        names = [column[0] for column in cursor.description[1:]]
        for row in cursor.fetchall():
            found[row[0]] = Figures(**dict(zip(names, row[1:], strict=True)))
        cursor.execute(
            f"""
            SELECT {key}, d.state, d.reason, count(*) FROM delivery_delivery d
            WHERE {where} AND d.state IN ('suppressed', 'failed', 'deferred')
            GROUP BY 1, 2, 3 ORDER BY 4 DESC, 3
            """,
            values,
        )
        for group, state, reason, number in cursor.fetchall():
            if group in found:  # a delivery may have been queued since the query before
                found[group].reasons.setdefault(state, {})[reason] = number
        cursor.execute(
            f"""
            SELECT {key}, c.currency, count(*), coalesce(sum(c.value), 0) FROM analytics_conversion c
            JOIN delivery_delivery d ON d.id = c.delivery_id WHERE {where} GROUP BY 1, 2 ORDER BY 2
            """,
            values,
        )
        for group, currency, number, value in cursor.fetchall():
            if group in found:
                found[group].converted += number
                if value:
                    found[group].revenue[currency] = value
    return found


def _of_message(message: Message, since: datetime | None, until: datetime | None) -> tuple[str, dict]:
    where = "d.message_id = %(message)s AND d.origin_type <> 'test'"
    return _period(where, {"message": message.pk}, since, until)


def _period(where: str, values: dict, since: datetime | None, until: datetime | None) -> tuple[str, dict]:
    if since is not None:
        where, values = f"{where} AND d.queued_at >= %(since)s", {**values, "since": since}
    if until is not None:
        where, values = f"{where} AND d.queued_at < %(until)s", {**values, "until": until}
    return where, values
