"""What goals brought by anything that figures can be told apart by, and how the latest conversions were divided."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.models import Goal
from analytics.reports import money
from analytics.reports.definitions import Comparison, Figures
from analytics.reports.figures import DIMENSIONS, Dimension
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

DEFINITIONS = {
    "share": _(
        "Of all that the goal brought in the period by this way of giving credit, in the account's currency."
    ),
    "each": _("Revenue in the account's currency ÷ conversions."),
    "touches": _("Messages that have a share in the conversion."),
    "took": _("From the first of these messages being opened, clicked or seen until the conversion."),
    "path": _("The messages, the earliest first, with what people did and with their shares."),
}
LATEST = 25
_MOST = 8  # shares of one event that are looked at, on average

_LATEST = """
    SELECT c.event_id, c.occurred_at FROM analytics_credit c
    JOIN analytics_series s ON s.id = c.series_id
    JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
    WHERE c.goal_id = %(goal)s AND c.model = %(model)s
        AND c.occurred_at >= %(since)s AND c.occurred_at < %(until)s AND {of_series} AND {of_facts}
    ORDER BY c.occurred_at DESC LIMIT %(rows)s
"""
_PATHS = """
    SELECT c.event_id, max(c.occurred_at), min(coalesce(nullif(c.account_currency, ''), c.currency)), c.delivery_id,
        d.profile_id, coalesce(m.name, ''), s.channel, g.opened_at, g.clicked_at, g.shown_at,
        max(c.share) FILTER (WHERE c.model = %(model)s),
        max(coalesce(c.account_value, c.value)) FILTER (WHERE c.model = %(model)s)
    FROM analytics_credit c JOIN analytics_series s ON s.id = c.series_id
    LEFT JOIN delivery_message m ON m.id = s.message_id
    LEFT JOIN delivery_delivery d ON d.id = c.delivery_id
    LEFT JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
    WHERE c.goal_id = %(goal)s AND c.event_id = ANY(%(events)s::uuid[])
    GROUP BY c.event_id, c.delivery_id, d.profile_id, m.id, s.channel, g.delivery_id
    ORDER BY c.event_id, least(g.opened_at, g.clicked_at, g.shown_at), c.delivery_id
"""


class Touch(msgspec.Struct, frozen=True):
    """One message on the way; `share` is 0 where the model gives it none, though another does."""

    delivery: int
    message: str
    channel: str
    opened_at: datetime | None
    clicked_at: datetime | None
    seen_at: datetime | None
    share: Decimal

    @property
    def at(self) -> datetime | None:
        """When the person had to do with it first."""
        return min(filter(None, (self.opened_at, self.clicked_at, self.seen_at)), default=None)


class Conversion(msgspec.Struct):
    """One event of a goal, its amount, whose it is (None: of a deleted person), and the messages that led there."""

    event: UUID
    occurred_at: datetime
    profile: int | None
    currency: str
    value: Decimal | None
    touches: list[Touch]

    @property
    def took(self) -> timedelta | None:
        """From the first touch to the event."""
        first = min(filter(None, (touch.at for touch in self.touches)), default=None)
        return None if first is None else self.occurred_at - first


def by(
    dimension: str, period: Period, filters: Filters = EVERYTHING, compare: bool = False
) -> dict[Any, Comparison]:
    """Conversions and amounts by a key of figures.DIMENSIONS, or in all for ""; one query.

    Nothing else is counted in the figures; those before are empty unless they are to `compare` with.
    """
    wanted = DIMENSIONS[dimension] if dimension else Dimension()
    first = period.before.first if compare else period.first
    found: dict[tuple[bool, Any], Figures] = {}
    money.add(
        found, wanted.keys, wanted.where, wanted.kept, Period(first, period.last), period.first, filters
    )
    keys = [key for (_late, key), one in found.items() if one.conversions or one.earned]
    return {
        key: Comparison(found.get((True, key), Figures()), found.get((False, key), Figures()))
        for key in dict.fromkeys(keys)
    }


def latest(
    goal: Goal, period: Period, filters: Filters = EVERYTHING, limit: int = LATEST
) -> list[Conversion]:
    """The last conversions of the period with a share of what the filters are about, each with its path; two queries.

    The path has all messages that any model gives a share.
    """
    of_series, values = filters.of_series()
    of_facts, more = filters.of_facts()
    since, until = period.bounds()
    values |= more | {
        "goal": goal.pk,
        "model": filters.model or goal.default_model,
        "since": since,
        "until": until,
        "rows": limit * _MOST,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LATEST.format(of_series=of_series, of_facts=of_facts), values)
        events = list(dict.fromkeys(event for event, _at in cursor.fetchall()))[:limit]
        cursor.execute(_PATHS, {"goal": goal.pk, "model": values["model"], "events": events})
        rows = cursor.fetchall()
    found: dict[UUID, Conversion] = {}
    for row in rows:
        _note(found, *row)
    return sorted(found.values(), key=lambda one: (one.occurred_at, str(one.event)), reverse=True)


def _note(
    found: dict[UUID, Conversion],
    event: UUID,
    occurred_at: datetime,
    currency: str | None,
    delivery: int,
    profile: int | None,
    name: str,
    channel: str,
    opened_at: datetime | None,
    clicked_at: datetime | None,
    seen_at: datetime | None,
    share: Decimal | None,
    value: Decimal | None,
) -> None:
    one = found.setdefault(event, Conversion(event, occurred_at, profile, currency or "", None, []))
    one.profile = one.profile or profile
    one.touches.append(Touch(delivery, name, channel, opened_at, clicked_at, seen_at, share or Decimal(0)))
    if value is not None:
        one.value = (one.value or Decimal(0)) + value


def ratio(earned: dict[str, Decimal], number: float | Decimal, currency: str) -> dict[str, Decimal]:
    """The amount of one currency divided by a number; nothing where there is none."""
    amount = earned.get(currency)
    return {currency: amount / Decimal(str(number))} if amount and number else {}


def others(earned: dict[str, Decimal], currencies: Sequence[str]) -> dict[str, Decimal]:
    """The amounts in other currencies than these."""
    return {currency: amount for currency, amount in earned.items() if currency not in currencies}
