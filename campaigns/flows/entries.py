"""Who may start a run: by events, by the clock, by hand and when a flow is published. `entering` starts them.

The order of what is asked: the flow's dates, the entry rule, whether the date that the run would wait for is still to
come, whether the person may enter again; then the holdout decides whether the run is lived.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows import exits, shares
from campaigns.flows.definition import Definition
from campaigns.flows.records import DecisionRow, Run, write_decisions
from campaigns.flows.triggers.base import Start

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
)  # by `entering.entitled`; the others may come often

GATE = ""  # the step of a run that is held before its first one
_A_DAY, AN_HOUR = timedelta(days=1), timedelta(hours=1)
_LOCK = 0x666C6F77  # "flow"


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


def lock(flow_id: int, wait: bool = True) -> None:
    """Let no other process let people into the flow until the transaction ends.

    Raises:
        Busy: another one does, and we are not to wait.
    """
    if wait:
        lock_all([flow_id])
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [_LOCK, flow_id])
        if not cursor.fetchone()[0]:
            raise Busy(Busy.__doc__)


def lock_all(flow_ids: Collection[int]) -> None:
    """As `lock`, for several flows, always in the same order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, flow_id) FROM unnest(%s::int[]) AS f(flow_id)",
            [_LOCK, sorted(set(flow_ids))],
        )


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


def record_refusals(by_flow: Sequence[tuple[int, Sequence[tuple[Start, str]]]], now: datetime) -> None:
    """Write down why these were not let in, in one statement for all flows."""
    write_decisions(
        [
            DecisionRow(
                None, flow_id, each.profile_id, "", "not_entered", {"reason": reason, **facts(each)}, now
            )
            for flow_id, refused in by_flow
            for each, reason in refused
        ]
    )


def reasons(refused: Sequence[tuple[Start, str]]) -> dict[str, int]:
    """How many were refused for which reason."""
    return dict(Counter(reason for _start, reason in refused))


def facts(each: Start) -> dict[str, Any]:
    """What a decision about a start tells of what happened."""
    told = {"event": each.context.get("event", {}).get("name", "")}
    if each.event_id is not None:
        told["event_id"] = str(each.event_id)
    if each.until is not None:
        told["until"] = each.until.isoformat()
    return told
