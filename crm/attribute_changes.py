"""Changes of watched fields as events of the log: `attribute_changed` with field, from and to.

Triggers of the database write them (migration 0024) in the transaction of the change, so no writer can forget it, for
watched fields only: where nobody watches, a statement costs one look at an empty table. What is created with a value
has not changed. Of contact data only whether there is any is told: null or OUTLINE.

A field is a column of the profile, a value in its attributes (`attributes.plan`) or a computed attribute
(`computed.orders`).
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import partitions
from crm.computed.kinds import parse
from crm.models import AttributeWatch, ComputedAttribute, Profile

CHANGED = "attribute_changed"
OUTLINE = "•••"
ATTRIBUTE, COMPUTED = "attributes.", "computed."
COLUMNS = frozenset(
    {
        *(
            "external_id",
            "email",
            "phone",
            "first_name",
            "last_name",
            "language",
            "timezone",
            "country",
            "city",
        ),
        *("latitude", "longitude", "birthday", "lifecycle_stage"),
    }
)

_WATCH = """
    INSERT INTO crm_attributewatch (field, path, attribute_id, fallback, outlined)
    SELECT field, path, attribute_id, fallback, outlined
    FROM jsonb_to_recordset(%s::jsonb) AS r(field text, path text[], attribute_id bigint, fallback jsonb, outlined bool)
    ORDER BY field ON CONFLICT (field) DO UPDATE
        SET path = excluded.path, attribute_id = excluded.attribute_id, fallback = excluded.fallback,
            outlined = excluded.outlined
"""


class _Row(msgspec.Struct):
    field: str
    path: list[str] | None = None
    attribute_id: int | None = None
    fallback: float | None = None
    outlined: bool = False


def watch(fields: Collection[str], now: datetime | None = None) -> None:
    """Have changes of these fields recorded from when the caller's transaction is committed.

    Fields that can't be watched are left out: columns that change all the time, and computed attributes that do not
    exist or count days.
    """
    rows = _rows(fields)
    if not rows:
        return
    partitions.ensure_ahead(now or timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_WATCH, [msgspec.json.encode(rows).decode()])


@transaction.atomic
def watch_only(fields: Callable[[], Collection[str]]) -> None:
    """Watch just `fields()`, which is asked while nobody can add others."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE crm_attributewatch IN SHARE ROW EXCLUSIVE MODE")
    wanted = _rows(fields())
    there = {row.field: row for row in AttributeWatch.objects.all()}
    gone = set(there) - {row.field for row in wanted}
    if gone:
        AttributeWatch.objects.filter(field__in=gone).delete()
    watch([row.field for row in wanted if not _same(row, there.get(row.field))])


def watches_just(fields: Collection[str]) -> bool:
    """Whether exactly these fields, as far as they can be, are watched as they are now."""
    wanted, there = _rows(fields), {row.field: row for row in AttributeWatch.objects.all()}
    return set(there) == {row.field for row in wanted} and all(_same(row, there[row.field]) for row in wanted)


def watched() -> set[str]:
    """The fields whose changes are recorded."""
    return set(AttributeWatch.objects.values_list("field", flat=True))


def can_watch(field: str) -> bool:
    """Whether changes of a field can be recorded."""
    return bool(_rows([field]))


@contextmanager
def unrecorded() -> Iterator[None]:
    """Let changes go unrecorded within a block of the caller's transaction: what is erased must not be told again."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('nudge.changes_unrecorded', 'on', true)")
        yield
        cursor.execute("SELECT set_config('nudge.changes_unrecorded', '', true)")


def _rows(fields: Collection[str]) -> list[_Row]:
    computed = {
        attribute.slug: attribute
        for attribute in ComputedAttribute.objects.filter(
            slug__in=[name.removeprefix(COMPUTED) for name in fields if name.startswith(COMPUTED)]
        )
    }
    rows = []
    for field in sorted(set(fields)):
        if field in COLUMNS:
            rows.append(_Row(field, outlined=field in Profile.contact_data))
        elif field.startswith(ATTRIBUTE):
            rows.append(_Row(field, path=field.removeprefix(ATTRIBUTE).split(".")))
        elif attribute := computed.get(field.removeprefix(COMPUTED)):
            kind = parse(attribute.config)
            if not kind.counts_days:
                rows.append(_Row(field, attribute_id=attribute.pk, fallback=kind.default))
    return rows


def _same(wanted: _Row, there: AttributeWatch | None) -> bool:
    return there is not None and (there.attribute_id, there.fallback) == (
        wanted.attribute_id,
        wanted.fallback,
    )
