"""The profiles of names that are all known already: what most references of events come to, in one query."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

import msgspec

from crm import identity_rules
from crm.identity import Reference
from crm.identity_rules import Name, Rules
from crm.models import Identifier
from crm.pg import prepared, text_array

_BROWSER = str(Identifier.ANONYMOUS_ID)
_ID = ":id"  # in place of a kind, for a profile that is named by our own number
_BY_NAME = "SELECT kind, value, profile_id, verified FROM crm_identifier WHERE kind = %s AND value = ANY(%s)"
_BY_ID = f"SELECT '{_ID}', id::text, id, true FROM unnest(%s::bigint[]) AS id"


class Found(msgspec.Struct):
    """Whom references mean. `unseen` are those of the profiles whose `last_seen` is due."""

    profiles: dict[Reference, int]
    unseen: list[int]


def find(references: Mapping[Reference, bool], unseen_since: datetime) -> Found | None:
    """Answer as `identity.resolve` would where that had nothing to write: each reference's names all belong to one
    profile, and say nothing new about it. None: at least one reference needs `resolve`.

    The profiles stay locked against merging and deletion until the caller's transaction ends. A name may go to
    another profile while we wait for that lock; then the answer is that of a moment before.

    Args:
        references: in normal form; the values tell which are proven.
        unseen_since: profiles that were not seen after this moment are `unseen`.
    """
    rules = identity_rules.held()
    rows = _locked(references, unseen_since)
    held: dict[Name, tuple] = {row[:2]: row for row in rows}
    version = held.get((identity_rules.VERSION, ""))
    if (version[2] if version else 0) != rules.version:
        return None
    found = {}
    for reference, proven in references.items():
        names = _names(reference)
        first = held.get(names[0])
        if first is None or (proven and first[5]):
            return None
        owner = first[2]
        for name in names[1:]:
            row = held.get(name)
            if row is None or row[2] != owner or (proven and row[5]):
                return None
        if names[0][0] not in rules.open and not _leads(names, held, proven, rules):
            return None
        found[reference] = owner
    return Found(found, sorted({row[2] for row in rows if row[4]}))


def _leads(names: tuple[Name, ...], held: Mapping[Name, tuple], proven: bool, rules: Rules) -> bool:
    """Whether one of the names may lead to the profile that all of them belong to."""
    if names[0][0] == _ID:
        return True
    return any(name[0] not in rules.strict or held[name][3] for name in rules.finding(list(names), proven))


def _locked(references: Mapping[Reference, bool], unseen_since: datetime) -> list[tuple]:
    """(kind, value, profile id, verified, unseen, provable) of the names that profiles have, and the rules' version.

    `provable`: who vouches for the name says something new. Of a browser's id that holds with a known person only.
    """
    kinds: dict[str, list[str]] = {}
    for reference in references:
        for kind, value in _names(reference):
            kinds.setdefault(kind, []).append(value)
    parts, values = [], []
    for kind, wanted in sorted(kinds.items()):
        if kind == _ID:
            parts.append(_BY_ID)
            values.append("{" + ",".join(wanted) + "}")
        else:
            parts.append(_BY_NAME)
            values += [kind, text_array(wanted)]
    with prepared() as cursor:
        # In the order of ids, as everybody locks profiles, so that no two wait for each other.
        cursor.execute(
            f"""
            WITH found AS (
                SELECT n.kind, n.value, p.id, n.verified,
                    p.last_seen IS NULL OR p.last_seen < %s AS unseen,
                    NOT n.verified AND (n.kind <> '{_BROWSER}' OR EXISTS (
                        SELECT FROM crm_identifier k WHERE k.profile_id = p.id AND k.kind <> '{_BROWSER}'
                    )) AS provable
                FROM ({" UNION ALL ".join(parts)}) AS n(kind, value, profile_id, verified)
                JOIN crm_profile p ON p.id = n.profile_id
                ORDER BY p.id FOR KEY SHARE OF p
            )
            SELECT * FROM found UNION ALL SELECT *, false, false FROM ({identity_rules.ASK_VERSION}) AS rules
            """,
            [unseen_since, *values],
        )
        return cursor.fetchall()


@lru_cache(maxsize=16_384)
def _names(reference: Reference) -> tuple[Name, ...]:
    """What names the profile: its number, where it is given, before the names in the order of Reference.keys."""
    number = [(_ID, str(reference.id))] if reference.id is not None else []
    return tuple(number + reference.keys())
