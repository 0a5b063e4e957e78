"""Places as they are told by the API and by files: checked one by one, stored in bulk."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from crm import keyed_rows, normalise
from crm.amounts import attribute
from crm.keyed_rows import Row, Table
from crm.models import Place
from crm.models.places import LARGEST_RADIUS
from crm.normalise import Rejection
from crm.profiles import State

_TABLE = Table(
    Place,
    "slug",
    {
        "name": "text",
        "kind": "text",
        "latitude": "double precision",
        "longitude": "double precision",
        "radius": "double precision",
        "cooldown_minutes": "int",
        "address": "text",
        "active": "boolean",
        "attributes": "jsonb",
    },
)
FIELDS = _TABLE.fields
REQUIRED = ("name", "latitude", "longitude")
LIMITS = {"name": 200, "kind": 50, "address": 500}
LONGEST_COOLDOWN = 525_600  # minutes
_SLUG = re.compile(r"[-\w]{1,100}")
_DEFAULTS: Row = {
    "kind": "store",
    "radius": 150.0,
    "cooldown_minutes": 60,
    "address": "",
    "active": True,
    "attributes": {},
}


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
    if not patches:
        return []
    now = now or timezone.now()
    return keyed_rows.retried(lambda: _upsert(patches, source, now), f"Places from {source}")


def _upsert(patches: Sequence[Patch], source: str, now: datetime) -> list[Outcome]:
    stored = _TABLE.read(each.slug for each in patches)
    held = {slug: dict(row) for slug, row in stored.items()}
    outcomes = [_apply(each, held) for each in patches]
    _TABLE.write(stored, held, source, now)
    return outcomes


def _apply(given: Patch, held: dict[str, Row]) -> Outcome:
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
