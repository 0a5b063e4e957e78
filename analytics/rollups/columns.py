"""What is counted of a fact, in which columns and by which dimensions, as SQL.

A fact `f` (a row of analytics_engagement with a `sign`) counts on several days: on that of its sending, with all that
came of it, and on that of each thing which happened. The same SQL counts one batch of the reader, with what the rows
were before as -1 and what they are now as +1, and everything for a rebuild.
"""

from collections.abc import Sequence

# Of those sent on the day: column -> condition.
COHORT = {
    "sent": "true",
    "delivered": "f.arrived_at IS NOT NULL",
    "opened": "f.opened_at IS NOT NULL",
    "clicked": "f.clicked_at IS NOT NULL",
    "dismissed": "f.dismissed_at IS NOT NULL",
    "read": "f.read_at IS NOT NULL",
    "bounced": "f.bounced_at IS NOT NULL",
    "complained": "f.complained_at IS NOT NULL",
    "unsubscribed": "f.unsubscribed_at IS NOT NULL",
    "lost": "f.ended = 'failed'",
    "machine_opened": "f.opened_at IS NULL AND f.machine_opened_at IS NOT NULL",
    "machine_clicked": "f.clicked_at IS NULL AND f.machine_clicked_at IS NOT NULL",
}
# What happened on the day to something that was sent: column -> when.
ACTIVITY = {
    "arrivals": "f.arrived_at",
    "opens": "f.opened_at",
    "clicks": "f.clicked_at",
    "dismissals": "f.dismissed_at",
    "reads": "f.read_at",
    "bounces": "f.bounced_at",
    "complaints": "f.complained_at",
    "unsubscribes": "f.unsubscribed_at",
    "losses": "CASE WHEN f.ended = 'failed' THEN f.ended_at END",
    "machine_opens": "CASE WHEN f.opened_at IS NULL THEN f.machine_opened_at END",
    "machine_clicks": "CASE WHEN f.clicked_at IS NULL THEN f.machine_clicked_at END",
}
# What was decided on the day not to be sent.
NOT_SENT = ("suppressed", "failed", "expired")
COLUMNS = (*COHORT, *ACTIVITY, *NOT_SENT)
# What a device or provider told, or whatever else shows that the message arrived.
ARRIVED = "least(f.shown_at, f.opened_at, f.clicked_at, f.dismissed_at, f.read_at)"
MAX_REASON = 100  # characters

# Dimension -> its value, "" where it is not known. Each is counted by itself; "" stands for all together.
FROM_FACTS = ("locale", "country", "provider", "device")
# "week" has no series: slots of all messages of a channel, of which there are too many by series for a quick look.
DIMENSIONS = (*FROM_FACTS, "hour", "slot", "week", "reason")
ALL_SERIES = 0

_KINDS = {name: number for number, name in enumerate((*ACTIVITY, "ended"), start=1)}
# Weekday, Monday is 1, and hour where the person is.
_SLOT = "to_char(x.at AT TIME ZONE coalesce(nullif(f.zone, ''), t.zone), 'ID-HH24')"
_VALUES = {
    **{name: f"f.{name}" for name in FROM_FACTS},
    # of the account's day
    "hour": "date_part('hour', x.at AT TIME ZONE t.zone)::int::text",
    "slot": _SLOT,
    "week": f"{_SLOT} || ' ' || f.channel",
    "reason": f"CASE WHEN x.kind IN ({_KINDS['ended']}, {_KINDS['losses']})"
    f" THEN left(f.reason, {MAX_REASON}) ELSE '' END",
}


def _sums() -> str:
    found = [f"sum(sign) FILTER (WHERE kind = 0 AND b_{name})" for name in COHORT]
    found += [f"sum(sign) FILTER (WHERE kind = {_KINDS[name]})" for name in ACTIVITY]
    found += [f"sum(sign) FILTER (WHERE kind = {_KINDS['ended']} AND ended = '{name}')" for name in NOT_SENT]
    return ",\n".join(
        f"coalesce({value}, 0) AS {column}" for column, value in zip(COLUMNS, found, strict=True)
    )


def _happened() -> str:
    activity = [
        f"({_KINDS[name]}, CASE WHEN f.sent_at IS NOT NULL THEN {at} END)" for name, at in ACTIVITY.items()
    ]
    ended = f"({_KINDS['ended']}, CASE WHEN f.sent_at IS NULL THEN f.ended_at END)"
    return ", ".join(["(0, f.sent_at)", *activity, ended])


def _dimension(dimensions: Sequence[str]) -> str:
    every = 2 ** len(dimensions) - 1
    whens = [
        f"WHEN {every - 2 ** (len(dimensions) - 1 - place)} THEN '{name}'"
        for place, name in enumerate(dimensions)
    ]
    return f"CASE GROUPING({', '.join(dimensions)}) {' '.join(whens)} ELSE '' END"


def counted(facts: str, targets: str, dimensions: Sequence[str] = DIMENSIONS) -> str:
    """A SELECT of what `facts` add: generation, dimension, day, series_id, value and COLUMNS; only what is not zero.

    Args:
        facts: a relation of rows of analytics_engagement with a `sign`.
        targets: a relation of (generation, zone, upto): the figures to add to, the time zone of their days, and up
            to which delivery they hold the facts (null: all).
        dimensions: by which to count besides all together.
    """
    series = {name: "" if name == "week" else ", series_id" for name in dimensions}
    sets = ", ".join(f"(generation, day{series[name]}, {name})" for name in dimensions)
    values = ", ".join(f"{_VALUES[name]} AS {name}" for name in dimensions)
    having = "HAVING GROUPING(reason) = 1 OR reason <> ''" if "reason" in dimensions else ""
    flags = ", ".join(f"{condition} AS b_{name}" for name, condition in COHORT.items())
    changed = " OR ".join(f"{column} <> 0" for column in COLUMNS)
    return f"""
        SELECT * FROM (
            SELECT generation, {_dimension(dimensions)} AS dimension, day,
                coalesce(series_id, {ALL_SERIES}) AS series_id, coalesce({", ".join(dimensions)}, '') AS value,
                {_sums()}
            FROM (
                SELECT t.generation, (x.at AT TIME ZONE t.zone)::date AS day, f.series_id, f.sign, f.ended,
                    x.kind, {flags}, {values}
                FROM (
                    SELECT f.*, s.channel, {ARRIVED} AS arrived_at
                    FROM {facts} f JOIN analytics_series s ON s.id = f.series_id
                ) f
                JOIN {targets} t ON t.upto IS NULL OR f.delivery_id <= t.upto
                CROSS JOIN LATERAL (VALUES {_happened()}) AS x(kind, at)
                WHERE x.at IS NOT NULL
            ) AS happened
            GROUP BY GROUPING SETS ((generation, day, series_id), {sets})
            {having}
        ) AS made WHERE {changed}
    """


def added(source: str) -> str:
    """An INSERT that adds what `counted` selects, always in the same order, so that no two writers wait in a circle."""
    sums = ", ".join(f"{column} = g.{column} + excluded.{column}" for column in COLUMNS)
    return f"""
        INSERT INTO analytics_dayfigures AS g
            (generation, dimension, day, series_id, value, {", ".join(COLUMNS)})
        SELECT generation, dimension, day, series_id, value, {", ".join(COLUMNS)} FROM ({source}) AS made
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (generation, dimension, day, series_id, value) DO UPDATE SET {sums}
    """
