"""What a browser tells about its person. A CRM or a server knows better, so it only fills gaps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from crm import normalise

TRAITS = ("first_name", "last_name", "language", "timezone", "country", "city")

_FILL = (
    f"UPDATE crm_profile p SET {', '.join(f'{name} = coalesce(p.{name}, r.{name})' for name in TRAITS)}, "
    "updated_at = now() "
    f"FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, {', '.join(f'{name} text' for name in TRAITS)}) "
    "WHERE p.id = r.id "
    f"AND ({' OR '.join(f'(p.{name} IS NULL AND r.{name} IS NOT NULL)' for name in TRAITS)})"
)


def taken(given: Mapping[str, Any]) -> dict[str, str]:
    """Those of `given` that are traits, in the form profiles keep; what they would not take is left out."""
    return {name: value for name in TRAITS if (value := _normal(name, given.get(name)))}


def fill_gaps(traits: Sequence[tuple[int, dict[str, str]]]) -> None:
    """Set the given (profile id, traits from `taken`) where the profile has nothing yet.

    Of several for one profile and trait the last counts.
    """
    merged: dict[int, dict[str, str]] = {}
    for profile_id, values in traits:
        merged.setdefault(profile_id, {}).update(values)
    # Sorted, so that two batches lock the same rows in the same order.
    rows = [{"id": profile_id, **values} for profile_id, values in sorted(merged.items()) if values]
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_FILL, [json.dumps(rows)])


def _normal(name: str, value: Any) -> str | None:
    try:
        match name:
            case "language":
                return normalise.language(value)
            case "country":
                return normalise.country(value)
            case "timezone":
                return normalise.timezone(value)
        return normalise.text(value, name)
    except normalise.Rejection:
        return None
