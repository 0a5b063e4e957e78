"""Letting in those who qualify already when a flow is published, if whoever publishes it wants that.

Who they are is looked up once, in the background; then they are let in a batch at a time, by the rules that hold for
everybody. What a batch did, its progress and what is left commit together.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import enrolling, entering, entries, program, triggers
from campaigns.flows.definition import Definition
from campaigns.flows.triggers.base import Start
from campaigns.models import CatchUp, CatchUpPerson, Flow
from campaigns.segments.limits import TooSlow, fetch
from crm import pg, present, wake
from crm.rules.sql import Sql, sql

logger = logging.getLogger(__name__)

TASK, QUEUE = "campaigns.tasks.let_in", "segments"
BATCH = 1000
SECONDS = 10.0
NUMBER_MS = 2_000
MOST_DAYS = 365
PIECE = 5_000
State = CatchUp.State

_NEXT = """
    SELECT c.id, c.profile_id, c.at, c.event_id, c.context::text, c.mark, v.name, v.properties::text
    FROM (SELECT * FROM campaigns_catchupperson WHERE catch_up_id = %s ORDER BY id LIMIT %s) AS c
    LEFT JOIN crm_event v ON v.id = c.event_id AND v.occurred_at = c.at ORDER BY c.id
"""
_STORE = """
    INSERT INTO campaigns_catchupperson (catch_up_id, profile_id, at, context, mark)
    SELECT %s, p.id, r.at, r.context, r.mark
    FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, at timestamptz, context jsonb, mark text)
    JOIN crm_profile p ON p.id = r.profile_id
"""


class Progress(NamedTuple):
    """How far letting people in has come, or what it came to."""

    state: str
    found: int
    handled: int
    entered: int
    refused: dict[str, int]
    error: str


def possible(definition: Definition) -> bool:
    """Whether anybody can qualify before the flow is live: by a schedule or by hand nobody does."""
    trigger = triggers.of(definition)
    return trigger is not None and trigger.kind.looks_back(trigger.config)


def number(
    definition: Definition, days: int, now: datetime | None = None, timeout_ms: int = NUMBER_MS
) -> int | None:
    """How many people qualify already, before the rules of entry; None when counting takes longer than that.

    Raises:
        LookupError, msgspec.ValidationError, RuleError: the trigger is not finished.
    """
    now = now or timezone.now()
    trigger = triggers.of(definition)
    if trigger is None or not possible(definition):
        return 0
    found = trigger.kind.qualifying(trigger.config, days, now)
    if found is None:
        with pg.statement_limits(timeout_ms):
            return _counted(trigger, days, now, timeout_ms)
    try:
        return fetch(sql("SELECT count(DISTINCT profile_id) FROM ({}) AS found", found), timeout_ms)[0][0]
    except TooSlow:
        return None


def _counted(trigger: triggers.Trigger, days: int, now: datetime, timeout_ms: int) -> int | None:
    until, people = time.monotonic() + timeout_ms / 1000, set()
    for start in trigger.kind.ahead(trigger.config, now - timedelta(days=days), now):
        people.add(start.profile_id)
        if time.monotonic() > until:
            return None
    return len(people)


def start(flow_id: int, days: int, by: Any = None) -> CatchUp | None:
    """Ask for those who qualified in the last `days` to be let in; None if nobody can have.

    To be called in the transaction that publishes the flow, or later while it is live.
    """
    flow = Flow.objects.select_related("live_version").get(pk=flow_id)
    if flow.live_version_id is None or not possible(program.of_version(flow.live_version_id).definition):
        return None
    catch_up = CatchUp.objects.create(flow=flow, days=min(days, MOST_DAYS), by=by)
    wake.on_commit(TASK, QUEUE)
    return catch_up


def progress(flow_id: int) -> Progress | None:
    """Of the flow's latest catch-up; None if it never had one."""
    last = CatchUp.objects.filter(flow_id=flow_id).order_by("-pk").first()
    if last is None:
        return None
    return Progress(last.state, last.found, last.handled, last.entered, last.refused, last.error)


def work(seconds: float = SECONDS, now: datetime | None = None) -> bool:
    """Go on with the catch-ups that are not done, for some seconds; whether more is left to do."""
    until = time.monotonic() + seconds
    waiting = CatchUp.objects.filter(state__in=(State.LOOKING, State.STARTING)).exclude(
        flow__state=Flow.State.PAUSED
    )
    again = False
    for pk in list(waiting.order_by("pk").values_list("pk", flat=True)):
        more = True
        while more and time.monotonic() < until:
            more = _step(pk, now or timezone.now())
        again |= more
    return again


def _step(pk: int, now: datetime) -> bool:
    """Look people up, or let in the next of them; whether there is more to do at once."""
    try:
        with transaction.atomic():
            mine = CatchUp.objects.select_for_update(skip_locked=True).filter(
                pk=pk, state__in=(State.LOOKING, State.STARTING)
            )
            catch_up = mine.first()
            if catch_up is None:
                return False
            return _look(catch_up, now) if catch_up.state == State.LOOKING else _let_in(catch_up, now)
    except Exception as error:
        logger.exception("Catching up %d failed", pk)
        CatchUpPerson.objects.filter(catch_up_id=pk).delete()
        CatchUp.objects.filter(pk=pk).update(state=State.FAILED, error=str(error)[:500])
        return False


def _look(catch_up: CatchUp, now: datetime) -> bool:
    flow = Flow.objects.get(pk=catch_up.flow_id)
    if flow.state != Flow.State.LIVE or flow.live_version_id is None:
        return _end(catch_up, State.ENDED)
    definition = program.of_version(flow.live_version_id).definition
    trigger = triggers.of(definition)
    if trigger is None:
        return _end(catch_up, State.ENDED)
    found = trigger.kind.qualifying(trigger.config, catch_up.days, now)
    if found is None:
        since = now - timedelta(days=catch_up.days)
        _store(catch_up, trigger.kind.ahead(trigger.config, since, now))
    else:
        _list(catch_up, found, keyed=definition.key is not None)
    catch_up.found = catch_up.people.count()
    catch_up.state = State.STARTING
    catch_up.save(update_fields=["found", "state"])
    return True


def _list(catch_up: CatchUp, found: Sql, keyed: bool) -> None:
    """Where runs have no keys, the last event of each person counts; else all do, the last of a key first."""
    latest = Sql("" if keyed else "DISTINCT ON (q.profile_id)")
    query = sql(
        "INSERT INTO campaigns_catchupperson (catch_up_id, profile_id, at, event_id)"
        " SELECT {}, p.id, found.at, found.event_id FROM ("
        "SELECT {} q.* FROM ({}) AS q ORDER BY q.profile_id, q.at DESC) AS found"
        " JOIN crm_profile p ON p.id = found.profile_id ORDER BY p.id, found.at DESC",
        *(catch_up.pk, latest, found),
    )
    with connection.cursor() as cursor:
        cursor.execute(query.text, query.params)


def _store(catch_up: CatchUp, starts: Iterator[Start]) -> None:
    while piece := list(islice(starts, PIECE)):
        rows = [
            {
                "profile_id": each.profile_id,
                "at": each.at,
                "context": each.context,
                "mark": each.mark,
            }
            for each in piece
        ]
        with connection.cursor() as cursor:
            cursor.execute(_STORE, [catch_up.pk, msgspec.json.encode(rows).decode()])


def _let_in(catch_up: CatchUp, now: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [catch_up.pk, BATCH])
        rows = cursor.fetchall()
        if not rows:
            return _end(catch_up, State.DONE)
    people = present.hold({row[1] for row in rows})
    entries.lock(catch_up.flow_id)
    door = enrolling.open_door(catch_up.flow_id)
    trigger = triggers.of(door.definition) if door else None
    if door is None or trigger is None:
        paused = Flow.objects.filter(pk=catch_up.flow_id, state=Flow.State.PAUSED).exists()
        return False if paused else _end(catch_up, State.ENDED)
    starts = _starts(trigger, [(people[row[1]], *row[2:]) for row in rows if row[1] in people], now)
    found = entering.enter(door, starts, now)
    catch_up.handled += len(rows)
    catch_up.entered += len(found.runs)
    refused = entries.reasons(found.refused) | (
        {entries.HELD_OUT: len(found.held_out)} if found.held_out else {}
    )
    catch_up.refused = dict(Counter(catch_up.refused) + Counter(refused))
    catch_up.save(update_fields=["handled", "entered", "refused"])
    CatchUpPerson.objects.filter(pk__in=[row[0] for row in rows]).delete()
    return True


def _starts(trigger: triggers.Trigger, rows: Sequence[tuple], now: datetime) -> list[Start]:
    """Starts of rows of (profile_id, at, event_id, context, mark, name and properties of the event)."""
    starts = []
    for profile_id, at, event_id, context, mark, name, facts in rows:
        if event_id is None:
            known = (
                msgspec.json.decode(context)
                if context
                else {"event": trigger.kind.already(trigger.config, now)}
            )
            starts.append(Start(profile_id, now, known, mark=mark or f"already:{at.isoformat()}"))
        elif name is not None:
            known = {"event": {"id": str(event_id), "name": name, "occurred_at": at.isoformat()}}
            known["event"]["properties"] = msgspec.json.decode(facts)
            starts.append(Start(profile_id, now, known, event_id))
    return trigger.kind.gated(trigger.config, starts)


def _end(catch_up: CatchUp, state: str) -> bool:
    catch_up.state = state
    catch_up.save(update_fields=["state"])
    catch_up.people.all().delete()
    return False
