"""What a request to record events says, row by row: what can be stored, and why the rest can't."""

import json
import re
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from crm import identity, log, normalise, patches, proof
from crm.models import ApiKey, Event

MAX_EVENTS = 1000
MAX_PROPERTIES_BYTES = 16_384
MAX_DEPTH = 8
MAX_NAME_LENGTH = 100
CLOCK_TOLERANCE = timedelta(minutes=5)
OLDEST = timedelta(days=3650)
REMEMBERED_NAMES = 16_384  # references in normal form and names of events, per process

MISSING, AHEAD, CORRECTED = (
    str(value) for value in (Event.Clock.MISSING, Event.Clock.AHEAD, Event.Clock.CORRECTED)
)
_LONG_NUMBER = re.compile(rb"\d{309}")  # digits; a double holds up to 1.8e308
# What a page knows of its visitor. Names go through `profile`, where they are proven; stages are the server's.
_BROWSER_FIELDS = frozenset(patches.FIELDS) - {*patches.NAMES, "lifecycle_stage"}


class BadBatch(ValueError):
    """The request as a whole can't be read; `detail` says why."""

    def __init__(self, detail: str):
        super().__init__(detail)
        self.detail = detail


class Refused(Exception):
    """One row can't be taken."""

    def __init__(self, code: str, detail: str, field: str):
        super().__init__(detail)
        self.code, self.detail, self.field = code, detail, field


class Rejected(msgspec.Struct):
    """One row that was not taken. `index` is its place in the request, `field` the part that is wrong."""

    index: int
    code: str
    detail: str
    field: str


class Incoming(msgspec.Struct, gc=False):
    """An event as it is sent."""

    name: str
    profile: identity.Reference
    id: uuid.UUID | None = None
    occurred_at: datetime | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    patch: dict[str, Any] | None = None


class Row(msgspec.Struct, gc=False):
    """An event that can be stored, once its profile is known.

    `dated` tells whether its id and time are the sender's, so that the log knows it if it comes again.
    """

    index: int
    name: str
    reference: identity.Reference
    proven: bool
    id: uuid.UUID
    occurred_at: datetime
    properties: msgspec.Raw
    clock: str = ""
    dated: bool = True
    patch: patches.ProfilePatch | None = None
    profile_id: int = 0


class Batch(msgspec.Struct):
    """The rows of one request, each an event or the text of one that could not be read with the others."""

    rows: Sequence[Incoming | msgspec.Raw]
    sent_at: datetime | None = None


class _Envelope(msgspec.Struct):
    events: list[Incoming]
    sent_at: datetime | None = None


class _Loose(msgspec.Struct):
    events: list[msgspec.Raw]
    sent_at: datetime | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_loose = msgspec.json.Decoder(_Loose)
_incoming = msgspec.json.Decoder(Incoming)
_anything = msgspec.json.Decoder()


def split(body: bytes) -> Batch:
    """The events of a request's body: `{"events": [1 to 1,000 of them], "sent_at"?: time}`.

    Raises:
        BadBatch: it is no such object.
    """
    try:
        envelope = _envelope.decode(body)
        batch = Batch(envelope.events, envelope.sent_at)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        batch = _split_loosely(body)  # some row is wrong; the others are not
    if not 1 <= len(batch.rows) <= MAX_EVENTS:
        detail = _("Send 1 to %(most)d events at a time; these are %(count)d.")
        raise BadBatch(detail % {"most": MAX_EVENTS, "count": len(batch.rows)})
    if batch.sent_at is not None and batch.sent_at.tzinfo is None:
        raise BadBatch(_("Give the time zone of sent_at, such as 2026-01-31T12:00:00Z."))
    return batch


def _split_loosely(body: bytes) -> Batch:
    try:
        loose = _loose.decode(body)
        return Batch(loose.events, loose.sent_at)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _split_bad_text(body, error)
    except RecursionError as error:
        raise BadBatch(_("The JSON is nested too deep.")) from error


def _split_bad_text(body: bytes, problem: Exception) -> Batch:
    """Split a body that the strict decoder refuses as a whole because of bad text in one of its rows."""
    try:
        envelope = json.loads(body.decode(errors="surrogateescape"))
        events = envelope["events"]
        if not isinstance(events, list):
            raise TypeError
        sent_at = msgspec.convert(envelope.get("sent_at"), datetime | None)
        return Batch([msgspec.Raw(json.dumps(event).encode()) for event in events], sent_at)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadBatch(_('Send {"events": […]} as JSON: %s.') % problem) from error


class Judge:
    """Tells for each row of one request whether it can be stored."""

    def __init__(self, key: ApiKey | None, now: datetime, sent_at: datetime | None = None):
        self.key = key if key is not None and ApiKey.Scope.BROWSER in key.scopes else None
        self.now = now
        behind = now - sent_at if sent_at else timedelta()
        # Within the tolerance the way here explains it; correcting that would give a repeated event another time.
        self.behind = behind if abs(behind) > CLOCK_TOLERANCE else timedelta()
        self.latest = now + CLOCK_TOLERANCE
        self.oldest = now - OLDEST

    def judge(self, rows: Sequence[Incoming | msgspec.Raw]) -> tuple[list[Row], list[Rejected]]:
        """The rows that can be stored and the others."""
        good: list[Row] = []
        rejected: list[Rejected] = []
        for index, item in enumerate(rows):
            try:
                good.append(self._row(index, item))
            except (Refused, normalise.Rejection) as refusal:
                rejected.append(Rejected(index, refusal.code, refusal.detail, refusal.field))
        if self.key:
            good = self._believed(good, rejected)
        return good, rejected

    def _row(self, index: int, item: Incoming | msgspec.Raw) -> Row:
        event = item if isinstance(item, Incoming) else _read(item)
        _check_name(event.name)
        reference = _clean(event.profile)
        if self.key and reference.id is not None:
            raise Refused("not_allowed", _("A browser key can't name profiles by id."), "profile.id")
        if not self.key and (reference.proof or reference.click):
            reference = proof.judge(None, reference).reference
        _check_properties(event.properties)
        at, clock = self._time(event.occurred_at)
        number = event.id
        return Row(
            index=index,
            name=event.name,
            reference=reference,
            proven=True,
            id=number or uuid.uuid4(),
            occurred_at=at,
            properties=event.properties,
            clock=clock,
            dated=not clock or number is None,
            patch=None if event.patch is None else self._patch(event.patch),
        )

    def _time(self, at: datetime | None) -> tuple[datetime, str]:
        """When it happened by our clock, and what was done about the sender's."""
        if at is None:
            return self.now, MISSING
        if at.tzinfo is None:
            raise Refused(
                "invalid_time", _("Give the time zone, such as 2026-01-31T12:00:00Z."), "occurred_at"
            )
        clock = ""
        if self.behind:
            with suppress(OverflowError):  # at an end of the calendar: what follows sees to it
                at, clock = at + self.behind, CORRECTED
        if at > self.latest:
            return self.now, AHEAD
        if at < self.oldest:
            raise too_old()
        return at, clock

    def _patch(self, given: dict[str, Any]) -> patches.ProfilePatch:
        forbidden = given.keys() - _BROWSER_FIELDS - {"attributes"} if self.key else ()
        if forbidden:
            name = normalise.shortened(min(forbidden))
            raise Refused("not_allowed", _("A browser key can't set %s.") % name, f"patch.{name}")
        try:
            patch = patches.validate(given)
        except normalise.Rejection as rejection:
            field = f"patch.{rejection.field}" if rejection.field else "patch"
            raise Refused(rejection.code, rejection.detail, field) from rejection
        if self.key and patch.attributes:
            size = len(json.dumps(patch.attributes, ensure_ascii=False).encode())
            if size > MAX_PROPERTIES_BYTES:
                detail = _("A browser's attributes have at most %(most)d bytes; these have %(count)d.")
                count = {"most": MAX_PROPERTIES_BYTES, "count": size}
                raise Refused("too_large", detail % count, "patch.attributes")
        return patch

    def _believed(self, rows: list[Row], rejected: list[Rejected]) -> list[Row]:
        """The rows with what may be believed about who is meant."""
        clicks = proof.clicked([row.reference for row in rows if row.reference.click])
        kept = []
        for row in rows:
            try:
                judged = proof.judge(self.key, row.reference, clicks)
            except normalise.Rejection as refusal:
                rejected.append(Rejected(row.index, refusal.code, refusal.detail, refusal.field))
                continue
            row.reference, row.proven = judged.reference, judged.proven
            kept.append(row)
        return kept


def too_old() -> Refused:
    """The refusal of an event from before what the log keeps."""
    return Refused("too_old", _("Events of that time are no longer kept."), "occurred_at")


def _read(raw: msgspec.Raw) -> Incoming:
    try:
        return _incoming.decode(raw)
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("invalid_text", _("Not valid JSON in UTF-8: %s.") % error, "") from error
    except RecursionError as error:
        raise _too_deep() from error


def _refusal(error: msgspec.ValidationError) -> Refused:
    """Turn msgspec's "… - at `$.a.b`" into a code, a sentence and the field's path."""
    detail, _separator, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if "missing required field" in detail:
        name = detail.split("`")[1]
        field = f"{field}.{name}" if field else name
        return Refused("missing_field", _("%s is missing.") % field, field)
    if field == "occurred_at":
        return Refused("invalid_time", _("Write the time like 2026-01-31T12:00:00Z (RFC 3339)."), field)
    return Refused("invalid_value", f"{detail}.", field)


@lru_cache(maxsize=REMEMBERED_NAMES)
def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_LENGTH or "\x00" in name:
        raise Refused("invalid_name", _("A name has 1 to %d characters.") % MAX_NAME_LENGTH, "name")
    if name in log.RESERVED_NAMES:
        raise Refused("reserved_name", _("Only Nudge itself records %s.") % name, "name")


@lru_cache(maxsize=REMEMBERED_NAMES)
def _clean(reference: identity.Reference) -> identity.Reference:
    """The reference in normal form; it depends on nothing else, so it may be remembered."""
    if reference.phone:
        raise Refused("invalid_value", _("Events name a profile by another reference."), "profile.phone")
    return identity.normal(reference)


def _check_properties(properties: msgspec.Raw) -> None:
    raw = bytes(properties)
    if not raw.startswith(b"{"):
        raise Refused("invalid_properties", _("Properties are an object."), "properties")
    if len(raw) > MAX_PROPERTIES_BYTES:
        detail = _("Properties have at most %(most)d bytes; these have %(count)d.")
        raise Refused("too_large", detail % {"most": MAX_PROPERTIES_BYTES, "count": len(raw)}, "properties")
    try:
        # Whoever reads the log decodes them again: what that refuses would stop every reader for good.
        value = _anything.decode(raw)
        # Only a text with escapes, many brackets or a very long number can hold anything else we refuse.
        if (
            b"\\u" in raw
            or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH
            or (len(raw) > 309 and _LONG_NUMBER.search(raw))
        ):
            _check_value(value, 1)
    except msgspec.ValidationError as error:
        raise _too_large_number() from error
    except (UnicodeError, msgspec.DecodeError) as error:
        detail = _("Properties hold text that is not valid Unicode.")
        raise Refused("invalid_text", detail, "properties") from error
    except RecursionError as error:
        raise _too_deep() from error


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, str):
        value.encode()
        if "\x00" in value:
            raise Refused("invalid_text", _("Properties hold a NUL character."), "properties")
    elif isinstance(value, int):
        if abs(value) > sys.float_info.max:
            raise _too_large_number()
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key, depth)
            _check_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)


def _too_large_number() -> Refused:
    detail = _("Properties hold a number beyond what a double (IEEE 754) can.")
    return Refused("invalid_properties", detail, "properties")


def _too_deep() -> Refused:
    return Refused("too_deep", _("Properties are nested at most %d deep.") % MAX_DEPTH, "properties")
