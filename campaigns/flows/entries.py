"""Who may start a run, and starting it: by events, by the clock, by hand and when a flow is published.

The order of what is asked: the flow's dates, the entry rule, whether the date that the run would wait for is still to
come, whether the person may enter again; then the holdout decides whether the run is lived.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection

from campaigns.flows import exits, goals, shares
from campaigns.flows.definition import Definition
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.flows.triggers.base import Start
from campaigns.segments import evaluate, grammar
from crm import alerts, log

# Why somebody was not let in, as decisions tell.
RULE = "entry rule not met"
TOO_EARLY, TOO_LATE = "flow begins later", "flow is over"
NO_DATE, PAST_DATE = "no date to wait for", "date is past"
INSIDE, ONCE, TOO_SOON = "inside already", "was in it before", "was in it too lately"
NO_KEY = "no run key"
HELD_OUT = "held out"
TOO_OFTEN = "entered too often within an hour"
RECORDED = frozenset(
    {RULE, TOO_EARLY, TOO_LATE, NO_DATE, PAST_DATE}
)  # by `entitled`; the others may come often

GATE = ""  # the step of a run that is held before its first one
_A_DAY, _AN_HOUR = timedelta(days=1), timedelta(hours=1)
_LOCK = 0x666C6F77  # "flow"

_ENROLL = """
    INSERT INTO campaigns_enrollment (flow_id, version_id, profile_id, run_key, state, step, due_at, context,
        entered_at, holdout, ended_at, reason)
    SELECT %(flow)s, %(version)s, r.profile_id, r.run_key, CASE WHEN r.held_out THEN 'completed' ELSE 'active' END,
        CASE WHEN r.held_out OR r.until > %(now)s THEN '' ELSE %(first)s END,
        CASE WHEN r.held_out THEN NULL ELSE greatest(r.until, %(now)s) END, r.context, %(now)s,
        r.held_out, CASE WHEN r.held_out THEN %(now)s END, CASE WHEN r.held_out THEN %(reason)s ELSE '' END
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(profile_id bigint, run_key text, context jsonb, until timestamptz, held_out bool)
    ON CONFLICT DO NOTHING RETURNING id, profile_id, run_key, step, holdout
"""
# A later booking of the same key, or of the same person where there are no keys, is the one that counts.
_MOVE = """
    UPDATE campaigns_enrollment e SET due_at = greatest(r.until, %(now)s), context = r.context
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(profile_id bigint, run_key text, context jsonb, until timestamptz)
    WHERE e.flow_id = %(flow)s AND e.profile_id = r.profile_id AND e.state = 'active' AND e.step = ''
        AND (e.run_key = r.run_key OR NOT %(keyed)s)
    RETURNING e.id, e.profile_id, e.run_key
"""


class Busy(Exception):
    """Somebody else lets people into the flow just now; try again in a moment."""


class Door(msgspec.Struct, frozen=True):
    """A live flow that people enter by its live version; `first` is the step they come to."""

    flow_id: int
    slug: str
    version_id: int
    first: str
    definition: Definition


class Entered(msgspec.Struct):
    """What became of those who were to be started: runs by start, and why the others were not let in."""

    runs: list[tuple[Start, Run]] = []
    held_out: list[Start] = []
    moved: list[Start] = []
    refused: list[tuple[Start, str]] = []


def enter(door: Door, starts: Sequence[Start], now: datetime) -> Entered:
    """All at once, in the caller's transaction: ask whether they may start, and start them."""
    allowed, refused = entitled(door, starts, now)
    found = start(door, allowed, now)
    found.refused += refused
    return found


def entitled(
    door: Door, starts: Sequence[Start], now: datetime
) -> tuple[list[Start], list[tuple[Start, str]]]:
    """Those who come while the flow takes people, meet the entry rule and have their date before them.

    The others are told with the reason, which is recorded.
    """
    refused: list[tuple[Start, str]] = []
    waiting = []
    for each in starts:
        if reason := outside(door.definition, each.at) or too_late(each, now):
            refused.append((each, reason))
        else:
            waiting.append(each)
    if waiting and door.definition.entry is not None:
        rule = grammar.parse(door.definition.entry)
        allowed = evaluate.matching(rule, sorted({each.profile_id for each in waiting}), now, live=True)
        refused += [(each, RULE) for each in waiting if each.profile_id not in allowed]
        waiting = [each for each in waiting if each.profile_id in allowed]
    record_refusals(door.flow_id, refused, now)
    return waiting, refused


def outside(definition: Definition, at: datetime) -> str:
    """Why nobody enters at this time; empty if people may."""
    if definition.starts_at and at < datetime.fromisoformat(definition.starts_at):
        return TOO_EARLY
    if definition.ends_at and at > datetime.fromisoformat(definition.ends_at):
        return TOO_LATE
    return ""


def too_late(each: Start, now: datetime) -> str:
    """Why the date that a run would wait for lets nobody in; empty if it does."""
    if each.undated:
        return NO_DATE
    # What is told late still starts, but not what lies more than a day back.
    return PAST_DATE if each.until is not None and each.until < max(each.at, now - _A_DAY) else ""


def start(door: Door, starts: Sequence[Start], now: datetime) -> Entered:
    """Start a run for each start that may have one; those that are held out have one that is over at once.

    A second start of the same run, or of somebody who may not enter again yet, starts nothing.
    """
    if not starts:
        return Entered()
    lock(door.flow_id)
    found = Entered()
    starts = _free_to_enter(door, _moved(door, starts, now, found), found, now)
    wanted: dict[tuple[int, str], Start] = {}
    for each in starts:
        key = run_key(door.definition, each)
        if key is None:
            found.refused.append((each, NO_KEY))
        elif wanted.setdefault((each.profile_id, key), each) is not each:
            found.refused.append((each, INSIDE))
    if wanted and (door.definition.key is not None or door.definition.reentry.mode != "never"):
        wanted = _not_in_a_loop(door, wanted, now, found)
    if wanted:
        _store(door, wanted, now, found)
    return found


def _not_in_a_loop(
    door: Door, wanted: Mapping[tuple[int, str], Start], now: datetime, found: Entered
) -> dict[tuple[int, str], Start]:
    """Refuse people who come again and again, as by two flows each of which changes what starts the other."""
    most = settings.NUDGE_FLOW_ENTRIES_PER_HOUR
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT profile_id, count(*) FROM campaigns_enrollment
            WHERE flow_id = %s AND profile_id = ANY(%s) AND entered_at > %s GROUP BY 1
            """,
            [door.flow_id, sorted({profile_id for profile_id, _key in wanted}), now - _AN_HOUR],
        )
        entered = Counter(dict(cursor.fetchall()))
    left = {}
    for place, each in wanted.items():
        if entered[each.profile_id] >= most:
            found.refused.append((each, TOO_OFTEN))
        else:
            entered[each.profile_id] += 1
            left[place] = each
    if len(left) < len(wanted):
        alerts.raise_alert(
            f"flow:{door.flow_id}:loop",
            f"People enter the flow “{door.slug}” again and again",
            f"Nobody is let in more than {most} times within an hour. Look whether a step of it, or of another flow, "
            "brings about what starts it.",
        )
    return left


def lock(flow_id: int, wait: bool = True) -> None:
    """Let no other process let people into the flow until the transaction ends.

    Raises:
        Busy: another one does, and we are not to wait.
    """
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, flow_id])
            return
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_LOCK, flow_id])
        if not cursor.fetchone()[0]:
            raise Busy(Busy.__doc__)


def _store(door: Door, wanted: Mapping[tuple[int, str], Start], now: datetime, found: Entered) -> None:
    out = held_out(door.slug, door.definition, {profile_id for profile_id, _key in wanted})
    rows = [
        {
            "profile_id": profile_id,
            "run_key": key,
            "context": each.context,
            "until": each.until,
            "held_out": profile_id in out,
        }
        for (profile_id, key), each in wanted.items()
    ]
    values: dict[str, Any] = {
        "flow": door.flow_id,
        "version": door.version_id,
        "first": door.first,
        "now": now,
        "reason": HELD_OUT,
        "rows": msgspec.json.encode(rows).decode(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ENROLL, values)
        entered = cursor.fetchall()
    left = dict(wanted)
    decisions, events, pairs = [], [], []
    for run_id, profile_id, key, step, out_ in entered:
        each = left.pop((profile_id, key))
        run = Run(run_id, door.flow_id, door.slug, door.version_id, profile_id, step, {}, {}, now)
        decisions.append(
            DecisionRow(
                run_id, door.flow_id, profile_id, "", "held_out" if out_ else "entered", _facts(each), now
            )
        )
        pairs.append((each, run))
        told = event("entered", run, now)
        if out_:
            told.properties["holdout"] = True
            found.held_out.append(each)
        else:
            found.runs.append((each, run))
        events.append(told)
    write_decisions(decisions)
    log.append(events)
    found.refused += [(each, ONCE) for each in left.values()]
    # What is held out, too: it is there to be compared.
    goals.reached_before([run for _start, run in pairs], [each for each, _run in pairs], door.definition, now)
    runs = [run for _start, run in found.runs]
    if runs and door.definition.exit_on:
        places = [each.place or log.Position(2**62, 0) for each, _run in found.runs]
        exits.end_late(runs, places, door.definition, now)


def _moved(door: Door, starts: Sequence[Start], now: datetime, found: Entered) -> list[Start]:
    """Put off or bring forward those who wait at the gate for another date; return the starts that are left."""
    keyed = door.definition.key is not None
    gated: dict[tuple[int, str], Start] = {}
    for each in starts:
        if each.until is not None and (key := run_key(door.definition, each)) is not None:
            gated[each.profile_id, key if keyed else ""] = each  # the last one counts
    if not gated:
        return list(starts)
    rows = [
        {"profile_id": profile_id, "run_key": key, "context": each.context, "until": each.until}
        for (profile_id, key), each in gated.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE,
            {
                "flow": door.flow_id,
                "now": now,
                "keyed": keyed,
                "rows": msgspec.json.encode(rows).decode(),
            },
        )
        moved = cursor.fetchall()
    decisions, gone = [], set()
    for run_id, profile_id, key in moved:
        place = (profile_id, key if keyed else "")
        gone.add(place)
        found.moved.append(gated[place])
        facts = _facts(gated[place])
        decisions.append(DecisionRow(run_id, door.flow_id, profile_id, "", "moved", facts, now))
    write_decisions(decisions)
    return [each for place, each in gated.items() if place not in gone] + [
        each for each in starts if each.until is None
    ]


def _free_to_enter(door: Door, starts: Sequence[Start], found: Entered, now: datetime) -> list[Start]:
    """Drop people who are inside or may not come again yet; of each other person keep the first start.

    Who is held out is never inside, so all of theirs are kept where people may always come again.
    """
    if door.definition.key is not None or not starts:
        return list(starts)
    reentry = door.definition.reentry
    ids = [each.profile_id for each in starts]
    never_inside = held_out(door.slug, door.definition, ids) if reentry.mode == "always" else set()
    since = now - timedelta(days=reentry.days or 0) if reentry.mode == "after" else None
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT profile_id, bool_or(state = 'active'), bool_or(entered_at > %s) FROM campaigns_enrollment
            WHERE flow_id = %s AND profile_id = ANY(%s) GROUP BY 1
            """,
            [since, door.flow_id, ids],
        )
        before = {row[0]: row[1:] for row in cursor.fetchall()}
    free: list[Start] = []
    coming: set[int] = set()
    for each in starts:
        inside, lately = before.get(each.profile_id, (False, False))
        reason = INSIDE if inside or each.profile_id in coming else TOO_SOON if lately else ""
        if not reason and reentry.mode == "never" and each.profile_id in before:
            reason = ONCE
        if reason:
            found.refused.append((each, reason))
        else:
            free.append(each)
            coming |= {each.profile_id} - never_inside
    return free


def run_key(definition: Definition, each: Start) -> str | None:
    """What tells this start's run apart; None if its event lacks the property that would."""
    if definition.key is not None:
        facts = each.context.get("event", {}).get("properties")
        return exits.run_key(definition, facts if isinstance(facts, Mapping) else {})
    if definition.reentry.mode == "never":
        return "once"
    return each.mark[: exits.MAX_KEY] or f"event:{each.event_id}"


def held_out(slug: str, definition: Definition, profile_ids: Collection[int]) -> set[int]:
    """Those of the people who get nothing of the flow, for comparison; always the same ones."""
    if definition.holdout_percent <= 0:
        return set()
    return {
        profile_id
        for profile_id in profile_ids
        if shares.place(profile_id, slug, "holdout") < definition.holdout_percent
    }


def record_refusals(flow_id: int, refused: Sequence[tuple[Start, str]], now: datetime) -> None:
    """Write down why these were not let in."""
    write_decisions(
        [
            DecisionRow(
                None, flow_id, each.profile_id, "", "not_entered", {"reason": reason, **_facts(each)}, now
            )
            for each, reason in refused
        ]
    )


def reasons(refused: Sequence[tuple[Start, str]]) -> dict[str, int]:
    """How many were refused for which reason."""
    return dict(Counter(reason for _start, reason in refused))


def _facts(each: Start) -> dict[str, Any]:
    facts = {"event": each.context.get("event", {}).get("name", "")}
    if each.event_id is not None:
        facts["event_id"] = str(each.event_id)
    if each.until is not None:
        facts["until"] = each.until.isoformat()
    return facts
