"""What a text may say about a person."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from crm import computed
from crm.pg import number_array

COMPUTED = "computed"  # what texts call the values that are computed from events
FIELDS = (
    "id",
    "external_id",
    "email",
    "phone",
    "first_name",
    "last_name",
    "language",
    "timezone",
    "country",
    "city",
    "birthday",
    "lifecycle_stage",
    "attributes",
)
_PEOPLE = f"SELECT {', '.join(FIELDS[:-1])}, attributes::text FROM crm_profile WHERE id = ANY(%s::bigint[])"


def data(profile_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return {profile id: what templates see as `profile`} in one query.

    Values are plain; empty ones are left out, so that a template's default applies to them.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, [number_array(set(profile_ids))])
        return {row[0]: _plain(row) for row in cursor.fetchall()}


def computed_for(profile_ids: Collection[int], contents: Iterable[Any]) -> dict[int, dict[str, Any]]:
    """Return {profile id: what templates see as `computed`}; empty ones and without a query if no content asks.

    Values are plain, moments ISO 8601 texts; empty ones are left out.

    Args:
        contents: authored contents, as their JSON.
    """
    if not any(COMPUTED in text for content in contents for text in texts(content)):
        return {profile_id: {} for profile_id in profile_ids}
    return {
        profile_id: {
            slug: value.isoformat() if isinstance(value, datetime) else value
            for slug, value in values.items()
            if value is not None
        }
        for profile_id, values in computed.values(profile_ids).items()
    }


def texts(content: Any) -> Iterator[str]:
    """Every text in authored content."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for item in content.values() if isinstance(content, dict) else content:
            yield from texts(item)


def _plain(row: tuple[Any, ...]) -> dict[str, Any]:
    person = {name: value for name, value in zip(FIELDS, row, strict=True) if value not in (None, "")}
    person["attributes"] = msgspec.json.decode(person["attributes"])
    if "birthday" in person:
        person["birthday"] = person["birthday"].isoformat()
    return person
