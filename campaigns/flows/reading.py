"""Reads the event log for what starts and ends runs.

All flows read by one cursor. A flow that can't be asked (its rule names a segment that is gone, say) gets a
cursor of its own at the place where that happened, harms nobody else, and catches up when it was mended.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import asking, entering, entries, leaving, program, triggers, troubles, waking
from campaigns.flows.definition import GOAL_WITHIN
from campaigns.flows.program import Program
from campaigns.flows.triggers import Start
from campaigns.flows.triggers.happening import context
from campaigns.models import Flow
from crm import alerts, log
from crm.models import LogCursor, ProfileMerge

logger = logging.getLogger(__name__)

CURSOR = "flows"
RETRY_AFTER = timedelta(minutes=1)
MAX_TURNS = 50  # of one person leaving and entering again within a batch
ERROR = "trigger: "  # how Flow.error begins when the flow can't read the log

# Who is inside is asked by the first who is due: a plain EXISTS is taken for cheap without the index, which it is not.
_LISTENING = """
    SELECT f.id, f.slug, f.state = 'live', f.listening_since, f.live_version_id, v.id
    FROM campaigns_flow f JOIN campaigns_flowversion v ON v.flow_id = f.id
    WHERE f.state IN ('live', 'paused', 'finishing') AND f.listening_since IS NOT NULL AND (
        v.id = f.live_version_id
        OR (SELECT e.id FROM campaigns_enrollment e WHERE e.version_id = v.id AND e.state = 'active'
            ORDER BY e.due_at LIMIT 1) IS NOT NULL
        OR v.definition -> 'goal' IS NOT NULL AND (
            SELECT min(later.published_at) FROM campaigns_flowversion later
            WHERE later.flow_id = f.id AND later.number > v.number
        ) + interval '1 day' * CASE jsonb_typeof(v.definition #> '{goal,within_days}')
            WHEN 'number' THEN (v.definition #>> '{goal,within_days}')::float ELSE %s END > %s)
    ORDER BY f.id, v.id
"""


class Listener(msgspec.Struct):
    """A flow that reads the log: what its live version starts by, what ends the runs of each version inside.

    `behind` is set when it reads by a cursor of its own, since `tried_at` the last time in vain.
    """

    flow_id: int
    slug: str
    live: bool
    since: datetime
    version_id: int
    programs: dict[int, Program]
    waking: dict[int, dict[str, set[str]]] = {}
    trigger: triggers.Trigger | None = None
    broken: Exception | None = None
    behind: log.Position | None = None
    tried_at: datetime | None = None

    @property
    def names(self) -> set[str]:
        """The events that matter to it."""
        found = {trigger.name for each in self.programs.values() for trigger in each.definition.exit_on}
        found |= {each.definition.goal.name for each in self.programs.values() if each.definition.goal}
        found.update(*self.waking.values())
        if self.trigger is not None:
            found |= self.trigger.kind.names(self.trigger.config)
        return found


class Read(NamedTuple):
    """What one look at the log did: the number of events that mattered, whether more may be waiting, and whether the
    cursor was ours (or else another process reads).
    """

    handled: int
    more: bool
    ours: bool


def read(now: datetime | None = None, limit: int = 5000) -> Read:
    """Handle the next events of the log: start runs and end those whose exit event came.

    Everything happens in the transaction that moves the log cursor, so an event starts a run once or, after a crash,
    anew.
    """
    now = now or timezone.now()
    listeners: list[Listener] = []

    def names() -> set[str]:
        # Asked once the cursor is ours: who publishes or pauses holds it meanwhile.
        listeners.extend(_listeners(now))
        return {name for listener in listeners for name in listener.names}

    with log.read(CURSOR, limit, names) as batch:
        more = False
        if batch.start is not None:
            for listener in listeners:
                if listener.behind is not None and _due(listener, now):
                    more |= _catch_up(listener, listener.behind, batch.start, limit, now)
            by_name = _by_name(_of_people(batch.events))
            with_us = [listener for listener in listeners if listener.behind is None]
            for listener in _unable([(listener, _relevant(listener, by_name)) for listener in with_us], now):
                _fall_behind(listener, batch.start, now)
                with_us.remove(listener)
            waking.wake(
                {version_id: names for listener in with_us for version_id, names in listener.waking.items()},
                by_name,
                now,
            )
    return Read(len(batch.events), batch.full or more, batch.ours)


def forget(flow_id: int) -> None:
    """Drop what a flow that ends had yet to read."""
    LogCursor.objects.filter(name=_own_cursor(flow_id)).delete()


def _own_cursor(flow_id: int) -> str:
    return f"{CURSOR}:{flow_id}"


def _listeners(now: datetime) -> list[Listener]:
    with connection.cursor() as cursor:
        cursor.execute(_LISTENING, [GOAL_WITHIN, now])
        rows = cursor.fetchall()
    own = {row.name: row for row in LogCursor.objects.filter(name__startswith=f"{CURSOR}:")}
    found: dict[int, Listener] = {}
    for flow_id, slug, live, since, live_version_id, version_id in rows:
        listener = found.setdefault(flow_id, Listener(flow_id, slug, live, since, live_version_id, {}))
        try:
            each = listener.programs[version_id] = program.of_version(version_id)
            listener.waking[version_id] = waking.listening(each)
            if live and version_id == live_version_id and each.first is not None:
                listener.trigger = triggers.of(each.definition)
        except Exception as error:
            listener.broken = error
        if cursor_ := own.get(_own_cursor(flow_id)):
            listener.behind = log.Position(cursor_.txid, cursor_.seq)
            listener.tried_at = cursor_.moved_at
    return list(found.values())


def _due(listener: Listener, now: datetime) -> bool:
    return listener.tried_at is None or not now - RETRY_AFTER < listener.tried_at <= now


def _catch_up(listener: Listener, after: log.Position, upto: log.Position, limit: int, now: datetime) -> bool:
    """Let a flow that fell behind read on; return whether it has more to read right away."""
    events, reached = log.between(after, upto, limit, listener.names)
    own = LogCursor.objects.filter(name=_own_cursor(listener.flow_id))
    if not _attempt(listener, _of_people(events), now):
        own.update(moved_at=now)
        return False
    waking.wake(listener.waking, _by_name(events), now)
    if reached < upto:
        own.update(txid=reached.txid, seq=reached.seq, moved_at=now - RETRY_AFTER)
        return True
    own.delete()
    listener.behind = None
    Flow.objects.filter(pk=listener.flow_id, error__startswith=ERROR).update(error="")
    alerts.resolve(_alert_key(listener))
    return False


def _fall_behind(listener: Listener, start: log.Position, now: datetime) -> None:
    LogCursor.objects.create(name=_own_cursor(listener.flow_id), txid=start.txid, seq=start.seq, moved_at=now)


def _unable(work: Sequence[tuple[Listener, Sequence[log.LoggedEvent]]], now: datetime) -> list[Listener]:
    """Let all flows handle their events at once or, if that fails, one after the other; return those that can't."""
    well = [(listener, events) for listener, events in work if listener.broken is None and events]
    if len(well) > 1:
        try:
            with transaction.atomic():
                _handle(well, now)
            work = [(listener, events) for listener, events in work if listener.broken is not None]
        except Exception:
            logger.exception("The log can't be read for all flows at once; they are taken one at a time")
    return [listener for listener, events in work if not _attempt(listener, events, now)]


def _attempt(listener: Listener, events: Sequence[log.LoggedEvent], now: datetime) -> bool:
    """Let one flow handle `events`, wholly or not at all; return whether it could."""
    try:
        if listener.broken is not None:
            raise listener.broken
        if events:
            with transaction.atomic():
                _handle([(listener, events)], now)
        return True
    except Exception as error:
        logger.exception("The flow %s can't read the log", listener.slug)
        Flow.objects.filter(pk=listener.flow_id).update(error=f"{ERROR}{troubles.reason(error)}"[:500])
        alerts.raise_alert(
            _alert_key(listener),
            f"The flow “{listener.slug}” can't start or end runs",
            "What happens meanwhile is kept for it, and it is tried again every minute. Mend what it refers to, "
            f"or publish it anew. The reason: {troubles.reason(error)}",
        )
        return False


def _alert_key(listener: Listener) -> str:
    return f"flow:{listener.flow_id}:trigger"


def _handle(work: Sequence[tuple[Listener, Sequence[log.LoggedEvent]]], now: datetime) -> None:
    """What these events do to these flows, in as many statements as for one of them."""
    parties = [_parties(listener) for listener, _events in work]
    questions = [[_trigger_asks(listener, events, now)] for listener, events in work] + [
        leaving.questions(party.definition, events, now)
        for (_listener, events), some in zip(work, parties, strict=True)
        for party in some
    ]
    answers = iter(asking.meant_each(questions))
    started = [next(answers)[0] for _each in work]
    came = [[leaving.came(party, next(answers)) for party in some] for some in parties]
    starting = entering.entitled(
        [
            (_door(listener), _starts(listener.trigger, found) if listener.trigger else [])
            for (listener, _events), found in zip(work, started, strict=True)
        ],
        now,
    )
    flows = []
    for (listener, events), (starts, _refused), of_flow in zip(work, starting, came, strict=True):
        turns = _turns(events, {_place(each) for each in starts}, {_at(event) for event in _ending(of_flow)})
        flows.append((_door(listener), starts, of_flow, turns))
    last = max((turn for *_rest, turns in flows for turn in turns.values()), default=0)
    for turn in range(last + 1):
        entering.start(
            [
                (door, [each for each in starts if turns[_place(each)] == turn])
                for door, starts, _came, turns in flows
            ],
            now,
        )
        leaving.leave(
            [
                leaving.Came(
                    each.party,
                    [event for event in each.reaching if turns[_at(event)] == turn],
                    [event for event in each.ending if turns[_at(event)] == turn],
                )
                for _door_, _starts_, of_flow, turns in flows
                for each in of_flow
            ],
            now,
        )


def _parties(listener: Listener) -> list[leaving.Party]:
    return [
        leaving.Party(listener.flow_id, listener.slug, version_id, each.definition)
        for version_id, each in listener.programs.items()
    ]


def _trigger_asks(listener: Listener, events: Sequence[log.LoggedEvent], now: datetime) -> asking.Question:
    if listener.trigger is None:
        return asking.Question()
    # What came in late or by an import, but happened before the flow listened, starts nobody.
    fresh = [event for event in events if event.occurred_at >= listener.since]
    return listener.trigger.kind.asks(listener.trigger.config, fresh, now)


def _door(listener: Listener) -> entries.Door:
    own = listener.programs[listener.version_id]
    return entries.Door(listener.flow_id, listener.slug, listener.version_id, own.first or "", own.definition)


def _ending(came: Iterable[leaving.Came]) -> Iterator[log.LoggedEvent]:
    """The events that end runs."""
    for party, reaching, ending in came:
        yield from ending
        if (goal := party.definition.goal) and goal.exit:
            yield from reaching


def _at(event: log.LoggedEvent) -> tuple[int, int]:
    return event.txid, event.seq


def _starts(trigger: triggers.Trigger, events: Sequence[log.LoggedEvent]) -> list[Start]:
    starts = [
        Start(
            event.profile_id,
            event.occurred_at,
            context(event),
            event.id,
            place=log.Position(event.txid, event.seq),
        )
        for event in events
    ]
    return trigger.kind.gated(trigger.config, starts) if starts else []


def _place(each: Start) -> tuple[int, int]:
    return (each.place.txid, each.place.seq) if each.place else (0, 0)


def _turns(
    events: Iterable[log.LoggedEvent], starting: Collection[tuple], leaving: Collection[tuple]
) -> dict[tuple, int]:
    """When to handle each event: entering again comes after the event that made the person leave.

    All that happens within one turn is handled at once, first who enters and then who leaves.
    """
    turns: dict[tuple, int] = {}
    at: dict[int, int] = defaultdict(int)
    left: set[int] = set()
    for event in events:
        place = (event.txid, event.seq)
        if place in starting and event.profile_id in left and at[event.profile_id] < MAX_TURNS:
            at[event.profile_id] += 1
            left.discard(event.profile_id)
        if place in leaving:
            left.add(event.profile_id)
        turns[place] = at[event.profile_id]
    return turns


def _by_name(events: Iterable[log.LoggedEvent]) -> dict[str, list[log.LoggedEvent]]:
    found: dict[str, list[log.LoggedEvent]] = defaultdict(list)
    for event in events:
        found[event.name].append(event)
    return found


def _relevant(listener: Listener, by_name: dict[str, list[log.LoggedEvent]]) -> list[log.LoggedEvent]:
    return asking.in_order(event for name in listener.names for event in by_name.get(name, ()))


def _of_people(events: Sequence[log.LoggedEvent]) -> list[log.LoggedEvent]:
    """Leave out events of people who were removed, follow those who were merged, and hold all till the end."""
    wanted = {event.profile_id for event in events}
    there = _held(wanted)
    into: dict[int, int] = {}
    if wanted - there:
        into = dict(
            ProfileMerge.objects.filter(loser_id__in=wanted - there).values_list("loser_id", "winner_id")
        )
        there |= _held(set(into.values()) - there)
    for event in events:
        event.profile_id = into.get(event.profile_id, event.profile_id)
    return [event for event in events if event.profile_id in there]


def _held(profile_ids: Collection[int]) -> set[int]:
    if not profile_ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [sorted(profile_ids)]
        )
        return {row[0] for row in cursor.fetchall()}
