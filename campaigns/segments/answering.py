"""Asking many segments at once about people: who has to come in, and who has to go.

Conditions on the profile's own row cost next to nothing once the row is read, and the memberships of a person lie side
by side in an index; so segments that ask for no more share one statement, even if it looks at some people in vain.
The others share one with those that are asked about just the same people.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from campaigns.segments import compiler
from campaigns.segments.conditions.base import MOST_LISTED
from campaigns.segments.loading import Loaded
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, joined, sql

SCOPE = 10_000  # people asked about by one statement
TOGETHER = 50  # segments in one statement
_PEOPLE = "asked_people"


class Group(NamedTuple):
    """Segments that are asked together about these people, in order."""

    segments: Sequence[Loaded]
    profile_ids: Sequence[int]


def groups(
    kept: Sequence[Loaded], asked: Mapping[int, Mapping[int, object]], now: datetime
) -> Iterator[Group]:
    """All that is asked, in groups.

    Args:
        asked: by segment id, the people by profile id.
    """
    own_row: list[Loaded] = []
    alike: dict[frozenset[int], list[Loaded]] = {}
    for one in kept:
        if people := asked.get(one.segment.pk):
            if _asks_the_row_alone(one, now):
                own_row.append(one)
            else:
                alike.setdefault(frozenset(people), []).append(one)
    of_rows: frozenset[int] = frozenset().union(*(asked[one.segment.pk] for one in own_row))
    for together, segments in ((of_rows, own_row), *alike.items()):
        ids = sorted(together)
        for start in range(0, len(ids), SCOPE):
            for first in range(0, len(segments), TOGETHER):
                yield Group(segments[first : first + TOGETHER], ids[start : start + SCOPE])


def differences(group: Group, now: datetime) -> Sql:
    """A SELECT of (segment id, profile id, whether they come in) of those for whom rules say otherwise than members.

    Raises:
        RuleError: a rule can't be compiled.
    """
    ids = list(group.profile_ids)
    table = _PEOPLE if len(ids) > MOST_LISTED else ""
    own_row, selects = [], []
    for one in group.segments:
        query = one.query(now, ids)._replace(table=table)
        condition = compiler.predicate(one.rule, query)
        if condition is not None:
            own_row.append(sql("({}::bigint, ({}))", one.segment.pk, condition))
        else:
            found = compiler.ids(one.rule, query)
            selects.append(sql("SELECT {}::bigint, id FROM ({}) AS found", one.segment.pk, found))
    if own_row:
        selects.append(
            sql(
                "SELECT s.segment_id, p.id FROM crm_profile p CROSS JOIN LATERAL (VALUES {}) AS s(segment_id, holds)"
                " WHERE s.holds{}",
                _listed(own_row),
                query.within_scope("p.id"),
            )
        )
    return sql(
        "WITH {}found (segment_id, id) AS MATERIALIZED ({}), members AS MATERIALIZED ("
        " SELECT m.segment_id, m.profile_id AS id FROM unnest({}::bigint[]) AS asked(id) CROSS JOIN LATERAL ("
        # one by one: the planner would rather read all members of all these segments
        " SELECT segment_id, profile_id FROM campaigns_segmentmembership WHERE profile_id = asked.id OFFSET 0) AS m"
        " WHERE m.segment_id = ANY({}::bigint[]))"
        " SELECT segment_id, id, true FROM (SELECT * FROM found EXCEPT SELECT * FROM members) AS entered"
        " UNION ALL"
        " SELECT segment_id, id, false FROM (SELECT * FROM members EXCEPT SELECT * FROM found) AS departed",
        sql("{} AS MATERIALIZED (SELECT DISTINCT unnest({}::bigint[]) AS id), ", Sql(_PEOPLE), ids)
        if table
        else Sql(""),
        joined(" UNION ALL ", selects),
        ids,
        [one.segment.pk for one in group.segments],
    )


def _asks_the_row_alone(one: Loaded, now: datetime) -> bool:
    try:
        return compiler.predicate(one.rule, one.query(now, [])) is not None
    except RuleError:
        return False  # whoever asks it finds out


def _listed(pieces: Sequence[Sql]) -> Sql:
    return Sql(
        ", ".join(piece.text for piece in pieces), tuple(param for piece in pieces for param in piece.params)
    )
