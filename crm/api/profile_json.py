"""How the API gives people out: whole, or in outline to keys that may see no contact data."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _
from rest_framework.request import Request

from crm import computed, masking, profiles
from crm.api.auth import READ, READ_MASKED
from crm.api.errors import ApiError
from crm.models import Consent, Identifier, Profile

READS = {READ, READ_MASKED}
_FIELDS = ("id", *profiles.FIELDS, "attributes", "first_seen", "last_seen", "created_at", "updated_at")
# By what a key that sees outlines could find out, value by value, what is behind one.
_TELLING = ("email", "phone", "external_id", "anonymous_id", "attributes")


def complete() -> QuerySet[Profile]:
    """Profiles with all that `as_json` looks at."""
    return Profile.objects.prefetch_related(
        Prefetch("identifiers", Identifier.objects.order_by("kind", "value")),
        Prefetch("consents", Consent.objects.order_by("kind", "key")),
    )


def hides(request: Request) -> bool:
    """Whether the key may read people's outlines only."""
    return READ not in request.auth.scopes


def check_filters(request: Request) -> None:
    """Refuse filters that would tell what outlines hide.

    Raises:
        ApiError: 403.
    """
    if hides(request):
        for name in _TELLING:
            if name in request.GET:
                detail = _("This API key sees no contact data, and can't look people up by it.")
                raise ApiError(403, "scope_missing", detail, field=name)


def as_json(rows: Sequence[Profile], outlined: bool = False) -> list[dict[str, Any]]:
    """Profiles of `complete`; `outlined`: without contact data."""
    values = computed.values([profile.pk for profile in rows])
    found = [_one(profile, values[profile.pk]) for profile in rows]
    return [_outline(profile) for profile in found] if outlined else found


def _one(profile: Profile, values: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: getattr(profile, name) for name in _FIELDS},
        "computed": values,
        "sources": {name: {"source": source, "at": at} for name, (source, at) in profile.sources.items()},
        "identifiers": [{"kind": row.kind, "value": row.value} for row in profile.identifiers.all()],
        "consents": [
            {"kind": row.kind, "key": row.key, "state": row.state, "changed_at": row.changed_at}
            for row in profile.consents.all()
        ],
    }


def _outline(found: dict[str, Any]) -> dict[str, Any]:
    def masked(kind: str, value: Any) -> Any:
        return None if value is None else masking.masked(kind, value)

    last = found["last_name"]
    return found | {
        "email": masked("email", found["email"]),
        "phone": masked("phone", found["phone"]),
        "external_id": masked("external_id", found["external_id"]),
        "last_name": f"{last[0]}." if last else last,
        "birthday": None,
        "latitude": None,
        "longitude": None,
        "attributes": masking.data(found["attributes"]),
        "computed": masking.data(found["computed"]),
        "sources": {},
        "identifiers": [
            {"kind": row["kind"], "value": masking.masked(row["kind"], row["value"])}
            for row in found["identifiers"]
        ],
    }
