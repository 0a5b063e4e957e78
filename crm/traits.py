"""What a browser tells about its person. A CRM or a server knows better, so it only fills gaps."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.utils import timezone

from crm import normalise

TRAITS = ("first_name", "last_name", "language", "timezone", "country", "city")

_NEW = "p.{0} IS NULL AND r.{0} IS NOT NULL"
_TOLD = ", ".join(f"'{name}', CASE WHEN {_NEW.format(name)} THEN %(told)s::jsonb END" for name in TRAITS)
_FILL = f"""
    UPDATE crm_profile p SET {", ".join(f"{name} = coalesce(p.{name}, r.{name})" for name in TRAITS)},
        sources = p.sources || jsonb_strip_nulls(jsonb_build_object({_TOLD})), updated_at = now()
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(id bigint, {", ".join(f"{name} text" for name in TRAITS)})
    WHERE p.id = r.id AND ({" OR ".join(f"({_NEW.format(name)})" for name in TRAITS)})
"""


def taken(given: Mapping[str, Any]) -> dict[str, str]:
    """Those of `given` that are traits, in the form profiles keep; what they would not take is left out."""
    return {name: value for name in TRAITS if (value := _normal(name, given.get(name)))}


def fill_gaps(
    traits: Sequence[tuple[int, dict[str, str]]], source: str = "sdk", now: datetime | None = None
) -> None:
    """Set the given (profile id, traits from `taken`) where the profile has nothing yet.

    Of several for one profile and trait the last counts.

    Args:
        source: who told them, for Profile.sources.
    """
    merged: dict[int, dict[str, str]] = {}
    for profile_id, values in traits:
        merged.setdefault(profile_id, {}).update(values)
    # Sorted, so that two batches lock the same rows in the same order.
    rows = [{"id": profile_id, **values} for profile_id, values in sorted(merged.items()) if values]
    if rows:
        with connection.cursor() as cursor:
            told = json.dumps([source, (now or timezone.now()).isoformat()])
            cursor.execute(_FILL, {"rows": json.dumps(rows), "told": told})


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
