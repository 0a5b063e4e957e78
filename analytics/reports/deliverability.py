"""Whether messages arrive, by who carries them: mail services, push services, providers."""

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.reports import figures
from analytics.reports.definitions import Figures
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period
from delivery.dispatch.traits import push_service

DEFINITIONS = {
    "provider": _(
        "The mail service of the address, where many people use it, the push service, or our provider."
    ),
    "gone": _("Browsers and apps that can no longer receive pushes since a day of the period."),
}


class Line(msgspec.Struct):
    """One carrier of one channel."""

    channel: str
    provider: str
    figures: Figures
    gone: int = 0


def report(period: Period, filters: Filters = EVERYTHING) -> list[Line]:
    """What became of what each carried, those with most messages first."""
    found = figures.by("carrier", period, filters)
    lines = {key: Line(key[0], key[1], one) for key, one in found.items()}
    for (channel, provider), number in _gone(period).items():
        if filters.channel in ("", channel) and filters.provider in (None, provider):
            lines.setdefault((channel, provider), Line(channel, provider, Figures())).gone = number
    return sorted(
        lines.values(), key=lambda line: (-line.figures.sent, -line.gone, line.channel, line.provider)
    )


def _gone(period: Period) -> dict[tuple[str, str], int]:
    """Dead subscriptions by channel and carrier."""
    since, until = period.bounds()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, split_part(endpoint, '/', 3), count(*) FROM crm_device
            WHERE state = 'gone' AND changed_at >= %s AND changed_at < %s GROUP BY 1, 2
            """,
            [since, until],
        )
        rows = cursor.fetchall()
    found: dict[tuple[str, str], int] = {}
    for kind, host, number in rows:
        key = ("webpush", push_service(host)) if kind == "webpush" else ("push", kind)
        found[key] = found.get(key, 0) + number
    return found
