"""One batch of patches: what the database knows of the people in it, and what is decided about each row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from django.db import connection
from django.utils.translation import gettext as _
from msgspec import UNSET

from crm import conflicts, identity_rules, normalise, profile_rows, tombstones
from crm.identity_rules import Match, Rules
from crm.merging import winners
from crm.models import Identifier
from crm.models.identity import CRM_ID
from crm.normalise import Rejection
from crm.patches import FIELDS, ID, NAMES, Row
from crm.pg import text_array
from crm.profile_rows import Key, Person

State = Literal["created", "updated", "unchanged", "rejected"]
CREATED: State = "created"
UPDATED: State = "updated"
UNCHANGED: State = "unchanged"
REJECTED: State = "rejected"
_LISTED = ", ".join(FIELDS)
_PLACE = {name: place for place, name in enumerate(FIELDS)}
_OWNERS = "SELECT kind, value, profile_id, verified FROM crm_identifier WHERE kind = %s AND value = ANY(%s)"


class Outcome(msgspec.Struct, gc=False):
    """What became of one row. `code`, `field` and `detail` tell why it was rejected."""

    state: State
    profile_id: int | None = None
    code: str = ""
    field: str = ""
    detail: str = ""


class ConflictError(Exception):
    """Another transaction moved an identifier between our reading and our locking, or the rules have changed."""


class Batch:
    """What the database knows of the people in a batch, and the changes to it."""

    def __init__(self, rows: Sequence[Row], source: str, returning: bool):
        self.source = source
        self.returning = returning
        self.conflicts: list[conflicts.Conflict] = []
        self.unverified: set[Key] = set()
        self.proved: set[Key] = set()
        self.erased: set[Key] = set()
        self.merged: dict[int, int] = {}
        self._follow(identity_rules.held())
        self.owner: dict[Key, Person] = {}
        self.profiles: dict[int, Person] = {}
        self.created: list[Person] = []
        self.unnumbered: list[tuple[Outcome, Person]] = []
        self.moved: dict[Key, int | None] = {}  # names that changed hands, with who has them in the database
        self._load(rows)

    def _follow(self, rules: Rules) -> None:
        """Take what is needed of the rules: which names find people, and which of them outrank a CRM's id."""
        self.rules = rules
        finding = [name for name in rules.names if rules.finds(name, proven=True, alone=False)]
        self.sure = tuple((_PLACE[name], name) for name in finding)
        self.above_crm = tuple(
            (place, name) for place, name in self.sure if rules.rank(name) < rules.rank(CRM_ID)
        )

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
        version = self.rules.version
        with connection.cursor() as cursor:
            if keys:
                # For each kind of its own, as an index can be searched for many values of one kind at once.
                cursor.execute(
                    " UNION ALL ".join([_OWNERS] * len(keys) + [identity_rules.ASK_VERSION]),
                    [part for kind in sorted(keys) for part in (kind, text_array(list(keys[kind])))],
                )
                owners = {(kind, value): profile_id for kind, value, profile_id, _ in cursor.fetchall()}
                version = owners.pop((identity_rules.VERSION, ""), 0)
            if version != self.rules.version:
                identity_rules.renew()
                raise ConflictError
            if owners or ids:
                self._lock(cursor, sorted(ids | set(owners.values())))
            gone = ids - self.profiles.keys()
            if gone:
                self.merged = winners(gone)
                self._lock(cursor, sorted(set(self.merged.values()) - self.profiles.keys()))
        # Before the lock was ours a merge or another batch may have moved what we had read.
        for key, profile_id in owners.items():
            if key not in self.owner or self.owner[key].id != profile_id:
                raise ConflictError
        if sum(map(len, keys.values())) == len(owners):
            return
        new = (
            (kind, value) for kind, values in keys.items() for value in values if (kind, value) not in owners
        )
        if self.returning:
            tombstones.lift(new)
        else:
            self.erased = tombstones.erased(new)

    def _lock(self, cursor: Any, ids: list[int]) -> None:
        """Read these profiles and keep them as they are; in the order of ids, so that no two batches wait for
        each other."""
        cursor.execute(
            f"SELECT id, attributes, {_LISTED} FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
            [ids],
        )
        for profile_id, attributes, *values in cursor.fetchall():
            self.profiles[profile_id] = Person(profile_id, values, attributes)
        cursor.execute(
            "SELECT kind, value, profile_id, verified FROM crm_identifier WHERE profile_id = ANY(%s)",
            [ids],
        )
        for kind, value, profile_id, verified in cursor.fetchall():
            profile = self.profiles[profile_id]
            key = kind, value
            self.owner[key] = profile
            profile.names.append(key)
            if not verified and kind in NAMES:
                self.unverified.add(key)

    def apply(self, row: Row) -> Outcome:
        """Decide one row and remember its changes. The outcome of a new profile is numbered by `write`."""
        *values, attributes = msgspec.structs.astuple(row.patch)
        key = row.kind, row.value
        if row.kind in NAMES:
            values[_PLACE[row.kind]] = row.value
        source = self.source if row.kind in NAMES or row.kind == ID else row.kind
        try:
            if self.erased:
                self._refuse_erased(key, values)
            profile = self._find(row, key, values, source)
            if self.unverified:
                self._make_room(profile, values, source)
            if profile is None:
                return self._create(key, values, attributes, source)
            if row.ours:
                attributes = _leave(profile, row.ours, values, attributes)
            self._check_names(profile, values, source)
        except Rejection as error:
            return Outcome(REJECTED, None, error.code, error.field, error.detail)
        changed = False
        if row.kind != ID and row.kind not in NAMES and self.owner.get(key) is not profile:
            self._claim(key, profile)
            changed = True
        if self._assign(profile, values, attributes, source):
            profile.changed = changed = True
        outcome = Outcome(UPDATED if changed else UNCHANGED, profile.id)
        if profile.id is None:
            self.unnumbered.append((outcome, profile))
        return outcome

    def _refuse_erased(self, key: Key, values: list[Any]) -> None:
        for name in (key, *zip(NAMES, values, strict=False)):
            if name in self.erased:
                raise Rejection(
                    tombstones.CODE,
                    name[0] if name[0] in NAMES else "",
                    _("This person was erased and does not come back by an import."),
                )

    def _find(self, row: Row, key: Key, values: list[Any], source: str) -> Person | None:
        """The profile the row is about, None if it is new."""
        if row.kind == ID:
            number = int(row.value) if _is_id(row.value) else 0
            profile = self.profiles.get(self.merged.get(number, number))
            if profile is None:
                raise Rejection(
                    "unknown_profile", ID, _("There is no profile %s.") % normalise.shortened(row.value)
                )
            return profile
        if self.rules.matches.get(row.kind) == Match.NEVER:
            raise Rejection(
                "not_a_key",
                row.kind,
                _("By the identity rules nobody is found by this name; give another one."),
            )
        profile = self._holder(key)
        if profile is not None:
            if self.above_crm and row.kind not in NAMES:
                return self._rightful(profile, key, values, source)
            return profile
        for place, name in self.sure:
            value = values[place]
            if not value or name == row.kind:
                continue
            profile = self._holder((name, value))
            if profile is None:
                continue
            other = profile.other_name(row.kind, row.value)
            if other:
                raise _duplicate(name, value, row.kind, other)
            number = values[_PLACE[Identifier.EXTERNAL_ID]]
            if number and profile.values[_PLACE[Identifier.EXTERNAL_ID]] not in (None, number):
                holder = self.owner.get((Identifier.EXTERNAL_ID, number))
                if holder is not None:
                    self._note(profile, holder, (name, value), source)
                raise _taken(name, value, profile)  # another customer number: another customer
            return profile
        return None

    def _holder(self, key: Key) -> Person | None:
        """Who has this name, unless it needs a proof and was only claimed."""
        if self.unverified and key in self.unverified and key[0] in self.rules.strict:
            return None
        return self.owner.get(key)

    def _rightful(self, linked: Person, key: Key, values: list[Any], source: str) -> Person:
        """The profile of a CRM record that is known already: another one if a name that counts more says so."""
        for place, name in self.above_crm:
            value = values[place]
            profile = self._holder((name, value)) if value else None
            if profile is None:
                continue
            if profile is not linked:
                other = profile.other_name(*key)
                if other:
                    raise _duplicate(name, value, key[0], other)
                self._note(profile, linked, (name, value), source)
                self._release(key, linked)
            return profile
        return linked

    def _make_room(self, profile: Person | None, values: list[Any], source: str) -> None:
        """Names that were only claimed and need a proof go to whom they are told of here; others are proven now."""
        for place, name in enumerate(NAMES):
            key = name, values[place]
            if key not in self.unverified:
                continue
            owner = self.owner.get(key)
            if owner is None or owner is profile:
                self.proved.add(key)
            elif name in self.rules.strict:
                if owner.values[place] == key[1]:
                    owner.values[place] = None
                    owner.told[name] = source
                    owner.changed = True
                self._release(key, owner)
            else:
                continue
            self.unverified.discard(key)

    def _note(self, one: Person, other: Person, name: Key, source: str) -> None:
        if one.id is not None and other.id is not None:
            self.conflicts.append(conflicts.Conflict(one.id, other.id, [name], source, True))

    def _create(self, key: Key, values: list[Any], attributes: dict[str, Any], source: str) -> Outcome:
        """A new profile; nobody has its names yet, but for those that may be shared."""
        profile = Person(
            None,
            [None if value is UNSET else value for value in values],
            {name: value for name, value in attributes.items() if value is not None},
        )
        profile.origin = source
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

    def _check_names(self, profile: Person, values: list[Any], source: str) -> None:
        for place, name in self.sure:
            value = values[place]
            if value:
                owner = self.owner.get((name, value))
                if owner is not None and owner is not profile:
                    self._note(profile, owner, (name, value), source)
                    raise _taken(name, value, owner)

    def _assign(self, profile: Person, values: list[Any], attributes: dict[str, Any], source: str) -> bool:
        """Set fields and attributes, moving the identifiers along; whether anything changed."""
        changed = False
        held_values = profile.values
        for place, value in enumerate(values):
            old = held_values[place]
            if value is UNSET or old == value:
                continue
            changed = True
            held_values[place] = value
            profile.told[FIELDS[place]] = source
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
                    if held.pop(name, None) is None:
                        continue
                elif name in held and _same(held[name], value):
                    continue
                else:
                    held[name] = value
                changed = True
                profile.told[f"attributes.{name}"] = source
        return changed

    def _claim(self, key: Key, profile: Person) -> None:
        self.moved.setdefault(key, None)
        self.owner[key] = profile
        profile.names.append(key)

    def _release(self, key: Key, profile: Person) -> None:
        self.moved.setdefault(key, profile.id)
        del self.owner[key]
        profile.names.remove(key)

    def write(self, now: datetime) -> None:
        """Store what changed; number the new profiles."""
        changed = [profile for profile in self.profiles.values() if profile.changed]
        with connection.cursor() as cursor:
            profile_rows.number(cursor, self.created)
            for outcome, profile in self.unnumbered:
                outcome.profile_id = profile.id
            # Identifiers first: if somebody else was faster, little has to be undone.
            profile_rows.write_names(cursor, self.moved, self.owner)
            profile_rows.insert(cursor, self.created, now)
            profile_rows.update(cursor, changed, now)
            profile_rows.prove(cursor, self.proved)
        conflicts.record(self.conflicts, now)


def _leave(
    profile: Person, ours: frozenset[str], values: list[Any], attributes: dict[str, Any]
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


def _taken(name: str, value: str, owner: Person) -> Rejection:
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
