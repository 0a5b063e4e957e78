"""Following a CRM's merges of people: two of its records become one, and so do our profiles.

Some CRMs tell it on the loser (`Record.merged_into`), some on the winner (`Record.absorbed`), which they then
repeat for ever. Either is followed once. The winner's record is taken anew afterwards, so that its answers about
consent count, and not those of the loser.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection as database

from crm import identity, privacy
from crm.connectors.base import Record
from crm.models import Connection, Identifier, Profile, SourceRecord
from crm.sync import gone, hints

State = SourceRecord.State

_REMEMBER = """
    INSERT INTO crm_sourcerecord AS s
        (connection_id, object, record_id, modified_at, content_hash, empty, consent, state, merged_into, local,
         synced_at)
    SELECT %(connection)s, %(object)s, r.loser, r.at, '', '{}', '{}', 'merged', r.winner, '', %(now)s
    FROM unnest(%(losers)s::text[], %(winners)s::text[], %(times)s::timestamptz[]) AS r(loser, winner, at)
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET state = 'merged', merged_into = excluded.merged_into,
        modified_at = greatest(s.modified_at, excluded.modified_at), content_hash = '', empty = '{}', consent = '{}',
        local = '', synced_at = excluded.synced_at
"""
# An empty fingerprint makes the record news, and without a memory of its answers each of them is a new one.
_TAKE_ANEW = """
    UPDATE crm_sourcerecord SET content_hash = '', consent = '{}'
    WHERE connection_id = %s AND object = %s AND record_id = ANY(%s) AND state = 'live'
"""
# The CRM may have filled the winner's empty fields with what we wrote into the loser's: what a field holds is not
# known any more (null), so that it is written again.
_UNKNOWN = """
    WITH lost AS (
        DELETE FROM crm_writtenrecord w USING unnest(%(losers)s::text[], %(winners)s::text[]) AS r(loser, winner)
        WHERE w.connection_id = %(connection)s AND w.object = %(object)s AND w.record_id = r.loser
        RETURNING r.winner, w.profile_id, w.values
    )
    INSERT INTO crm_writtenrecord AS w (connection_id, object, record_id, profile_id, values, error, due_at,
        written_at)
    SELECT %(connection)s, %(object)s, winner, max(profile_id),
        coalesce(jsonb_object_agg(key, NULL) FILTER (WHERE key IS NOT NULL), '{}'), '', %(now)s, %(now)s
    FROM lost LEFT JOIN jsonb_object_keys(lost.values) AS key ON true GROUP BY winner
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET values = w.values || excluded.values,
        due_at = excluded.due_at
"""


def follow(
    connection: Connection, object_name: str, kind: str, records: Iterable[Record], now: datetime
) -> int:
    """Merge what these records say was merged, in the caller's transaction; return how many merges were new.

    To be called before the records themselves are looked up or stored. A winner that is not here yet gets its
    loser's profile; one that was erased takes the loser's data with it.

    Args:
        kind: of the records' Identifiers.
    """
    told: dict[str, str] = {}
    times: dict[str, datetime] = {}
    elsewhere: set[str] = set()  # losers whose winner's record is not the one that told it
    for record in records:
        pairs = [(loser, record.id) for loser in record.absorbed]
        if record.merged_into:
            pairs.append((record.id, record.merged_into))
            elsewhere.add(record.id)
        for loser, winner in pairs:
            if loser != winner:
                told[loser], times[loser] = winner, record.modified_at
    if not told:
        return 0
    known = _known(connection, object_name, told)
    told = {
        loser: winner
        for loser, winner in told.items()
        if loser not in known or known[loser].state not in (State.MERGED, State.ERASED)
    }
    if not told:
        return 0
    final = {loser: _end(loser, told, known) for loser in told}
    new = [(loser, winner) for loser, winner in final.items() if winner != loser]
    _Work(connection, object_name, kind, now, known, times).merge(new)
    again = {winner for loser, winner in new if loser in elsewhere}
    hints.remember(connection, object_name, [(winner, hints.CHANGED) for winner in sorted(again)], now)
    return len(new)


def take_over(
    connection: Connection, object_name: str, kind: str, addresses: dict[str, str], now: datetime
) -> set[str]:
    """Let records inherit the profiles that deleted records left behind with their address; return which did.

    Of a merge some CRMs tell no more than that the loser is gone; the winner may have got its address.

    Args:
        kind: of the records' Identifiers.
        addresses: record id -> the email address that somebody else has here.
    """
    if not addresses:
        return set()
    holders = dict(Profile.objects.filter(email__in=addresses.values()).values_list("email", "pk"))
    owners = dict(
        Identifier.objects.filter(kind=kind, value__in=list(addresses)).values_list("value", "profile_id")
    )
    ours = set(
        Identifier.objects.filter(kind=kind, profile_id__in=holders.values()).values_list(
            "profile_id", flat=True
        )
    )
    gone_ones = SourceRecord.objects.filter(
        connection=connection,
        object=object_name,
        state__in=(State.DELETED, State.MISSING),
        local__in=[privacy.left_by(profile_id) for profile_id in holders.values()],
    )
    left = {privacy.left(local) for local in gone_ones.values_list("local", flat=True)} - ours
    pairs = {
        holders[address]: record_id
        for record_id, address in addresses.items()
        if record_id in owners and holders.get(address) in left
    }
    identity.merge([(loser, owners[record_id]) for loser, record_id in pairs.items()], "crm", now)
    return set(pairs.values())


def _known(connection: Connection, object_name: str, told: dict[str, str]) -> dict[str, SourceRecord]:
    """The losers' and winners' memory, and that of whomever the winners were merged into before."""
    known: dict[str, SourceRecord] = {}
    wanted = {*told, *told.values()}
    while wanted:
        rows = SourceRecord.objects.filter(
            connection=connection, object=object_name, record_id__in=wanted
        ).only("record_id", "state", "merged_into", "local")
        known |= {row.record_id: row for row in rows}
        wanted = {known[name].merged_into for name in wanted if name in known} - {"", *known}
    return known


def _end(loser: str, told: dict[str, str], known: dict[str, SourceRecord]) -> str:
    """The record at the end of a chain of merges; the loser itself if the chain has none."""
    seen, place = {loser}, told[loser]
    while True:
        if place in seen:
            return loser
        seen.add(place)
        if place in told:
            place = told[place]
        elif place in known and known[place].state == State.MERGED:
            place = known[place].merged_into
        else:
            return place


class _Work:
    """The merges of one batch; each pair's winner is at the end of its chain."""

    def __init__(
        self,
        connection: Connection,
        object_name: str,
        kind: str,
        now: datetime,
        known: dict[str, SourceRecord],
        times: dict[str, datetime],
    ):
        self.connection, self.object, self.kind, self.now = connection, object_name, kind, now
        self.known, self.times = known, times

    def merge(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Join the profiles, and remember the losers as merged."""
        if not pairs:
            return
        losers, winners = [loser for loser, _ in pairs], [winner for _, winner in pairs]
        owners = dict(
            Identifier.objects.filter(kind=self.kind, value__in={*losers, *winners}).values_list(
                "value", "profile_id"
            )
        )
        people = self._people({*losers, *winners}, owners)
        heirs: list[tuple[str, str]] = []
        joined: dict[int, int] = {}
        erased: list[int] = []
        left: dict[int, datetime] = {}
        for loser, winner in pairs:
            profile = people.get(loser)
            if profile is None:
                continue
            if self._state(winner) == State.ERASED:
                erased.append(_find(profile, joined))
            elif winner not in people:
                heirs.append((loser, winner))  # the winner's record will find the profile under its own id
                people[winner] = profile
            else:
                one, other = _find(profile, joined), _find(people[winner], joined)
                if one != other:
                    joined[one] = other
                if self._state(winner) in (State.DELETED, State.MISSING):
                    left[other] = self.times[loser]
        self._inherit(heirs, people)
        if joined:
            identity.merge([(one, _find(one, joined)) for one in joined], "crm", self.now)
        Identifier.objects.filter(kind=self.kind, value__in=losers).delete()
        self._remember(pairs)
        gone.end_consent({_find(profile, joined): at for profile, at in left.items()})
        privacy.erase(sorted({_find(profile, joined) for profile in erased}), "crm", self.now)

    def _state(self, record_id: str) -> str | None:
        return self.known[record_id].state if record_id in self.known else None

    def _people(self, record_ids: set[str], owners: dict[str, int]) -> dict[str, int]:
        """Record id -> profile id; of deleted records, the profile that they left."""
        left = {
            name: profile_id
            for name in record_ids
            if name not in owners
            and name in self.known
            and (profile_id := privacy.left(self.known[name].local)) is not None
        }
        present = privacy.present(set(left.values()))
        return {**owners, **{name: present[pid] for name, pid in left.items() if pid in present}}

    def _inherit(self, heirs: Sequence[tuple[str, str]], people: dict[str, int]) -> None:
        """Give losers' profiles the ids of winners that are not here yet."""
        if heirs:
            with database.cursor() as cursor:
                cursor.execute(
                    """
                    INSERT INTO crm_identifier (kind, value, profile_id)
                    SELECT %s, * FROM unnest(%s::text[], %s::bigint[]) ON CONFLICT DO NOTHING
                    """,
                    [self.kind, [winner for _, winner in heirs], [people[winner] for _, winner in heirs]],
                )

    def _remember(self, pairs: Sequence[tuple[str, str]]) -> None:
        losers, winners = [loser for loser, _ in pairs], [winner for _, winner in pairs]
        values: dict[str, Any] = {
            "connection": self.connection.pk,
            "object": self.object,
            "now": self.now,
            "losers": losers,
            "winners": winners,
            "times": [self.times[loser] for loser in losers],
        }
        with database.cursor() as cursor:
            cursor.execute(_REMEMBER, values)
            cursor.execute(_UNKNOWN, values)
            cursor.execute(_TAKE_ANEW, [self.connection.pk, self.object, sorted(set(winners))])


def _find(profile_id: int, joined: dict[int, int]) -> int:
    while profile_id in joined:
        profile_id = joined[profile_id]
    return profile_id
