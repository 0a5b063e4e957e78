"""Each person's own time zone, in SQL: what they told, else their country's main one, else the account's."""

import json
from functools import cache

from babel import Locale
from django.conf import settings
from django.db import connection

from crm import normalise
from crm.rules.sql import Sql, sql


@cache
def _usable() -> list[str]:
    """Zones that this PostgreSQL knows as well: an unknown name would stop the whole statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_timezone_names")
        return sorted(row[0] for row in cursor.fetchall())


@cache
def _by_country() -> str:
    """JSON of country code -> its main zone."""
    known = set(_usable())
    codes = [str(code) for code in Locale("en").territories]
    zones = {code: normalise.main_zone(code) for code in codes if len(code) == 2}
    return json.dumps({code: zone for code, zone in zones.items() if zone in known})


def account() -> str:
    """The zone of whoever told nothing about where they live."""
    return settings.TIME_ZONE if settings.TIME_ZONE in _usable() else "UTC"


def zone(alias: str) -> Sql:
    """The zone of the profile with this alias; never null and always one that PostgreSQL takes."""
    column = Sql(alias)
    return sql(
        "coalesce(CASE WHEN {}.timezone = ANY({}::text[]) THEN {}.timezone END, {}::jsonb ->> {}.country, {}::text)",
        column,
        _usable(),
        column,
        _by_country(),
        column,
        account(),
    )
