"""Which links of messages were followed, by how many."""

from typing import Any

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports.filters import Filters
from analytics.reports.periods import Period

MOST = 20_000  # deliveries that are looked at, the latest
ALL = 2**31 - 1  # the same, where somebody has the time
MOST_LINES = 100
PERSONAL = 10  # addresses at one place of a text; more are told as their site alone
DEFINITIONS = {
    "people": _("Messages sent in the period of which a person has followed this link."),
    "clicks": _("How often people have followed it, again and again included."),
    "share": _("People who followed this link ÷ people who followed any link."),
    "channel": _("The channel that the message with this link went by."),
    "place": _("The link's place in the text: 1 is the first one."),
}
# A delivery has one address at each place, so that people of several addresses of a place can be added up.
_FOLLOWED = """
    WITH latest AS MATERIALIZED (
        SELECT s.id, s.channel, s.links, s.sent_at FROM delivery_delivery s
        WHERE {series} AND s.origin_type <> 'test' AND s.queued_at < %(until)s
        ORDER BY s.queued_at DESC, s.id DESC LIMIT %(most)s
    ), followed AS (
        SELECT l.channel, h.link, regexp_replace(coalesce(l.links ->> h.link, ''), '[?#].*$', '') AS address,
            l.id, count(*) AS clicks
        FROM latest l JOIN delivery_linkhit h ON h.delivery_id = l.id
        WHERE l.sent_at >= %(since)s AND l.sent_at < %(until)s AND h.link IS NOT NULL AND h.verdict = ANY(%(by)s)
        GROUP BY l.id, l.channel, h.link, address
    ), addresses AS (
        SELECT channel, link, address, count(*) AS people, sum(clicks)::bigint AS clicks,
            count(*) OVER (PARTITION BY channel, link) > %(personal)s AS personal
        FROM followed GROUP BY channel, link, address
    ), lines AS (
        SELECT channel, link,
            CASE WHEN personal THEN coalesce(substring(address FROM '^[a-z][a-z0-9+.-]*://[^/]*'), '') || '/…'
                ELSE address END AS address,
            sum(people)::bigint AS people, sum(clicks)::bigint AS clicks
        FROM addresses GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT %(lines)s
    )
    SELECT channel, link, address, people, clicks FROM lines
    UNION ALL
    SELECT '', NULL, '', count(DISTINCT id), coalesce(sum(clicks), 0)::bigint FROM followed
    UNION ALL
    SELECT '', -1, '', count(*), 0 FROM latest
"""


class Line(msgspec.Struct, frozen=True):
    """A link: the channel, its place in the text from 1, its address without query, and who followed it how often."""

    channel: str
    place: int
    address: str
    people: int
    clicks: int


class Followed(msgspec.Struct):
    """The links most followed first; `people` of any link, all `clicks`, and whether older messages were left out."""

    lines: list[Line]
    people: int = 0
    clicks: int = 0
    partly: bool = False

    def share(self, line: Line) -> float | None:
        """People of this link as a share of those of any."""
        return line.people / self.people if self.people else None


def followed(period: Period, filters: Filters, most: int = MOST) -> Followed:
    """The links of what was sent in the period, of the latest `most` messages that fit; one query.

    Of the filters, those about people and devices are not heeded. The message or what asked for it should be among
    them: single deliveries are looked at, by their index.
    """
    series, values = filters.of_series()
    since, until = period.bounds()
    by = ["person", "proxy", *(["machine"] if filters.machines else [])]
    given: dict[str, Any] = {
        "since": since,
        "until": until,
        "most": most + 1,
        "by": by,
        "personal": PERSONAL,
        "lines": MOST_LINES,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FOLLOWED.format(series=series), values | given)
        rows = cursor.fetchall()
    found = Followed([])
    for channel, link, address, people, clicks in rows:
        if link is None:
            found.people, found.clicks = people, clicks
        elif link < 0:
            found.partly = people > most
        else:
            found.lines.append(Line(channel, link + 1, address, people, clicks))
    return found
