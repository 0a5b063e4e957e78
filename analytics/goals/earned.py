"""What goals brought by day, at the grain of the other figures: from credits, as SQL.

A credit counts on the day of its event and on the day its message was sent, in all and by each trait of the person.
The same SQL adds what a batch of the reader changes, what has changed about a message, and everything for a rebuild.
"""

from collections.abc import Collection
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from analytics.rollups.columns import FROM_FACTS

KEY = ("goal_id", "event_id", "model", "delivery_id")
FACTS = ("sent_at", *FROM_FACTS)  # what a credit has from the message's fact
COLUMNS = (
    *KEY,
    *("series_id", "share", "value", "currency", "account_value", "account_currency", "occurred_at"),
    *FACTS,
)
_CELL = "generation, goal_id, model, dimension, day, series_id, trait, currency"
_SUMS = ("conversions", "people", "value", "sent_conversions", "sent_people", "sent_value")
_FROM = ", ".join(FROM_FACTS)
_DAYS = "(VALUES (false, c.day), (true, c.sent_day)) AS x(sent, day)"
_OF = f"generation, goal_id, model, day, series_id, currency, {_FROM}"
_AMOUNTS = f"""
    SELECT c.generation, c.goal_id, c.model, x.day, c.series_id, z.currency, {", ".join(f"c.{n}" for n in FROM_FACTS)},
        CASE WHEN NOT x.sent THEN z.share END AS conversions, NULL::int AS people,
        CASE WHEN NOT x.sent THEN z.amount END AS value,
        CASE WHEN x.sent THEN z.share END AS sent_conversions, NULL::int AS sent_people,
        CASE WHEN x.sent THEN z.amount END AS sent_value
    FROM changed c CROSS JOIN LATERAL {_DAYS}
    CROSS JOIN LATERAL (SELECT c.sign * c.share AS share, c.sign * coalesce(c.account_value, c.value) AS amount,
        c.value IS NULL OR c.account_currency <> '' OR c.currency = '' AS one) w
    CROSS JOIN LATERAL (VALUES (true, '', w.share, CASE WHEN w.one THEN w.amount END),
        (NOT w.one, c.currency, NULL, w.amount)) AS z(counts, currency, share, amount)
    WHERE x.day IS NOT NULL AND z.counts
"""


def _people(of: str) -> str:
    """Rows of how many more messages have a conversion than before.

    Args:
        of: a relation like `changed` with the day, whether it is that of sending, and the difference.
    """
    return f"""
    SELECT c.generation, c.goal_id, c.model, c.on_day, c.series_id, '', {", ".join(f"c.{n}" for n in FROM_FACTS)},
        NULL::numeric, CASE WHEN NOT c.sent THEN c.difference END, NULL::numeric,
        NULL::numeric, CASE WHEN c.sent THEN c.difference END, NULL::numeric
    FROM ({of}) c WHERE c.difference <> 0
"""


_MESSAGE = (
    f"c.generation, c.goal_id, c.model, c.delivery_id, c.series_id, {', '.join(f'c.{n}' for n in FROM_FACTS)}"
)
# Of credits `stale` and `fresh`: who has the first conversion of a day by them, or the last one no more. What else a
# message has credit for has the same traits and the same time of sending.
_PEOPLE_CHANGED = _people(f"""
    SELECT {_MESSAGE}, x.sent, x.day AS on_day,
        bool_or(c.sign = 1)::int - bool_or(c.sign = -1)::int AS difference
    FROM changed c CROSS JOIN LATERAL {_DAYS}
    WHERE x.day IS NOT NULL AND NOT EXISTS (
        SELECT FROM analytics_credit k WHERE k.delivery_id = c.delivery_id AND k.goal_id = c.goal_id
            AND k.model = c.model AND (x.sent OR (k.occurred_at AT TIME ZONE c.zone)::date = x.day)
            AND NOT EXISTS (SELECT FROM stale o WHERE ({", ".join(f"o.{n}" for n in KEY)})
                = ({", ".join(f"k.{n}" for n in KEY)})))
    GROUP BY {_MESSAGE}, x.sent, x.day
""")
_PEOPLE_ALL = _people(f"""
    SELECT DISTINCT {_MESSAGE}, x.sent, x.day AS on_day, 1 AS difference
    FROM changed c CROSS JOIN LATERAL {_DAYS} WHERE x.day IS NOT NULL
""")
TARGETS = """
    SELECT generation, zone, NULL::bigint AS upto FROM analytics_rollupstate WHERE id = 1
    UNION ALL
    SELECT next_generation, next_zone, position FROM analytics_rollupstate
    WHERE id = 1 AND next_generation IS NOT NULL
"""
_CHANGED = """
    SELECT t.generation, t.zone, (c.occurred_at AT TIME ZONE t.zone)::date AS day,
        (c.sent_at AT TIME ZONE t.zone)::date AS sent_day, c.*
    FROM ({credits}) c JOIN ({targets}) t ON t.upto IS NULL OR c.delivery_id <= t.upto
"""
_DIMENSION = " ".join(f"WHEN grouping({name}) = 0 THEN '{name}'" for name in FROM_FACTS)
_TRAIT = " ".join(f"WHEN grouping({name}) = 0 THEN {name}" for name in FROM_FACTS)
_SHARED = "generation, goal_id, model, day, series_id, currency"
_ADD = f"""
    INSERT INTO analytics_earnedday AS g ({_CELL}, {", ".join(_SUMS)})
    SELECT generation, goal_id, model, CASE {_DIMENSION} ELSE '' END AS dimension, day, series_id,
        CASE {_TRAIT} ELSE '' END AS trait, currency, {", ".join(f"coalesce(sum({name}), 0)" for name in _SUMS)}
    FROM (
        SELECT {_OF}, {", ".join(f"sum({name}){'::int' * ('people' in name)} AS {name}" for name in _SUMS)}
        FROM ({{amounts}} UNION ALL {{people}}) each GROUP BY {_OF}
    ) made
    GROUP BY GROUPING SETS (({_SHARED}), {", ".join(f"({_SHARED}, {name})" for name in FROM_FACTS)})
    HAVING {" OR ".join(f"sum({name}) <> 0" for name in _SUMS)}
    ORDER BY goal_id, model, dimension, day
    ON CONFLICT ({_CELL}) DO UPDATE SET {", ".join(f"{name} = g.{name} + excluded.{name}" for name in _SUMS)}
"""

_SIGNED = "SELECT n.*, 1 AS sign FROM fresh n UNION ALL SELECT o.*, -1 FROM stale o"
CHANGED = _CHANGED.format(credits=_SIGNED, targets=TARGETS)
ADD = _ADD.format(amounts=_AMOUNTS, people=_PEOPLE_CHANGED)
# A part of a rebuild: the credits of some deliveries counted into a generation without them.
_COUNT = "WITH changed AS MATERIALIZED ({changed}) {add}".format(
    changed=_CHANGED.format(
        credits="SELECT k.*, 1 AS sign FROM analytics_credit k"
        " WHERE k.delivery_id > %(after)s AND k.delivery_id <= %(upto)s",
        targets="SELECT %(generation)s::int AS generation, %(zone)s::text AS zone, NULL::bigint AS upto",
    ),
    add=_ADD.format(amounts=_AMOUNTS, people=_PEOPLE_ALL),
)
TIDY = """
    DELETE FROM analytics_earnedday WHERE ctid = ANY(ARRAY(
        SELECT f.ctid FROM analytics_earnedday f, analytics_rollupstate s
        WHERE f.generation <> s.generation AND f.generation IS DISTINCT FROM s.next_generation LIMIT %s))
"""


def _refresh(which: str) -> str:
    of_credit, of_fact = (", ".join(f"{side}.{name}" for name in FACTS) for side in ("c", "g"))
    kept = [f"c.{name}" for name in COLUMNS[: -len(FACTS)]]
    known = " AND ".join(f"c.{name} = f.{name}" for name in KEY)
    return f"""
    WITH stale AS MATERIALIZED (
        SELECT {", ".join(f"c.{name}" for name in COLUMNS)}
        FROM analytics_credit c JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
        WHERE {which} AND ({of_credit}) IS DISTINCT FROM ({of_fact})
    ), fresh AS MATERIALIZED (
        SELECT {", ".join(kept)}, {of_fact}
        FROM stale c JOIN analytics_engagement g ON g.delivery_id = c.delivery_id
    ), put AS (
        UPDATE analytics_credit c SET {", ".join(f"{name} = f.{name}" for name in FACTS)} FROM fresh f WHERE {known}
    ), changed AS MATERIALIZED ({CHANGED})
    {ADD}
    """


_REFRESH = _refresh(
    "c.delivery_id = ANY(ARRAY(SELECT unnest(%(deliveries)s::bigint[]) UNION"
    " SELECT d.id FROM delivery_delivery d WHERE d.profile_id = ANY(%(people)s::bigint[])))"
)
_REFRESH_PART = _refresh("c.delivery_id > %(after)s AND c.delivery_id <= %(upto)s")


def refresh(deliveries: Collection[int], people: Collection[int] = ()) -> None:
    """Bring what these messages have credit for, and those to these people, in line with their facts; one query.

    In the transaction that has changed the facts, before anything is credited.
    """
    if deliveries or people:
        with connection.cursor() as cursor:
            cursor.execute(_REFRESH, {"deliveries": list(deliveries), "people": list(people)})


def count(cursor: CursorWrapper, values: dict[str, Any]) -> None:
    """A chunk of a rebuild: credits of deliveries in line with their facts, and counted into the new generation.

    Args:
        values: `after` and `upto`, numbers of deliveries; the `generation` and the `zone` of its days.
    """
    cursor.execute(_REFRESH_PART, values)
    cursor.execute(_COUNT, values)
