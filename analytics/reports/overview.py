"""The home page's figures: the last days against as many before."""

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec
from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import last_days

DEFINITIONS = {
    "sent": _("Messages accepted by push services and providers in these days."),
    "opened": _("Messages opened in these days, whenever they were sent."),
    "clicked": _("Messages clicked in these days, whenever they were sent."),
    "converted": _("Goal events in these days that are credited to a message."),
    "revenue": _("The amounts of those goal events, by currency."),
    "new_profiles": _("Profiles that came in these days, from CRMs, the API and websites."),
    "reachable": _("People who agreed to web push and have a browser that can receive it."),
    "left": _("People who withdrew their consent to a channel in these days."),
}


class Totals(msgspec.Struct):
    """Sums over a period."""

    sent: int = 0
    opened: int = 0
    clicked: int = 0
    converted: int = 0
    new_profiles: int = 0
    left: int = 0
    revenue: dict[str, Decimal] = {}


class Day(msgspec.Struct):
    """One day of the chart, in the account's time zone."""

    day: str
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    converted: int = 0


class Overview(msgspec.Struct):
    """Everything the home shows; `before` is the period of the same length just before."""

    days: int
    now: Totals
    before: Totals
    series: list[Day]
    profiles: int
    reachable: int


_TOTALS = """
    SELECT
        (SELECT count(*) FROM delivery_delivery WHERE sent_at >= %(since)s AND sent_at < %(until)s
            AND origin_type <> 'test'),
        (SELECT count(*) FROM crm_event WHERE name = 'message_opened'
            AND occurred_at >= %(since)s AND occurred_at < %(until)s),
        (SELECT count(*) FROM crm_event WHERE name = 'message_clicked'
            AND occurred_at >= %(since)s AND occurred_at < %(until)s),
        (SELECT count(*) FROM analytics_conversion WHERE occurred_at >= %(since)s AND occurred_at < %(until)s),
        (SELECT count(*) FROM crm_profile WHERE created_at >= %(since)s AND created_at < %(until)s),
        (SELECT count(DISTINCT c.profile_id) FROM crm_consentchange c
            WHERE c.kind = 'channel' AND c.state = 'unsubscribed'
            AND c.changed_at >= %(since)s AND c.changed_at < %(until)s
            -- Somebody who said no from the first has not left.
            AND EXISTS (SELECT FROM crm_consentchange b WHERE b.profile_id = c.profile_id AND b.kind = c.kind
                AND b.key = c.key AND b.state = 'subscribed' AND b.changed_at < c.changed_at))
"""

_SERIES = """
    SELECT day, sum(sent), sum(opened), sum(clicked), sum(converted) FROM (
        SELECT (sent_at AT TIME ZONE %(zone)s)::date AS day, 1 AS sent, 0 AS opened, 0 AS clicked, 0 AS converted
        FROM delivery_delivery WHERE sent_at >= %(since)s AND sent_at < %(until)s AND origin_type <> 'test'
        UNION ALL
        SELECT (occurred_at AT TIME ZONE %(zone)s)::date, 0, (name = 'message_opened')::int,
            (name = 'message_clicked')::int, 0
        FROM crm_event WHERE name IN ('message_opened', 'message_clicked')
            AND occurred_at >= %(since)s AND occurred_at < %(until)s
        UNION ALL
        SELECT (occurred_at AT TIME ZONE %(zone)s)::date, 0, 0, 0, 1
        FROM analytics_conversion WHERE occurred_at >= %(since)s AND occurred_at < %(until)s
    ) AS things GROUP BY day
"""


def overview(now: datetime | None = None, days: int = 30) -> Overview:
    """Figures of the last `days` days, today included, and of as many days before."""
    since, until = last_days(days, now)
    with connection.cursor() as cursor:
        cursor.execute(_SERIES, {"since": since, "until": until, "zone": settings.TIME_ZONE})
        found = {row[0]: row[1:] for row in cursor.fetchall()}
        cursor.execute("SELECT count(*) FROM crm_profile")
        [profiles] = cursor.fetchone()
        cursor.execute(
            """
            SELECT count(*) FROM crm_consent c WHERE kind = 'channel' AND key = 'webpush' AND state = 'subscribed'
            AND EXISTS (SELECT FROM crm_device d WHERE d.profile_id = c.profile_id AND d.state = 'active')
            """
        )
        [reachable] = cursor.fetchone()
    series = []
    for offset in range(days):
        day = (since + timedelta(days=offset)).date()
        series.append(Day(day.isoformat(), *map(int, found.get(day, ()))))
    before = since - timedelta(days=days)
    return Overview(days, _totals(since, until), _totals(before, since), series, profiles, reachable)


def _totals(since: datetime, until: datetime) -> Totals:
    period = {"since": since, "until": until}
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS, period)
        totals = Totals(*cursor.fetchone())
        cursor.execute(
            """
            SELECT currency, sum(value) FROM analytics_conversion
            WHERE occurred_at >= %(since)s AND occurred_at < %(until)s AND value IS NOT NULL GROUP BY 1 ORDER BY 1
            """,
            period,
        )
        totals.revenue = dict(cursor.fetchall())
    return totals
