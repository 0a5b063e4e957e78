"""Letting named people into a live flow: by the API, by hand in the admin, and from a step of another flow."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import OperationalError, connection, transaction
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from campaigns.flows import entering, entries, program
from campaigns.flows.triggers.base import Start
from campaigns.models import Flow
from crm import normalise

NOT_LIVE = "flow is not live"
UNKNOWN = "no such person"
NAME = "enrolled"  # what the run calls its beginning

_HOLD = "SELECT id FROM crm_profile WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE"


class Enrolled(msgspec.Struct):
    """Who was started, by profile id with the number of the run, and why the others were not."""

    started: dict[int, int] = {}
    refused: dict[int, str] = {}


def enroll(
    flow_id: int,
    profile_ids: Collection[int],
    context: Mapping[str, Any] | None = None,
    key: str | None = None,
    by: str | None = None,
    now: datetime | None = None,
    contexts: Mapping[int, Mapping[str, Any]] | None = None,
    keys: Mapping[int, str] | None = None,
    wait: bool = True,
) -> Enrolled:
    """Start these people in the live version of a flow, whatever its trigger is, if its rules let them in.

    Why somebody is refused is recorded, and so that somebody is held out. The same call again starts nobody twice where
    the flow has a run key, lets people in only once, or a `key` is given.

    Args:
        context: the properties of what started the run, whatever they are called; templates find them as those of
            its event.
        key: tells this call's runs apart from others of the same people, such as the caller's idempotency key; in a
            flow with a run key, the value of that.
        by: who did it, for the record.
        contexts, keys: the same for one person each. A context with `event` in it is taken as the run's whole context.
        wait: whether to wait while another process lets people into the flow.

    Raises:
        entries.Busy: without `wait`.
        normalise.Rejection: `context` is nested too deep, too large, or holds what can't be stored.
    """
    now = now or timezone.now()
    ids = sorted(set(profile_ids))
    if context:
        # It comes from outside, and whoever takes up a run reads all of it.
        normalise.attribute("context", dict(context))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_HOLD, [ids])
            there = {row[0] for row in cursor.fetchall()}
        entries.lock(flow_id, wait)
        door = open_door(flow_id, wait)
        if door is None:
            return Enrolled(refused=dict.fromkeys(ids, NOT_LIVE))
        starts = [
            _start(
                door,
                profile_id,
                (contexts or {}).get(profile_id),
                context,
                (keys or {}).get(profile_id, key),
                by,
                now,
            )
            for profile_id in ids
            if profile_id in there
        ]
        found = entering.enter(door, starts, now)
        not_again = [pair for pair in found.refused if pair[1] not in entries.RECORDED]
        entries.record_refusals([(flow_id, not_again)], now)
    result = Enrolled(refused={profile_id: UNKNOWN for profile_id in ids if profile_id not in there})
    result.started = {each.profile_id: run.id for each, run in found.runs}
    result.refused |= {each.profile_id: entries.HELD_OUT for each in found.held_out}
    result.refused |= {each.profile_id: reason for each, reason in found.refused}
    return result


def open_door(flow_id: int, wait: bool = True) -> entries.Door | None:
    """The flow's live version, which stays what it is until the caller's transaction ends; None if nobody may enter.

    Raises:
        entries.Busy: somebody publishes or stops it just now, and we are not to wait.
    """
    statement = "SELECT slug, live_version_id FROM campaigns_flow WHERE id = %s AND state = %s FOR SHARE"
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement if wait else f"{statement} NOWAIT", [flow_id, Flow.State.LIVE])
            row = cursor.fetchone()
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise entries.Busy(entries.Busy.__doc__) from error
        raise
    if row is None or row[1] is None:
        return None
    live = program.of_version(row[1])
    if live.first is None:
        return None
    return entries.Door(flow_id, row[0], row[1], live.first, live.definition)


def _start(
    door: entries.Door,
    profile_id: int,
    own: Mapping[str, Any] | None,
    context: Mapping[str, Any] | None,
    key: str | None,
    by: str | None,
    now: datetime,
) -> Start:
    if own is not None and isinstance(own.get("event"), Mapping):
        known = dict(own)
    else:
        facts = dict(context or {} if own is None else own)
        if door.definition.key is not None and key is not None:
            facts = _with(facts, door.definition.key.removeprefix("properties.").split("."), key)
        known = {"event": {"name": NAME, "occurred_at": now.isoformat(), "properties": facts}}
    return Start(
        profile_id,
        now,
        known | ({"by": by} if by else {}),
        mark=f"{NAME}:{key if key is not None else uuid.uuid4()}",
    )


def _with(facts: Mapping[str, Any], path: Sequence[str], value: str) -> dict[str, Any]:
    """The facts with a value at a path inside."""
    inner = facts.get(path[0])
    rest = _with(inner if isinstance(inner, Mapping) else {}, path[1:], value) if path[1:] else value
    return {**facts, path[0]: rest}
