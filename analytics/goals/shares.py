"""How attribution models divide a conversion among the messages that touched the person before it, as SQL.

Each part is the piece of the conversion between two marks from 0 to 1, and amounts are divided at the same marks, so
that shares add up to exactly 1 and amounts to the last cent of what was spent.

A message touches somebody when they open or click it within the goal's hours before the event; position-based credit
("U-shaped") gives 40 % to the first and the last touch each and 20 % to all between. For the goals that messages have
themselves, the hours are those of each message, counted from a click, an open and the sight of it alike.
"""

from analytics.goals.earned import FACTS

# Of a touch t: whether the model counts it, and the marks of its part.
ENDS = 0.4  # of the first and of the last touch


def _linear(number: str) -> str:
    return f"round(({number})::numeric / nullif(t.touches, 0), 9)"


def _position(number: str) -> str:
    return f"""CASE
        WHEN {number} = 0 THEN 0 WHEN {number} = t.touches THEN 1 WHEN t.touches = 2 THEN 0.5
        ELSE round({ENDS} + (1 - 2 * {ENDS}) * ({number} - 1)::numeric / nullif(t.touches - 2, 0), 9) END"""


MODELS = {
    "last_click": ("t.clicked_at IS NOT NULL AND t.last_click = 1", "0", "1"),
    "last_touch": ("t.first_at IS NOT NULL AND t.last = 1", "0", "1"),
    "first_touch": ("t.first_at IS NOT NULL AND t.nth = 1", "0", "1"),
    "linear": ("t.first_at IS NOT NULL", _linear("t.nth - 1"), _linear("t.nth")),
    "position": ("t.first_at IS NOT NULL", _position("(t.nth - 1)"), _position("t.nth")),
    "view_through": ("t.seen_at IS NOT NULL AND t.last_seen = 1 AND t.clicks = 0", "0", "1"),
}
# When somebody saw a message: mail servers tell of arrival only, others of what is on the screen.
SEEN_AT = "CASE d.channel WHEN 'email' THEN g.opened_at WHEN 'whatsapp' THEN g.read_at ELSE g.shown_at END"

_WITHIN = "{at} <= r.occurred_at AND {at} > r.occurred_at - make_interval(hours => {hours})"


def _within(at: str, hours: str) -> str:
    return f"CASE WHEN {_WITHIN.format(at=at, hours=hours)} THEN {at} END"


def amount(at: str) -> str:
    """What an event says at a path, as a number that can be stored."""
    return f"""CASE WHEN jsonb_typeof({at}) = 'number' AND abs(({at})::numeric) < 1e13
        THEN round(({at})::numeric, 4) END"""


def converted(value: str) -> str:
    """This amount of a conversion `r` in the account's currency, NULL where it has no rate."""
    return f"""CASE WHEN r.currency = r.account_currency THEN {value}
        WHEN abs({value} * r.rate) < 1e18 THEN round({value} * r.rate, 2) END"""


_FACTS = ", ".join(f"g.{name}" for name in FACTS)
# Of conversions `reached`: every message of the person that was touched or seen in time.
TOUCHES = f"""
    SELECT r.goal_id, r.event_id, r.occurred_at, r.currency, r.account_currency, v.value,
        {converted("v.value")} AS account_value,
        d.id AS delivery_id, g.series_id, {_FACTS}, x.clicked_at, x.seen_at,
        least(x.clicked_at, x.opened_at) AS first_at, greatest(x.clicked_at, x.opened_at) AS last_at
    FROM reached r JOIN delivery_delivery d ON d.profile_id = r.profile_id
    JOIN analytics_engagement g ON g.delivery_id = d.id AND g.series_id IS NOT NULL
        AND coalesce(g.clicked_at, g.opened_at, g.shown_at, g.read_at) IS NOT NULL
    LEFT JOIN delivery_message m ON r.own AND m.id = d.message_id AND m.goal_event = r.name
    CROSS JOIN LATERAL (SELECT CASE WHEN r.own THEN m.goal_window_hours ELSE r.clicks END AS clicks,
        CASE WHEN r.own THEN m.goal_window_hours ELSE r.opens END AS opens,
        CASE WHEN r.own THEN m.goal_window_hours ELSE (r.view_hours ->> d.channel)::int END AS views) w
    CROSS JOIN LATERAL (SELECT {_within("g.clicked_at", "w.clicks")} AS clicked_at,
        {_within("g.opened_at", "w.opens")} AS opened_at, {_within(f"({SEEN_AT})", "w.views")} AS seen_at) x
    CROSS JOIN LATERAL (SELECT r.properties #> string_to_array(m.goal_value_property, '.') AS told) p
    CROSS JOIN LATERAL (SELECT CASE WHEN r.own THEN {amount("p.told")} ELSE r.value END AS value) v
    WHERE coalesce(x.clicked_at, x.opened_at, x.seen_at) IS NOT NULL
"""
COUNTED = f"""
    SELECT t.goal_id, t.event_id, t.occurred_at, t.value, t.currency, t.account_value, t.account_currency,
        t.delivery_id, t.series_id, t.clicked_at, t.seen_at, t.first_at, {", ".join(f"t.{name}" for name in FACTS)},
        count(t.first_at) OVER conversion AS touches, count(t.clicked_at) OVER conversion AS clicks,
        row_number() OVER (conversion ORDER BY t.first_at, t.delivery_id) AS nth,
        row_number() OVER (conversion ORDER BY t.last_at DESC NULLS LAST, t.delivery_id DESC) AS last,
        row_number() OVER (conversion ORDER BY t.clicked_at DESC NULLS LAST, t.delivery_id DESC) AS last_click,
        row_number() OVER (conversion ORDER BY t.seen_at DESC NULLS LAST, t.delivery_id DESC) AS last_seen
    FROM touches t WINDOW conversion AS (PARTITION BY t.goal_id, t.event_id)
"""


def _part(amount: str) -> str:
    def upto(mark: str) -> str:
        return f"CASE WHEN {mark} >= 1 THEN {amount} WHEN {mark} <= 0 THEN 0 ELSE round({amount} * {mark}, 2) END"

    return f"{upto('x.high')} - {upto('x.low')}"


_VALUES = ", ".join(
    f"('{model}', {counts}, ({low})::numeric, ({high})::numeric)"
    for model, (counts, low, high) in MODELS.items()
)
# Of touches as COUNTED has them: rows of analytics_credit.
CREDITS = f"""
    SELECT t.goal_id, t.event_id, x.model, t.delivery_id, t.series_id, x.high - x.low AS share,
        {_part("t.value")} AS value, t.currency, {_part("t.account_value")} AS account_value,
        CASE WHEN t.account_value IS NULL THEN '' ELSE t.account_currency END AS account_currency, t.occurred_at,
        {", ".join(f"t.{name}" for name in FACTS)}
    FROM ({COUNTED}) t CROSS JOIN LATERAL (VALUES {_VALUES}) AS x(model, counts, low, high)
    WHERE x.counts
"""
