"""The attributes of benchmarks/computed_work.py as somebody would write them by hand, in the same order."""

CREATE = """
    CREATE TABLE by_hand (
        profile_id bigint NOT NULL, attribute int NOT NULL, number float8, text text, at timestamptz,
        PRIMARY KEY (profile_id, attribute))
"""
STORE = """
    INSERT INTO by_hand (profile_id, attribute, number, text, at)
    SELECT profile_id, {number}, number, text, at FROM ({select}) AS found (profile_id, number, text, at)
    ON CONFLICT (profile_id, attribute) DO UPDATE SET
        number = excluded.number, text = excluded.text, at = excluded.at
"""


def _figure(name: str, value: str, days: int | None = None) -> str:
    window = f"AND e.occurred_at >= now() - interval '{days} days'" if days else ""
    return (
        f"SELECT e.profile_id, {value}, NULL::text, NULL::timestamptz FROM crm_event e"
        f" WHERE e.name = '{name}' {window} {{scope}} GROUP BY e.profile_id"
    )


def _commonest(name: str, value: str, kind: str, days: int, join: str = "") -> str:
    columns = "value, NULL::text" if kind == "number" else "NULL::float8, value"
    return (
        f"SELECT DISTINCT ON (profile_id) profile_id, {columns}, NULL::timestamptz FROM ("
        f"SELECT e.profile_id, {value} AS value, count(*) AS n, max(e.occurred_at) AS last FROM crm_event e {join}"
        f" WHERE e.name = '{name}' AND e.occurred_at >= now() - interval '{days} days' {{scope}} GROUP BY 1, 2"
        ") AS counted ORDER BY profile_id, n DESC, last DESC"
    )


_AMOUNT = "(e.properties ->> 'amount')::numeric"
_ZONE = "coalesce(p.timezone, 'UTC')"
_PEOPLE = "JOIN crm_profile p ON p.id = e.profile_id"

BY_HAND = [
    _figure("purchase", "count(*)", 90),
    _figure("purchase", f"sum({_AMOUNT})"),
    _figure("purchase", f"avg({_AMOUNT})"),
    _figure("cart", f"max({_AMOUNT})"),
    _commonest("view", "e.properties ->> 'category'", "text", 180),
    (
        "SELECT DISTINCT ON (e.profile_id) e.profile_id, NULL::float8, e.properties ->> 'product', NULL::timestamptz"
        " FROM crm_event e WHERE e.name = 'view' {scope} ORDER BY e.profile_id, e.occurred_at DESC"
    ),
    (
        "SELECT e.profile_id, NULL::float8, NULL::text, max(e.occurred_at) FROM crm_event e"
        " WHERE e.name = 'visit' {scope} GROUP BY e.profile_id"
    ),
    _commonest(
        "visit", f"extract(hour FROM e.occurred_at AT TIME ZONE {_ZONE})::float8", "number", 90, _PEOPLE
    ),
    (
        "SELECT profile_id, CASE WHEN day >= current_date - 1 THEN length ELSE 0 END, NULL::text, NULL::timestamptz"
        " FROM ("
        "SELECT DISTINCT ON (profile_id) profile_id, length, day FROM ("
        "SELECT profile_id, count(*) AS length, max(day) AS day FROM ("
        "SELECT profile_id, day, day - (row_number() OVER (PARTITION BY profile_id ORDER BY day))::int AS run FROM ("
        f"SELECT DISTINCT e.profile_id, (e.occurred_at AT TIME ZONE {_ZONE})::date AS day FROM crm_event e {_PEOPLE}"
        " WHERE e.name = 'visit' {scope}) AS days) AS numbered GROUP BY profile_id, run) AS runs"
        " ORDER BY profile_id, day DESC) AS latest"
    ),
    _figure("view", "count(DISTINCT e.properties -> 'category')", 90),
]
