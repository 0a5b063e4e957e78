"""Starting runs: of one flow or of many at once, in as many statements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection
from django.utils import timezone

from campaigns.flows import asking, entries, leaving
from campaigns.flows.entries import Door, Entered
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from campaigns.flows.triggers.base import Start
from crm import alerts, log
from delivery import exposures
from delivery.exposures import HELD_OUT, TREATED, Exposure
from delivery.policies.holdouts import out_of_everything

_ENROLL = """
    INSERT INTO campaigns_enrollment (flow_id, version_id, profile_id, run_key, state, step, due_at, context,
        entered_at, holdout, ended_at, reason)
    SELECT r.flow_id, r.version_id, r.profile_id, r.run_key, CASE WHEN r.held_out THEN 'completed' ELSE 'active' END,
        CASE WHEN r.held_out OR r.until > %(now)s THEN '' ELSE r.first END,
        CASE WHEN r.held_out THEN NULL ELSE greatest(r.until, %(now)s) END, r.context, %(now)s,
        r.held_out, CASE WHEN r.held_out THEN %(now)s END, CASE WHEN r.held_out THEN %(reason)s ELSE '' END
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(flow_id bigint, version_id bigint, first text, profile_id bigint,
        run_key text, context jsonb, until timestamptz, held_out bool)
    ON CONFLICT DO NOTHING RETURNING id, flow_id, profile_id, run_key, step, holdout
"""
# A later booking of the same key, or of the same person where there are no keys, is the one that counts.
_MOVE = """
    UPDATE campaigns_enrollment e SET due_at = greatest(r.until, %(now)s), context = r.context
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(flow_id bigint, keyed bool, profile_id bigint, run_key text, context jsonb, until timestamptz)
    WHERE e.flow_id = r.flow_id AND e.profile_id = r.profile_id AND e.state = 'active' AND e.step = ''
        AND (e.run_key = r.run_key OR NOT r.keyed)
    RETURNING e.id, e.flow_id, e.profile_id, e.run_key
"""
_BEFORE = """
    SELECT flow_id, profile_id, bool_or(state = 'active'), max(entered_at), count(*) FILTER (WHERE entered_at > %s)
    FROM campaigns_enrollment WHERE profile_id = ANY(%s) AND flow_id = ANY(%s) GROUP BY 1, 2
"""

FLOW, LOOP = "flow:", ":loop"  # between them the flow's number: the key of the alert about a loop


class _Before(NamedTuple):
    """Somebody's runs of a flow until now."""

    inside: bool = False
    entered_at: datetime | None = None
    lately: int = 0  # within an hour


def enter(door: Door, starts: Sequence[Start], now: datetime) -> Entered:
    """All at once, in the caller's transaction: ask whether they may start, and start them."""
    [(allowed, refused)] = entitled([(door, starts)], now)
    [found] = start([(door, allowed)], now)
    found.refused += refused
    return found


def entitled(
    asked: Sequence[tuple[Door, Sequence[Start]]], now: datetime
) -> list[tuple[list[Start], list[tuple[Start, str]]]]:
    """By flow those who come while it takes people, meet the entry rule and have their date before them.

    The others are told with the reason, which is recorded.

    Raises:
        RuleError: an entry rule can't be asked.
    """
    found: list[tuple[list[Start], list[tuple[Start, str]]]] = []
    for door, starts in asked:
        waiting, refused = [], []
        for each in starts:
            if reason := entries.outside(door.definition, each.at) or entries.too_late(each, now):
                refused.append((each, reason))
            else:
                waiting.append(each)
        found.append((waiting, refused))
    ruled = [
        (number, door.definition.entry)
        for number, (door, _starts) in enumerate(asked)
        if door.definition.entry is not None and found[number][0]
    ]
    met = asking.meeting(
        [(rule, {each.profile_id for each in found[number][0]}) for number, rule in ruled], now
    )
    for (number, _rule), allowed in zip(ruled, met, strict=True):
        waiting, refused = found[number]
        refused += [(each, entries.RULE) for each in waiting if each.profile_id not in allowed]
        found[number] = ([each for each in waiting if each.profile_id in allowed], refused)
    entries.record_refusals(
        [(door.flow_id, refused) for (door, _starts), (_waiting, refused) in zip(asked, found, strict=True)],
        now,
    )
    return found


def start(asked: Sequence[tuple[Door, Sequence[Start]]], now: datetime) -> list[Entered]:
    """Start a run for each start that may have one; those that are held out have one that is over at once.

    A second start of the same run, or of somebody who may not enter again yet, starts nothing. Each flow is named once.
    """
    found = [Entered() for _each in asked]
    coming = [(door, starts, entered) for (door, starts), entered in zip(asked, found, strict=True) if starts]
    if not coming:
        return found
    entries.lock_all([door.flow_id for door, _starts, _entered in coming])
    coming = _moved(coming, now)
    before = _before(coming, now)
    wanted = []
    for door, starts, entered in coming:
        runs = _runs(door, _free_to_enter(door, starts, before, entered, now), entered)
        if door.definition.key is not None or door.definition.reentry.mode != "never":
            runs = _not_in_a_loop(door, runs, before, entered)
        if runs:
            wanted.append((door, runs, entered))
    _store(wanted, now)
    return found


_Coming = list[tuple[Door, Sequence[Start], Entered]]


def _moved(coming: _Coming, now: datetime) -> _Coming:
    """Put off or bring forward those who wait at the gate for another date; return the starts that are left."""
    gated: dict[tuple[int, int, str], Start] = {}
    keyed = {door.flow_id: door.definition.key is not None for door, _starts, _entered in coming}
    for door, starts, _entered in coming:
        for each in starts:
            if each.until is not None and (key := entries.run_key(door.definition, each)) is not None:
                place = (door.flow_id, each.profile_id, key if keyed[door.flow_id] else "")
                gated[place] = each  # the last one counts
    if not gated:
        return coming
    rows = [
        {
            "flow_id": flow_id,
            "keyed": keyed[flow_id],
            "profile_id": profile_id,
            "run_key": key,
            "context": each.context,
            "until": each.until,
        }
        for (flow_id, profile_id, key), each in gated.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, {"now": now, "rows": msgspec.json.encode(rows).decode()})
        moved = cursor.fetchall()
    decisions = []
    gone: dict[tuple[int, int, str], Start] = {}
    for run_id, flow_id, profile_id, key in moved:
        place = (flow_id, profile_id, key if keyed[flow_id] else "")
        gone[place] = gated[place]
        facts = entries.facts(gated[place])
        decisions.append(DecisionRow(run_id, flow_id, profile_id, "", "moved", facts, now))
    write_decisions(decisions)
    left: _Coming = []
    for door, starts, entered in coming:
        entered.moved += [each for place, each in gone.items() if place[0] == door.flow_id]
        rest = [each for place, each in gated.items() if place[0] == door.flow_id and place not in gone] + [
            each for each in starts if each.until is None
        ]
        left.append((door, rest, entered))
    return left


def _before(coming: _Coming, now: datetime) -> dict[tuple[int, int], _Before]:
    people = {each.profile_id for _door, starts, _entered in coming for each in starts}
    with connection.cursor() as cursor:
        cursor.execute(
            _BEFORE,
            [now - entries.AN_HOUR, sorted(people), [door.flow_id for door, _starts, _entered in coming]],
        )
        return {(row[0], row[1]): _Before(*row[2:]) for row in cursor.fetchall()}


def _free_to_enter(
    door: Door,
    starts: Sequence[Start],
    before: Mapping[tuple[int, int], _Before],
    entered: Entered,
    now: datetime,
) -> list[Start]:
    """Drop people who are inside or may not come again yet; of each other person keep the first start.

    Who is held out is never inside, so all of theirs are kept where people may always come again.
    """
    if door.definition.key is not None:
        return list(starts)
    reentry = door.definition.reentry
    ids = [each.profile_id for each in starts]
    never_inside = entries.held_out(door.slug, door.definition, ids) if reentry.mode == "always" else set()
    since = now - timedelta(days=reentry.days or 0) if reentry.mode == "after" else None
    free: list[Start] = []
    coming: set[int] = set()
    for each in starts:
        known = before.get((door.flow_id, each.profile_id), _Before())
        reason = ""
        if known.inside or each.profile_id in coming:
            reason = entries.INSIDE
        elif since is not None and known.entered_at is not None and known.entered_at > since:
            reason = entries.TOO_SOON
        elif reentry.mode == "never" and known.entered_at is not None:
            reason = entries.ONCE
        if reason:
            entered.refused.append((each, reason))
        else:
            free.append(each)
            coming |= {each.profile_id} - never_inside
    return free


_Wanted = dict[tuple[int, str], Start]


def _runs(door: Door, starts: Sequence[Start], entered: Entered) -> _Wanted:
    """The starts by person and run key; of two for the same run the first."""
    wanted: _Wanted = {}
    for each in starts:
        key = entries.run_key(door.definition, each)
        if key is None:
            entered.refused.append((each, entries.NO_KEY))
        elif wanted.setdefault((each.profile_id, key), each) is not each:
            entered.refused.append((each, entries.INSIDE))
    return wanted


def _not_in_a_loop(
    door: Door, wanted: _Wanted, before: Mapping[tuple[int, int], _Before], entered: Entered
) -> _Wanted:
    """Refuse people who come again and again, as by two flows each of which changes what starts the other."""
    most = settings.NUDGE_FLOW_ENTRIES_PER_HOUR
    came: Counter[int] = Counter()
    left = {}
    for place, each in wanted.items():
        known = before.get((door.flow_id, each.profile_id), _Before())
        if known.lately + came[each.profile_id] >= most:
            entered.refused.append((each, entries.TOO_OFTEN))
        else:
            came[each.profile_id] += 1
            left[place] = each
    if len(left) < len(wanted):
        alerts.raise_alert(
            f"{FLOW}{door.flow_id}{LOOP}",
            f"People enter the flow “{door.slug}” again and again",
            f"Nobody is let in more than {most} times within an hour. Look whether a step of it, or of another flow, "
            "brings about what starts it.",
        )
    return left


def forget_loops(now: datetime | None = None) -> None:
    """Take back what was told of people who enter again and again, of flows that have refused nobody for an hour."""
    alerts.resolve_quiet(FLOW, LOOP, (now or timezone.now()) - entries.AN_HOUR)


def _store(wanted: Sequence[tuple[Door, _Wanted, Entered]], now: datetime) -> None:
    if not wanted:
        return
    rows = []
    for door, runs, _entered in wanted:
        out = entries.held_out(door.slug, door.definition, {profile_id for profile_id, _key in runs})
        rows += [
            {
                "flow_id": door.flow_id,
                "version_id": door.version_id,
                "first": door.first,
                "profile_id": profile_id,
                "run_key": key,
                "context": each.context,
                "until": each.until,
                "held_out": profile_id in out,
            }
            for (profile_id, key), each in runs.items()
        ]
    values: dict[str, Any] = {
        "now": now,
        "reason": entries.HELD_OUT,
        "rows": msgspec.json.encode(rows).decode(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ENROLL, values)
        stored = cursor.fetchall()
    of_flow = {door.flow_id: (door, dict(runs), found) for door, runs, found in wanted}
    decisions, events, started = [], [], []
    compared: list[Exposure] = []
    for run_id, flow_id, profile_id, key, step, out_ in stored:
        door, left, found = of_flow[flow_id]
        each = left.pop((profile_id, key))
        run = Run(run_id, flow_id, door.slug, door.version_id, profile_id, step, {}, {}, now)
        kind = "held_out" if out_ else "entered"
        if door.definition.holdout_percent > 0:
            compared.append(Exposure(f"holdout:flow:{flow_id}", profile_id, HELD_OUT if out_ else TREATED))
        decisions.append(DecisionRow(run_id, flow_id, profile_id, "", kind, entries.facts(each), now))
        party = leaving.Party(flow_id, door.slug, door.version_id, door.definition)
        # What is held out, too, may reach its goal: it is there to be compared.
        started.append(leaving.Started(party, run, each.place))
        told = event("entered", run, now)
        if out_:
            told.properties["holdout"] = True
            found.held_out.append(each)
        else:
            found.runs.append((each, run))
        events.append(told)
    write_decisions(decisions)
    log.append(events)
    # Whoever is held out of everything gets no message of it on either side.
    nobody = out_of_everything({each.profile_id for each in compared})
    exposures.record([each for each in compared if each.profile_id not in nobody], now)
    for _door, left, found in of_flow.values():
        found.refused += [(each, entries.ONCE) for each in left.values()]
    leaving.leave_late(started, now)
