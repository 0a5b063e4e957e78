"""Creating and changing profiles in bulk: a batch of patches in, one outcome per row out.

A batch is read in three queries, decided in memory row after row (so that two rows about one person act
as if they had come one after the other) and written in bulk; the number of statements does not depend on
its size. Rows that change nothing are not written.
"""

import json
import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec import UNSET
from psycopg.errors import DeadlockDetected, UniqueViolation

from crm import normalise
from crm.models import Identifier
from crm.normalise import Rejection
from crm.patches import FIELDS, ID, NAMES, ProfilePatch, Row, row, validate

__all__ = [
    "CREATED",
    "REJECTED",
    "UNCHANGED",
    "UPDATED",
    "Outcome",
    "ProfilePatch",
    "Rejection",
    "Row",
    "UpsertResult",
    "row",
    "upsert",
    "validate",
]

logger = logging.getLogger(__name__)

CREATED, UPDATED, UNCHANGED, REJECTED = "created", "updated", "unchanged", "rejected"
_TRIES = 5
_LISTED = ", ".join(FIELDS)
_COLUMNS = (*FIELDS, "attributes")
_UPDATE = f"""
    UPDATE crm_profile p SET {", ".join(f"{name} = r.{name}" for name in _COLUMNS)}, updated_at = %s
    FROM jsonb_populate_recordset(NULL::crm_profile, %s::jsonb) AS r
    WHERE p.id = r.id AND ({", ".join(f"p.{name}" for name in _COLUMNS)})
        IS DISTINCT FROM ({", ".join(f"r.{name}" for name in _COLUMNS)})
"""


class Outcome(msgspec.Struct):
    """What became of one row. `code`, `field` and `detail` tell why it was rejected."""

    state: str
    profile_id: int | None = None
    code: str = ""
    field: str = ""
    detail: str = ""


class UpsertResult(msgspec.Struct):
    """One outcome per row, in the rows' order."""

    outcomes: list[Outcome]

    def count(self, state: str) -> int:
        """How many rows ended as CREATED, UPDATED, UNCHANGED or REJECTED."""
        return sum(outcome.state == state for outcome in self.outcomes)


def upsert(rows: Sequence[Row], source: str, now: datetime | None = None) -> UpsertResult:
    """Create or change the profile that each row names.

    A key nobody has yet leads to the profile with the patch's external id, else with its email, unless that
    profile has another key of the same kind: then the row is rejected (`duplicate_external_id`,
    `duplicate_email`). An email or external id of somebody else is rejected (`email_taken`,
    `external_id_taken`); a phone may be shared and only names whoever had it first.

    Args:
        source: who sends the rows, for the log, such as "api".
    """
    if not rows:
        return UpsertResult([])
    now = now or timezone.now()
    for attempt in range(_TRIES):
        try:
            with transaction.atomic():
                batch = _Batch(rows)
                result = UpsertResult([batch.apply(item) for item in rows])
                batch.write(now)
                return result
        except _ConflictError:
            pass
        except (UniqueViolation, DeadlockDetected):
            pass  # COPY raises the driver's own errors
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
        logger.info("Profiles from %s collided with another writer; attempt %d.", source, attempt + 1)
    raise RuntimeError(f"Profiles from {source} keep colliding with other writers.")


class _ConflictError(Exception):
    """Another transaction moved an identifier between our reading and our locking."""


class _Profile:
    """One profile while a batch is decided: stored (`id` known) or new."""

    __slots__ = ("attributes", "changed", "fields", "id", "kinds", "new")

    def __init__(self, profile_id: int | None, fields: dict[str, Any], attributes: str | dict[str, Any]):
        self.id = profile_id
        self.fields = fields
        self.attributes = attributes  # JSON text until somebody wants to look inside
        self.kinds: dict[str, set[str]] = {}  # identifier kind -> values
        self.new = self.changed = profile_id is None

    def held(self) -> dict[str, Any]:
        """The attributes, parsed."""
        attributes = self.attributes
        if isinstance(attributes, str):
            attributes = self.attributes = json.loads(attributes)
        return attributes

    def has_other(self, kind: str, value: str) -> str | None:
        """A value of this kind other than `value`."""
        return next((other for other in sorted(self.kinds.get(kind, ())) if other != value), None)


class _Batch:
    """What the database knows of the people in a batch, and the changes to it."""

    def __init__(self, rows: Sequence[Row]):
        self.owner: dict[tuple[str, str], _Profile] = {}
        self.profiles: dict[int, _Profile] = {}
        self.created: list[_Profile] = []
        self.unnumbered: list[tuple[Outcome, _Profile]] = []
        self._load(rows)
        self.stored = {key: profile.id for key, profile in self.owner.items()}

    def _load(self, rows: Sequence[Row]) -> None:
        keys = {(item.kind, item.value) for item in rows if item.kind != ID}
        keys |= {(kind, value) for item in rows for kind in NAMES if (value := getattr(item.patch, kind))}
        ids = {int(item.value) for item in rows if item.kind == ID and _is_id(item.value)}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT i.kind, i.value, i.profile_id FROM crm_identifier i
                JOIN unnest(%s::text[], %s::text[]) AS k(kind, value) USING (kind, value)
                """,
                _columns(keys),
            )
            owners = {(kind, value): profile_id for kind, value, profile_id in cursor.fetchall()}
            # In the order of ids, so that two batches can't wait for each other.
            cursor.execute(
                f"SELECT id, attributes, {_LISTED} FROM crm_profile "
                "WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
                [list(ids | set(owners.values()))],
            )
            for profile_id, attributes, *values in cursor.fetchall():
                self.profiles[profile_id] = _Profile(
                    profile_id, dict(zip(FIELDS, values, strict=True)), attributes
                )
            cursor.execute(
                "SELECT kind, value, profile_id FROM crm_identifier WHERE profile_id = ANY(%s)",
                [list(self.profiles)],
            )
            for kind, value, profile_id in cursor.fetchall():
                profile = self.owner[kind, value] = self.profiles[profile_id]
                profile.kinds.setdefault(kind, set()).add(value)
        # Before the lock was ours a merge or another batch may have moved what we had read.
        for key, profile_id in owners.items():
            if key not in self.owner or self.owner[key].id != profile_id:
                raise _ConflictError

    def apply(self, row: Row) -> Outcome:
        """Decide one row and remember its changes. The outcome of a new profile is numbered by `write`."""
        patch = row.patch
        wanted = {field: value for field in FIELDS if (value := getattr(patch, field)) is not UNSET}
        if row.kind in NAMES:
            wanted[row.kind] = row.value
        try:
            profile = self._find(row, wanted)
            self._check_names(profile, wanted)
        except Rejection as error:
            return Outcome(REJECTED, None, error.code, error.field, error.detail)
        outcome = Outcome(UNCHANGED if profile else CREATED)
        if profile is None:
            profile = _Profile(None, dict.fromkeys(FIELDS), {})
            self.created.append(profile)
        key = (row.kind, row.value)
        changed = False
        if row.kind != ID and row.kind not in NAMES and self.owner.get(key) is not profile:
            self._claim(key, profile)
            changed = True
        if self._assign(profile, wanted, patch.attributes):
            profile.changed = changed = True
        if changed and outcome.state == UNCHANGED:
            outcome.state = UPDATED
        outcome.profile_id = profile.id
        if profile.id is None:
            self.unnumbered.append((outcome, profile))
        return outcome

    def _find(self, row: Row, wanted: dict[str, Any]) -> _Profile | None:
        """The profile the row is about, None if it is new."""
        if row.kind == ID:
            profile = self.profiles.get(int(row.value)) if _is_id(row.value) else None
            if profile is None:
                raise Rejection(
                    "unknown_profile", ID, _("There is no profile %s.") % normalise.shortened(row.value)
                )
            return profile
        profile = self.owner.get((row.kind, row.value))
        for name in (Identifier.EXTERNAL_ID, Identifier.EMAIL):
            value = wanted.get(name)
            if profile is not None or name == row.kind or not value:
                continue
            profile = self.owner.get((name, value))
            other = profile and profile.has_other(row.kind, row.value)
            if other:
                raise _duplicate(name, value, row.kind, other)
            number = wanted.get(Identifier.EXTERNAL_ID)
            if profile and number and profile.fields[Identifier.EXTERNAL_ID] not in (None, number):
                raise _taken(name, value, profile)  # another customer number: another customer
        return profile

    def _check_names(self, profile: _Profile | None, wanted: dict[str, Any]) -> None:
        for name in (Identifier.EXTERNAL_ID, Identifier.EMAIL):
            value = wanted.get(name)
            if not value:
                continue
            owner = self.owner.get((name, value))
            if owner is not None and owner is not profile:
                raise _taken(name, value, owner)

    def _assign(self, profile: _Profile, wanted: dict[str, Any], attributes: dict[str, Any]) -> bool:
        """Set fields and attributes, moving the identifiers along; whether anything changed."""
        changed = False
        for field, value in wanted.items():
            old = profile.fields[field]
            if old == value:
                continue
            changed = True
            profile.fields[field] = value
            if field in NAMES:
                if old is not None and self.owner.get((field, old)) is profile:
                    self._release((field, old), profile)
                if value is not None and (field, value) not in self.owner:
                    self._claim((field, value), profile)
        if attributes:
            held = profile.held()
            for name, value in attributes.items():
                if value is None:
                    changed |= held.pop(name, None) is not None
                elif name not in held or not _same(held[name], value):
                    held[name] = value
                    changed = True
        return changed

    def _claim(self, key: tuple[str, str], profile: _Profile) -> None:
        self.owner[key] = profile
        profile.kinds.setdefault(key[0], set()).add(key[1])

    def _release(self, key: tuple[str, str], profile: _Profile) -> None:
        del self.owner[key]
        profile.kinds[key[0]].discard(key[1])

    def write(self, now: datetime) -> None:
        """Store what changed; number the new profiles."""
        with connection.cursor() as cursor:
            self._number(cursor)
            # Identifiers first: if somebody else was faster, little has to be undone.
            self._write_identifiers(cursor)
            self._insert(cursor, now)
            self._update(cursor, now)

    def _number(self, cursor: Any) -> None:
        if not self.created:
            return
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence('crm_profile', 'id')) FROM generate_series(1, %s)",
            [len(self.created)],
        )
        for profile, (number,) in zip(self.created, cursor.fetchall(), strict=True):
            profile.id = number
        for outcome, profile in self.unnumbered:
            outcome.profile_id = profile.id

    def _write_identifiers(self, cursor: Any) -> None:
        now_owned = {key: profile.id for key, profile in self.owner.items()}
        gone = [key for key, owner in self.stored.items() if now_owned.get(key) != owner]
        # Sorted, so that two batches claiming the same ones can't wait for each other.
        claims = sorted((*key, owner) for key, owner in now_owned.items() if self.stored.get(key) != owner)
        if gone:
            cursor.execute(
                """
                DELETE FROM crm_identifier i USING unnest(%s::text[], %s::text[]) AS k(kind, value)
                WHERE i.kind = k.kind AND i.value = k.value
                """,
                _columns(gone),
            )
        if claims:
            with cursor.copy("COPY crm_identifier (kind, value, profile_id) FROM STDIN") as copy:
                for claim in claims:
                    copy.write_row(claim)

    def _insert(self, cursor: Any, now: datetime) -> None:
        if not self.created:
            return
        columns = ("id", *FIELDS, "attributes", "created_at", "updated_at")
        with cursor.copy(f"COPY crm_profile ({', '.join(columns)}) FROM STDIN") as copy:
            for profile in self.created:
                copy.write_row(
                    (profile.id, *profile.fields.values(), json.dumps(profile.attributes), now, now)
                )

    def _update(self, cursor: Any, now: datetime) -> None:
        changed = [profile for profile in self.profiles.values() if profile.changed]
        if not changed:
            return
        rows = [{"id": profile.id, **profile.fields, "attributes": profile.held()} for profile in changed]
        cursor.execute(_UPDATE, [now, json.dumps(rows, default=str)])


def _columns(keys: Collection[tuple[str, str]]) -> list[list[str]]:
    """Keys as the two arrays that unnest() takes."""
    return [[kind for kind, _value in keys], [value for _kind, value in keys]]


def _duplicate(name: str, value: str, kind: str, other: str) -> Rejection:
    if kind in NAMES:
        return Rejection(
            f"{name}_taken",
            name,
            _("%(value)s belongs to the profile known as %(other)s.") % {"value": value, "other": other},
        )
    return Rejection(
        f"duplicate_{name}",
        name,
        _("Record %(other)s of this CRM has %(value)s already.") % {"value": value, "other": other},
    )


def _taken(name: str, value: str, owner: _Profile) -> Rejection:
    if owner.id is None:
        detail = _("%(value)s belongs to another profile of this batch.") % {"value": value}
    else:
        detail = _("%(value)s belongs to profile %(id)d.") % {"value": value, "id": owner.id}
    return Rejection(f"{name}_taken", name, detail)


def _is_id(value: str) -> bool:
    """Whether it can be a number of the id column at all."""
    return value.isascii() and value.isdigit() and len(value) <= 18


def _same(one: Any, other: Any) -> bool:
    """Equality as jsonb has it: true is not 1, but 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        return isinstance(one, int | float) and isinstance(other, int | float) and float(one) == float(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
