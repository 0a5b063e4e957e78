"""What to change on a profile: the patch and the key that names the profile, and reading both from JSON."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET, UnsetType

from crm import normalise
from crm.models import Identifier
from crm.normalise import Rejection

ID = "id"  # the kind of a key that is a profile's own number
NAMES = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE)
FIELDS = (
    *NAMES,
    *("first_name", "last_name", "language", "timezone", "country", "city"),
    *("latitude", "longitude", "birthday", "lifecycle_stage"),
)


class ProfilePatch(msgspec.Struct, gc=False):
    """What to change on one profile, in normal form: UNSET leaves a field, None clears it.

    `attributes` is merged key by key; None removes the key.
    """

    external_id: str | UnsetType | None = UNSET
    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    first_name: str | UnsetType | None = UNSET
    last_name: str | UnsetType | None = UNSET
    language: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    country: str | UnsetType | None = UNSET
    city: str | UnsetType | None = UNSET
    latitude: float | UnsetType | None = UNSET
    longitude: float | UnsetType | None = UNSET
    birthday: date | UnsetType | None = UNSET
    lifecycle_stage: str | UnsetType | None = UNSET
    attributes: dict[str, Any] = {}


class Row(msgspec.Struct, gc=False):
    """A patch and the key that names its profile.

    Args:
        kind: "external_id", "email", "phone", "id", or "<connection slug>:<object>" for a CRM record.
        value: the key's value. For the first three kinds it is the field's value too, whatever the patch is.
        ours: fields, and "attributes.<name>", that are only filled where the profile has nothing.
    """

    kind: str
    value: str
    patch: ProfilePatch
    ours: frozenset[str] = frozenset()


def validate(data: Mapping[str, Any]) -> ProfilePatch:
    """Turn a JSON object with a profile's fields into a patch.

    An unknown time zone becomes the main one of the country, if that is given too.

    Raises:
        Rejection: a field is unknown, or its value can't be taken.
    """
    unknown = set(data) - set(FIELDS) - {"attributes"}
    if unknown:
        name = min(unknown)
        raise Rejection(
            "unknown_field",
            normalise.shortened(name),
            _("There is no field “%(name)s”; own fields go into attributes.")
            % {"name": normalise.shortened(name)},
        )
    attributes = data.get("attributes", {})
    if not isinstance(attributes, Mapping):
        raise Rejection("invalid_type", "attributes", _("attributes must be an object."))
    patch = ProfilePatch(
        attributes={name: normalise.attribute(name, value) for name, value in attributes.items()}
    )
    if "country" in data:
        patch.country = normalise.country(data["country"])
    country = patch.country or None
    for name in data:
        value = data[name]
        match name:
            case "external_id":
                patch.external_id = normalise.identifier(value, name)
            case "email":
                patch.email = normalise.email(value)
            case "phone":
                patch.phone = normalise.phone(value, country)
            case "language":
                patch.language = normalise.language(value)
            case "timezone":
                patch.timezone = None if value is None else normalise.timezone(value, country)
            case "birthday":
                patch.birthday = normalise.birthday(value)
            case "latitude" | "longitude":
                setattr(patch, name, normalise.coordinate(value, name))
            case "first_name" | "last_name" | "city" | "lifecycle_stage":
                setattr(patch, name, normalise.text(value, name))
    return patch


def row(data: Mapping[str, Any]) -> Row:
    """The row for a JSON object that names its profile by id, external_id, email or phone: the first counts.

    Raises:
        Rejection: it names none, or a field can't be taken.
    """
    data = dict(data)
    number = data.pop(ID, None)
    patch = validate(data)
    if number is not None:
        return Row(ID, normalise.identifier(number, ID) or "", patch)
    for kind in NAMES:
        value = getattr(patch, kind)
        if value:
            return Row(kind, value, patch)
    raise Rejection("missing_key", "", _("Name the profile by external_id, email, phone or id."))
