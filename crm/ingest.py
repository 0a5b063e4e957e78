"""Taking events in: validated one by one, stored as one batch."""

import json
import re
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import DataError, OperationalError, connection, transaction
from django.utils import timezone
from psycopg.errors import DeadlockDetected

from crm import identity, log, normalise, partitions, traits

MAX_EVENTS = 1000
MAX_STORED = 20_000
MAX_PROPERTIES_BYTES = 16_384
MAX_DEPTH = 8
MAX_NAME_LENGTH = 100
CLOCK_TOLERANCE = timedelta(minutes=5)
OLDEST = timedelta(days=3650)
LAST_SEEN_EVERY = timedelta(minutes=5)
_TRIES = 5
_LONG_NUMBER = re.compile(rb"\d{309}")  # digits; a double holds up to 1.8e308
_HUGE = "Properties hold a number beyond what a double (IEEE 754) can."


class BadBatch(ValueError):
    """The request as a whole can't be read; `detail` says why."""

    def __init__(self, detail: str):
        super().__init__(detail)
        self.detail = detail


class Rejected(msgspec.Struct):
    """One row that was not taken. `index` is its place in the request, `field` the part that is wrong."""

    index: int
    code: str
    detail: str
    field: str


class IngestResult(msgspec.Struct):
    """accepted + duplicates + len(rejected) is the number of rows in the request."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


class _Incoming(msgspec.Struct):
    name: str
    profile: identity.Reference
    id: uuid.UUID | None = None
    occurred_at: datetime | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class _Refused(Exception):
    def __init__(self, code: str, detail: str, field: str):
        super().__init__(detail)
        self.code, self.detail, self.field = code, detail, field


class _Row(msgspec.Struct):
    index: int
    event: _Incoming
    id: uuid.UUID
    occurred_at: datetime
    dated: bool
    profile_id: int = 0


_envelope = msgspec.json.Decoder(_Envelope)
_incoming = msgspec.json.Decoder(_Incoming)


def ingest(body: bytes, source: str, now: datetime | None = None, by_id: bool = True) -> IngestResult:
    """Store the events of one request: `{"events": [1 to 1,000 of them]}`.

    Each row is judged alone; the good ones are stored in one transaction, together with profiles that they
    name for the first time. An event whose id was stored before counts as a duplicate. An event without a
    time, or with one more than five minutes ahead of our clock, happened now.

    Args:
        body: the raw JSON text; properties are handed to PostgreSQL as they are.
        source: who sent it, such as "api" or "sdk".
        by_id: whether the sender may name profiles by our own numbers, which a visitor could try one by one.

    Raises:
        BadBatch: the body is no such object.
    """
    return _take(_split(body), source, now or timezone.now(), by_id)


def store(
    raws: Sequence[bytes], source: str, now: datetime | None = None, by_id: bool = True
) -> IngestResult:
    """As `ingest`, for a piece of a file: each of `raws` is the JSON text of one event.

    Joins the caller's transaction, so that the caller's note of how far it came is kept or lost with the events.

    Raises:
        ValueError: more than MAX_STORED rows.
    """
    if len(raws) > MAX_STORED:
        raise ValueError(f"Store at most {MAX_STORED:,} events at a time.")
    return _take([msgspec.Raw(raw) for raw in raws], source, now or timezone.now(), by_id)


def _take(raws: Sequence[msgspec.Raw], source: str, now: datetime, by_id: bool) -> IngestResult:
    rejected: list[Rejected] = []
    rows = []
    for index, raw in enumerate(raws):
        try:
            rows.append(_judge(index, raw, now, by_id))
        except _Refused as refusal:
            rejected.append(Rejected(index, refusal.code, refusal.detail, refusal.field))
    accepted = duplicates = 0
    if rows:
        accepted, duplicates, refused = _write(rows, source, now)
        rejected += refused
    return IngestResult(accepted, duplicates, sorted(rejected, key=lambda row: row.index))


def _write(rows: list[_Row], source: str, now: datetime) -> tuple[int, int, list[Rejected]]:
    """Store `rows` in one transaction; return how many were stored and how many known, and the refused."""
    for _ in range(_TRIES):
        try:
            with transaction.atomic():
                return _write_once(rows, source, now)
        except identity.UnknownProfile:
            continue  # merged or erased since we looked; the next look tells which rows are meant
        except OperationalError as error:
            # Two requests with the same events in different order wait for each other; one of them ends here.
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    raise RuntimeError("These events keep colliding with other writers.")


def _write_once(rows: list[_Row], source: str, now: datetime) -> tuple[int, int, list[Rejected]]:
    refused: list[Rejected] = []
    rows = _known_profiles_only(rows, refused)
    for row, profile_id in zip(rows, identity.resolve([row.event.profile for row in rows], now), strict=True):
        row.profile_id = profile_id
    _fill_gaps(rows)
    fresh = _first_time(rows, now)
    stored, unstorable = _store(fresh, source)
    if stored:
        _touch({row.profile_id for row in fresh}, now)
        log.announce({row.event.name for row in fresh})
    return stored, len(rows) - stored - len(unstorable), refused + unstorable


def _split(body: bytes) -> list[msgspec.Raw]:
    try:
        events = _envelope.decode(body).events
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        events = _split_leniently(body, error)
    except RecursionError as error:
        raise BadBatch("The JSON is nested too deep.") from error
    if not 1 <= len(events) <= MAX_EVENTS:
        raise BadBatch(f"Send 1 to {MAX_EVENTS:,} events at a time; these are {len(events):,}.")
    return events


def _split_leniently(body: bytes, problem: Exception) -> list[msgspec.Raw]:
    """Split a body that the strict decoder refuses as a whole because of bad text in one of its rows."""
    try:
        events = json.loads(body.decode(errors="surrogateescape"))["events"]
        if not isinstance(events, list):
            raise TypeError
        return [msgspec.Raw(json.dumps(event).encode()) for event in events]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise BadBatch(f'Send {{"events": […]}} as JSON: {problem}.') from problem


def _judge(index: int, raw: msgspec.Raw, now: datetime, by_id: bool) -> _Row:
    try:
        event = _incoming.decode(raw)
    except msgspec.ValidationError as error:
        raise _refusal(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Refused("invalid_text", f"Not valid JSON in UTF-8: {error}.", "") from error
    _check_name(event.name)
    event.profile = _clean_reference(event.profile)
    if event.profile.id is not None and not by_id:
        raise _Refused("not_allowed", "A browser key can't name profiles by id.", "profile.id")
    _check_properties(bytes(event.properties))
    occurred_at, dated = event.occurred_at, True
    if occurred_at is not None and occurred_at.tzinfo is None:
        raise _Refused("invalid_time", "Give the time zone, such as 2026-01-31T12:00:00Z.", "occurred_at")
    if occurred_at is None or occurred_at > now + CLOCK_TOLERANCE:
        occurred_at, dated = now, False
    elif occurred_at < now - OLDEST:
        raise _Refused("too_old", "Events of more than ten years ago are not kept.", "occurred_at")
    return _Row(index, event, event.id or uuid.uuid4(), occurred_at, dated or event.id is None)


def _refusal(error: msgspec.ValidationError) -> _Refused:
    """Turn msgspec's "… - at `$.a.b`" into a code, a sentence and the field's path."""
    detail, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if "missing required field" in detail:
        name = detail.split("`")[1]
        field = f"{field}.{name}" if field else name
        return _Refused("missing_field", f"{field} is missing.", field)
    if field == "occurred_at":
        return _Refused("invalid_time", "Write the time like 2026-01-31T12:00:00Z (RFC 3339).", field)
    return _Refused("invalid_value", f"{detail}.", field)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_LENGTH or "\x00" in name:
        raise _Refused("invalid_name", f"A name has 1 to {MAX_NAME_LENGTH} characters.", "name")
    if name in log.RESERVED_NAMES:
        raise _Refused("reserved_name", f"Only Nudge itself records {name}.", "name")


def _clean_reference(reference: identity.Reference) -> identity.Reference:
    if reference.phone:
        raise _Refused("invalid_value", "Events name a profile by another reference.", "profile.phone")
    try:
        return identity.normal(reference)
    except normalise.Rejection as rejection:
        raise _Refused(rejection.code, rejection.detail, rejection.field) from rejection


def _check_properties(raw: bytes) -> None:
    if not raw.startswith(b"{"):
        raise _Refused("invalid_properties", "Properties are an object.", "properties")
    if len(raw) > MAX_PROPERTIES_BYTES:
        raise _Refused(
            "too_large",
            f"Properties have at most {MAX_PROPERTIES_BYTES:,} bytes; these have {len(raw):,}.",
            "properties",
        )
    try:
        raw.decode()
        # Whoever reads the log decodes them again: what that refuses would stop every reader for good.
        value = msgspec.json.decode(raw)
        # Only a text with escapes, many brackets or a very long number can hold anything else we refuse.
        if b"\\u" in raw or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or _LONG_NUMBER.search(raw):
            _check_value(value, 1)
    except msgspec.ValidationError as error:
        raise _Refused("invalid_properties", _HUGE, "properties") from error
    except (UnicodeError, msgspec.DecodeError) as error:
        raise _Refused(
            "invalid_text", "Properties hold text that is not valid Unicode.", "properties"
        ) from error
    except RecursionError as error:
        raise _too_deep() from error


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, str):
        value.encode()
        if "\x00" in value:
            raise _Refused("invalid_text", "Properties hold a NUL character.", "properties")
    elif isinstance(value, int):
        if abs(value) > sys.float_info.max:
            raise _Refused("invalid_properties", _HUGE, "properties")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key, depth)
            _check_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_value(item, depth + 1)


def _too_deep() -> _Refused:
    return _Refused("too_deep", f"Properties are nested at most {MAX_DEPTH} deep.", "properties")


def _known_profiles_only(rows: list[_Row], rejected: list[Rejected]) -> list[_Row]:
    ids = {row.event.profile.id for row in rows if row.event.profile.id is not None}
    unknown = ids - identity.existing_ids(sorted(ids)) if ids else set()
    for row in rows:
        if row.event.profile.id in unknown:
            rejected.append(Rejected(row.index, "unknown_profile", "There is no such profile.", "profile.id"))
    return [row for row in rows if row.event.profile.id not in unknown]


def _first_time(rows: list[_Row], now: datetime) -> list[_Row]:
    """Drop rows whose id came before without a usable time, or comes twice in this request."""
    seen: set[uuid.UUID] = set()
    fresh = []
    for row in rows:
        if row.id not in seen:
            seen.add(row.id)
            fresh.append(row)
    # A time that was ahead of our clock when the event came first may be usable now that it comes again.
    known = log.came_undated({row.id for row in fresh if row.dated and row.event.id})
    undated = {row.id for row in fresh if not row.dated}
    new = log.first_time(undated, now) if undated else set()
    return [row for row in fresh if (row.id not in known if row.dated else row.id in new)]


def _store(rows: list[_Row], source: str) -> tuple[int, list[Rejected]]:
    """Insert `rows`; where PostgreSQL can't take one (a number beyond its range), find and reject that one."""
    if not rows:
        return 0, []
    events = [
        log.NewEvent(row.id, row.profile_id, row.event.name, row.occurred_at, row.event.properties, source)
        for row in rows
    ]
    partitions.ensure(event.occurred_at for event in events)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(log.INSERT, [msgspec.json.encode(events).decode()])
            return cursor.rowcount, []
    except DataError as error:
        if len(rows) == 1:
            detail = f"PostgreSQL can't store these properties: {str(error).splitlines()[0]}."
            return 0, [Rejected(rows[0].index, "invalid_properties", detail, "properties")]
    half = len(rows) // 2
    first, refused_first = _store(rows[:half], source)
    second, refused_second = _store(rows[half:], source)
    return first + second, refused_first + refused_second


def _fill_gaps(rows: list[_Row]) -> None:
    """Take the traits of `identified` events."""
    found = []
    for row in rows:
        if row.event.name == "identified":
            given = json.loads(bytes(row.event.properties)).get("traits")
            if isinstance(given, dict):
                found.append((row.profile_id, traits.taken(given)))
    traits.fill_gaps(found)


def _touch(profile_ids: set[int], now: datetime) -> None:
    """Note that these people were seen; rows that another writer holds are noted by that one."""
    values: dict[str, Any] = {
        "now": now.astimezone(UTC),
        "ids": sorted(profile_ids),
        "every": LAST_SEEN_EVERY,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE crm_profile SET last_seen = %(now)s, first_seen = coalesce(first_seen, %(now)s)
            WHERE id IN (
                SELECT id FROM crm_profile WHERE id = ANY(%(ids)s)
                AND (last_seen IS NULL OR last_seen < %(now)s - %(every)s) FOR NO KEY UPDATE SKIP LOCKED
            )
            """,
            values,
        )
