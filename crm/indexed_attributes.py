"""Attributes that rules ask for often, in columns with covering indexes: one statement then reads an index alone.

A trigger keeps each column equal to `crm_index_value` (migration 0023) of what lies in `attributes`: texts of up to
LONGEST bytes, numbers, and true or false, as JSON; nothing for whatever else. So a comparison that `serves` accepts
has the same answer from the column as from `attributes`, with JSON's types, and all other comparisons go on reading
`attributes`.

Making one is done by background work that may be ended at any point and goes on where it was: the column (instant, as
it is empty), the trigger, the values of people there are in short transactions, the index (concurrently), a vacuum.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import DatabaseError, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _
from psycopg.errors import LockNotAvailable

from crm import indexed_columns, pg, wake
from crm.models import IndexedAttribute, Profile
from crm.rules.operators import COMPLEMENT, Comparison
from crm.rules.paths import json_path

logger = logging.getLogger(__name__)

MOST = 20  # each costs every write of a profile a little
LONGEST = 600  # bytes of a text; an entry of an index has to fit into a third of a page
GRACE = timedelta(minutes=2)  # a statement that was made with the column may still be running
CHUNK = 5_000  # people in one transaction
BUDGET_SECONDS = 20.0
TASK = "crm.tasks.build_attribute_indexes"
_LOCK = (0x496E6478, 1)
_COMPARED = ("gt", "gte", "lt", "lte", "between")
State = IndexedAttribute.State


class Refused(Exception):
    """The attribute can't be indexed; the message says why."""


class Used(NamedTuple):
    """How many rules ask for an attribute, and the milliseconds that the slowest of them takes."""

    rules: int
    slowest_ms: int


Finder = Callable[[], Mapping[str, Used]]
_finders: list[Finder] = []


def register(finder: Finder) -> None:
    """Ask `finder` too which attributes rules use: it returns path -> Used."""
    if finder not in _finders:
        _finders.append(finder)


def used() -> dict[str, Used]:
    """The attributes that rules use in comparisons that an index serves, the most used first."""
    found: dict[str, Used] = {}
    for finder in _finders:
        for path, use in finder().items():
            before = found.get(path, Used(0, 0))
            found[path] = Used(before.rules + use.rules, max(before.slowest_ms, use.slowest_ms))
    return dict(sorted(found.items(), key=lambda item: (-item[1].rules, -item[1].slowest_ms, item[0])))


def serves(comparison: Comparison) -> bool:
    """Whether the column gives the same answer to a comparison as `attributes`."""
    op = COMPLEMENT.get(comparison.op, comparison.op)
    values = comparison.value if op in ("in", "between") else [comparison.value]
    if op in ("eq", "in"):
        return all(not isinstance(value, str) or len(value.encode()) <= LONGEST for value in values)
    return op in _COMPARED and all(isinstance(value, int | float) for value in values)


def columns() -> dict[tuple[str, ...], str]:
    """The column of crm_profile by the keys of each attribute that is in use."""
    with pg.prepared() as cursor:
        cursor.execute("SELECT path, id FROM crm_indexedattribute WHERE state = 'ready'")
        return {tuple(path.split(".")): IndexedAttribute(pk=pk).column for path, pk in cursor.fetchall()}


@transaction.atomic
def create(path: str) -> IndexedAttribute:
    """Have an attribute indexed.

    Args:
        path: as rules name it, without `attributes.`.

    Raises:
        RuleError: this is no name of an attribute.
        Refused: it is indexed already, or too many are.
    """
    json_path(path, "path")
    if IndexedAttribute.objects.filter(path=path).exists():
        raise Refused(_("“%s” has an index already.") % path)
    if IndexedAttribute.objects.count() >= MOST:
        raise Refused(_("At most %d attributes can be indexed. Remove one first.") % MOST)
    made = IndexedAttribute.objects.create(path=path)
    wake.on_commit(TASK, "segments")
    return made


@transaction.atomic
def retry(attribute: IndexedAttribute) -> None:
    """Go on with one that failed."""
    IndexedAttribute.objects.filter(pk=attribute.pk, state=State.FAILED).update(state=State.ADDING, error="")
    wake.on_commit(TASK, "segments")


@transaction.atomic
def remove(attribute: IndexedAttribute, now: datetime | None = None) -> None:
    """No rule uses the column from now on; it goes a little later."""
    IndexedAttribute.objects.filter(pk=attribute.pk).update(
        state=State.REMOVING, removed_at=now or timezone.now()
    )


def work(budget_seconds: float = BUDGET_SECONDS, now: datetime | None = None) -> bool:
    """Go on making and removing columns for so long; returns whether anything is left to do at once."""
    until, moment = time.monotonic() + budget_seconds, now or timezone.now()
    with pg.locked(*_LOCK) as mine:
        if not mine:
            return False
        for attribute in IndexedAttribute.objects.exclude(state__in=(State.READY, State.FAILED)):
            try:
                if attribute.state == State.REMOVING:
                    if (attribute.removed_at or moment) <= moment - GRACE:
                        indexed_columns.drop(attribute)
                elif not _make(attribute, until):
                    return True
            except DatabaseError as error:
                if isinstance(error.__cause__, LockNotAvailable):
                    continue  # the table was in use for long; the next sweep tries again
                logger.warning("Indexing attribute %d failed: %s", attribute.pk, type(error).__name__)
                reason = _("The database could not do it: %s") % str(error).splitlines()[0]
                IndexedAttribute.objects.filter(pk=attribute.pk).update(state=State.FAILED, error=reason)
    return False


def _make(attribute: IndexedAttribute, until: float) -> bool:
    """From wherever it is to being in use; False when the time was over before."""
    if attribute.state == State.ADDING:
        _add(attribute)
    if attribute.state == State.FILLING:
        while attribute.reached < attribute.goal:
            if time.monotonic() >= until:
                return False
            if not _fill(attribute):
                return True  # it was removed meanwhile
        _move(attribute, State.INDEXING)
    if attribute.state == State.INDEXING:
        indexed_columns.index(attribute)
        _move(attribute, State.READY, ready_at=timezone.now())
    return True


def _move(attribute: IndexedAttribute, state: str, **values: Any) -> None:
    """To the next state, unless somebody removed it meanwhile."""
    moved = IndexedAttribute.objects.filter(pk=attribute.pk, state=attribute.state).update(
        state=state, **values
    )
    attribute.state = state if moved else State.REMOVING


def _add(attribute: IndexedAttribute) -> None:
    with transaction.atomic():
        new = indexed_columns.add(attribute)
        attribute.reached = 0 if new else attribute.reached
        attribute.goal = Profile.objects.aggregate(highest=Max("pk"))["highest"] or 0
        _move(attribute, State.FILLING, reached=attribute.reached, goal=attribute.goal)


def _fill(attribute: IndexedAttribute) -> bool:
    """The next people's values; False when the attribute is gone."""
    following = Profile.objects.filter(pk__gt=attribute.reached).order_by("pk").values_list("pk", flat=True)
    last = list(following[CHUNK - 1 : CHUNK])
    upto = min(last[0], attribute.goal) if last else attribute.goal

    def store() -> int:
        indexed_columns.fill(attribute, attribute.reached, upto)
        return IndexedAttribute.objects.filter(pk=attribute.pk, state=State.FILLING).update(reached=upto)

    if not pg.retried(store):
        return False
    attribute.reached = upto
    return True
