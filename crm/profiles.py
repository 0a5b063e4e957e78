"""Creating and changing profiles in bulk: a batch of patches in, one outcome per row out.

A batch is read in three queries, decided in memory row after row (so that two rows about one person act
as if they had come one after the other) and written in bulk; the number of statements does not depend on
its size. Rows that change nothing are not written.
"""

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

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
from crm.pg import copy_columns, text_array

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

State = Literal["created", "updated", "unchanged", "rejected"]
CREATED: State = "created"
UPDATED: State = "updated"
UNCHANGED: State = "unchanged"
REJECTED: State = "rejected"
_TRIES = 5
_LISTED = ", ".join(FIELDS)
_COLUMNS = (*FIELDS, "attributes")
_PLACE = {name: place for place, name in enumerate(FIELDS)}
_SURE = tuple((_PLACE[name], name) for name in (Identifier.EXTERNAL_ID, Identifier.EMAIL))
_NO_TEXT = tuple(_PLACE[name] for name in ("latitude", "longitude", "birthday"))
_INSERT = f"COPY crm_profile (id, {_LISTED}, attributes, created_at, updated_at) FROM STDIN"
_UPDATE = f"""
    UPDATE crm_profile p SET {", ".join(f"{name} = r.{name}" for name in _COLUMNS)}, updated_at = %s
    FROM jsonb_populate_recordset(NULL::crm_profile, %s::jsonb) AS r
    WHERE p.id = r.id AND ({", ".join(f"p.{name}" for name in _COLUMNS)})
        IS DISTINCT FROM ({", ".join(f"r.{name}" for name in _COLUMNS)})
"""


Key = tuple[str, str]  # an Identifier's kind and value


class Outcome(msgspec.Struct, gc=False):
    """What became of one row. `code`, `field` and `detail` tell why it was rejected."""

    state: State
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
    raise CollisionError(f"Profiles from {source} keep colliding with other writers.")


class CollisionError(RuntimeError):
    """Other writers hold what we need; whoever holds something as well should let it go and begin again."""


class _ConflictError(Exception):
    """Another transaction moved an identifier between our reading and our locking."""


class _Profile:
    """One profile while a batch is decided: stored (`id` known) or new. `values` are in the order of FIELDS."""

    __slots__ = ("attributes", "changed", "id", "names", "values")

    def __init__(self, profile_id: int | None, values: list[Any], attributes: str | dict[str, Any]):
        self.id = profile_id
        self.values = values
        self.attributes = attributes  # JSON text until somebody wants to look inside
        self.names: list[Key] = []
        self.changed = False

    def held(self) -> dict[str, Any]:
        """The attributes, parsed."""
        attributes = self.attributes
        if isinstance(attributes, str):
            attributes = self.attributes = json.loads(attributes)
        return attributes

    def other_name(self, kind: str, value: str) -> str | None:
        """A name of this kind other than `value`."""
        return min((other for of, other in self.names if of == kind and other != value), default=None)


class _Batch:
    """What the database knows of the people in a batch, and the changes to it."""

    def __init__(self, rows: Sequence[Row]):
        self.owner: dict[Key, _Profile] = {}
        self.profiles: dict[int, _Profile] = {}
        self.created: list[_Profile] = []
        self.unnumbered: list[tuple[Outcome, _Profile]] = []
        self.moved: dict[Key, int | None] = {}  # names that changed hands, with who has them in the database
        self._load(rows)

    def _load(self, rows: Sequence[Row]) -> None:
        keys: dict[str, set[str]] = {}
        ids: set[int] = set()
        for item in rows:
            if item.kind != ID:
                keys.setdefault(item.kind, set()).add(item.value)
            elif _is_id(item.value):
                ids.add(int(item.value))
        for name in NAMES:
            values = {value for item in rows if (value := getattr(item.patch, name))}
            if values:
                keys[name] = values | keys.get(name, set())
        owners: dict[Key, int] = {}
        with connection.cursor() as cursor:
            if keys:
                # For each kind of its own, as an index can be searched for many values of one kind at once.
                cursor.execute(
                    " UNION ALL ".join(
                        [
                            "SELECT kind, value, profile_id FROM crm_identifier WHERE kind = %s AND value = ANY(%s)"
                        ]
                        * len(keys)
                    ),
                    [part for kind in sorted(keys) for part in (kind, text_array(list(keys[kind])))],
                )
                owners = {(kind, value): profile_id for kind, value, profile_id in cursor.fetchall()}
            if owners or ids:
                self._lock(cursor, sorted(ids | set(owners.values())))
        # Before the lock was ours a merge or another batch may have moved what we had read.
        for key, profile_id in owners.items():
            if key not in self.owner or self.owner[key].id != profile_id:
                raise _ConflictError

    def _lock(self, cursor: Any, ids: list[int]) -> None:
        """Read these profiles and keep them as they are; in the order of ids, so that no two batches wait for
        each other."""
        cursor.execute(
            f"SELECT id, attributes, {_LISTED} FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
            [ids],
        )
        for profile_id, attributes, *values in cursor.fetchall():
            self.profiles[profile_id] = _Profile(profile_id, values, attributes)
        cursor.execute(
            "SELECT kind, value, profile_id FROM crm_identifier WHERE profile_id = ANY(%s)",
            [list(self.profiles)],
        )
        for kind, value, profile_id in cursor.fetchall():
            profile = self.profiles[profile_id]
            key = kind, value
            self.owner[key] = profile
            profile.names.append(key)

    def apply(self, row: Row) -> Outcome:
        """Decide one row and remember its changes. The outcome of a new profile is numbered by `write`."""
        *values, attributes = msgspec.structs.astuple(row.patch)
        key = row.kind, row.value
        if row.kind in NAMES:
            values[_PLACE[row.kind]] = row.value
        try:
            profile = self._find(row, key, values)
            if profile is None:
                return self._create(key, values, attributes)
            if row.ours:
                attributes = _leave(profile, row.ours, values, attributes)
            self._check_names(profile, values)
        except Rejection as error:
            return Outcome(REJECTED, None, error.code, error.field, error.detail)
        changed = False
        if row.kind != ID and row.kind not in NAMES and self.owner.get(key) is not profile:
            self._claim(key, profile)
            changed = True
        if self._assign(profile, values, attributes):
            profile.changed = changed = True
        outcome = Outcome(UPDATED if changed else UNCHANGED, profile.id)
        if profile.id is None:
            self.unnumbered.append((outcome, profile))
        return outcome

    def _find(self, row: Row, key: Key, values: list[Any]) -> _Profile | None:
        """The profile the row is about, None if it is new."""
        if row.kind == ID:
            profile = self.profiles.get(int(row.value)) if _is_id(row.value) else None
            if profile is None:
                raise Rejection(
                    "unknown_profile", ID, _("There is no profile %s.") % normalise.shortened(row.value)
                )
            return profile
        profile = self.owner.get(key)
        if profile is not None:
            return profile
        for place, name in _SURE:
            value = values[place]
            if not value or name == row.kind:
                continue
            profile = self.owner.get((name, value))
            if profile is None:
                continue
            other = profile.other_name(row.kind, row.value)
            if other:
                raise _duplicate(name, value, row.kind, other)
            number = values[_PLACE[Identifier.EXTERNAL_ID]]
            if number and profile.values[_PLACE[Identifier.EXTERNAL_ID]] not in (None, number):
                raise _taken(name, value, profile)  # another customer number: another customer
            return profile
        return None

    def _create(self, key: Key, values: list[Any], attributes: dict[str, Any]) -> Outcome:
        """A new profile; nobody has its names yet, but for the phone."""
        profile = _Profile(
            None,
            [None if value is UNSET else value for value in values],
            {name: value for name, value in attributes.items() if value is not None},
        )
        self.created.append(profile)
        if key[0] not in NAMES:
            self._claim(key, profile)
        for place, name in enumerate(NAMES):
            value = profile.values[place]
            if value is not None and (name, value) not in self.owner:
                self._claim((name, value), profile)
        outcome = Outcome(CREATED)
        self.unnumbered.append((outcome, profile))
        return outcome

    def _check_names(self, profile: _Profile, values: list[Any]) -> None:
        for place, name in _SURE:
            value = values[place]
            if value:
                owner = self.owner.get((name, value))
                if owner is not None and owner is not profile:
                    raise _taken(name, value, owner)

    def _assign(self, profile: _Profile, values: list[Any], attributes: dict[str, Any]) -> bool:
        """Set fields and attributes, moving the identifiers along; whether anything changed."""
        changed = False
        held_values = profile.values
        for place, value in enumerate(values):
            old = held_values[place]
            if value is UNSET or old == value:
                continue
            changed = True
            held_values[place] = value
            if place < len(NAMES):
                name = NAMES[place]
                if old is not None and self.owner.get((name, old)) is profile:
                    self._release((name, old), profile)
                if value is not None and (name, value) not in self.owner:
                    self._claim((name, value), profile)
        if attributes:
            held = profile.held()
            for name, value in attributes.items():
                if value is None:
                    changed |= held.pop(name, None) is not None
                elif name not in held or not _same(held[name], value):
                    held[name] = value
                    changed = True
        return changed

    def _claim(self, key: Key, profile: _Profile) -> None:
        self.moved.setdefault(key, None)
        self.owner[key] = profile
        profile.names.append(key)

    def _release(self, key: Key, profile: _Profile) -> None:
        self.moved.setdefault(key, profile.id)
        del self.owner[key]
        profile.names.remove(key)

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
        gone: list[Key] = []
        claims: dict[str, dict[str, int]] = {}
        for key, before in self.moved.items():
            owner = self.owner.get(key)
            after = owner.id if owner else None
            if after == before:
                continue
            if before is not None:
                gone.append(key)
            if after is not None:
                claims.setdefault(key[0], {})[key[1]] = after
        if gone:
            cursor.execute(
                """
                DELETE FROM crm_identifier i USING unnest(%s::text[], %s::text[]) AS k(kind, value)
                WHERE i.kind = k.kind AND i.value = k.value
                """,
                [[kind for kind, _value in gone], [value for _kind, value in gone]],
            )
        if claims:
            with cursor.copy("COPY crm_identifier (kind, value, profile_id) FROM STDIN") as copy:
                # Sorted, so that two batches claiming the same ones can't wait for each other.
                for kind in sorted(claims):
                    owners = claims[kind]
                    values = sorted(owners)
                    copy_columns(
                        copy, [[kind] * len(values), values, [str(owners[value]) for value in values]]
                    )

    def _insert(self, cursor: Any, now: datetime) -> None:
        if not self.created:
            return
        columns: list[Sequence[Any]] = list(zip(*[profile.values for profile in self.created], strict=True))
        for place in _NO_TEXT:
            columns[place] = [None if value is None else str(value) for value in columns[place]]
        with cursor.copy(_INSERT) as copy:
            copy_columns(
                copy,
                [
                    [str(profile.id) for profile in self.created],
                    *columns,
                    [_json(profile.attributes) for profile in self.created],
                    *[[now.isoformat()] * len(self.created)] * 2,
                ],
            )

    def _update(self, cursor: Any, now: datetime) -> None:
        changed = [profile for profile in self.profiles.values() if profile.changed]
        if not changed:
            return
        rows = [
            {"id": profile.id, **dict(zip(FIELDS, profile.values, strict=True)), "attributes": profile.held()}
            for profile in changed
        ]
        cursor.execute(_UPDATE, [now, _json(rows)])


def _leave(
    profile: _Profile, ours: frozenset[str], values: list[Any], attributes: dict[str, Any]
) -> dict[str, Any]:
    """Take out of a patch what would replace our own values; return the attributes that remain."""
    for place, field in enumerate(FIELDS):
        if field in ours and profile.values[place] is not None:
            values[place] = UNSET
    held = profile.held() if attributes else {}
    return {
        name: value
        for name, value in attributes.items()
        if name not in held or f"attributes.{name}" not in ours
    }


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except OverflowError:
        return json.dumps(value, default=str)  # whole numbers of more than 64 bits


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
