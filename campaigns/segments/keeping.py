"""Keeping memberships up to date within seconds: only who did something, was changed, or was passed by time is asked.

What has happened comes from three sources: the event log (reader CURSOR), the change feed (crm/changes.py), and
candidates that somebody left (candidates.py: time, a new rule, a check). A turn looks at them, asks each segment
about those people that can matter to it, and writes the differences. All the asking only reads: neither profiles are
locked nor do the log's readers wait. Then, in a short transaction, members and their events are written together with
the reader's new place, and what was taken is dropped; a crash before that repeats the turn without harm.

One process keeps at a time, so an older answer is never written over a newer one. Segments are loaded after the
sources were looked at: whoever counts everybody first says so in the segment, so a turn either finds that (and leaves
its people as candidates for when the count is stored) or has seen only what the count sees as well.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from campaigns.models import Segment
from campaigns.segments import answering, candidates, loading, memberships, passing, sizes, states
from campaigns.segments.answering import Group
from campaigns.segments.candidates import Candidate
from campaigns.segments.limits import TooSlow
from campaigns.segments.loading import Loaded
from campaigns.segments.memberships import Move
from crm import changes, log, pg
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql

CURSOR = "segments"
EVENTS = 30_000  # looked at in one turn; what it makes people enter and leave comes by here as well
CHANGES = 10_000
CANDIDATES = 20_000
WRITTEN = 10_000  # moves in one transaction
LONGEST_FEED = 200_000  # rows from which on counting everybody is quicker
LONGEST_LAG = 100_000  # events, likewise
SEVERAL = "several"  # questions were asked since everybody was counted: no fingerprint of one
DROPPED = 50_000  # rows of the feed in one transaction
TIMEOUT_MS = 10_000
_KEEPER = 0x53454732  # the advisory lock of who keeps

Why = tuple[str, str]  # cause, event
People = dict[int, Why]  # by profile id


class Kept(NamedTuple):
    """What one call did: by segment id how many entered and left. `skipped`: another process is at it."""

    entered: Mapping[int, int] = {}
    left: Mapping[int, int] = {}
    more: bool = False
    skipped: bool = False


class News(NamedTuple):
    """What has happened since the last turn."""

    before: log.Position
    to: log.Position
    events: Mapping[str, Sequence[int]]  # name -> profile ids, as they stand in the log
    changes: Mapping[frozenset[str], set[int]]  # fields -> profile ids
    rows: Sequence[int]  # of the feed
    everybody: bool
    full: bool

    @property
    def empty(self) -> bool:
        return self.before == self.to and not self.rows


class Overtaken(Exception):
    """Somebody else has moved the reader: nothing of this turn is kept."""


def keep(now: datetime | None = None, seconds: float = 5.0) -> Kept:
    """Bring memberships up to date with all that has happened, for about so many seconds.

    Args:
        now: aware; default the clock.

    Returns:
        What was done; `more` if there is more to do right away.
    """
    with pg.locked(_KEEPER, 0) as mine:
        if not mine:
            return Kept(skipped=True)
        until = time.monotonic() + seconds
        shorten()
        entered: dict[int, int] = {}
        left: dict[int, int] = {}
        while True:
            moment = (now or timezone.now()).astimezone(UTC)
            moves, more = _turn(moment)
            _count(moves, entered, left)
            if not more or time.monotonic() >= until:
                return Kept(entered, left, more)


def work_off(segment_id: int, now: datetime) -> Kept:
    """Ask about the candidates of one segment until there are none; nothing if another process keeps just now."""
    entered: dict[int, int] = {}
    left: dict[int, int] = {}
    with pg.locked(_KEEPER, 0) as mine:
        while mine:
            taken = candidates.peek(CANDIDATES, segment_id)
            kept, _counting = _kept(now)
            one = next((each for each in kept if each.segment.pk == segment_id), None)
            if not taken or one is None:
                break
            _note_questions([one])
            moves = _write(_answers([one], {segment_id: _of_candidates(one, taken, {})}, now), [one], now)
            _close(None, taken, moves.later, {})
            _count(moves.done, entered, left)
            if moves.later:
                break
    sizes.add_up(sizes.waiting(), now)
    return Kept(entered, left, skipped=not mine)


def shorten() -> None:
    """Give up a backlog so long that counting everybody is quicker, and have that done."""
    while changes.waiting(LONGEST_FEED + 1) > LONGEST_FEED:
        while True:
            with transaction.atomic():
                dropped = changes.drop_some(DROPPED)
                _recount()
            if dropped < DROPPED:
                break


def _turn(now: datetime) -> tuple[list[Move], bool]:
    news = _news()
    if news.full and log.lag(CURSOR) >= LONGEST_LAG:
        with transaction.atomic():
            log.move_to_end(CURSOR)
            _recount()
        return [], True
    kept, counting = _kept(now)
    for segment, error in passing.look(kept, now):
        states.fail(segment, states.reason(error, passing.TIMEOUT_MS), now)
    kept = [one for one in kept if one.segment.state == Segment.State.READY]
    left: dict[int, list[Candidate]] = {one.segment.pk: [] for one in kept}
    taken = [each for each in candidates.peek(CANDIDATES) if each.segment_id in left]
    for each in taken:
        left[each.segment_id].append(each)
    asked: dict[int, People] = {}
    for one in kept:
        if people := _of_candidates(one, left[one.segment.pk], _concerned(one, news)):
            asked[one.segment.pk] = people
    _note_questions([one for one in kept if one.segment.pk in asked])
    waiting = {one.segment.pk: people for one in counting if (people := _concerned(one, news))}
    moves = _write(_answers(kept, asked, now), kept, now)
    if taken or moves.later or not news.empty:
        _close(news, taken, moves.later, waiting)
    sizes.add_up(sizes.waiting(), now)
    return moves.done, news.full or len(taken) == CANDIDATES


def _news() -> News:
    before = log.position(CURSOR)
    happened, to = log.people_after(before, EVENTS)
    rows = changes.peek(CHANGES)
    events: dict[str, list[int]] = {}
    for profile_id, name in happened:
        events.setdefault(name, []).append(profile_id)
    changed: dict[frozenset[str], set[int]] = {}
    for row in rows:
        if row.profile_id is not None:
            changed.setdefault(row.fields, set()).add(row.profile_id)
    return News(
        before,
        to,
        events,
        changed,
        [row.id for row in rows],
        any(row.profile_id is None for row in rows),
        len(happened) == EVENTS or len(rows) == CHANGES,
    )


def _kept(now: datetime) -> tuple[list[Loaded], list[Loaded]]:
    """The segments that are kept, and those that are just being counted; mistakes in rules are noted."""
    states_ = (Segment.State.READY, Segment.State.COUNTING)
    loaded, broken = loading.load(
        Segment.objects.filter(kind=Segment.Kind.RULE, state__in=states_).order_by("pk")
    )
    for segment, error in broken:
        states.fail(segment, states.reason(error, TIMEOUT_MS), now)
    ready = Segment.State.READY
    return (
        [one for one in loaded if one.segment.state == ready],
        [one for one in loaded if one.segment.state != ready],
    )


def _concerned(one: Loaded, news: News) -> People:
    """Whom of the news a segment has to be asked about, and why: by the last event, if there was one."""
    people: People = {}
    for fields, ids in news.changes.items():
        if not fields.isdisjoint(one.fields):
            cause = memberships.MERGE if changes.MERGED in fields else memberships.CHANGE
            people.update(dict.fromkeys(ids, (cause, "")))
    for name in one.events & news.events.keys():
        people.update(dict.fromkeys(news.events[name], (memberships.EVENT, name)))
    return people


def _of_candidates(one: Loaded, taken: Iterable[Candidate], people: People) -> People:
    """`people` with the candidates. As long as a new rule is not counted, whoever moves does so by the rule."""
    for each in taken:
        if each.cause == memberships.RULE or each.profile_id not in people:
            people[each.profile_id] = (each.cause, each.event)
    if not one.settled:
        people = dict.fromkeys(people, (memberships.RULE, ""))
    return people


def _note_questions(asked: Sequence[Loaded]) -> None:
    """Have everybody counted for segments that are asked something new, even if they get their old rule back first."""
    new = [one.segment.pk for one in asked if not one.settled and one.segment.counted_as]
    if new:
        Segment.objects.filter(pk__in=new).exclude(counted_as=SEVERAL).update(counted_as=SEVERAL)


def _answers(kept: Sequence[Loaded], asked: Mapping[int, People], now: datetime) -> list[Move]:
    """Who comes in and who drops out. A segment that can't be asked is marked; the others are asked all the same."""
    moves: list[Move] = []
    for group in answering.groups(kept, asked, now):
        moves += _answered(group, asked, now)
    well = {one.segment.pk for one in kept if one.segment.state == Segment.State.READY}
    return [move for move in moves if move.segment_id in well]


def _answered(group: Group, asked: Mapping[int, People], now: datetime) -> list[Move]:
    try:
        return [
            Move(segment_id, profile_id, enters, *asked[segment_id][profile_id])
            for segment_id, profile_id, enters in _differences(group, now)
            if profile_id in asked[segment_id]
        ]
    except (RuleError, TooSlow, DatabaseError) as error:
        if states.passing(error):
            raise  # the next turn does all of it
        if len(group.segments) > 1:  # whose fault is it?
            alone = [Group([one], group.profile_ids) for one in group.segments]
            return [move for each in alone for move in _answered(each, asked, now)]
        states.fail(group.segments[0].segment, states.reason(error, TIMEOUT_MS), now)
        return []


def _differences(group: Group, now: datetime) -> list[tuple[int, int, bool]]:
    """Of the people those who have to come into one of the segments (True) or to go (False)."""
    statement = answering.differences(group, now)
    with states.calmly(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        return cursor.fetchall()


def difference(segment_id: int, ids: Sql, limit: Sql) -> Sql:
    """A SELECT of (profile id, whether they come in) of those for whom the rule says otherwise than the members.

    Args:
        limit: ` AND …` about profile_id, for a scope.
    """
    return sql(
        "WITH found AS MATERIALIZED ({}), members AS MATERIALIZED ("
        " SELECT profile_id AS id FROM campaigns_segmentmembership WHERE segment_id = {}{})"
        " SELECT id, true AS enters FROM ((SELECT id FROM found) EXCEPT (SELECT id FROM members)) AS entered"
        " UNION ALL SELECT id, false FROM ((SELECT id FROM members) EXCEPT (SELECT id FROM found)) AS departed",
        ids,
        segment_id,
        limit,
    )


def _write(moves: Sequence[Move], kept: Sequence[Loaded], now: datetime) -> memberships.Written:
    """Make the moves, in transactions of so many. If a segment asks something else by now, its people wait."""
    by_id = {one.segment.pk: one for one in kept}
    done: list[Move] = []
    later: list[Move] = []
    moves = sorted(
        moves, key=lambda move: move.profile_id
    )  # so that each is held once, and pages are written once
    for start in range(0, len(moves), WRITTEN):
        chunk = moves[start : start + WRITTEN]
        with transaction.atomic():
            same = _unchanged([by_id[pk] for pk in {move.segment_id for move in chunk}])
            later += [move for move in chunk if move.segment_id not in same]
            chunk = [move for move in chunk if move.segment_id in same]
            written = memberships.write(chunk, {pk: by_id[pk].segment for pk in same}, now)
        done += written.done
        later += written.later
    return memberships.Written(done, later)


def _unchanged(loaded: Sequence[Loaded]) -> set[int]:
    """Those of these segments that still ask the same; they keep asking it until the transaction ends."""
    wanted = sorted({pk for one in loaded for pk in one.stored})
    with_lock = Segment.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk")
    present = {pk: (state, rule) for pk, state, rule in with_lock.values_list("pk", "state", "rule")}
    return {
        one.segment.pk
        for one in loaded
        if all(pk in present and present[pk][1] == rule for pk, rule in one.stored.items())
        and present[one.segment.pk][0] == Segment.State.READY
    }


def _close(
    news: News | None,
    taken: Sequence[Candidate],
    later: Sequence[Move],
    waiting: Mapping[int, People],
) -> None:
    """Take away what was dealt with, and leave what has to wait: people written by others, segments being counted."""
    with transaction.atomic():
        candidates.add(
            [
                *((move.segment_id, move.profile_id, move.cause, move.event) for move in later),
                *((pk, person, *why) for pk, people in waiting.items() for person, why in people.items()),
            ]
        )
        candidates.drop([each.id for each in taken])
        if news is not None:
            changes.drop(news.rows)
            if news.everybody:
                _recount()
            if not log.move(CURSOR, news.before, news.to):
                raise Overtaken


def _recount() -> None:
    """Have everybody counted for all segments, in the transaction that gives up what would have told whom to ask."""
    Segment.objects.filter(kind=Segment.Kind.RULE).update(recount_at=Now())


def _count(moves: Iterable[Move], entered: dict[int, int], left: dict[int, int]) -> None:
    for move in moves:
        into = entered if move.enters else left
        into[move.segment_id] = into.get(move.segment_id, 0) + 1
