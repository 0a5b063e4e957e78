"""Who may have come into segments or dropped out of them because time has passed.

Each segment remembers up to when this was looked at, so nothing is lost while nobody looks. What conditions can find
by an index is asked per segment; conditions on the profile's own row share one scan of all profiles.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import DatabaseError, connection, transaction

from campaigns.models import Segment
from campaigns.segments import candidates, compiler, memberships, states
from campaigns.segments.limits import TooSlow
from campaigns.segments.loading import Loaded
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, joined, sql

EVERY = timedelta(seconds=10)
MANY = 50_000  # people of one segment from which on everybody is counted instead
TIMEOUT_MS = 20_000


class _Asked(NamedTuple):
    """A segment with what finds the people: SELECTs of ids, and conditions on the profile's alias p."""

    loaded: Loaded
    selects: list[Sql]
    predicates: list[Sql]


def look(loaded: Sequence[Loaded], now: datetime) -> list[tuple[Segment, Exception]]:
    """Leave candidates in those of these segments that are due; return which can't be asked, and why.

    Args:
        loaded: segments that are kept.
    """
    _turn_back([one.segment for one in loaded], now)
    due = [
        one for one in loaded if one.segment.passed_until and now - one.segment.passed_until >= EVERY
    ]  # who has never passed anything was never counted
    if not due:
        return []
    failed: list[tuple[Segment, Exception]] = []
    asked, found = [], {}
    for one in due:
        try:
            asked.append(_Asked(one, *compiler.passed(one.rule, one.query(now), _since(one))))
        except RuleError as error:
            failed.append((one.segment, error))
    scanned = _scan([each for each in asked if each.predicates], now)
    for each in asked:
        segment = each.loaded.segment
        try:
            people = scanned[segment.pk] if segment.pk in scanned else _own(each)
            if each.selects:
                people = people | _ids(joined(" UNION ALL ", each.selects))
        except (TooSlow, DatabaseError) as error:
            if states.passing(error):
                raise  # the next turn looks again
            failed.append((segment, error))
        else:
            found[segment.pk] = people
    with transaction.atomic():
        few = {pk: people for pk, people in found.items() if len(people) < MANY}
        for pk, people in few.items():
            if people:
                candidates.add_people(pk, sorted(people), memberships.TIME)
        kept = Segment.objects.filter(state=Segment.State.READY)
        kept.filter(pk__in=few).update(passed_until=now)
        kept.filter(pk__in=found.keys() - few).update(passed_until=now, recount_at=now)
    for one in due:
        one.segment.passed_until = now
    return failed


def _turn_back(segments: Sequence[Segment], now: datetime) -> None:
    """A clock that was ahead is right again: who is asked about from now on is passed by the same time once more."""
    ahead = [each for each in segments if each.passed_until and each.passed_until > now]
    if ahead:
        Segment.objects.filter(pk__in=[each.pk for each in ahead], passed_until__gt=now).update(
            passed_until=now
        )
        for each in ahead:
            each.passed_until = now


def _since(one: Loaded) -> datetime:
    return one.segment.passed_until or one.segment.created_at


def _scan(asked: Sequence[_Asked], now: datetime) -> dict[int, set[int]]:
    """The people of each segment by conditions on their rows, from one scan; nothing if that does not work."""
    if not asked:
        return {}
    since = min(_since(each.loaded) for each in asked)
    predicates: list[Sql] = []
    places: dict[int, list[int]] = {}
    for each in asked:
        # By the earliest time of all, so that equal conditions are one.
        _selects, own = compiler.passed(each.loaded.rule, each.loaded.query(now), since)
        predicates += [one for one in own if one not in predicates]
        places[each.loaded.segment.pk] = [predicates.index(one) for one in own]
    columns = [sql("({}) IS TRUE", predicate) for predicate in predicates]
    statement = sql(
        "SELECT p.id, {} FROM crm_profile p WHERE {} LIMIT {}",
        Sql(", ".join(each.text for each in columns), tuple(p for each in columns for p in each.params)),
        joined(" OR ", predicates),
        MANY * 2,
    )
    try:
        with states.calmly(TIMEOUT_MS), connection.cursor() as cursor:
            cursor.execute(statement.text, list(statement.params))
            rows = cursor.fetchall()
    except (TooSlow, DatabaseError):
        return {}  # each is asked by itself, which tells whose fault it is
    if len(rows) == MANY * 2:
        return {}
    return {pk: {row[0] for row in rows if any(row[1 + at] for at in own)} for pk, own in places.items()}


def _own(each: _Asked) -> set[int]:
    if not each.predicates:
        return set()
    return _ids(sql("SELECT p.id FROM crm_profile p WHERE {}", joined(" OR ", each.predicates)))


def _ids(ids: Sql) -> set[int]:
    """At most MANY of the ids, each once. Raises TooSlow."""
    with states.calmly(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT id FROM ({ids.text}) AS found LIMIT %s", [*ids.params, MANY])
        return {row[0] for row in cursor.fetchall()}
