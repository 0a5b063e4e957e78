"""What people are worth by where they came from: the CRM whose record they have, or none."""

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.periods import Period

DEFINITIONS = {
    "people": _("People with a record in this CRM; those in several count for each."),
    "email": _("Those of them with an email address."),
    "phone": _("Those of them with a phone number."),
    "sent": _("Messages that were sent to them in the period."),
    "opened": _("Those of the messages that they opened."),
    "clicked": _("Those of the messages whose links they followed."),
    "bounced": _("Those of the messages that came back."),
    "rejected": _("Records that could not be taken, and wait to be looked at."),
}


class Line(msgspec.Struct):
    """One CRM connection; `slug` is empty for people without a record in any."""

    slug: str
    name: str
    people: int = 0
    email: int = 0
    phone: int = 0
    sent: int = 0
    opened: int = 0
    clicked: int = 0
    bounced: int = 0
    rejected: int = 0


_LINES = """
    WITH known AS (
        SELECT DISTINCT i.profile_id, split_part(i.kind, ':', 1) AS slug FROM crm_identifier i WHERE i.kind LIKE '%%:%%'
    ), people AS (
        SELECT p.id, coalesce(k.slug, '') AS slug, coalesce(p.email, '') <> '' AS email,
            coalesce(p.phone, '') <> '' AS phone
        FROM crm_profile p LEFT JOIN known k ON k.profile_id = p.id
    ), sent AS (
        SELECT d.profile_id, count(*) AS sent, count(g.opened_at) AS opened, count(g.clicked_at) AS clicked,
            count(g.bounced_at) AS bounced
        FROM analytics_engagement g JOIN delivery_delivery d ON d.id = g.delivery_id
        WHERE g.series_id IS NOT NULL AND g.sent_at >= %(since)s AND g.sent_at < %(until)s GROUP BY 1
    )
    SELECT p.slug, coalesce(c.name, ''), count(*), count(*) FILTER (WHERE email), count(*) FILTER (WHERE phone),
        coalesce(sum(s.sent), 0)::bigint, coalesce(sum(s.opened), 0)::bigint, coalesce(sum(s.clicked), 0)::bigint,
        coalesce(sum(s.bounced), 0)::bigint,
        (SELECT count(*) FROM crm_syncreject r WHERE r.connection_id = c.id)
    FROM people p LEFT JOIN sent s ON s.profile_id = p.id LEFT JOIN crm_connection c ON c.slug = p.slug
    GROUP BY p.slug, c.id ORDER BY 3 DESC, 1
"""


def report(period: Period) -> list[Line]:
    """Each CRM, the one with most people first. It looks at every delivery of the period: worth keeping for a while."""
    since, until = period.bounds()
    with connection.cursor() as cursor:
        cursor.execute(_LINES, {"since": since, "until": until})
        return [Line(*row) for row in cursor.fetchall()]
