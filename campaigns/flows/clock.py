"""Starts people whom the clock starts: at the times of a schedule, or at moments that their own dates lead to.

How far the clock has come is stored with the starts that this made, and the same start again starts nothing, so a
process that dies loses and repeats nothing. After a time in which nothing ran, moments of the last day are caught up
with; older ones are over.

With a schedule it is quick to say who is to start. With people's own dates it takes a look at everybody: so that is
done once an hour for the time to come, and who was found is asked again when their moment has come. Whose profile
changes meanwhile is looked at every minute.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from campaigns.flows import enrolling, entering, entries, program, triggers
from campaigns.flows.definition import Definition
from campaigns.flows.triggers.base import Start
from campaigns.models import Flow, FlowMoment, FlowSchedule
from crm import alerts, attribute_changes, pg, present

logger = logging.getLogger(__name__)

BATCH = 1000  # people started in one transaction
LATEST = timedelta(days=1)
HORIZON = timedelta(minutes=70)  # how far a look at everybody reaches
LEAD = timedelta(minutes=10)  # before its end the next one comes
CHANGES_EVERY = timedelta(minutes=1)
OVERLAP = timedelta(minutes=5)  # profiles bear the time at which a transaction began, and it may have lasted
MOST_CHANGED = 20_000  # when more profiles have changed, everybody is looked at
PIECE = 5_000  # moments stored at once
ERROR = "clock: "  # how Flow.error begins when the clock can't start anybody
_LOCK = 0x636C6F63  # "cloc"
_WATCHED = {Flow.State.LIVE, Flow.State.PAUSED}

_REMEMBER = """
    INSERT INTO campaigns_flowmoment AS m (flow_id, profile_id, at)
    SELECT %s, p.id, min(r.at) FROM unnest(%s::bigint[], %s::timestamptz[]) AS r(profile, at)
    JOIN crm_profile p ON p.id = r.profile GROUP BY p.id ORDER BY p.id
    ON CONFLICT (flow_id, profile_id) DO UPDATE SET at = {}
"""
# What is found anew about somebody counts; of what a look at everybody finds, what comes first.
_FOUND, _CHANGED = _REMEMBER.format("least(m.at, excluded.at)"), _REMEMBER.format("excluded.at")


class Ticking(NamedTuple):
    """A live flow that the clock starts."""

    flow_id: int
    slug: str
    version_id: int
    since: datetime
    trigger: triggers.Trigger
    how: str


def run(now: datetime | None = None, seconds: float = 20.0) -> bool:
    """Start everybody whose moment has come; whether more is left to do right away. Other processes may do the same."""
    until = time.monotonic() + seconds
    moment = now or timezone.now()
    if not attribute_changes.watches_just(_fields()):
        attribute_changes.watch_only(_fields)
    more = False
    for flow in _ticking():
        if time.monotonic() >= until:
            return True
        with pg.locked(_LOCK, flow.flow_id) as mine:
            if not mine:
                continue
            try:
                more |= _exactly(flow, moment, until) if flow.how == "exact" else _ahead(flow, moment, until)
            except Exception as error:
                _failed(flow, error)
            else:
                Flow.objects.filter(pk=flow.flow_id, error__startswith=ERROR).update(error="")
                alerts.resolve(_alert_key(flow))
    return more


def watch(definition: Definition) -> None:
    """Have the changes recorded that a flow starts by; to be called in the transaction that publishes it."""
    trigger = triggers.of(definition)
    if trigger is not None:
        attribute_changes.watch(trigger.kind.watches(trigger.config))


def _fields() -> set[str]:
    found: set[str] = set()
    for version_id in Flow.objects.filter(state__in=_WATCHED, live_version__isnull=False).values_list(
        "live_version_id", flat=True
    ):
        try:
            trigger = triggers.of(program.of_version(version_id).definition)
        except Exception as error:
            logger.debug("Version %d can't be read, as whoever reads the log tells: %s", version_id, error)
            continue
        if trigger is not None:
            found |= trigger.kind.watches(trigger.config)
    return found


def _ticking() -> Iterator[Ticking]:
    flows = Flow.objects.filter(
        state=Flow.State.LIVE, live_version__isnull=False, listening_since__isnull=False
    ).order_by("pk")
    for flow_id, slug, version_id, since in flows.values_list(
        "pk", "slug", "live_version_id", "listening_since"
    ):
        try:
            trigger = triggers.of(program.of_version(version_id).definition)
        except Exception:
            logger.warning("What starts the flow %s can't be read", slug)
            continue
        if since and trigger is not None and (how := trigger.kind.clock(trigger.config)):
            yield Ticking(flow_id, slug, version_id, since, trigger, how)


def _schedule(flow: Ticking) -> FlowSchedule:
    """How far the clock has come with a flow; it begins anew when the flow listens since another moment."""
    FlowSchedule.objects.bulk_create(
        [FlowSchedule(flow_id=flow.flow_id, since=flow.since, reached=flow.since, changes_seen=flow.since)],
        ignore_conflicts=True,
    )
    schedule = FlowSchedule.objects.get(pk=flow.flow_id)
    if schedule.since != flow.since:
        with transaction.atomic():
            FlowMoment.objects.filter(flow_id=flow.flow_id).delete()
            schedule.since = schedule.reached = schedule.changes_seen = flow.since
            schedule.after = None
            schedule.save()
    return schedule


def _exactly(flow: Ticking, now: datetime, until: float) -> bool:
    """Start who is to start by now, a batch at a time in the order of the moments."""
    schedule = _schedule(flow)
    kind, config = flow.trigger
    while time.monotonic() < until:
        since, after = schedule.reached, schedule.after
        if since < now - LATEST:
            since, after = now - LATEST, None
        if since >= now and after is None:
            return False
        starts = list(kind.moments(config, since, now, BATCH, after))
        full = len(starts) == BATCH
        with transaction.atomic():
            if not _enter(flow, starts, now):
                return False
            schedule.reached, schedule.after = (
                (starts[-1].at, starts[-1].profile_id) if full else (max(since, now), None)
            )
            schedule.save(update_fields=["reached", "after"])
        if not full:
            return False
    return True


def _ahead(flow: Ticking, now: datetime, until: float) -> bool:
    """Look ahead where it is time, take changes into account, then start whose moment has come."""
    schedule = _schedule(flow)
    kind, config = flow.trigger
    if schedule.reached < now + LEAD:
        since, reached = max(schedule.reached, now - LATEST), now + HORIZON
        _remember(_FOUND, flow, kind.ahead(config, since, reached))
        if schedule.changes_seen == schedule.since:
            schedule.changes_seen = max(now, schedule.since)  # what was changed before has been seen
        schedule.reached = reached
        schedule.save(update_fields=["reached", "changes_seen"])
    if schedule.changes_seen + CHANGES_EVERY <= now:
        since = max(schedule.changes_seen, now - LATEST)
        changed = kind.changed(config, since - OVERLAP, since, schedule.reached, MOST_CHANGED)
        everybody = kind.ahead(config, since, schedule.reached) if changed is None else changed
        _remember(_CHANGED, flow, everybody)
        schedule.changes_seen = now
        schedule.save(update_fields=["changes_seen"])
    while time.monotonic() < until:
        coming = list(
            FlowMoment.objects.filter(flow_id=flow.flow_id, at__lte=now)
            .order_by("at")
            .values_list("pk", "profile_id", "at")[:BATCH]
        )
        if not coming:
            return False
        # Who has another date by now, or none, is found again by the change of their profile.
        told = {(profile_id, at) for _pk, profile_id, at in coming}
        first = max(min(at for _pk, _profile, at in coming) - timedelta(microseconds=1), now - LATEST)
        found = kind.again(config, sorted({profile_id for _pk, profile_id, _at in coming}), first, now)
        starts = [each for each in found if (each.profile_id, each.at) in told]
        with transaction.atomic():
            if not _enter(flow, starts, now):
                return False
            FlowMoment.objects.filter(pk__in=[pk for pk, _profile, _at in coming]).delete()
    return True


def _remember(statement: str, flow: Ticking, starts: Any) -> None:
    piece: list[Start] = []

    def store() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                statement,
                [flow.flow_id, [each.profile_id for each in piece], [each.at for each in piece]],
            )
        piece.clear()

    for each in starts:
        piece.append(each)
        if len(piece) == PIECE:
            store()
    if piece:
        store()


def _enter(flow: Ticking, starts: Sequence[Start], now: datetime) -> bool:
    """Let these in, in the caller's transaction; False if the flow is not what it was any more."""
    people = present.hold({each.profile_id for each in starts})
    entries.lock(flow.flow_id)
    door = enrolling.open_door(flow.flow_id)
    if door is None or door.version_id != flow.version_id:
        return False
    if not Flow.objects.filter(pk=flow.flow_id, listening_since=flow.since).exists():
        return False
    # Who was merged meanwhile is found again as whom they are now.
    entering.enter(door, [each for each in starts if people.get(each.profile_id) == each.profile_id], now)
    return True


def _failed(flow: Ticking, error: Exception) -> None:
    logger.error("The clock can't start people in the flow %s", flow.slug, exc_info=error)
    Flow.objects.filter(pk=flow.flow_id).update(error=f"{ERROR}{error}"[:500])
    alerts.raise_alert(
        _alert_key(flow),
        f"The flow “{flow.slug}” can't start people at their time",
        "It is tried again every few seconds, and what lies less than a day back is caught up with. Mend what it "
        f"refers to, or publish it anew. The reason: {error}",
    )


def _alert_key(flow: Ticking) -> str:
    return f"flow:{flow.flow_id}:clock"
