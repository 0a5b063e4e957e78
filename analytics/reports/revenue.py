"""What goals brought: by message, flow, broadcast, channel or day, and how a single conversion was divided."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from analytics.models import Goal
from analytics.reports.filters import EVERYTHING, Filters
from analytics.reports.periods import Period

DIMENSIONS = {
    "": ((), "true"),
    "message": (("s.message_id",), "true"),
    "variant": (("s.message_id", "s.variant"), "true"),
    "channel": (("s.channel",), "true"),
    "flow": (("s.origin_id",), "s.origin_type = 'flow'"),
    "step": (("s.origin_id", "s.origin_step"), "s.origin_type = 'flow'"),
    "broadcast": (("s.origin_id",), "s.origin_type = 'broadcast'"),
    "origin": (("s.origin_type",), "true"),
    "day": (("f.day",), "true"),
}
DEFINITIONS = {
    "conversions": _("Events of the goal in the period, each divided among messages as the model says."),
    "people": _("Messages that have a share in one, counted once a day."),
    "value": _(
        "The amounts of these events, in the account's currency by the rate of the day or the last before."
    ),
    "unconverted": _(
        "Amounts in other currencies, of days without a rate in the month before: not in the value."
    ),
    "last_click": _("The message clicked last before, within the goal's hours."),
    "last_touch": _("The message opened or clicked last before, within the goal's hours."),
    "first_touch": _("The message opened or clicked first, within the goal's hours."),
    "linear": _("All messages opened or clicked within the goal's hours, alike."),
    "position": _(
        "40 % for the first and the last message opened or clicked, 20 % for all between; two have half each."
    ),
    "view_through": _("The message seen last within the channel's hours, where none was clicked in time."),
}


class Earned(msgspec.Struct):
    """What a goal brought; see DEFINITIONS. `unconverted` has amounts by currency."""

    conversions: Decimal = Decimal(0)
    people: int = 0
    value: Decimal = Decimal(0)
    unconverted: dict[str, Decimal] = {}


class Touch(msgspec.Struct, frozen=True):
    """One message on the way to a conversion, and which share each model gives it."""

    delivery: int
    message: str
    channel: str
    opened_at: datetime | None
    clicked_at: datetime | None
    seen_at: datetime | None
    shares: dict[str, Decimal]
    values: dict[str, Decimal | None]


class Path(msgspec.Struct, frozen=True):
    """How one event of a goal was divided, the earliest touch first."""

    occurred_at: datetime
    currency: str
    touches: list[Touch]


def by(
    dimension: str, period: Period, goal: Goal, model: str = "", filters: Filters = EVERYTHING
) -> dict[Any, Earned]:
    """What a goal brought by what DIMENSIONS name, {key: earned}; one query.

    Args:
        model: one of Goal.Model; the goal's own where empty.
        filters: those on a message, where it came from, and one trait of people.

    Raises:
        ValueError: for two traits or a segment single deliveries would have to be looked at: see figures.by.
    """
    if filters.exact:
        raise ValueError("figures by day are kept for one trait at a time")
    keys, where = DIMENSIONS[dimension]
    of_series, values = filters.of_series()
    kept, trait = next(iter(filters.traits.items()), ("", ""))
    columns = ", ".join([*keys, "f.currency"])
    values |= {
        "goal": goal.pk,
        "model": model or goal.default_model,
        "first": period.first,
        "last": period.last,
        "kept": kept,
        "trait": trait,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {columns}, sum(f.conversions), sum(f.people)::bigint, sum(f.value)
            FROM analytics_earnedday f JOIN analytics_series s ON s.id = f.series_id
            WHERE f.generation = (SELECT generation FROM analytics_rollupstate WHERE id = 1)
                AND f.goal_id = %(goal)s AND f.model = %(model)s AND f.day BETWEEN %(first)s AND %(last)s
                AND f.dimension = %(kept)s AND f.trait = %(trait)s AND {where} AND {of_series}
            GROUP BY {columns}
            HAVING sum(f.conversions) <> 0 OR sum(f.people) <> 0 OR sum(f.value) <> 0
            ORDER BY {columns}
            """,
            values,
        )
        rows = cursor.fetchall()
    found: dict[Any, Earned] = {}
    for *parts, currency, conversions, people, value in rows:
        _note(found.setdefault(_key(parts), Earned()), currency, conversions, people, value)
    return found


def total(period: Period, goal: Goal, model: str = "", filters: Filters = EVERYTHING) -> Earned:
    """What a goal brought in a period."""
    return by("", period, goal, model, filters).get((), Earned())


def path(goal: Goal, event: UUID) -> Path | None:
    """Which messages have a share in this event by any model; None where none has. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.delivery_id, m.name, s.channel, g.opened_at, g.clicked_at, g.shown_at, min(c.occurred_at),
                min(coalesce(nullif(c.account_currency, ''), c.currency)),
                jsonb_object_agg(c.model, c.share::text),
                jsonb_object_agg(c.model, coalesce(c.account_value, c.value)::text)
            FROM analytics_credit c JOIN analytics_series s ON s.id = c.series_id
            LEFT JOIN delivery_message m ON m.id = s.message_id
            LEFT JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
            WHERE c.goal_id = %s AND c.event_id = %s
            GROUP BY 1, 2, 3, 4, 5, 6
            ORDER BY least(g.opened_at, g.clicked_at), g.shown_at, c.delivery_id
            """,
            [goal.pk, event],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    return Path(rows[0][6], rows[0][7], [_touch(row) for row in rows])


def _touch(row: Sequence[Any]) -> Touch:
    shares, values = (msgspec.json.decode(part) if isinstance(part, str) else part for part in row[8:10])
    return Touch(
        delivery=row[0],
        message=row[1] or "",
        channel=row[2],
        opened_at=row[3],
        clicked_at=row[4],
        seen_at=row[5],
        shares={model: Decimal(share) for model, share in shares.items()},
        values={model: None if value is None else Decimal(value) for model, value in values.items()},
    )


def _note(earned: Earned, currency: str, conversions: Decimal, people: int, value: Decimal) -> None:
    if not currency:
        earned.conversions, earned.people, earned.value = conversions, people, value
    else:
        earned.unconverted[currency] = value


def _key(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)
