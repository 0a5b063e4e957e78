"""Keeping values up to date.

A reader of the event log recomputes each (attribute, person) that new events touch, in the transaction that moves
its cursor. Computing anew from the person's own events is exact whatever comes late, twice or out of order, and the
index on (profile, name, time) makes it cheap; extremes are only compared with what is new. Values that change by the
mere passing of time know when; whatever is due is recomputed too. All of this holds the reader's cursor, so that no
value computed from an older look at the log is written over a newer one. Attributes that are just being computed for
everybody are left to crm/computed/backfill.py, which catches up by itself.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError, OperationalError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import QueryCanceled

from crm import alerts, log
from crm.computed import zones
from crm.computed.compute import advance, store
from crm.computed.kinds import Kind, parse
from crm.computed.kinds.base import Scope
from crm.models import ComputedAttribute, LogCursor
from crm.pg import statement_limits
from crm.rules.errors import RuleError

CURSOR = "computed attributes"
BATCH = 5_000
LEAST_BATCH = 50
TIMEOUT_MS = 60_000
LATE_COMMIT = timedelta(minutes=5)  # a change of a profile may be seen so long after the time it bears
PEOPLE_EVENTS = frozenset({"profile_merged", "profile_unmerged", "profile_erased"})
State = ComputedAttribute.State


class Failing(Exception):
    """PostgreSQL can't compute an attribute; `slow` tells that it took too long, which fewer people may not."""

    def __init__(self, attribute: ComputedAttribute, error: DatabaseError):
        super().__init__(str(error))
        self.attribute = attribute
        self.slow = is_slow(error)
        self.reason = (
            too_slow() if self.slow else _("The database could not answer: %s") % str(error).splitlines()[0]
        )


def is_slow(error: Exception) -> bool:
    """Whether a statement was ended because it took too long."""
    return isinstance(error, OperationalError) and isinstance(error.__cause__, QueryCanceled)


def too_slow() -> str:
    """Why an attribute is given up that can't be computed in time."""
    return _("Computing so few people took longer than %d seconds.") % (TIMEOUT_MS // 1000)


@contextmanager
def _blaming(attribute: ComputedAttribute) -> Iterator[None]:
    """Tell whose fault it is that the block fails; a deadlock or a lost connection is nobody's."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(error, OperationalError) and not is_slow(error):
            raise
        raise Failing(attribute, error) from error


def read(now: datetime | None = None, limit: int = BATCH) -> tuple[int, bool]:
    """Recompute what the log's next events touch.

    Returns:
        How many events were taken into account, and whether more may be waiting.

    Raises:
        Failing: one of the attributes can't be computed; nothing of the batch is kept.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    if not LogCursor.objects.filter(name=CURSOR).exists():
        return 0, False  # nothing was ever computed: the first start puts the cursor at the log's end
    live: list[tuple[ComputedAttribute, Kind]] = []

    def names() -> frozenset[str]:
        # Asked once the cursor is ours: an attribute that goes live meanwhile has waited for us.
        live.extend(kept())
        return PEOPLE_EVENTS.union(*(kind.event_names for _attribute, kind in live))

    with statement_limits(TIMEOUT_MS), log.read(CURSOR, limit, names) as batch:
        for attribute, kind in live:
            with _blaming(attribute):
                _take(attribute.pk, kind, batch.events, moment)
    return len(batch.events), batch.full


def _take(attribute_id: int, kind: Kind, events: list[log.LoggedEvent], moment: datetime) -> None:
    """Bring one attribute up to date with a batch of events."""
    own = [event for event in events if event.name in kind.event_names]
    if kind.advances_by and own:
        since = min(event.occurred_at for event in own)
        advance(attribute_id, kind, Scope(sorted({event.profile_id for event in own})), since, moment)
        events = [event for event in events if event.name in PEOPLE_EVENTS]
    if people := touched(kind, events):
        store(attribute_id, kind, Scope(people), moment)


def kept(state: str = State.LIVE) -> list[tuple[ComputedAttribute, Kind]]:
    """The attributes in this state with what they mean; one that can no longer be read is marked as failed."""
    found = []
    for attribute in ComputedAttribute.objects.filter(state=state).order_by("pk"):
        try:
            found.append((attribute, parse(attribute.config)))
        except RuleError as error:
            fail(attribute, str(error))
    return found


def fail(attribute: ComputedAttribute, reason: str) -> None:
    """Take the attribute out of use, until somebody starts it anew, rather than hand out what grows stale."""
    reason = reason[:500]
    ComputedAttribute.objects.filter(pk=attribute.pk).update(state=State.FAILED, served=False, error=reason)
    alerts.raise_alert(alert_key(attribute.pk), f"“{attribute.name}” is no longer computed", reason)


def alert_key(attribute_id: int) -> str:
    """What the alert about a failed attribute is kept under."""
    return f"computed:{attribute_id}"


def touched(kind: Kind, events: Iterable[log.LoggedEvent]) -> list[int]:
    """The people whose value these events may change."""
    names, people = kind.event_names, set()
    for event in events:
        if event.name in names:
            people.add(event.profile_id)
        if event.name in PEOPLE_EVENTS:
            people.add(event.profile_id)
            # The other profile of a merge or of its undoing.
            people.update(value for value in event.properties.values() if _is_profile_id(value))
    return sorted(people)


def _is_profile_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def recompute_due(now: datetime | None = None, limit: int = BATCH) -> int:
    """Recompute up to `limit` values that have changed by the passing of time; return how many there were.

    Raises:
        Failing: one of the attributes can't be computed; nothing is kept.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    with statement_limits(TIMEOUT_MS):
        if not _any_due(moment):
            return 0
        log.hold(CURSOR)
        live = {attribute.pk: (attribute, kind) for attribute, kind in kept()}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT attribute_id, array_agg(profile_id ORDER BY profile_id) FROM (
                    SELECT attribute_id, profile_id FROM crm_computedvalue
                    WHERE due_at < %s AND attribute_id = ANY(%s) ORDER BY due_at LIMIT %s
                ) AS due GROUP BY attribute_id ORDER BY attribute_id
                """,
                [moment, list(live), limit],
            )
            due = cursor.fetchall()
        for attribute_id, people in due:
            attribute, kind = live[attribute_id]
            with _blaming(attribute):
                store(attribute_id, kind, Scope(people), moment)
    return sum(len(people) for _attribute, people in due)


def _any_due(moment: datetime) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM crm_computedvalue v JOIN crm_computedattribute a ON a.id = v.attribute_id
                           WHERE v.due_at < %s AND a.state = 'live')
            """,
            [moment],
        )
        return cursor.fetchone()[0]


def follow_moves(now: datetime | None = None, limit: int = BATCH, every: timedelta = timedelta()) -> int:
    """Recompute what depends on the time zone for people whose zone has changed; return how many values.

    A change of a profile is no event; the index on the time of a profile's last change finds it.

    Args:
        every: attributes that were looked at less than so long ago are left out.

    Raises:
        Failing: one of the attributes can't be computed; nothing of it is kept.
    """
    moment = (now or timezone.now()).astimezone(UTC)
    moved = 0
    lately = moment - every
    zoned = [attribute for attribute, kind in kept() if kind.zoned]
    due = [row.pk for row in zoned if row.zones_checked_at is None or row.zones_checked_at <= lately]
    for attribute_id in due:
        with statement_limits(TIMEOUT_MS):
            log.hold(CURSOR)
            attribute = ComputedAttribute.objects.filter(pk=attribute_id, state=State.LIVE).first()
            if attribute is None:
                continue
            since = (attribute.zones_checked_at or attribute.computed_at or moment) - LATE_COMMIT
            people = _elsewhere(attribute_id, since, limit)
            if people:
                with _blaming(attribute):
                    store(attribute_id, parse(attribute.config), Scope(people), moment)
            if len(people) < limit:
                ComputedAttribute.objects.filter(pk=attribute_id).update(zones_checked_at=moment)
            moved += len(people)
    return moved


def _elsewhere(attribute_id: int, since: datetime, limit: int) -> list[int]:
    zone = zones.zone("p")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.id FROM crm_profile p JOIN crm_computedvalue v ON v.profile_id = p.id AND v.attribute_id = %s
            WHERE p.updated_at >= %s AND v.zone IS DISTINCT FROM {zone.text} ORDER BY p.id LIMIT %s
            """,
            [attribute_id, since, *zone.params, limit],
        )
        return [row[0] for row in cursor.fetchall()]


def sweep_up(limit: int = 20_000) -> int:
    """Delete values of attributes that are gone, so many at a time; return how many went."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE known AS (
                (SELECT attribute_id FROM crm_computedvalue ORDER BY attribute_id LIMIT 1)
                UNION ALL
                SELECT (SELECT v.attribute_id FROM crm_computedvalue v WHERE v.attribute_id > k.attribute_id
                        ORDER BY v.attribute_id LIMIT 1)
                FROM known k WHERE k.attribute_id IS NOT NULL
            )
            SELECT attribute_id FROM known
            WHERE attribute_id IS NOT NULL
                AND NOT EXISTS (SELECT FROM crm_computedattribute a WHERE a.id = attribute_id)
            """
        )
        gone = [row[0] for row in cursor.fetchall()]
        if not gone:
            return 0
        cursor.execute(
            """
            DELETE FROM crm_computedvalue WHERE (profile_id, attribute_id) IN (
                SELECT profile_id, attribute_id FROM crm_computedvalue WHERE attribute_id = ANY(%s) LIMIT %s)
            """,
            [gone, limit],
        )
        return cursor.rowcount


def forget(profile_ids: Collection[int]) -> None:
    """Delete what is computed about these people, in the caller's transaction; for erasing them."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM crm_computedvalue WHERE profile_id = ANY(%s)", [list(profile_ids)])
