"""Computing an attribute for everybody, in chunks of people, while events keep coming.

Starting notes how far the log's reader is. Chunks then compute whatever they see; when all are done, the events
that the reader has passed since are gone through and their people computed once more, and in the same transaction
as the last of them the attribute goes live. From then on the reader keeps it. So nothing that arrives meanwhile is
lost, and nothing counts twice, since values are never added to but computed anew.

A chunk only reads until it writes its rows, all in one transaction with the progress: killed at any point it goes on
where it was. Its size follows the time it takes.
"""

import logging
import time
from datetime import UTC, datetime

from django.db import DatabaseError, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import alerts, log, pg, wake
from crm.computed import keeping
from crm.computed.compute import store
from crm.computed.kinds import Kind, parse
from crm.computed.kinds.base import Scope
from crm.models import ComputedAttribute, LogCursor, Profile
from crm.pg import statement_limits
from crm.rules.errors import RuleError

logger = logging.getLogger(__name__)

FIRST_CHUNK = 20_000  # people
LEAST_CHUNK = 500
TARGET_SECONDS = 3.0  # of a chunk, for its writing holds up the log's readers at the end
TIMEOUT_MS = 60_000
_LOCK = 0x436F6D70  # first half of the advisory lock; the attribute's id is the second
State = ComputedAttribute.State


class _Overtaken(Exception):
    """Somebody changed the attribute or started it anew while a chunk was computed: the chunk is thrown away."""


@transaction.atomic
def start(attribute: ComputedAttribute) -> None:
    """Have the attribute computed for everybody; its values so far stay readable if they were complete."""
    log.start_at_end(keeping.CURSOR)
    log.hold(keeping.CURSOR)
    place = LogCursor.objects.get(name=keeping.CURSOR)
    highest = Profile.objects.aggregate(highest=Max("pk"))["highest"] or 0
    values = {
        "state": State.BACKFILLING,
        "reached": 0,
        "goal": highest,
        "txid": place.txid,
        "seq": place.seq,
        "error": "",
    }
    ComputedAttribute.objects.filter(pk=attribute.pk).update(**values)
    for name, value in values.items():
        setattr(attribute, name, value)
    wake.on_commit("crm.tasks.backfill_attributes", "segments")


def run(budget_seconds: float = 20.0, now: datetime | None = None) -> bool:
    """Work on what is to be computed for everybody, for so long; return whether anything is left."""
    until = time.monotonic() + budget_seconds
    left = False
    for attribute in ComputedAttribute.objects.filter(state=State.BACKFILLING).order_by("updated_at", "pk"):
        with pg.locked(_LOCK, attribute.pk) as mine:
            left |= not mine or not _work(attribute.pk, until, now)
    return left


def _work(attribute_id: int, until: float, now: datetime | None) -> bool:
    """Chunk after chunk until the attribute is live or the time is over; return whether it is done with."""
    size = FIRST_CHUNK
    while True:
        attribute = ComputedAttribute.objects.filter(pk=attribute_id, state=State.BACKFILLING).first()
        if attribute is None:
            return True
        try:
            kind = parse(attribute.config)
            moment = (now or timezone.now()).astimezone(UTC)
            if attribute.reached < attribute.goal:
                began = time.monotonic()
                _chunk(attribute, kind, size, moment)
                took = max(time.monotonic() - began, 0.001)
                size = int(max(LEAST_CHUNK, min(size * min(TARGET_SECONDS / took, 4), size * 4)))
            elif _cut_over(attribute, kind, moment):
                return True
        except _Overtaken:
            continue
        except RuleError as error:
            keeping.fail(attribute, str(error))
            return True
        except DatabaseError as error:
            if keeping.is_slow(error) and size > LEAST_CHUNK:
                size = max(size // 4, LEAST_CHUNK)
                continue
            logger.warning("Computing %s failed: %s", attribute.slug, error)
            reason = (
                keeping.too_slow()
                if keeping.is_slow(error)
                else _("The database could not answer: %s") % str(error).splitlines()[0]
            )
            keeping.fail(attribute, reason)
            return True
        if time.monotonic() >= until:
            return False


def _chunk(attribute: ComputedAttribute, kind: Kind, size: int, moment: datetime) -> None:
    """The next `size` people by their id. The table is looked at first, for ids may have long gaps."""
    following = list(
        Profile.objects.filter(pk__gt=attribute.reached)
        .order_by("pk")
        .values_list("pk", flat=True)[size - 1 : size]
    )
    upto = min(following[0], attribute.goal) if following else attribute.goal
    with statement_limits(TIMEOUT_MS):
        store(attribute.pk, kind, Scope(after=attribute.reached, upto=upto), moment)
        # Not if somebody has started it anew or changed it meanwhile.
        same = {name: getattr(attribute, name) for name in ("config", "reached", "txid", "seq")}
        moved = ComputedAttribute.objects.filter(pk=attribute.pk, state=State.BACKFILLING, **same).update(
            reached=upto
        )
        if not moved:
            raise _Overtaken


def _cut_over(attribute: ComputedAttribute, kind: Kind, moment: datetime) -> bool:
    """Compute those once more whom the reader has passed since the start; go live when there are no more."""
    with statement_limits(TIMEOUT_MS):
        log.hold(keeping.CURSOR)
        place = LogCursor.objects.get(name=keeping.CURSOR)
        upto = log.Position(place.txid, place.seq)
        current = ComputedAttribute.objects.select_for_update().filter(
            pk=attribute.pk, state=State.BACKFILLING
        )
        mine = current.filter(config=attribute.config, reached=attribute.reached).first()
        if mine is None:
            return False
        names = kind.event_names | keeping.PEOPLE_EVENTS
        events, reached = log.between(log.Position(mine.txid, mine.seq), upto, keeping.BATCH, names)
        people = keeping.touched(kind, events)
        if people:
            store(attribute.pk, kind, Scope(people), moment)
        if reached < upto:
            current.update(txid=reached.txid, seq=reached.seq)
            return False
        alerts.resolve(keeping.alert_key(attribute.pk))
        current.update(state=State.LIVE, served=True, computed_at=moment, zones_checked_at=moment, error="")
    return True
