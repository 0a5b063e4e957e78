"""What event streams tell of: the product's own events, and of each what is no contact data."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from crm import log, masking
from crm.models import ErasedName, ProfileMerge
from delivery.models import EventStream, Message

NAMES = {
    "message_sent": _("A message was sent"),
    "message_delivered": _("It arrived"),
    "message_bounced": _("It bounced"),
    "message_failed": _("It failed or came too late"),
    "message_suppressed": _("It was not sent by rule"),
    "message_opened": _("It was opened"),
    "message_clicked": _("A link in it was followed"),
    "message_machine_opened": _("A machine opened it"),
    "message_machine_clicked": _("A machine followed a link in it"),
    "message_withdrawn": _("What was taken for a person's turned out a machine's"),
    "message_read": _("It was read"),
    "message_dismissed": _("It was closed"),
    "message_converted": _("It led to a conversion"),
    "message_complained": _("It was reported as spam"),
    "message_received": _("Somebody wrote to us"),
    "consent_changed": _("Somebody agreed or said no"),
    "push_subscribed": _("A device takes notifications"),
    "push_unsubscribed": _("A device takes none any more"),
    "segment_entered": _("Somebody came into a segment"),
    "segment_left": _("Somebody left a segment"),
    "flow_entered": _("Somebody entered a flow"),
    "flow_completed": _("Somebody went through a flow"),
    "flow_exited": _("Somebody left a flow before its end"),
    "experiment_exposed": _("Somebody became part of an experiment or a holdout"),
}
TEST = "test"
# What people wrote, where they are and what calls them by name are not among these.
_PROPERTIES = frozenset(
    {
        *(
            "message",
            "delivery",
            "channel",
            "variant",
            "origin",
            "device",
            "link",
            "meaning",
            "goal",
            "value",
        ),
        *("currency", "kind", "state", "segment", "flow", "enrollment", "experiment", "arm"),
        *(
            "machine",
            "proxy",
            "names",
            "rules",
        ),  # why an opening or click is a machine's, and what was taken back
    }
)
_WORDS = ("reason", "source", "key")  # may repeat an address that a provider named
_HELD = "SELECT id, external_id FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE"


class Person(msgspec.Struct):
    """Whom an event is about."""

    id: int
    external_id: str | None = None


class Told(msgspec.Struct):
    """One event as it is sent."""

    id: str
    name: str
    occurred_at: datetime
    profile: Person | None
    properties: dict[str, Any]


def told(stream: EventStream, events: Iterable[log.LoggedEvent]) -> list[Told]:
    """Those of `events` that the stream wants, in their order, in the caller's transaction.

    People who were erased are left out, and those who were merged told under their present number; all are held, so
    that an erasure finds what was queued.
    """
    wanted = [event for event in events if event.name in stream.names]
    if stream.api_only:
        wanted = [event for event in wanted if (event.properties.get("origin") or {}).get("type") == "api"]
    if stream.message_ids:
        slugs = set(Message.objects.filter(pk__in=stream.message_ids).values_list("slug", flat=True))
        wanted = [event for event in wanted if event.properties.get("message") in slugs]
    people = _people({event.profile_id for event in wanted})
    found = []
    for event in wanted:
        person = people.get(event.profile_id)
        if person is None:
            continue
        number = person.external_id if stream.tells_numbers else None
        found.append(
            Told(
                str(event.id),
                event.name,
                event.occurred_at,
                Person(person.id, number),
                properties(event.properties),
            )
        )
    return found


def properties(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of an event's properties: no words of people, no addresses, links without their query."""
    kept = {name: value for name, value in stored.items() if name in _PROPERTIES}
    kept |= {name: masking.text(stored[name]) for name in _WORDS if isinstance(stored.get(name), str)}
    if isinstance(url := stored.get("url"), str):
        kept["url"] = masking.text(_bare(url))
    return kept


def _bare(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=host, query="", fragment="").geturl()
    except ValueError:
        return ""


def _people(profile_ids: set[int]) -> dict[int, Person]:
    there = _held(profile_ids)
    gone = profile_ids - there.keys()
    if gone:
        into = dict(ProfileMerge.objects.filter(loser_id__in=gone).values_list("loser_id", "winner_id"))
        winners = there | _held(set(into.values()) - there.keys())
        there |= {loser: winners[winner] for loser, winner in into.items() if winner in winners}
    return there


def _held(profile_ids: set[int]) -> dict[int, Person]:
    if not profile_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [sorted(profile_ids)])
        found = cursor.fetchall()
    # Asked when they are held: an erasure may have been under way until then.
    erased = set(ErasedName.objects.filter(profile_id__in=profile_ids).values_list("profile_id", flat=True))
    return {pk: Person(pk, external_id) for pk, external_id in found if pk not in erased}
