"""Which profile is meant: resolving references, and merging what turns out to be one person."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext
from psycopg.errors import DeadlockDetected

from crm import log, normalise, signals, traits
from crm.models import Identifier, Profile

# From the surest to the weakest; an event goes to the profile that the surest known reference names.
ORDER = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE, Identifier.ANONYMOUS_ID)
_KNOWN = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE)
_TRIES = 5
_MAX_ID = 2**63 - 1


class UnknownProfile(LookupError):
    """There is no profile with this id."""


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a caller names a person; several names at once say that they are one person.

    `proof` is a site's signature of the surest name, `click` the token of a message that was clicked: see
    crm/proof.py, which answers both before a reference is resolved.
    """

    id: int | None = None
    external_id: str | None = None
    email: str | None = None
    phone: str | None = None
    anonymous_id: str | None = None
    proof: str | None = None
    click: str | None = None

    def keys(self) -> list[tuple[str, str]]:
        """(kind, value) of the names given, the surest first."""
        return [(kind, value) for kind in ORDER if (value := getattr(self, kind))]


def normal(reference: Reference, field: str = "profile") -> Reference:
    """The reference as profiles keep its names, so that everybody finds the same person.

    Args:
        field: where the reference stands in the request, for the rejection.

    Raises:
        Rejection: a name can't be one, or there is none.
    """
    if reference.id is not None and not 0 < reference.id <= _MAX_ID:
        raise normalise.Rejection("unknown_profile", f"{field}.id", gettext("There is no such profile."))
    reference = msgspec.structs.replace(
        reference,
        external_id=normalise.identifier(reference.external_id, f"{field}.external_id"),
        email=normalise.email(reference.email, f"{field}.email"),
        phone=normalise.phone(reference.phone, field=f"{field}.phone"),
        anonymous_id=normalise.identifier(reference.anonymous_id, f"{field}.anonymous_id"),
    )
    if reference.id is None and not reference.keys():
        raise normalise.Rejection(
            "missing_field", field, gettext("Name the profile by external_id, email, anonymous_id or id.")
        )
    return reference


class _Known(msgspec.Struct):
    """What resolving has to know of a profile. `names` holds its one value of each known kind."""

    id: int
    names: dict[str, str]
    crm: bool = False

    @property
    def anonymous(self) -> bool:
        return not self.names and not self.crm


class _Conflict(Exception):
    """Another transaction claimed one of our identifiers first."""


def resolve(references: Sequence[Reference], now: datetime | None = None) -> list[int]:
    """Return the profile id each reference means, in order, creating profiles that do not exist yet.

    A name nobody has goes to the profile found by the others. An anonymous profile that is named together
    with a known person is merged into that person; two known people are never joined: the surest name wins.
    The profiles stay locked against merging and deletion until the caller's transaction ends.

    Raises:
        UnknownProfile: a reference has an `id` that does not exist.
    """
    now = now or timezone.now()
    for _ in range(_TRIES):
        try:
            with transaction.atomic():
                return _Resolution(references, now).run()
        except _Conflict:
            continue
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected):
                raise
    raise RuntimeError("Could not claim identifiers; too many writers claim the same ones.")


def existing_ids(ids: Sequence[int]) -> set[int]:
    """Those of `ids` that are profiles."""
    return set(Profile.objects.filter(pk__in=ids).values_list("pk", flat=True))


class _Resolution:
    """One pass over a batch: reads in three queries, decides in memory, writes in bulk."""

    def __init__(self, references: Sequence[Reference], now: datetime):
        self.references = references
        self.now = now
        self.owner: dict[tuple[str, str], int] = {}
        self.profiles: dict[int, _Known] = {}
        self.merged: dict[int, int] = {}
        self.created: list[int] = []
        self.claimed: list[tuple[str, str]] = []
        self.new_ids: set[int] = set()

    def run(self) -> list[int]:
        distinct = list(dict.fromkeys(self.references))
        self._load(distinct)
        answers = {reference: self._decide(reference) for reference in distinct}
        self._number_the_new()
        self._write()
        return [self._now(answers[reference]) for reference in self.references]

    def _load(self, references: Sequence[Reference]) -> None:
        keys = list({key for reference in references for key in reference.keys()})
        ids = {reference.id for reference in references if reference.id is not None}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT i.kind, i.value, i.profile_id FROM crm_identifier i
                JOIN unnest(%s::text[], %s::text[]) AS k(kind, value) USING (kind, value)
                """,
                [[kind for kind, _ in keys], [value for _, value in keys]],
            )
            self.owner = {(kind, value): owner for kind, value, owner in cursor.fetchall()}
            wanted = sorted(ids | set(self.owner.values()))
            # A merge or an erasure waits until we have written to these profiles, and we for it. Where we may
            # merge or name ourselves, the stronger lock is taken at once: raising it later could deadlock.
            lock = "FOR UPDATE" if any(self._may_change(r) for r in references) else "FOR KEY SHARE"
            cursor.execute(f"SELECT id FROM crm_profile WHERE id = ANY(%s) ORDER BY id {lock}", [wanted])
            found = {row[0] for row in cursor.fetchall()}
            if ids - found:
                raise UnknownProfile(f"There is no profile with the id {min(ids - found)}.")
            if set(self.owner.values()) - found:
                raise _Conflict
            cursor.execute(
                "SELECT profile_id, kind, value FROM crm_identifier WHERE profile_id = ANY(%s)", [wanted]
            )
            self.profiles = {profile_id: _Known(profile_id, {}) for profile_id in found}
            for profile_id, kind, value in cursor.fetchall():
                if kind in _KNOWN:
                    self.profiles[profile_id].names[kind] = value
                elif kind != Identifier.ANONYMOUS_ID:
                    self.profiles[profile_id].crm = True

    def _may_change(self, reference: Reference) -> bool:
        """Whether it may merge stored profiles or give one a name, rather than only lead to it."""
        owners = {self.owner.get(key) for key in reference.keys()}
        if reference.id is not None:
            owners.add(reference.id)
        return len(owners) > 1

    def _decide(self, reference: Reference) -> int:
        keys = reference.keys()
        if not keys and reference.id is None:
            raise ValueError("A reference needs at least one name.")
        if reference.id is not None:
            target = self.profiles[self._now(reference.id)]
        else:
            target = self._surest(keys) or self._create()
        for key in keys:
            self._attach(key, target)
        return target.id

    def _surest(self, keys: list[tuple[str, str]]) -> _Known | None:
        """The profile the surest usable name leads to; a name that contradicts a surer, new one does not count."""
        contradicted: dict[str, str] = {}
        for kind, value in keys:
            owner = self.owner.get((kind, value))
            if owner is not None:
                profile = self.profiles[self._now(owner)]
                if all(profile.names.get(k, v) == v for k, v in contradicted.items()):
                    return profile
            elif kind in _KNOWN:
                contradicted[kind] = value
        return None

    def _attach(self, key: tuple[str, str], target: _Known) -> None:
        kind, value = key
        owner = self.owner.get(key)
        if owner is None:
            if kind in _KNOWN:
                if kind in target.names:
                    return  # the person has another customer number, email or phone already: not ours to change
                target.names[kind] = value
            self.owner[key] = target.id
            self.claimed.append(key)
            return
        other = self.profiles[self._now(owner)]
        if other.id != target.id and other.anonymous:
            self.merged[other.id] = target.id

    def _create(self) -> _Known:
        profile = _Known(
            -1 - len(self.created), {}
        )  # its number comes later, when it is clear how many are new
        self.profiles[profile.id] = profile
        self.created.append(profile.id)
        return profile

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
        Profile.objects.bulk_create(
            [
                Profile(id=pid, first_seen=self.now, last_seen=self.now, **self.profiles[pid].names)
                for pid in sorted(self.new_ids)
            ]
        )
        self._claim()
        self._fill_columns()
        stored = [(loser, self._now(loser)) for loser in self.merged if loser > 0]
        if stored:
            merge(stored, "identified", self.now)

    def _claim(self) -> None:
        if not self.claimed:
            return
        claims = sorted((kind, value, self._now(self.owner[kind, value])) for kind, value in self.claimed)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO crm_identifier (kind, value, profile_id)
                SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) ON CONFLICT DO NOTHING
                """,
                [list(column) for column in zip(*claims, strict=True)],
            )
            if cursor.rowcount < len(claims):
                raise _Conflict

    def _fill_columns(self) -> None:
        """Show newly claimed names on profiles that existed before."""
        rows = [
            (self._now(self.owner[kind, value]), kind, value)
            for kind, value in self.claimed
            if kind in _KNOWN
        ]
        for column in _KNOWN:
            changed = [
                (pid, value) for pid, kind, value in rows if kind == column and pid not in self.new_ids
            ]
            if changed:
                with connection.cursor() as cursor:
                    cursor.execute(
                        f"""
                        UPDATE crm_profile p SET {column} = r.value, updated_at = now()
                        FROM unnest(%s::bigint[], %s::text[]) AS r(id, value) WHERE p.id = r.id
                        """,
                        [list(column_values) for column_values in zip(*changed, strict=True)],
                    )


_PAIRS = "unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)"
_FIRST_KNOWN = ", ".join(
    f"(array_agg(l.{name} ORDER BY l.id) FILTER (WHERE l.{name} IS NOT NULL))[1] AS {name}"
    for name in traits.TRAITS
)
_MERGE = (
    # The winner's own data stays; the losers' fills the gaps, the oldest's first.
    f"""
    UPDATE crm_profile w SET
        first_seen = least(w.first_seen, g.first_seen), last_seen = greatest(w.last_seen, g.last_seen),
        {", ".join(f"{name} = coalesce(w.{name}, g.{name})" for name in traits.TRAITS)},
        attributes = coalesce(
            (SELECT jsonb_object_agg(a.key, a.value ORDER BY l.id DESC)
             FROM {_PAIRS} JOIN crm_profile l ON l.id = m.loser CROSS JOIN jsonb_each(l.attributes) a
             WHERE m.winner = w.id), '{{}}') || w.attributes,
        updated_at = now()
    FROM (
        SELECT m.winner, min(l.first_seen) AS first_seen, max(l.last_seen) AS last_seen,
            {_FIRST_KNOWN}
        FROM {_PAIRS} JOIN crm_profile l ON l.id = m.loser GROUP BY m.winner
    ) g WHERE w.id = g.winner
    """,
    f"UPDATE crm_identifier i SET profile_id = m.winner FROM {_PAIRS} WHERE i.profile_id = m.loser",
    f"UPDATE crm_device d SET profile_id = m.winner FROM {_PAIRS} WHERE d.profile_id = m.loser",
    # Of two answers to one question the later one counts; but a CRM's, which is as old as its record's last change of
    # whatever kind, does not take the place of the person's own no.
    f"""
    WITH pairs AS (SELECT * FROM {_PAIRS}), answers AS (
        SELECT p.winner, o.kind, o.key, o.state, o.source, o.wording, o.changed_at
        FROM (SELECT winner, loser AS profile_id FROM pairs UNION SELECT winner, winner FROM pairs) AS p
        JOIN crm_consent o USING (profile_id)
    ), own AS (
        SELECT DISTINCT ON (winner, kind, key) winner, kind, key, state FROM answers WHERE source <> 'crm'
        ORDER BY winner, kind, key, changed_at DESC
    )
    INSERT INTO crm_consent AS c (profile_id, kind, key, state, source, wording, changed_at)
    SELECT DISTINCT ON (winner, kind, key) winner, kind, key, a.state, a.source, a.wording, a.changed_at
    FROM answers a LEFT JOIN own USING (winner, kind, key)
    WHERE NOT (a.source = 'crm' AND coalesce(own.state, '') = 'unsubscribed')
    ORDER BY winner, kind, key, a.changed_at DESC, a.state DESC
    ON CONFLICT (profile_id, kind, key) DO UPDATE SET state = excluded.state, source = excluded.source,
        wording = excluded.wording, changed_at = excluded.changed_at
        WHERE (excluded.state, excluded.source, excluded.wording, excluded.changed_at)
            <> (c.state, c.source, c.wording, c.changed_at)
    """,
    f"UPDATE crm_consentchange c SET profile_id = m.winner FROM {_PAIRS} WHERE c.profile_id = m.loser",
    f"UPDATE crm_profilemerge p SET winner_id = m.winner FROM {_PAIRS} WHERE p.winner_id = m.loser",
)

# Last: who writes about a device or delivery locks its row, so by then such writers have ended and nobody
# can begin to write about the loser.
_MOVE_EVENTS = f"UPDATE crm_event e SET profile_id = m.winner FROM {_PAIRS} WHERE e.profile_id = m.loser"


@transaction.atomic
def merge(pairs: Sequence[tuple[int, int]], reason: str, now: datetime | None = None) -> None:
    """Fold each (loser, winner) pair of profile ids into the winner, keeping all history.

    The loser's row goes; ProfileMerge keeps what it was. Winners must not be losers of the same call.
    """
    now = now or timezone.now()
    ids = sorted({profile_id for pair in pairs for profile_id in pair})
    locked = {
        profile.pk: profile
        for profile in Profile.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    }
    pairs = [(loser, winner) for loser, winner in pairs if loser in locked and winner in locked]
    if not pairs:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO crm_profilemerge (loser_id, winner_id, reason, snapshot, merged_at)
            SELECT m.loser, m.winner, %(reason)s, to_jsonb(l) || jsonb_build_object('identifiers',
                (SELECT coalesce(jsonb_agg(jsonb_build_array(kind, value)), '[]') FROM crm_identifier
                 WHERE profile_id = m.loser)), %(now)s
            FROM """
            + _PAIRS
            + " JOIN crm_profile l ON l.id = m.loser",
            {**_columns(pairs), "reason": reason, "now": now},
        )
        for statement in _MERGE:
            cursor.execute(statement, _columns(pairs))
    signals.profiles_merging.send(sender=None, pairs=pairs)
    with connection.cursor() as cursor:
        cursor.execute(_MOVE_EVENTS, _columns(pairs))
    Profile.objects.filter(pk__in=[loser for loser, _ in pairs]).delete()
    log.append(
        [
            log.NewEvent(
                id=log.event_id("merge", loser, winner),
                profile_id=winner,
                name="profile_merged",
                occurred_at=now,
                properties={"merged": loser, "reason": reason},
                source="nudge",
            )
            for loser, winner in pairs
        ]
    )


def _columns(pairs: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    return {"losers": [loser for loser, _ in pairs], "winners": [winner for _, winner in pairs]}
