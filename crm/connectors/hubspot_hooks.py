"""HubSpot's webhooks: whether a call is HubSpot's, and which records it is about.

Signature version 3 of HubSpot's documentation: base64 of HMAC-SHA256 with the app's client secret, over
method, address, body and time, one after the other. A call that carries only one of the older versions, which
leave out the time or the address and so could be sent again by anybody, is refused: what it tells comes with the
next run anyway.
"""

import base64
import hashlib
import hmac
import re
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from crm.connectors.base import Hint, HookRefused, HookRequest
from crm.connectors.hubspot_reading import EPOCH
from crm.connectors.hubspot_values import KINDS

SIGNATURE, TIMESTAMP = "x-hubspot-signature-v3", "x-hubspot-request-timestamp"
NEWEST, OLDEST = timedelta(minutes=-5), timedelta(minutes=5)  # by our clock, which may trail HubSpot's
MOST_EVENTS = 100
# What HubSpot writes plainly when it signs an address, though the address has it encoded.
PLAIN = re.compile("%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
Word = Literal["changed", "deleted", "erased"]
STRENGTH: tuple[Word, ...] = ("changed", "deleted", "erased")
OBJECTS = {name: kind.name for kind in KINDS.values() for name in (kind.singular, kind.type_id)}


class Event(msgspec.Struct, rename="camel"):
    """What we read of an event."""

    subscription_type: str
    object_id: int | str | None = None
    object_type_id: str = ""
    portal_id: int | str = ""
    primary_object_id: int | str | None = None
    new_object_id: int | str | None = None
    merged_object_ids: list[int | str] = []
    association_type: str = ""
    from_object_id: int | str | None = None
    to_object_id: int | str | None = None


def check(request: HookRequest, secret: str) -> None:
    """HookRefused unless the call is signed with the secret and at most five minutes old or early."""
    stamp = request.headers.get(TIMESTAMP, "")
    if not secret or not re.fullmatch(r"[0-9]{1,14}", stamp):
        raise HookRefused
    age = request.received_at - (EPOCH + timedelta(milliseconds=int(stamp)))
    if not NEWEST <= age <= OLDEST:
        raise HookRefused
    url = PLAIN.sub(lambda found: unquote(found[0]), request.url)
    signed = f"{request.method}{url}".encode() + request.body + stamp.encode()
    expected = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
    if not hmac.compare_digest(expected, request.headers.get(SIGNATURE, "").encode("utf-8", "replace")):
        raise HookRefused


def hints(body: bytes, portal_id: str) -> list[Hint]:
    """The records that a call is about, each once; HookRefused if it is no list of events.

    Events come in any order and more than once, so the gravest word about a record counts.

    Args:
        portal_id: the only account whose events count, or "" for any.
    """
    try:
        events = msgspec.json.decode(body, type=list[Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise HookRefused from None
    if len(events) > MOST_EVENTS:
        raise HookRefused
    found: dict[tuple[str, str], int] = {}
    for one in events:
        try:
            event = msgspec.convert(one, Event)
        except msgspec.ValidationError:
            continue  # a kind of event that did not exist when this was written
        if portal_id and str(event.portal_id) != portal_id:
            continue
        for key, kind in _subjects(event):
            found[key] = max(found.get(key, 0), STRENGTH.index(kind))
    return [Hint(name, record_id, STRENGTH[kind]) for (name, record_id), kind in found.items()]


def _subjects(event: Event) -> list[tuple[tuple[str, str], Word]]:
    subject, _dot, what = event.subscription_type.partition(".")
    if what == "associationChange":
        return _changed(_purchase_side(event))
    name = OBJECTS.get(event.object_type_id or subject)
    if name is None:
        return []
    match what:
        case "creation" | "propertyChange" | "restore":
            return _changed([(name, event.object_id)])
        case "deletion":
            return [(key, "deleted") for key, _kind in _changed([(name, event.object_id)])]
        case "privacyDeletion":
            return [(key, "erased") for key, _kind in _changed([(name, event.object_id)])]
        case "merge":
            ids = [event.primary_object_id, event.new_object_id, *event.merged_object_ids, event.object_id]
            return _changed([(name, one) for one in ids])
    return []


def _changed(subjects: list[tuple[str, Any]]) -> list[tuple[tuple[str, str], Word]]:
    """Those with a believable id."""
    return [((name, str(one)), "changed") for name, one in subjects if re.fullmatch(r"[0-9]{1,18}", str(one))]


def _purchase_side(event: Event) -> list[tuple[str, Any]]:
    """Whom a deal belongs to is read with the deal: the one that an association event names."""
    match event.association_type:
        case "DEAL_TO_CONTACT":
            return [("deals", event.from_object_id)]
        case "CONTACT_TO_DEAL":
            return [("deals", event.to_object_id)]
    return []
