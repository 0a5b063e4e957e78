"""What goals brought by day, at the grain of the other figures: from credits, as SQL."""

_AMOUNTS = """
    SELECT generation, goal_id, model, day, series_id, '' AS currency, sum(sign * share) AS conversions,
        0::bigint AS people, 0::numeric AS value
    FROM changed GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT generation, goal_id, model, day, series_id, coalesce(nullif(account_currency, ''), currency), 0, 0,
        sum(sign * coalesce(account_value, value))
    FROM changed WHERE value IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6
"""
# Of credits `old` and `new`: who has the first conversion of a day by them, or the last one no more.
_PEOPLE_CHANGED = """
    SELECT generation, goal_id, model, day, series_id, '', 0, sum(difference), 0 FROM (
        SELECT c.generation, c.goal_id, c.model, c.day, c.series_id,
            bool_or(c.sign = 1)::int - bool_or(c.sign = -1)::int AS difference
        FROM changed c
        WHERE NOT EXISTS (
            SELECT FROM analytics_credit k WHERE k.delivery_id = c.delivery_id AND k.goal_id = c.goal_id
                AND k.model = c.model AND (k.occurred_at AT TIME ZONE c.zone)::date = c.day
                AND NOT EXISTS (SELECT FROM old o WHERE o.goal_id = k.goal_id AND o.event_id = k.event_id))
        GROUP BY c.generation, c.goal_id, c.model, c.day, c.series_id, c.delivery_id
    ) each WHERE difference <> 0 GROUP BY 1, 2, 3, 4, 5
"""
_PEOPLE_ALL = """
    SELECT generation, goal_id, model, day, series_id, '', 0, count(DISTINCT delivery_id), 0
    FROM changed GROUP BY 1, 2, 3, 4, 5
"""
TARGETS = """
    SELECT generation, zone, NULL::bigint AS upto FROM analytics_rollupstate WHERE id = 1
    UNION ALL
    SELECT next_generation, next_zone, position FROM analytics_rollupstate
    WHERE id = 1 AND next_generation IS NOT NULL
"""
_CHANGED = """
    SELECT t.generation, t.zone, (c.occurred_at AT TIME ZONE t.zone)::date AS day, c.*
    FROM ({credits}) c JOIN ({targets}) t ON t.upto IS NULL OR c.delivery_id <= t.upto
"""
_ADD = """
    INSERT INTO analytics_earnedday AS g
        (generation, goal_id, model, day, series_id, currency, conversions, people, value)
    SELECT generation, goal_id, model, day, series_id, currency, sum(conversions), sum(people), sum(value)
    FROM ({amounts} UNION ALL {people}) made
    GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(conversions) <> 0 OR sum(people) <> 0 OR sum(value) <> 0
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (generation, goal_id, model, day, series_id, currency) DO UPDATE SET
        conversions = g.conversions + excluded.conversions, people = g.people + excluded.people,
        value = g.value + excluded.value
"""

_SIGNED = "SELECT n.*, 1 AS sign FROM new n UNION ALL SELECT o.*, -1 FROM old o"
CHANGED = _CHANGED.format(credits=_SIGNED, targets=TARGETS)
ADD = _ADD.format(amounts=_AMOUNTS, people=_PEOPLE_CHANGED)
# A part of a rebuild: the credits of some deliveries counted into a generation without them.
COUNT = "WITH changed AS MATERIALIZED ({changed}) {add}".format(
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
