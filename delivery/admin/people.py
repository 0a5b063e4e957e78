"""Choosing a real person to look at a message as."""

from collections.abc import Iterable
from typing import Any

import msgspec
from django.db.models import Q

from crm import log, masking
from crm.models import Device, Event, Identifier, Profile
from delivery import content
from delivery.preferences import links

SUGGESTIONS = 12


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


def data_for(
    profile: Profile, contents: Iterable[Any] = (), locale: str = "", event: str = ""
) -> dict[str, Any]:
    """Return what a message to `profile` could be filled in with: the person, their latest own event, and links that
    lead nowhere.

    Args:
        contents: what is to be filled in, for what else it asks for.
        locale: its language.
        event: the name of the event that the message follows; if there was one, the latest of these.
    """
    own = Event.objects.filter(profile_id=profile.pk).order_by("-occurred_at")
    latest = (own.filter(name=event).first() if event else None) or own.exclude(
        name__in=log.RESERVED_NAMES
    ).first()
    context = {}
    if latest:
        properties = msgspec.to_builtins(latest.properties)
        context["event"] = {
            "name": latest.name,
            "occurred_at": latest.occurred_at.isoformat(),
            "properties": masking.data(properties) if masking.hidden() else properties,
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
