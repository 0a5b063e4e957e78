"""Keeping memberships up to date: whoever comes in or drops out is written, nobody else is touched.

Each segment has an advisory lock of its own, so two refreshes of one segment never collide. Differences are
written in short transactions of up to CHUNK people with their log events, because readers of the event log wait
for every transaction that writes. A refresh that dies half-way is completed by the next one.
"""

import logging
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.models import Segment, SegmentMembership
from campaigns.segments import compiler, evaluate, grammar
from crm import log, pg
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql

logger = logging.getLogger(__name__)

CHUNK = 5_000  # people written in one transaction
TIMEOUT_MS = 60_000
LONGEST_SHARE = 20  # a segment that takes a second to count is counted every 20 seconds at most
_LOCK = 0x53454731  # first half of the advisory lock; the segment's id is the second

_ENTER = """
    INSERT INTO campaigns_segmentmembership (segment_id, profile_id, entered_at)
    SELECT %s, p.id, %s FROM crm_profile p WHERE p.id = ANY(%s::bigint[])
    ORDER BY p.id FOR KEY SHARE  -- they must not be merged or removed before this is stored
    ON CONFLICT DO NOTHING RETURNING profile_id
"""
_LEAVE = """
    DELETE FROM campaigns_segmentmembership WHERE segment_id = %s AND profile_id = ANY(%s::bigint[])
    RETURNING profile_id
"""


class Refreshed(NamedTuple):
    """What one refresh did. `skipped` tells that another process was at it; `error` why it failed."""

    entered: int = 0
    left: int = 0
    size: int = 0
    skipped: bool = False
    error: str = ""


def refresh(segment: Segment, now: datetime | None = None) -> Refreshed:
    """Evaluate a segment for everybody, write the difference and log who entered and who left.

    A rule that fails marks the segment and leaves its members as they were.

    Args:
        segment: its `size`, `state`, `error` and times are updated in place as well.
        now: aware; default the clock.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    with pg.locked(_LOCK, segment.pk) as mine:
        if not mine:
            return Refreshed(size=segment.size, skipped=True)
        started = time.monotonic()
        try:
            segment.refresh_from_db(fields=["rule", "slug"])
            rule = grammar.parse(segment.rule)
            compiler.references(rule, own=segment.slug)
            entered, left = _difference(segment, compiler.ids(rule, compiler.query(rule, moment)))
            done = Refreshed(_enter(segment, entered, moment), _leave(segment, left, moment))
        except Segment.DoesNotExist:
            return Refreshed()  # deleted a moment ago
        except (RuleError, DatabaseError, evaluate.TooSlow) as error:
            return _failed(segment, error, moment)
        size = SegmentMembership.objects.filter(segment=segment).count()
        _record(
            segment,
            size=size,
            state=Segment.State.READY,
            error="",
            evaluated_at=moment,
            evaluation_ms=int((time.monotonic() - started) * 1000),
        )
        return done._replace(size=size)


def refresh_all(now: datetime | None = None) -> dict[str, Refreshed]:
    """Refresh every segment that is due, the longest waiting first; one that fails does not stop the others.

    Returns:
        What happened, by slug. Segments that are slow to count are counted less often.
    """
    moment = now or timezone.now()
    done = {}
    for segment in Segment.objects.order_by("evaluated_at"):
        if _due(segment, moment):
            done[segment.slug] = refresh(segment, moment)
    return done


def touch(profile_ids: Iterable[int], now: datetime | None = None) -> dict[str, Refreshed]:
    """Re-evaluate only these people, for all segments; for use when they did something or were changed.

    A segment that is just being refreshed is skipped: that refresh, or the next one, sees the change.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    ids = sorted(set(profile_ids))
    done: dict[str, Refreshed] = {}
    if not ids:
        return done
    for segment in Segment.objects.filter(state=Segment.State.READY):
        with pg.locked(_LOCK, segment.pk) as mine:
            done[segment.slug] = _touch_one(segment, ids, moment) if mine else Refreshed(skipped=True)
    return done


def _touch_one(segment: Segment, ids: list[int], moment: datetime) -> Refreshed:
    entered = left = 0
    try:
        rule = grammar.parse(segment.rule)
        for start in range(0, len(ids), CHUNK):
            scope = ids[start : start + CHUNK]
            found = compiler.ids(rule, compiler.query(rule, moment, scope))
            coming, going = _difference(segment, found, scope)
            entered += _enter(segment, coming, moment)
            left += _leave(segment, going, moment)
    except (RuleError, DatabaseError, evaluate.TooSlow) as error:
        return _failed(segment, error, moment)
    size = segment.size + entered - left
    if entered or left:
        size = SegmentMembership.objects.filter(segment=segment).count()
        _record(segment, size=size)
    return Refreshed(entered, left, size)


def _due(segment: Segment, now: datetime) -> bool:
    last = segment.evaluated_at
    if last is None or segment.rule_changed_at > last:
        return True
    return now - last >= timedelta(milliseconds=(segment.evaluation_ms or 0) * LONGEST_SHARE)


def _difference(segment: Segment, ids: Sql, scope: list[int] | None = None) -> tuple[list[int], list[int]]:
    """Who is to come in and who is to go. Only reads, so that no reader of the log waits for it."""
    members = sql(
        "SELECT profile_id AS id FROM campaigns_segmentmembership WHERE segment_id = {}", segment.pk
    )
    if scope is not None:
        members = sql("{} AND profile_id = ANY({}::bigint[])", members, scope)
    statement = sql(
        "WITH found AS MATERIALIZED ({}), members AS MATERIALIZED ({})"
        " SELECT id, true FROM ((SELECT id FROM found) EXCEPT (SELECT id FROM members)) AS entered"
        " UNION ALL SELECT id, false FROM ((SELECT id FROM members) EXCEPT (SELECT id FROM found)) AS departed",
        ids,
        members,
    )
    with evaluate.limits(TIMEOUT_MS), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        rows = cursor.fetchall()
    return [row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]]


def _enter(segment: Segment, ids: list[int], moment: datetime) -> int:
    return sum(
        _write(segment, "segment_entered", _ENTER, [segment.pk, moment, ids[start : start + CHUNK]], moment)
        for start in range(0, len(ids), CHUNK)
    )


def _leave(segment: Segment, ids: list[int], moment: datetime) -> int:
    return sum(
        _write(segment, "segment_left", _LEAVE, [segment.pk, ids[start : start + CHUNK]], moment)
        for start in range(0, len(ids), CHUNK)
    )


def _write(segment: Segment, name: str, statement: str, params: list, moment: datetime) -> int:
    """Change memberships and log each change, in one transaction. Returns how many changed."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, params)
        changed = [row[0] for row in cursor.fetchall()]
        properties = {"segment": segment.slug, "name": segment.name}
        log.append(
            [
                log.NewEvent(uuid.uuid4(), profile_id, name, moment, properties, "segments")
                for profile_id in changed
            ]
        )
    return len(changed)


def _failed(segment: Segment, error: Exception, moment: datetime) -> Refreshed:
    if isinstance(error, evaluate.TooSlow):
        reason = _("Counting took longer than %d seconds. Narrow the time windows.") % (TIMEOUT_MS // 1000)
    elif isinstance(error, RuleError):
        reason = str(error)
    else:
        reason = _("The database could not answer: %s") % str(error).splitlines()[0]
    logger.warning("Segment %s failed: %s", segment.slug, reason)
    _record(segment, state=Segment.State.FAILED, error=reason, evaluated_at=moment)
    return Refreshed(size=segment.size, error=reason)


def _record(segment: Segment, **values) -> None:
    """Store what was found out, without marking the segment as edited."""
    Segment.objects.filter(pk=segment.pk).update(**values)
    for name, value in values.items():
        setattr(segment, name, value)
