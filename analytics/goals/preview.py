"""What a goal would count as it stands in its form, beside what it counts as it was saved; nothing is stored."""

import copy
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import OperationalError, connection
from django.utils import timezone

from analytics.goals import attribution, rules, shares
from analytics.models import Goal
from crm import pg

DAYS = 30
LISTED = 10_000  # events; a look, not a report: nobody waits for more
PATIENCE_MS = 3_000
MESSAGES = 5
_FORM, _SAVED = -1, -2  # goals that are only asked about

_LOOK = """
    WITH {goals}, chosen AS MATERIALIZED (
        SELECT x.* FROM (SELECT DISTINCT event FROM goals) n CROSS JOIN LATERAL (
            SELECT e.* FROM crm_event e
            WHERE e.name = n.event AND e.occurred_at > %(since)s AND e.occurred_at <= %(now)s
            ORDER BY e.occurred_at DESC LIMIT %(limit)s
        ) x
    ), reached AS MATERIALIZED ({reached}
    ), touches AS ({touches}
    ), new AS MATERIALIZED (
        SELECT c.* FROM ({credits}) c WHERE c.model = %(models)s::jsonb ->> c.goal_id::text
    )
    SELECT 'limit' AS kind, 0::bigint AS goal_id, '' AS name, count(*)::numeric AS number, 0::numeric AS value,
        0 AS people
    FROM chosen
    UNION ALL
    SELECT 'events', r.goal_id, '', count(*), sum({worth}), count(DISTINCT r.profile_id)
    FROM reached r GROUP BY r.goal_id
    UNION ALL
    SELECT 'left', r.goal_id, r.currency, count(*), sum(r.value), 0
    FROM reached r WHERE r.value IS NOT NULL AND {worth} IS NULL GROUP BY r.goal_id, r.currency
    UNION ALL
    SELECT 'credited', goal_id, '', count(DISTINCT event_id), sum(account_value), 0 FROM new GROUP BY goal_id
    UNION ALL
    (SELECT 'message', n.goal_id, coalesce(m.name, ''), sum(n.share), sum(n.account_value), 0
    FROM new n JOIN analytics_series s ON s.id = n.series_id LEFT JOIN delivery_message m ON m.id = s.message_id
    GROUP BY n.goal_id, s.message_id, m.name ORDER BY sum(n.share) DESC, m.name)
"""


class Counted(msgspec.Struct):
    """What a rule counts in the last days.

    `value` is in the account's currency, `unconverted` what has no rate, by currency; `credited` and
    `credited_value` are what of the events and of the value a message has credit for by the goal's own model.
    `messages` has (name, share in conversions, value) of those with the most credit.
    """

    events: int = 0
    people: int = 0
    value: Decimal = Decimal(0)
    unconverted: dict[str, Decimal] = {}
    credited: int = 0
    credited_value: Decimal = Decimal(0)
    messages: list[tuple[str, Decimal, Decimal]] = []


class Preview(msgspec.Struct, frozen=True):
    """As the form has it, and as it was saved (None where it is the same, or new).

    `more` tells that there are more events than were looked at: the latest.
    """

    form: Counted
    saved: Counted | None
    more: bool


class TooSlow(Exception):
    """It takes longer than somebody waits for a preview."""


def look(goal: Goal, saved: Goal | None = None, now: datetime | None = None) -> Preview:
    """The goal's events of the last 30 days and who has the credit for them; one query.

    Args:
        goal: as it is in the form; it need not be stored.
        saved: as it is stored, to compare with.

    Raises:
        TooSlow: after PATIENCE_MS.
    """
    now = now or timezone.now()
    if saved is not None and all(getattr(saved, name) == getattr(goal, name) for name in _looked_at()):
        saved = None
    sides = [_as(number, each) for number, each in ((_FORM, goal), (_SAVED, saved)) if each is not None]
    asked = rules.of(sides)
    if not asked.rows:
        return Preview(Counted(), None, False)
    statement = _LOOK.format(
        goals=attribution.GOALS,
        reached=attribution.reached(asked.fits("o", "e"), asked.fits("o", "f"), "true", "chosen"),
        touches=shares.TOUCHES,
        credits=shares.CREDITS,
        worth=shares.converted("r.value"),
    )
    models = {str(each.pk): each.default_model for each in sides}
    values: dict[str, Any] = {"since": now - timedelta(days=DAYS), "now": now, "limit": LISTED}
    values |= asked.values | {"models": msgspec.json.encode(models).decode()}
    try:
        with pg.statement_limits(PATIENCE_MS), connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows = cursor.fetchall()
    except OperationalError as error:
        raise TooSlow from error
    found = {_FORM: Counted(), _SAVED: Counted()}
    more = False
    for kind, number, name, count, value, people in rows:
        if kind == "limit":
            more = count >= LISTED
        else:
            _note(found[number], kind, name, count, value or Decimal(0), people)
    return Preview(found[_FORM], found[_SAVED] if saved is not None else None, more)


def _looked_at() -> tuple[str, ...]:
    return (*(name for name in Goal.RULES if name != "active"), "default_model")


def _as(number: int, goal: Goal) -> Goal:
    one = copy.copy(goal)
    one.pk = number
    return one


def _note(counted: Counted, kind: str, name: str, number: Decimal, value: Decimal, people: int) -> None:
    if kind == "events":
        counted.events, counted.value, counted.people = int(number), value, people
    elif kind == "left":
        counted.unconverted[name] = value
    elif kind == "credited":
        counted.credited, counted.credited_value = int(number), value
    elif len(counted.messages) < MESSAGES:
        counted.messages.append((name, number, value))
