"""Asks PostgreSQL at once what many flows want to know: which events they mean, and who meets their rules."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from campaigns.segments import compiler, grammar
from crm import log
from crm.rules.sql import TRUE, Sql, joined, sql
from crm.rules.where import Where, check_where, properties

AT_ONCE = 50  # different conditions or rules in a statement, so that it is planned quickly


class Question(NamedTuple):
    """Which of these events are meant: those for which a condition on the event `e` holds."""

    events: Sequence[log.LoggedEvent] = ()
    means: Sql = TRUE


def narrowed(where: Sequence[Mapping[str, Any]], column: str, now: datetime) -> Sql:
    """Conditions on properties as SQL over a jsonb column. Raises RuleError."""
    checked = check_where([msgspec.convert(item, Where) for item in where], "where")
    return joined(" AND ", properties(checked, column, now)) if checked else TRUE


def meant(questions: Sequence[Question]) -> list[list[log.LoggedEvent]]:
    """The events that each question means, in their order; a statement for every 50 different conditions.

    Asked of PostgreSQL, so that a trigger and a segment mean the same by the same words.
    """
    asked: dict[str, tuple[Sql, dict[uuid.UUID, log.LoggedEvent]]] = {}
    for events, means in questions:
        if events and means != TRUE:
            asked.setdefault(repr(means), (means, {}))[1].update((event.id, event) for event in events)
    conditions = list(asked)
    found: dict[str, set[uuid.UUID]] = {key: set() for key in asked}
    for first in range(0, len(conditions), AT_ONCE):
        some = conditions[first : first + AT_ONCE]
        for number, event_id in _fitting([asked[key] for key in some]):
            found[some[number]].add(event_id)
    return [
        [event for event in events if means == TRUE or event.id in found[repr(means)]]
        for events, means in questions
    ]


def meant_each(groups: Sequence[Sequence[Question]]) -> list[list[list[log.LoggedEvent]]]:
    """As `meant`, for groups of questions."""
    answers = iter(meant([question for group in groups for question in group]))
    return [[next(answers) for _question in group] for group in groups]


def _fitting(
    asked: Sequence[tuple[Sql, Mapping[uuid.UUID, log.LoggedEvent]]],
) -> list[tuple[int, uuid.UUID]]:
    """(Number of a condition, id of one of its events for which it holds), in one statement."""
    pairs = [(number, event) for number, (_means, events) in enumerate(asked) for event in events.values()]
    times = [event.occurred_at for _number, event in pairs]
    # Only the condition that is asked of an event is worked out.
    cases = [sql("WHEN {} THEN {}", number, means) for number, (means, _events) in enumerate(asked)]
    query = sql(
        "SELECT a.number, e.id FROM unnest({}::int[], {}::uuid[]) AS a(number, id)"
        " JOIN crm_event e ON e.id = a.id"
        " WHERE e.id = ANY({}::uuid[]) AND e.occurred_at BETWEEN {} AND {} AND CASE a.number {} END",
        [number for number, _event in pairs],
        [event.id for _number, event in pairs],
        list({event.id for _number, event in pairs}),
        min(times),
        max(times),
        side_by_side(" ", cases),
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)
        return cursor.fetchall()


def meeting(asked: Sequence[tuple[Mapping[str, Any], Collection[int]]], now: datetime) -> list[set[int]]:
    """Those of some people who meet each rule by all that is in the log; a statement for every 50 different rules.

    Raises:
        RuleError: one of the rules can't be asked.
    """
    people: dict[bytes, set[int]] = {}
    keys = [msgspec.json.encode(rule, order="sorted") for rule, _people in asked]
    for key, (_rule, some) in zip(keys, asked, strict=True):
        people.setdefault(key, set()).update(some)
    parts = []
    for number, (key, some) in enumerate(people.items()):
        if some:
            rule = grammar.parse(msgspec.json.decode(key))
            ids = compiler.ids(rule, compiler.query(rule, now, sorted(some), live=True))
            parts.append(sql("SELECT {}::int, found.id FROM ({}) AS found", number, ids))
    met: list[set[int]] = [set() for _key in people]
    for first in range(0, len(parts), AT_ONCE):
        query = side_by_side(" UNION ALL ", parts[first : first + AT_ONCE])
        with connection.cursor() as cursor:
            cursor.execute(query.text, query.params)
            for number, profile_id in cursor.fetchall():
                met[number].add(profile_id)
    of_key = dict(zip(people, met, strict=True))
    return [of_key[key] & set(some) for key, (_rule, some) in zip(keys, asked, strict=True)]


def side_by_side(separator: str, parts: Sequence[Sql]) -> Sql:
    """The pieces with a constant separator between them, and no parentheses around them."""
    return Sql(
        separator.join(part.text for part in parts), tuple(param for part in parts for param in part.params)
    )


def in_order(events: Iterable[log.LoggedEvent]) -> list[log.LoggedEvent]:
    """The events without repeats, as they stand in the log."""
    by_place = {(event.txid, event.seq): event for event in events}
    return [by_place[place] for place in sorted(by_place)]
