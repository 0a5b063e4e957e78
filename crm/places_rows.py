"""Places as they are told by the API and by files: checked one by one, stored in bulk."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from crm import normalise
from crm.amounts import attribute
from crm.models import Place
from crm.models.places import LARGEST_RADIUS
from crm.normalise import Rejection
from crm.profiles import CollisionError, State

FIELDS = (
    *(
        "name",
        "kind",
        "latitude",
        "longitude",
        "radius",
        "cooldown_minutes",
        "address",
        "active",
        "attributes",
    ),
)
REQUIRED = ("name", "latitude", "longitude")
LIMITS = {"name": 200, "kind": 50, "address": 500}
LONGEST_COOLDOWN = 525_600  # minutes
_SLUG = re.compile(r"[-\w]{1,100}")
_DEFAULTS: dict[str, Any] = {
    "kind": "store",
    "radius": 150.0,
    "cooldown_minutes": 60,
    "address": "",
    "active": True,
    "attributes": {},
}
_RECORD = (
    "slug text, name text, kind text, latitude double precision, longitude double precision, "
    "radius double precision, cooldown_minutes int, address text, active boolean, attributes jsonb"
)
_COLUMNS = ("slug", *FIELDS)
_INSERT = f"""
    INSERT INTO crm_place ({", ".join(_COLUMNS)}, source, created_at, updated_at)
    SELECT {", ".join(_COLUMNS)}, %(source)s, %(now)s, %(now)s FROM jsonb_to_recordset(%(rows)s::jsonb) AS r({_RECORD})
    ON CONFLICT DO NOTHING
"""
_UPDATE = f"""
    UPDATE crm_place p SET {", ".join(f"{name} = r.{name}" for name in FIELDS)}, source = %(source)s,
        updated_at = %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r({_RECORD}) WHERE p.slug = r.slug
"""
_TRIES = 5


class Patch(msgspec.Struct):
    """What somebody says about one place: some of FIELDS in their normal form. `whole`: the others become empty."""

    slug: str
    values: dict[str, Any]
    whole: bool = False


class Outcome(msgspec.Struct):
    """What became of one patch; `rejection` tells why it was refused."""

    slug: str
    state: State
    rejection: Rejection | None = None


class _Conflict(Exception):
    """Another transaction created a place between our reading and our writing."""


def patch(data: Mapping[str, Any], whole: bool = False) -> Patch:
    """The patch for a JSON object with a place's fields; without a slug, one is made of the name.

    Raises:
        Rejection: a field is unknown, or a value can't be taken.
    """
    unknown = set(data) - {"slug", *FIELDS}
    if unknown:
        name = normalise.shortened(min(unknown))
        raise Rejection("unknown_field", name, _("There is no field “%(name)s”.") % {"name": name})
    values = {name: _value(name, value) for name, value in data.items() if name != "slug"}
    slug = (
        normalise.text(data.get("slug"), "slug", 100)
        or slugify(values.get("name") or "", allow_unicode=True)[:100]
    )
    if not slug:
        raise Rejection("missing_field", "slug", _("slug is missing."))
    if not _SLUG.fullmatch(slug):
        raise Rejection("invalid_value", "slug", _("slug has letters, digits, - and _ only."))
    return Patch(slug, values, whole)


def _value(name: str, value: Any) -> Any:
    if name in LIMITS:
        found = normalise.text(value, name, LIMITS[name]) or ""
        if name == "name" and not found:
            raise Rejection("missing_field", name, _("name is missing."))
        return found or _DEFAULTS[name]
    if name in ("latitude", "longitude"):
        degrees = normalise.coordinate(value, name)
        if degrees is None:
            raise Rejection("missing_field", name, _("%(field)s is missing.") % {"field": name})
        return degrees
    if name == "radius":
        return _within(name, value, 1, LARGEST_RADIUS)
    if name == "cooldown_minutes":
        minutes = _within(name, value, 0, LONGEST_COOLDOWN)
        if not minutes.is_integer():
            raise Rejection("invalid_value", name, _("%(field)s is a whole number.") % {"field": name})
        return int(minutes)
    if name == "active":
        if not isinstance(value, bool):
            raise Rejection("invalid_type", name, _("active is true or false."))
        return value
    if not isinstance(value, Mapping):
        raise Rejection("invalid_type", name, _("attributes must be an object."))
    return {own: attribute(own, each, f"attributes.{own}"[:200]) for own, each in value.items()}


def _within(name: str, value: Any, least: int, most: int) -> float:
    try:
        number = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        number = None
    if number is None or not least <= number <= most:
        raise Rejection(
            "out_of_range",
            name,
            _("%(field)s must be a number from %(least)d to %(most)d.")
            % {"field": name, "least": least, "most": most},
        )
    return number


def upsert(patches: Sequence[Patch], source: str, now: datetime | None = None) -> list[Outcome]:
    """Create or change the places; two patches of one place act as if they had come one after the other.

    A new place needs REQUIRED; without them its outcome is rejected, and the others are stored.

    Raises:
        CollisionError: other writers keep creating the same places.
    """
    now = now or timezone.now()
    for _attempt in range(_TRIES if patches else 0):
        try:
            with transaction.atomic():
                return _upsert(patches, source, now)
        except _Conflict:
            pass
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    if patches:
        raise CollisionError(f"Places from {source} keep colliding with other writers.")
    return []


def _upsert(patches: Sequence[Patch], source: str, now: datetime) -> list[Outcome]:
    stored = {
        row["slug"]: row
        for row in Place.objects.select_for_update()
        .filter(slug__in=sorted({each.slug for each in patches}))
        .order_by("slug")
        .values("slug", *FIELDS)
    }
    held = {slug: dict(row) for slug, row in stored.items()}
    outcomes = [_apply(each, held) for each in patches]
    # In one order for everybody, so that no two writers wait for each other.
    new = [held[slug] for slug in sorted(held) if slug not in stored]
    changed = [row for slug, row in held.items() if slug in stored and row != stored[slug]]
    with connection.cursor() as cursor:
        for statement, rows in ((_INSERT, new), (_UPDATE, changed)):
            if rows:
                cursor.execute(
                    statement, {"rows": json.dumps(rows, ensure_ascii=False), "source": source, "now": now}
                )
                if cursor.rowcount < len(rows):
                    raise _Conflict
    return outcomes


def _apply(given: Patch, held: dict[str, dict[str, Any]]) -> Outcome:
    before = held.get(given.slug)
    base = {"slug": given.slug, **_DEFAULTS} if before is None or given.whole else before
    after = {**base, **given.values}
    attributes = {**base["attributes"], **given.values.get("attributes", {})}
    after["attributes"] = {name: value for name, value in attributes.items() if value is not None}
    if missing := [name for name in REQUIRED if name not in after]:
        detail = _("%(field)s is missing.") % {"field": missing[0]}
        return Outcome(given.slug, "rejected", Rejection("missing_field", missing[0], detail))
    if after == before:
        return Outcome(given.slug, "unchanged")
    held[given.slug] = after
    return Outcome(given.slug, "created" if before is None else "updated")
