"""One batch of references answered: read in three queries, decided in memory, written in bulk."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection

from crm import conflicts, identity_rules, tombstones
from crm.identity_rules import Name
from crm.merging import merge, winners
from crm.models import Identifier
from crm.pg import copy_columns, text_array
from crm.references import ErasedPerson, Reference, UnknownProfile

SDK = "sdk"  # the source by which people speak for themselves
_KNOWN = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE)
_OWNERS = "SELECT kind, value, profile_id, verified FROM crm_identifier WHERE kind = %s AND value = ANY(%s)"


class _Known(msgspec.Struct):
    """What resolving has to know of a profile. `names` holds its one value of each known kind."""

    id: int
    names: dict[str, str]
    crm: bool = False

    @property
    def anonymous(self) -> bool:
        return not self.names and not self.crm


class _Plan(msgspec.Struct):
    """One reference: all its names, and those that may lead to a person, the surest first."""

    number: int | None
    names: list[Name]
    finding: list[Name]
    proven: bool

    def proves(self, name: Name, target: _Known) -> bool:
        """Whether it vouches for `name` of `target`. A browser's id alone says nobody's name, so whoever uses that
        browser could still claim any: it is proven only together with a person."""
        return self.proven and (name[0] != Identifier.ANONYMOUS_ID or not target.anonymous)


class Conflict(Exception):
    """Another transaction claimed one of our identifiers first, or the rules have changed."""


class Resolution:
    """One pass over a batch: reads in three queries, decides in memory, writes in bulk."""

    def __init__(
        self, references: Sequence[Reference], now: datetime, proven: frozenset[Reference], source: str
    ):
        self.references = references
        self.now = now
        self.source = source
        self.rules = identity_rules.held()
        self.plans = {reference: self._plan(reference, proven) for reference in dict.fromkeys(references)}
        self.owner: dict[Name, int] = {}
        self.verified: set[Name] = set()
        self.profiles: dict[int, _Known] = {}
        self.merged: dict[int, int] = {}
        self.created: list[int] = []
        self.claimed: dict[Name, bool] = {}  # and whether it is proven
        self.proved: list[Name] = []
        self.taken: dict[Name, int] = {}  # names that went to who proved them, with who only claimed them
        self.apart: set[conflicts.Pair] = set()
        self.conflicts: list[conflicts.Conflict] = []
        self.new_ids: set[int] = set()

    def run(self) -> list[int]:
        self._load()
        answers = {reference: self._decide(plan) for reference, plan in self.plans.items()}
        self._mind_the_erased()
        self._number_the_new()
        self._write()
        return [self._now(answers[reference]) for reference in self.references]

    def _plan(self, reference: Reference, proven: frozenset[Reference]) -> _Plan:
        names = reference.keys()
        if not names and reference.id is None:
            raise ValueError("A reference needs at least one name.")
        trusted = reference in proven
        finding = self.rules.finding(names, trusted)
        if not finding and reference.id is None:
            finding = [identity_rules.shadow(names)]
            names = names + finding
        return _Plan(reference.id, names, finding, trusted)

    def _load(self) -> None:
        values: dict[str, list[str]] = {}
        for kind, value in {name for plan in self.plans.values() for name in plan.names}:
            values.setdefault(kind, []).append(value)
        ids = {plan.number for plan in self.plans.values() if plan.number is not None}
        with connection.cursor() as cursor:
            # For each kind of its own, as an index can be searched for many values of one kind at once.
            cursor.execute(
                " UNION ALL ".join([_OWNERS] * len(values) + [identity_rules.ASK_VERSION]),
                [part for kind in sorted(values) for part in (kind, text_array(values[kind]))],
            )
            version = 0
            for kind, value, owner, verified in cursor.fetchall():
                if kind == identity_rules.VERSION:
                    version = owner
                    continue
                self.owner[kind, value] = owner
                if verified:
                    self.verified.add((kind, value))
            if version != self.rules.version:
                identity_rules.renew()
                raise Conflict
            wanted = ids | set(self.owner.values())
            # A merge or an erasure waits until we have written to these profiles, and we for it. Where we may
            # merge or name ourselves, the stronger lock is taken at once: raising it later could deadlock.
            owners = [self._owners(plan) for plan in self.plans.values()]
            lock = "FOR UPDATE" if any(len(some) > 1 for some in owners) else "FOR KEY SHARE"
            found = _locked(cursor, wanted, lock)
            if gone := ids - found:
                present = winners(gone)
                if gone - set(present):
                    raise UnknownProfile(f"There is no profile with the id {min(gone - set(present))}.")
                self.merged |= present
                found |= _locked(cursor, set(present.values()), lock)
                if set(present.values()) - found:
                    raise Conflict
            if set(self.owner.values()) - found:
                raise Conflict
            cursor.execute(
                "SELECT profile_id, kind, value FROM crm_identifier WHERE profile_id = ANY(%s)", [list(found)]
            )
            self.profiles = {profile_id: _Known(profile_id, {}) for profile_id in found}
            still: set[Name] = set()
            for profile_id, kind, value in cursor.fetchall():
                if self.owner.get((kind, value)) == profile_id:
                    still.add((kind, value))
                if kind in _KNOWN:
                    self.profiles[profile_id].names[kind] = value
                elif kind != Identifier.ANONYMOUS_ID:
                    self.profiles[profile_id].crm = True
        if len(still) < len(self.owner):
            raise Conflict  # before the lock was ours, a merge was undone or a name was given away
        if any(len(some - {None}) > 1 for some in owners):
            self.apart = conflicts.apart(found)

    def _owners(self, plan: _Plan) -> set[int | None]:
        """Who has its names; None: nobody has one of them. It changes something if there are several."""
        owners = {self.owner.get(name) for name in plan.names}
        if plan.number is not None:
            owners.add(plan.number)
        return owners

    def _decide(self, plan: _Plan) -> int:
        if plan.number is not None:
            target = self.profiles[self._now(plan.number)]
        else:
            target = self._surest(plan) or self._create()
        for name in plan.names:
            if name in self.owner:
                self._meet(name, target, plan)
            else:
                self._give(name, target, plan.proves(name, target))
        return target.id

    def _surest(self, plan: _Plan) -> _Known | None:
        """The profile the surest usable name leads to; a name that contradicts a surer, new one does not count."""
        contradicted: dict[str, str] = {}
        for kind, value in plan.finding:
            owner = self.owner.get((kind, value))
            if owner is not None and not self._weak((kind, value)):
                profile = self.profiles[self._now(owner)]
                if all(profile.names.get(k, v) == v for k, v in contradicted.items()):
                    return profile
            elif kind in _KNOWN:
                contradicted[kind] = value
        return None

    def _weak(self, name: Name) -> bool:
        """Whether its holder has only claimed a name that needs a proof."""
        return name[0] in self.rules.strict and name not in self.verified

    def _give(self, name: Name, target: _Known, proven: bool) -> None:
        """Let the profile have a name that nobody has."""
        kind, value = name
        if kind in _KNOWN:
            if kind in target.names:
                return  # the person has another customer number, email or phone already: not ours to change
            target.names[kind] = value
        self.owner[name] = target.id
        self.claimed[name] = proven
        if proven:
            self.verified.add(name)

    def _meet(self, name: Name, target: _Known, plan: _Plan) -> None:
        """A name that somebody has: the profile meant, a visitor who turns out to be that person, or another one."""
        other = self.profiles[self._now(self.owner[name])]
        if other.id == target.id:
            if plan.proves(name, target) and name not in self.verified:
                self.verified.add(name)
                if name in self.claimed:
                    self.claimed[name] = True
                else:
                    self.proved.append(name)
        elif other.anonymous:
            sure = plan.proven or plan.number is not None or not self.rules.visitors_need_proof
            if sure and (min(other.id, target.id), max(other.id, target.id)) not in self.apart:
                self.merged[other.id] = target.id
        elif name[0] in _KNOWN:
            if plan.proven and self._weak(name):
                self._take(name, other, target)
            elif name in plan.finding and not target.anonymous:
                self.conflicts.append(
                    conflicts.Conflict(target.id, other.id, [name], self.source, plan.proven)
                )

    def _take(self, name: Name, other: _Known, target: _Known) -> None:
        """A name that was only claimed goes to the person who has proved it."""
        kind, value = name
        if kind in target.names:
            return
        if other.names.get(kind) == value:
            del other.names[kind]
        target.names[kind] = value
        if name in self.claimed:
            self.claimed[name] = True
        else:
            self.taken.setdefault(name, self.owner[name])
        self.owner[name] = target.id
        self.verified.add(name)

    def _create(self) -> _Known:
        profile = _Known(
            -1 - len(self.created), {}
        )  # its number comes later, when it is clear how many are new
        self.profiles[profile.id] = profile
        self.created.append(profile.id)
        return profile

    def _mind_the_erased(self) -> None:
        """Names of erased people come back with themselves only. Names that somebody has are never among them."""
        new = [name for name in self.claimed if name[0] in _KNOWN]
        if not new:
            return
        if self.source == SDK:
            tombstones.lift(new)
            return
        erased = tombstones.erased(new)
        if erased:
            raise ErasedPerson(
                [reference for reference, plan in self.plans.items() if not erased.isdisjoint(plan.names)]
            )

    def _number_the_new(self) -> None:
        new = [provisional for provisional in self.created if provisional not in self.merged]
        if not new:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence('crm_profile', 'id')) FROM generate_series(1, %s)",
                [len(new)],
            )
            for provisional, (number,) in zip(new, cursor.fetchall(), strict=True):
                self.merged[provisional] = number
                self.profiles[number] = self.profiles[provisional]
        self.new_ids = {self.merged[provisional] for provisional in new}

    def _now(self, profile_id: int) -> int:
        while profile_id in self.merged:
            profile_id = self.merged[profile_id]
        return profile_id

    def _write(self) -> None:
        self._insert()
        self._claim()
        self._verify()
        self._move_taken()
        self._fill_columns()
        stored = [(loser, self._now(loser)) for loser in self.merged if loser in self.profiles and loser > 0]
        if stored:
            merge(stored, "identified", self.now)
        conflicts.record(
            (
                msgspec.structs.replace(found, one=self._now(found.one), other=self._now(found.other))
                for found in self.conflicts
            ),
            self.now,
        )

    def _insert(self) -> None:
        if not self.new_ids:
            return
        told = [self.source, self.now.isoformat()]
        new = sorted(self.new_ids)
        names = [self.profiles[number].names for number in new]
        sources = {kinds: json.dumps(dict.fromkeys(kinds, told)) for kinds in set(map(tuple, names))}
        columns: list[Sequence[str | None]] = [
            list(map(str, new)),
            *([held.get(kind) for held in names] for kind in _KNOWN),
            [sources[tuple(held)] for held in names],
            *2 * ([self.now.isoformat()] * len(new),),
        ]
        with connection.cursor() as cursor:
            into = f"crm_profile (id, {', '.join(_KNOWN)}, sources, first_seen, last_seen)"
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                copy_columns(copy, columns)

    def _claim(self) -> None:
        if not self.claimed:
            return
        claims = sorted(
            (kind, value, self._now(self.owner[kind, value]), proven)
            for (kind, value), proven in self.claimed.items()
        )
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO crm_identifier (kind, value, profile_id, verified)
                SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::boolean[]) ON CONFLICT DO NOTHING
                """,
                _arrays(claims),
            )
            if cursor.rowcount < len(claims):
                raise Conflict

    def _verify(self) -> None:
        """Note that names which were claims are proven now; locked in one order, whoever else does the same."""
        if not self.proved:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE crm_identifier SET verified = true WHERE id IN (
                    SELECT i.id FROM crm_identifier i
                    JOIN unnest(%s::text[], %s::text[]) AS k(kind, value) USING (kind, value)
                    WHERE NOT i.verified ORDER BY i.id FOR UPDATE OF i
                )
                """,
                _arrays(self.proved),
            )

    def _move_taken(self) -> None:
        moves = [(kind, value, before) for (kind, value), before in self.taken.items()]
        for kind, value, before in moves:
            # A conflict of two browsers and a proof: too rare to be worth a statement for many.
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE crm_identifier SET profile_id = %s, verified = true "
                    "WHERE kind = %s AND value = %s AND profile_id = %s",
                    [self._now(self.owner[kind, value]), kind, value, before],
                )
                if not cursor.rowcount:
                    raise Conflict
                cursor.execute(
                    f"UPDATE crm_profile SET {kind} = NULL, updated_at = now() WHERE id = %s AND {kind} = %s",
                    [before, value],
                )

    def _fill_columns(self) -> None:
        """Show newly claimed names on profiles that existed before."""
        rows = [
            (self._now(self.owner[kind, value]), kind, value)
            for kind, value in (*self.claimed, *self.taken)
            if kind in _KNOWN
        ]
        told = json.dumps([self.source, self.now.isoformat()])
        for column in _KNOWN:
            changed = [
                (pid, value) for pid, kind, value in rows if kind == column and pid not in self.new_ids
            ]
            if changed:
                with connection.cursor() as cursor:
                    cursor.execute(
                        f"""
                        UPDATE crm_profile p SET {column} = r.value, updated_at = now(),
                            sources = p.sources || jsonb_build_object('{column}', %s::jsonb)
                        FROM unnest(%s::bigint[], %s::text[]) AS r(id, value) WHERE p.id = r.id
                        """,
                        [told, *(list(column_values) for column_values in zip(*changed, strict=True))],
                    )


def _arrays(rows: Sequence[tuple]) -> list[str]:
    """The rows' columns as literals of arrays."""
    return [text_array(list(map(str, column))) for column in zip(*rows, strict=True)]


def _locked(cursor: Any, ids: Collection[int], lock: str) -> set[int]:
    """Lock these profiles in the order of their numbers; return those that exist."""
    cursor.execute(f"SELECT id FROM crm_profile WHERE id = ANY(%s) ORDER BY id {lock}", [sorted(ids)])
    return {row[0] for row in cursor.fetchall()}
