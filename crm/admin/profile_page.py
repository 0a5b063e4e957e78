"""What the page of one person says: everything known here, and where each part of it came from.

What the layers above know (flows, segments, the story) they bring themselves, from addresses of their own.
"""

import re
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.contrib.humanize.templatetags.humanize import naturaltime
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import computed, geography, subscriptions, unmerging
from crm.admin import senders
from crm.admin.base import pretty
from crm.admin.connection_fields import CHANNELS
from crm.models import (
    Consent,
    Device,
    Identifier,
    LastLocation,
    PersonPlace,
    Preference,
    Profile,
    Topic,
)

MERGES = 100
LEDGER_ROWS = 20
IDENTIFIERS = 12  # shown at once
MOSTLY = 3  # facts of one sender, from which on the sender is named once
ATTRIBUTE = "attributes."
FACTS = (
    *("email", "phone", "external_id", "first_name", "last_name", "language"),
    *("country", "city", "timezone", "birthday", "lifecycle_stage"),
)
TIMES = ("first_seen", "last_seen", "created_at", "updated_at")
KINDS = {
    Identifier.EXTERNAL_ID: gettext_lazy("customer number"),
    Identifier.EMAIL: gettext_lazy("email"),
    Identifier.PHONE: gettext_lazy("phone"),
    Identifier.ANONYMOUS_ID: gettext_lazy("visitor"),
}
# User agents claim to be each other, so the order matters.
_PLATFORMS = {"android": "Android", "ios": "iOS", "web": "Web"}
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")


class Fact(NamedTuple):
    """One thing that is known; `told` says by whom and when, "" if nobody wrote that down."""

    label: str
    value: Any
    told: str = ""


class Answer(NamedTuple):
    """What the person answered for a channel or topic."""

    name: str
    consent: Consent
    frequency: str


class Clock(NamedTuple):
    """What time it is where the person is. `why` says how the zone is known."""

    now: datetime
    zone: ZoneInfo
    time: str
    why: str


def context(request: HttpRequest, profile: Profile, may_change: bool) -> dict[str, Any]:
    """Everything for the template, in a fixed number of queries."""
    names = senders.connections()
    identifiers = list(profile.identifiers.order_by("kind", "-created_at", "pk"))
    location = LastLocation.objects.filter(profile=profile).select_related("place").first()
    stays = PersonPlace.objects.filter(profile=profile, inside=True).select_related("place")
    undoable = unmerging.last(profile.pk)
    preference = Preference.objects.filter(profile=profile).first()
    timeline = address("admin:profile_timeline", profile.pk)
    facts, facts_told = _mostly(_facts(profile, names))
    attributes, attributes_told = _mostly(_attributes(profile, names))
    return {
        "profile": profile,
        "original": profile,
        "title": profile.display_name,
        "initials": initials(profile.display_name),
        "known": bool(profile.email or profile.phone or profile.external_id),
        "clock": clock(profile),
        "location": location,
        "inside": [stay.place for stay in stays.order_by("-entered_at")],
        "facts": facts,
        "facts_told": facts_told,
        "attributes": attributes,
        "attributes_told": attributes_told,
        "computed": [fact for fact in computed.shown(profile.pk) if fact.value is not None],
        "identifiers": [(_kind(row.kind, names), row) for row in identifiers[:IDENTIFIERS]],
        "more_identifiers": [(_kind(row.kind, names), row) for row in identifiers[IDENTIFIERS:]],
        "answers": _answers(profile, preference),
        "preference": preference,
        "ledger": [
            (change, senders.sender(change.source, names), CHANNELS.get(change.key, change.key))
            for change in profile.consent_changes.order_by("-changed_at", "-pk")[:LEDGER_ROWS]
        ],
        "devices": [
            (device, browser_name(device)) for device in profile.devices.order_by("state", "-changed_at")
        ],
        "merges": profile.merges.defer("snapshot", "moved").order_by("-pk")[:MERGES],
        "undoable": undoable,
        "active": Device.State.ACTIVE,
        "timeline_url": timeline,
        "journey_url": address("admin:profile_journey", profile.pk),
        "segments_url": address("admin:profile_segments", profile.pk),
        "actions": _actions(request, profile, may_change),
        "preferences_url": _permitted(
            request, "crm.change_preference", "admin:delivery_preferencepage_open", profile.pk
        ),
        "unmerge_url": _permitted(request, "crm.merge_profile", "admin:crm_profile_unmerge", undoable.pk)
        if undoable
        else "",
    }


def clock(profile: Profile, now: datetime | None = None) -> Clock:
    """What time it is for them, and how we know."""
    zone = geography.zone_for(vars(profile))
    at = (now or timezone.now()).astimezone(zone)
    if profile.timezone == str(zone):
        why = ""
    elif str(zone) == geography.zone_at(profile.latitude, profile.longitude):
        why = _("from where they were")
    elif profile.country:
        why = _("from their country")
    else:
        why = _("the account's, as theirs is not known")
    return Clock(at, zone, date_format(at, "TIME_FORMAT"), why)


def initials(name: str) -> str:
    """One or two letters for the round badge."""
    words = [word for word in re.split(r"[\s@._+-]+", name) if word]
    return "".join(word[0] for word in words[:2]).upper()


def browser_name(device: Device) -> str:
    """Such as "Firefox, Linux", as far as the user agent tells; of an app its name and platform."""
    if device.kind in subscriptions.APPS:
        told = [device.app, _PLATFORMS.get(device.platform, "")]
        return ", ".join(word for word in told if word) or str(_("App"))
    agent = device.user_agent
    names = [
        next((name for mark, name in _BROWSERS if mark in agent), ""),
        next((system for system in _SYSTEMS if system in agent), ""),
    ]
    return ", ".join(name for name in names if name) or str(_("Unknown browser"))


def address(name: str, *args: Any) -> str:
    """The address of a page that another part may bring; empty if none does."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _permitted(request: HttpRequest, permission: str, name: str, profile_id: int) -> str:
    return address(name, profile_id) if request.user.has_perm(permission) else ""


def _actions(request: HttpRequest, profile: Profile, may_change: bool) -> list[tuple[str, str, str, str]]:
    """(name, icon, words, address) of what may be done with this person."""
    edit = f"{reverse('admin:crm_profile_change', args=[profile.pk])}?edit=1" if may_change else ""
    found = [
        ("edit", "edit", _("Edit"), edit),
        ("merge", "merge", _("Join with…"), ("crm.merge_profile", "admin:crm_profile_merge")),
        ("lists", "playlist_add", _("Lists"), ("campaigns.change_segment", "admin:campaigns_list_person")),
        ("why", "help", _("Why in a flow?"), ("campaigns.view_flow", "admin:campaigns_flow_why_person")),
        ("export", "download", _("Export"), ("crm.export_person", "admin:crm_profile_export_person")),
        ("erase", "person_off", _("Erase"), ("crm.erase_profile", "admin:crm_profile_erase")),
    ]
    actions = [
        (name, icon, words, at if isinstance(at, str) else _permitted(request, *at, profile.pk))
        for name, icon, words, at in found
    ]
    return [action for action in actions if action[3]]


def _facts(profile: Profile, names: dict[str, str]) -> list[Fact]:
    field = Profile._meta.get_field
    facts = [
        Fact(str(field(name).verbose_name), value, _told(profile, name, names))
        for name in FACTS
        if (value := getattr(profile, name)) not in (None, "")
    ]
    return facts + [
        Fact(str(field(name).verbose_name), value)
        for name in TIMES
        if (value := getattr(profile, name)) is not None
    ]


def _attributes(profile: Profile, names: dict[str, str]) -> list[Fact]:
    return [
        Fact(
            name,
            pretty(value) if isinstance(value, dict | list) else _plain(value),
            _told(profile, f"{ATTRIBUTE}{name}", names),
        )
        for name, value in sorted(profile.attributes.items())
    ]


def _mostly(facts: list[Fact]) -> tuple[list[Fact], str]:
    """The facts, and who told most of them, if that is worth saying once for all; those then say nothing."""
    told, times = (Counter(fact.told for fact in facts if fact.told).most_common(1) or [("", 0)])[0]
    if times < MOSTLY or times * 2 <= sum(bool(fact.told) for fact in facts):
        return facts, ""
    return [fact._replace(told="") if fact.told == told else fact for fact in facts], told


def _plain(value: Any) -> Any:
    return {True: _("yes"), False: _("no")}[value] if isinstance(value, bool) else value


def _told(profile: Profile, name: str, names: dict[str, str]) -> str:
    """Such as "Salesforce: contacts, 3 days ago"."""
    told = profile.sources.get(name)
    if not isinstance(told, list) or len(told) != 2:
        return ""
    source, text = told
    at = parse_datetime(text) if isinstance(text, str) else None
    who = senders.sender(str(source), names)
    return f"{who}, {naturaltime(at)}" if at else who


def _kind(kind: str, names: dict[str, str]) -> str:
    if kind in KINDS:
        return str(KINDS[kind])
    slug, _colon, name = kind.partition(":")
    return f"{names.get(slug, slug)}: {name}" if name else kind


def _answers(profile: Profile, preference: Preference | None) -> list[Answer]:
    topics = dict(Topic.objects.values_list("slug", "name"))
    often = preference.frequencies if preference else {}
    labels = dict(Preference.Frequency.choices)
    return [
        Answer(
            str(
                topics.get(row.key, row.key)
                if row.kind == Consent.Kind.TOPIC
                else CHANNELS.get(row.key, row.key)
            ),
            row,
            str(labels.get(often.get(row.key), "")) if row.kind == Consent.Kind.TOPIC else "",
        )
        for row in profile.consents.order_by("kind", "key")
    ]
