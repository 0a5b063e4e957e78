"""What can be written back into a CRM about a person: engagement from the event log, consent, profile fields.

A value is computed for a whole batch of profiles at once. Apps above add their own with `register`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy

from crm.connectors.base import FieldKind
from crm.models import Consent, Profile
from crm.patches import FIELDS
from crm.sync.gone import SOURCE
from crm.sync.mapping import ATTRIBUTE

OPENED, CLICKED, CONVERTED = "message_opened", "message_clicked", "message_converted"
ENGAGEMENT = (OPENED, CLICKED, CONVERTED)

Compute = Callable[[Sequence[int]], dict[int, Any]]


class Value(msgspec.Struct, frozen=True):
    """One thing that can be written back.

    Args:
        compute: profile ids -> value by profile id; a profile left out has none.
        events: names of the events that may change it; empty: changes of the profile do.
    """

    name: str
    label: Any
    kind: FieldKind
    compute: Compute
    events: tuple[str, ...] = ()


_registered: dict[str, Value] = {}


def register(value: Value) -> Value:
    """Offer a value under its name."""
    _registered[value.name] = value
    return value


def offered() -> list[Value]:
    """Every value that a mapping may name, besides `attributes.<name>`."""
    return list(_registered.values())


def find(name: str) -> Value | None:
    """The value called `name`; `attributes.<name>` is one too."""
    if name.startswith(ATTRIBUTE) and name != ATTRIBUTE:
        return Value(name, name, "text", _attribute(name.removeprefix(ATTRIBUTE)))
    return _registered.get(name)


def compute(names: Iterable[str], profile_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By profile id and name, the values as JSON has them: a time as ISO 8601 text in UTC, None for none."""
    found: dict[int, dict[str, Any]] = {profile_id: {} for profile_id in profile_ids}
    for name in names:
        value = find(name)
        computed = value.compute(profile_ids) if value else {}
        for profile_id, values in found.items():
            values[name] = _plain(computed.get(profile_id))
    return found


def event_names(names: Iterable[str]) -> set[str]:
    """The events after which one of these values may be another."""
    return {event for name in names if (value := find(name)) for event in value.events}


def needs_profile(names: Iterable[str]) -> bool:
    """Whether one of these values changes with the profile and not with events."""
    return any(not value.events for name in names if (value := find(name)))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds")
        case Decimal():
            return float(value)
        case None | str() | int() | float() | list():
            return value
    return str(value)


def counted(event: str) -> Compute:
    """How often this event happened to somebody; who never had it has no value."""

    def count(profile_ids: Sequence[int]) -> dict[int, int]:
        return dict(_grouped("count(*)", (event,), profile_ids))

    return count


def _last_engagement(profile_ids: Sequence[int]) -> dict[int, datetime]:
    return dict(_grouped("max(occurred_at)", (OPENED, CLICKED), profile_ids))


def _grouped(aggregate: str, names: Collection[str], profile_ids: Sequence[int]) -> list[tuple[int, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT profile_id, {aggregate} FROM crm_event "
            "WHERE profile_id = ANY(%s) AND name = ANY(%s) GROUP BY profile_id",
            [list(profile_ids), list(names)],
        )
        return cursor.fetchall()


def _unsubscribed(profile_ids: Sequence[int]) -> dict[int, bool]:
    """Who said no to us; what a CRM told us itself is nothing to tell it."""
    said_no = Consent.objects.filter(
        profile_id__in=profile_ids, kind=Consent.Kind.CHANNEL, state=Consent.State.UNSUBSCRIBED
    )
    noes = set(said_no.exclude(source=SOURCE).values_list("profile_id", flat=True))
    return {profile_id: profile_id in noes for profile_id in profile_ids}


def _field(name: str) -> Compute:
    def read(profile_ids: Sequence[int]) -> dict[int, Any]:
        return dict(Profile.objects.filter(pk__in=profile_ids).values_list("pk", name))

    return read


def _attribute(name: str) -> Compute:
    def read(profile_ids: Sequence[int]) -> dict[int, Any]:
        held = Profile.objects.filter(pk__in=profile_ids, attributes__has_key=name)
        return {
            profile_id: attributes[name] for profile_id, attributes in held.values_list("pk", "attributes")
        }

    return read


register(Value("opens", gettext_lazy("messages opened"), "number", counted(OPENED), (OPENED,)))
register(Value("clicks", gettext_lazy("messages clicked"), "number", counted(CLICKED), (CLICKED,)))
register(Value("conversions", gettext_lazy("goals reached"), "number", counted(CONVERTED), (CONVERTED,)))
register(
    Value(
        "last_engagement",
        gettext_lazy("last engagement"),
        "datetime",
        _last_engagement,
        (OPENED, CLICKED),
    )
)
register(
    Value(
        "unsubscribed",
        gettext_lazy("has left a channel"),
        "boolean",
        _unsubscribed,
        ("consent_changed",),
    )
)
register(Value("score", gettext_lazy("score"), "number", _attribute("score")))
for _name in FIELDS:
    _label = getattr(Profile._meta.get_field(_name), "verbose_name", _name)
    register(Value(_name, _label, "text", _field(_name)))
