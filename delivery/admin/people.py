"""Choosing a real person to look at a message as."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from django.db.models import Q

from crm import log, masking
from crm.models import Device, Event, Identifier, Profile
from delivery import content
from delivery.preferences import links

SUGGESTIONS = 12


class Source(NamedTuple):
    """Groups of people to walk through; the layers above add theirs.

    `groups()` returns [(key, name)]; `beside(key, profile_id, step)` the number of the next (1) or previous (-1) person
    of a group, going round at its end, or None if there is nobody.
    """

    groups: Callable[[], list[tuple[str, str]]]
    beside: Callable[[str, int, int], int | None]


_sources: dict[str, Source] = {}


def register(name: str, source: Source) -> None:
    """Offer these groups too; their keys are known as `name:key`."""
    _sources[name] = source


def groups() -> list[tuple[str, str]]:
    """Return (key, name) of the groups that previews walk through, beside everybody."""
    return [(f"{name}:{key}", label) for name, source in _sources.items() for key, label in source.groups()]


def beside(group: str, profile_id: int, step: int) -> Profile | None:
    """Return the person before (-1) or behind (1) one in a group, or among everybody; nobody in an empty one."""
    name, _sep, key = group.partition(":")
    if name in _sources:
        found = _sources[name].beside(key, profile_id, step)
        return Profile.objects.filter(pk=found).first() if found is not None else None
    return neighbour(Profile.objects.all(), "pk", profile_id, step)


def neighbour(rows: Any, column: str, profile_id: int, step: int) -> Any:
    """Return the row next to a person's in the order of `column`, going round; two queries at most."""
    way, order = ("gt", column) if step > 0 else ("lt", f"-{column}")
    ordered = rows.order_by(order)
    return ordered.filter(**{f"{column}__{way}": profile_id}).first() or ordered.first()


def find(reference: str) -> Profile | None:
    """Return the person called `reference`: an email, phone, customer number or our own number."""
    reference = reference.replace("\x00", "").strip()
    if not reference:
        return None
    if masking.hidden():
        number = int(reference) if reference.isascii() and reference.isdigit() and len(reference) < 19 else 0
        return Profile.objects.filter(pk=number).first()
    named = Identifier.objects.filter(
        Q(kind=Identifier.EMAIL, value=reference.lower())
        | Q(kind__in=[Identifier.EXTERNAL_ID, Identifier.PHONE, Identifier.ANONYMOUS_ID], value=reference)
    )
    found = Profile.objects.filter(pk__in=named.values("profile_id")).first()
    if found is None and reference.isascii() and reference.isdigit() and len(reference) < 19:
        found = Profile.objects.filter(pk=int(reference)).first()
    return found


def suggestions() -> list[tuple[str, str]]:
    """Return (reference, name) of some people, those with a browser first."""
    reachable = (
        Device.objects.filter(state=Device.State.ACTIVE).order_by("-pk").values_list("profile_id", flat=True)
    )
    ids = list(dict.fromkeys(reachable[:SUGGESTIONS]))
    if len(ids) < SUGGESTIONS:
        ids += (
            Profile.objects.exclude(pk__in=ids)
            .order_by("-pk")
            .values_list("pk", flat=True)[: SUGGESTIONS - len(ids)]
        )
    people = Profile.objects.in_bulk(ids)
    shown = {pk: "" if masking.hidden() else person.email for pk, person in people.items()}
    return [(shown[pk] or str(pk), people[pk].display_name) for pk in ids if pk in people]


def reference(profile: Profile) -> str:
    """Return what `find` knows a person by."""
    return (not masking.hidden() and profile.email) or str(profile.pk)


def data_for(profile: Profile, contents: Iterable[Any] = (), locale: str = "") -> dict[str, Any]:
    """Return what a message to `profile` could be filled in with: the person, their latest own event, and links that
    lead nowhere.

    Args:
        contents: what is to be filled in, for what else it asks for.
        locale: its language.
    """
    latest = (
        Event.objects.filter(profile_id=profile.pk)
        .exclude(name__in=log.RESERVED_NAMES)
        .order_by("-occurred_at")
        .first()
    )
    context = {}
    if latest:
        context["event"] = {
            "name": latest.name,
            "occurred_at": latest.occurred_at.isoformat(),
            "properties": msgspec.to_builtins(latest.properties),
        }
    wanted = content.Sample(profile.pk, context)
    gathered = content.gather([wanted], contents)
    computed = content.computed_for([profile.pk], [content.people.COMPUTED])[profile.pk]
    return {
        "profile": Profile.outline(content.data([profile.pk])[profile.pk]),
        "computed": masking.data(computed) if masking.hidden() else computed,
        "coupon": {"code": "CODE-1234"},
        **links.example(),
        **context,
        **gathered.data(wanted, locale),
    }
