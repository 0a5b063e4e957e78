"""What the customers who spend most have spent."""

from contextlib import nullcontext
from math import floor, log10

from django.db import connection

from campaigns.segments import sampling, scopes
from campaigns.segments.limits import TooSlow, fetch
from crm.rules import paths, seen
from crm.rules.sql import Sql, sql

DAYS = 365
SHARE = 0.9  # of customers spend less
TIMEOUT_MS = 2_000
PEOPLE = 3_000  # looked at, where there are more


def threshold(purchase: str, amount: str) -> float | int | None:
    """What a customer has to have spent in the last DAYS days to be of the upper tenth, rounded to two digits.

    Args:
        purchase: name of the event.
        amount: the property that says what was paid, such as `total`.

    Returns:
        None when nobody spent anything, or it takes too long to say.
    """
    key = f"top:{connection.settings_dict['NAME']}:{purchase}:{amount}"
    found = seen.remembered(key, lambda: _quantile(purchase, amount))
    return None if found is None or found <= 0 else rounded(found)


def rounded(value: float) -> float | int:
    """The value with its first two digits, such as 230 of 234.5."""
    if value <= 0:
        return 0
    places = 1 - floor(log10(value))
    result = round(value, places)
    return int(result) if result == int(result) else result


def _quantile(purchase: str, amount: str) -> float | None:
    paid = paths.json_operand("e.properties", paths.json_path(amount, "amount")).value
    try:
        everybody = sampling.total()
        scope = sampling.people(everybody, TIMEOUT_MS, PEOPLE) if everybody > PEOPLE else None
        with scopes.stored(scope) if scope is not None else nullcontext("") as table:
            statement = sql(
                "SELECT percentile_cont({}) WITHIN GROUP (ORDER BY spent)::float8 FROM ("
                "SELECT sum(CASE WHEN jsonb_typeof({}) = 'number' THEN ({})::numeric END) AS spent FROM crm_event e"
                " WHERE e.name = {} AND e.profile_id IS NOT NULL"
                " AND e.occurred_at BETWEEN now() - make_interval(days => {}::int) AND now(){}"
                " GROUP BY e.profile_id) AS customers WHERE spent > 0",
                SHARE,
                paid,
                paid,
                purchase,
                DAYS,
                sql(" AND e.profile_id IN (SELECT id FROM {})", Sql(table)) if table else Sql(""),
            )
            [(value,)] = fetch(statement, TIMEOUT_MS)
    except TooSlow:
        return None
    return value
