"""Taking events in: validated one by one, stored as one batch."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import DeadlockDetected

from crm import identity, identity_lookup, log, partitions, patches, profiles, traits
from crm.ingest_rows import (
    MAX_EVENTS,
    BadBatch,
    Batch,
    Judge,
    Rejected,
    Row,
    split,
    too_old,
)
from crm.models import ApiKey
from crm.pg import Contention, prepared

__all__ = [
    "MAX_EVENTS",
    "MAX_STORED",
    "BadBatch",
    "Batch",
    "IngestResult",
    "Rejected",
    "ingest",
    "split",
    "store",
    "take",
]

MAX_STORED = 20_000
LAST_SEEN_EVERY = timedelta(minutes=5)
_TRIES = 5
_IDENTIFIED = "identified"


class IngestResult(msgspec.Struct):
    """accepted + duplicates + len(rejected) is the number of rows in the request."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


class _NotPlain(Exception):
    """Some row needs more than one look; `_Careful` takes it."""


def ingest(body: bytes, source: str, now: datetime | None = None, key: ApiKey | None = None) -> IngestResult:
    """Store the events of one request: `{"events": [1 to 1,000 of them], "sent_at"?: time}`.

    Each row is judged alone; the good ones are stored in one transaction, together with profiles that they
    name for the first time and after their patches. An event whose id was stored before counts as a duplicate. An
    event without a time, or with one more than five minutes ahead of our clock, happened now. If `sent_at` differs
    from our clock by more than that, all times are moved by as much. Either is noted as the event's `clock`.

    Args:
        body: the raw JSON text; properties are handed to PostgreSQL as they are.
        source: who sent it, such as "api" or "sdk".
        key: who calls. A browser's key can't name profiles by our numbers, which a visitor could try one by one,
            is believed about names only as far as crm/proof.py says, and its patches fill gaps only.

    Raises:
        BadBatch: the body is no such object.
    """
    return take(split(body), source, now, key)


def store(raws: Sequence[bytes], source: str, now: datetime | None = None) -> IngestResult:
    """As `ingest`, for a piece of a file: each of `raws` is the JSON text of one event.

    Joins the caller's transaction, so that the caller's note of how far it came is kept or lost with the events.

    Raises:
        ValueError: more than MAX_STORED rows.
    """
    if len(raws) > MAX_STORED:
        raise ValueError(f"Store at most {MAX_STORED:,} events at a time.")
    return take(Batch([msgspec.Raw(raw) for raw in raws]), source, now)


def take(batch: Batch, source: str, now: datetime | None = None, key: ApiKey | None = None) -> IngestResult:
    """As `ingest`, for a body that was split."""
    now = now or timezone.now()
    judge = Judge(key, now, batch.sent_at)
    rows, rejected = judge.judge(batch.rows)
    accepted = duplicates = 0
    if rows:
        accepted, refused = _write(rows, source, now, fill_only=judge.key is not None)
        duplicates = len(rows) - accepted - len(refused)
        rejected += refused
    return IngestResult(accepted, duplicates, sorted(rejected, key=lambda row: row.index))


def _write(rows: list[Row], source: str, now: datetime, fill_only: bool) -> tuple[int, list[Rejected]]:
    """Store `rows` in one transaction; return how many were new, and the refused."""
    plain = not any(row.patch is not None for row in rows)
    for _attempt in range(_TRIES):
        # Whether a connection still works shows when it is used; asking first is dear, and nearly always needless.
        used = not connection.in_atomic_block and connection.connection is not None
        if used:
            setattr(connection, "health_check_done", True)  # noqa: B010 Django's stubs lack it
        try:
            if plain:
                with transaction.atomic():
                    return _write_plainly(rows, source, now), []
            return _Careful(rows, source, now, fill_only).write()
        except (_NotPlain, DataError):
            if not plain:
                raise
            plain = False
        except (identity.UnknownProfile, profiles.CollisionError):
            continue  # merged or erased since we looked; the next look tells which rows are meant
        except IntegrityError as error:
            if not partitions.is_missing(error):
                raise
            partitions.forget()
            plain = False
        except (OperationalError, InterfaceError) as error:
            # Two requests with the same events in different order wait for each other; one of them ends here.
            # And a connection may be lost: what came before is rolled back, or stored and found to be there.
            if not isinstance(error.__cause__, DeadlockDetected) and not (used and _lost()):
                raise
    raise Contention("These events keep colliding with other writers.")


def _lost() -> bool:
    """Whether the connection is gone; then the next use makes another."""
    if connection.connection is not None and connection.connection.closed:
        connection.close()
    return connection.connection is None


def _write_plainly(rows: list[Row], source: str, now: datetime) -> int:
    """Store rows whose profiles are all known, in three statements.

    Raises:
        _NotPlain: it takes more than that.
    """
    found = identity_lookup.find({row.reference: row.proven for row in rows}, now - LAST_SEEN_EVERY)
    if found is None or partitions.ensure(row.occurred_at for row in rows):
        raise _NotPlain
    whose = found.profiles
    for row in rows:
        row.profile_id = whose[row.reference]
    _fill_gaps(rows, source, now)
    fresh, every_id_dated = _first_time(rows, now)
    stored = _insert(fresh, source, every_id_dated)
    if stored:
        if found.unseen:
            _touch(found.unseen, now)
        log.announce({row.name for row in fresh})
    return stored


class _Careful:
    """One pass over rows of which some say something new about people, or can't be stored."""

    def __init__(self, rows: list[Row], source: str, now: datetime, fill_only: bool):
        self.rows = rows
        self.source = source
        self.now = now
        self.fill_only = fill_only
        self.refused: list[Rejected] = []

    def write(self) -> tuple[int, list[Rejected]]:
        """Store what can be; return how many were new, and the refused."""
        if any(row.patch is not None for row in self.rows):
            # In a transaction of its own: a patch takes a stronger lock than naming does, and two requests that both
            # held the weaker one would wait for each other.
            with transaction.atomic():
                self._resolve()
            with transaction.atomic():
                self._lock()
                self._apply_patches()
                return self._store_all(), self.refused
        with transaction.atomic():
            self._resolve()
            return self._store_all(), self.refused

    def _refuse(self, row: Row, code: str, detail: str, field: str) -> None:
        self.refused.append(Rejected(row.index, code, detail, field))

    def _resolve(self) -> None:
        self._leave_out_unknown()
        found = self._found()
        while found is None:
            found = self._found()
        for row, profile_id in zip(self.rows, found, strict=True):
            row.profile_id = profile_id

    def _found(self) -> list[int] | None:
        """Whom the rows mean; None: some mean people who were erased, and are left out from now on."""
        proven = {row.reference for row in self.rows if row.proven}
        try:
            return identity.resolve([row.reference for row in self.rows], self.now, proven, self.source)
        except identity.ErasedPerson as erased:
            for row in self.rows:
                if row.reference in erased.references:
                    self._refuse(row, "erased", _("This person was erased, at their own wish."), "profile")
            self.rows = [row for row in self.rows if row.reference not in erased.references]
            return None

    def _leave_out_unknown(self) -> None:
        ids = {row.reference.id for row in self.rows if row.reference.id is not None}
        unknown = ids - identity.existing_ids(sorted(ids)) if ids else set()
        for row in self.rows:
            if row.reference.id in unknown:
                self._refuse(row, "unknown_profile", _("There is no such profile."), "profile.id")
        self.rows = [row for row in self.rows if row.reference.id not in unknown]

    def _lock(self) -> None:
        ids = {row.profile_id for row in self.rows}
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [list(ids)]
            )
            if len(cursor.fetchall()) < len(ids):
                raise identity.UnknownProfile("Merged or erased since it was resolved.")

    def _apply_patches(self) -> None:
        changing = [(row, row.patch) for row in self.rows if row.patch is not None]
        wanted = [
            profiles.Row(
                patches.ID,
                str(row.profile_id),
                patch,
                _gaps(patch) if self.fill_only else frozenset(),
            )
            for row, patch in changing
        ]
        bad = set()
        outcomes = profiles.upsert(wanted, self.source, self.now).outcomes
        for (row, _patch), outcome in zip(changing, outcomes, strict=True):
            if outcome.state == profiles.REJECTED:
                field = f"patch.{outcome.field}" if outcome.field else "patch"
                self._refuse(row, outcome.code, outcome.detail, field)
                bad.add(row.index)
        self.rows = [row for row in self.rows if row.index not in bad]

    def _store_all(self) -> int:
        self._leave_out_closed()
        _fill_gaps(self.rows, self.source, self.now)
        fresh, every_id_dated = _first_time(self.rows, self.now)
        stored = self._insert(fresh, every_id_dated)
        if stored:
            _touch(sorted({row.profile_id for row in fresh}), self.now)
            log.announce({row.name for row in fresh})
        return stored

    def _leave_out_closed(self) -> None:
        closed = partitions.ensure(row.occurred_at for row in self.rows)
        if closed:
            refusal = too_old()
            for row in self.rows:
                if partitions.month_of(row.occurred_at) in closed:
                    self._refuse(row, refusal.code, refusal.detail, refusal.field)
            self.rows = [row for row in self.rows if partitions.month_of(row.occurred_at) not in closed]

    def _insert(self, rows: list[Row], every_id_dated: bool) -> int:
        """Insert `rows`; where PostgreSQL can't take one (a number beyond its range), find and refuse that one."""
        if not rows:
            return 0
        try:
            with transaction.atomic():
                return _insert(rows, self.source, every_id_dated)
        except DataError as error:
            if len(rows) == 1:
                detail = _("PostgreSQL can't store these properties: %s.") % str(error).splitlines()[0]
                self._refuse(rows[0], "invalid_properties", detail, "properties")
                return 0
        half = len(rows) // 2
        return self._insert(rows[:half], every_id_dated) + self._insert(rows[half:], every_id_dated)


def _gaps(patch: patches.ProfilePatch) -> frozenset[str]:
    """All that `patch` may set, for `profiles.Row.ours`."""
    return frozenset(patches.FIELDS) | {f"attributes.{name}" for name in patch.attributes}


def _first_time(rows: list[Row], now: datetime) -> tuple[list[Row], bool]:
    """Drop rows whose id comes twice in this request, or came before without a usable time.

    Returns the others, and whether each has a time of its own: then `log.INSERT_DATED` looks for the latter.
    """
    # Of those with one id, the first.
    first = {row.id: row for row in reversed(rows)}
    fresh = rows if len(first) == len(rows) else [row for row in rows if first[row.id] is row]
    undated = {row.id for row in fresh if not row.dated}
    if not undated:
        return fresh, True
    # A time that was ahead of our clock when the event came first may be usable now that it comes again.
    known = log.came_undated({row.id for row in fresh if row.dated})
    new = log.first_time(undated, now)
    return [row for row in fresh if (row.id not in known if row.dated else row.id in new)], False


def _insert(rows: list[Row], source: str, every_id_dated: bool) -> int:
    """Insert `rows` but those that the log has; return how many."""
    events = [
        log.NewEvent(row.id, row.profile_id, row.name, row.occurred_at, row.properties, source, row.clock)
        for row in rows
    ]
    if not events:
        return 0
    with prepared() as cursor:
        cursor.execute(
            log.INSERT_DATED if every_id_dated else log.INSERT, [msgspec.json.encode(events).decode()]
        )
        return cursor.rowcount


def _fill_gaps(rows: list[Row], source: str, now: datetime) -> None:
    """Take the traits of `identified` events."""
    found = []
    for row in rows:
        if row.name == _IDENTIFIED:
            given = json.loads(bytes(row.properties)).get("traits")
            if isinstance(given, dict):
                found.append((row.profile_id, traits.taken(given)))
    if found:
        traits.fill_gaps(found, source, now)


def _touch(profile_ids: Sequence[int], now: datetime) -> None:
    """Note that these people were seen; rows that another writer holds are noted by that one."""
    values: dict[str, Any] = {
        "now": now.astimezone(UTC),
        "ids": list(profile_ids),
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
