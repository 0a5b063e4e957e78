"""Credits for goals, kept in step with the log by its reader and made anew after a rule has changed.

What is credited is always worked out from the log and the facts as they are by now, for single goal events; whatever
makes a difference to an event (a late click, one that was a machine's, a merge of two people, an earlier purchase)
only has to name it. So the order in which things are told does not matter, and telling them twice changes nothing.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import connection

from analytics.goals import earned, shares
from analytics.goals.rules import Rules
from analytics.rollups import seen
from crm import privacy
from crm.log import LoggedEvent

TOUCHES = frozenset({"message_opened", "message_clicked", seen.WITHDRAWN})
SEEN = frozenset({"message_delivered", "message_read"})
MERGES = frozenset({"profile_merged", "profile_unmerged"})
RATE_DAYS = 31  # no rate for longer than that: an amount is not converted

GOALS = """
    goals AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(goals)s::jsonb) AS r(id bigint, event text, value_path text[],
            currency_path text[], currency text, clicks int, opens int, view_hours jsonb, longest int, once boolean,
            own boolean)
    )
"""
_AFFECTED = f"""
    WITH {GOALS}
    SELECT e.id FROM delivery_delivery d JOIN analytics_engagement g ON g.delivery_id = d.id
    CROSS JOIN goals o JOIN crm_event e ON e.profile_id = d.profile_id AND e.name = o.event
        AND e.occurred_at >= least(g.shown_at, g.read_at, g.opened_at, g.clicked_at)
        AND e.occurred_at < greatest(g.shown_at, g.read_at, g.opened_at, g.clicked_at)
            + make_interval(hours => o.longest)
    WHERE d.id = ANY(%(deliveries)s::bigint[])
    UNION
    SELECT c.event_id FROM analytics_credit c WHERE c.delivery_id = ANY(%(deliveries)s::bigint[])
    UNION
    SELECT e.id FROM goals o JOIN crm_event e ON e.name = o.event WHERE e.profile_id = ANY(%(people)s::bigint[])
    UNION
    SELECT e.id FROM crm_event k JOIN goals o ON o.once AND o.event = k.name
    JOIN crm_event e ON e.profile_id = k.profile_id AND e.name = k.name
    WHERE k.id = ANY(%(events)s::uuid[])
"""


def reached(fits_event: str, fits_before: str, which: str, source: str = "crm_event") -> str:
    """The events `e` that reach goals `o`, with what each is worth, as SQL; see Rules.fits.

    Args:
        which: a condition on both.
        source: the relation of these events.
    """
    return f"""
        SELECT DISTINCT ON (o.id, e.id) o.id AS goal_id, e.id AS event_id, e.profile_id, e.name, e.occurred_at, o.own,
            o.clicks, o.opens, o.view_hours, {shares.amount("p.amount")} AS value, b.currency, x.rate,
            %(account)s::text AS account_currency, CASE WHEN o.own THEN e.properties END AS properties
        FROM {source} e JOIN goals o ON o.event = e.name
        CROSS JOIN LATERAL (SELECT e.properties #> o.value_path AS amount, e.properties #>> o.currency_path AS code) p
        CROSS JOIN LATERAL (SELECT CASE WHEN p.code ~ '^[A-Za-z]{{3}}$' THEN upper(p.code) ELSE o.currency END
            AS currency) b
        LEFT JOIN LATERAL (
            SELECT r.rate FROM analytics_exchangerate r
            WHERE r.currency = b.currency AND r.day <= (e.occurred_at AT TIME ZONE 'UTC')::date
                AND r.day > (e.occurred_at AT TIME ZONE 'UTC')::date - {RATE_DAYS}
            ORDER BY r.day DESC LIMIT 1
        ) x ON true
        WHERE {which} AND {fits_event}
            AND NOT (o.once AND EXISTS (
                SELECT FROM crm_event f WHERE f.profile_id = e.profile_id AND f.name = e.name
                    AND (f.occurred_at, f.id) < (e.occurred_at, e.id) AND {fits_before}))
        ORDER BY o.id, e.id, e.occurred_at -- an id may come again with another time; it counts once
    """


def _credit(fits_event: str, fits_before: str) -> str:
    frozen = (
        "e.id = ANY(%(events)s::uuid[])"
        " AND NOT EXISTS (SELECT FROM frozen z WHERE z.goal_id = o.id AND z.event_id = e.id)"
    )
    same = " AND ".join(f"o.{name} = n.{name}" for name in earned.KEY)
    columns = ", ".join(earned.COLUMNS)
    before = ", ".join(f"c.{name}" for name in earned.COLUMNS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in earned.COLUMNS[len(earned.KEY) :])
    return f"""
    WITH {GOALS}, frozen AS MATERIALIZED (
        -- Erased people's events say less than they did: who has the credit for a goal's event keeps it.
        SELECT DISTINCT c.goal_id, c.event_id FROM analytics_credit c JOIN goals o ON o.id = c.goal_id
        JOIN crm_event e ON e.id = c.event_id AND e.occurred_at = c.occurred_at AND e.name = o.event
        WHERE c.event_id = ANY(%(events)s::uuid[]) AND EXISTS (
            SELECT FROM crm_event x WHERE x.profile_id = e.profile_id AND x.name = %(erased)s
                AND x.occurred_at >= e.occurred_at)
    ), reached AS MATERIALIZED (
        {reached(fits_event, fits_before, frozen)}
    ), touches AS ({shares.TOUCHES}
    ), new AS MATERIALIZED ({shares.CREDITS}
    ), old AS MATERIALIZED (
        SELECT {before} FROM analytics_credit c
        WHERE c.event_id = ANY(%(events)s::uuid[]) AND c.goal_id IN (SELECT id FROM goals)
            -- What is in the log no more stays as it was.
            AND EXISTS (SELECT FROM crm_event e WHERE e.id = c.event_id)
            AND NOT EXISTS (SELECT FROM frozen z WHERE z.goal_id = c.goal_id AND z.event_id = c.event_id)
    ), stale AS MATERIALIZED (SELECT {columns} FROM old EXCEPT SELECT {columns} FROM new
    ), fresh AS MATERIALIZED (SELECT {columns} FROM new EXCEPT SELECT {columns} FROM old
    ), gone AS (
        DELETE FROM analytics_credit o USING stale n
        WHERE {same} AND NOT EXISTS (SELECT FROM fresh w WHERE {same.replace("n.", "w.")})
    ), put AS (
        INSERT INTO analytics_credit ({columns}) SELECT {columns} FROM fresh ORDER BY 1, 2, 3, 4
        ON CONFLICT (goal_id, event_id, model, delivery_id) DO UPDATE SET {updates}
    ), changed AS MATERIALIZED ({earned.CHANGED})
    {earned.ADD}
    """


def follow(events: Sequence[LoggedEvent], rules: Rules) -> None:
    """Credit anew what these events make a difference to, in the transaction that holds the reader's cursor.

    The facts have to be up to date with the events. Three queries, none where nothing matters.
    """
    told = {
        number
        for event in events
        if event.name in seen.NAMES and (number := seen.delivery_of(event)) is not None
    }
    earned.refresh(told, {event.profile_id for event in events if event.name == privacy.ERASED})
    names = rules.names
    touching = TOUCHES | SEEN if rules.views else TOUCHES
    reached = {event.id for event in events if event.name in names}
    deliveries = {
        number
        for event in events
        if event.name in touching and (number := seen.delivery_of(event)) is not None
    }
    people = {event.profile_id for event in events if event.name in MERGES}
    if names and (reached or deliveries or people):
        credit(reached | _affected(reached, deliveries, people, rules), rules)


def _affected(
    reached: Collection[UUID], deliveries: Collection[int], people: Collection[int], rules: Rules
) -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            _AFFECTED,
            {
                "goals": rules.values["goals"],
                "events": list(reached),
                "deliveries": list(deliveries),
                "people": list(people),
            },
        )
        return {row[0] for row in cursor.fetchall()}


def credit(events: Collection[UUID], rules: Rules) -> None:
    """Work out who has the credit for each of these events by each of the goals, and add the difference to the figures.

    One query, in the caller's transaction, which holds the reader's cursor.
    """
    if not events or not rules.rows:
        return
    statement = _credit(rules.fits("o", "e"), rules.fits("o", "f"))
    with connection.cursor() as cursor:
        cursor.execute(statement, {**rules.values, "events": sorted(events), "erased": privacy.ERASED})
