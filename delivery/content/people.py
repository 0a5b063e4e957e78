"""What a text may say about a person."""

from collections.abc import Collection
from typing import Any

from crm.models import Profile

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


def data(profile_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return {profile id: what templates see as `profile`} in one query.

    Values are plain; empty ones are left out, so that a template's default applies to them.
    """
    return {row["id"]: _plain(row) for row in Profile.objects.filter(pk__in=set(profile_ids)).values(*FIELDS)}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    person = {name: value for name, value in row.items() if value not in (None, "")}
    if "birthday" in person:
        person["birthday"] = person["birthday"].isoformat()
    return person
