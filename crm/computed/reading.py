"""What is computed about people, to read."""

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.utils import timezone

from crm import log
from crm.computed.keeping import CURSOR
from crm.computed.kinds import Kind, parse
from crm.models import LogCursor
from crm.rules.errors import RuleError

SECONDS_A_DAY = 86_400

# Every complete attribute with the value of each person asked for, if there is one.
_VALUES = """
    SELECT a.slug, a.name, a.config::text, v.profile_id, v.number, v.text, v.at
    FROM crm_computedattribute a
    LEFT JOIN crm_computedvalue v ON v.attribute_id = a.id AND v.profile_id = ANY(%s::bigint[])
    WHERE a.served AND (%s::text[] IS NULL OR a.slug = ANY(%s::text[]))
    ORDER BY a.name, a.id
"""

Value = int | float | str | datetime | None
Row = tuple[float | None, str | None, datetime | None]  # number, text, at


class Shown(NamedTuple):
    """One line about a person: `text` is the value as people read it, `fresh_at` when it was true."""

    slug: str
    label: str
    value: Value
    text: str
    fresh_at: datetime


def values(
    profile_ids: Collection[int], slugs: Iterable[str] | None = None, now: datetime | None = None
) -> dict[int, dict[str, Value]]:
    """Return {profile id: {slug: value}} in one query.

    Numbers are int where they are whole, moments aware datetimes, days since a moment whole days. Who has none has
    None. Attributes that were never computed for everybody are left out.

    Args:
        slugs: the only attributes wanted, or None for all.
        now: aware; days are counted up to it. Default: the clock.
    """
    found: dict[int, dict[str, Value]] = {profile_id: {} for profile_id in profile_ids}
    for slug, _name, kind, given in _rows(found, slugs):
        for profile_id in found:
            found[profile_id][slug] = value_of(kind, given.get(profile_id), now)
    return found


def shown(profile_id: int, now: datetime | None = None) -> list[Shown]:
    """What a person's page says, sorted by name; in three queries."""
    fresh = fresh_at(now)
    return [
        Shown(slug, name, value := value_of(kind, given.get(profile_id), now), kind.in_words(value), fresh)
        for slug, name, kind, given in _rows([profile_id], None)
    ]


def fresh_at(now: datetime | None = None) -> datetime:
    """The time up to which values take events into account: now, unless the log's reader is behind."""
    place = LogCursor.objects.filter(name=CURSOR).first()
    if place is None or not log.lag(CURSOR):
        return now or timezone.now()
    return place.moved_at


def _rows(
    profile_ids: Iterable[int], slugs: Iterable[str] | None
) -> Iterator[tuple[str, str, Kind, dict[int, Row]]]:
    """Yield (slug, name, kind, {profile id: (number, text, at)}) of each complete attribute."""
    wanted = None if slugs is None else list(slugs)
    with connection.cursor() as cursor:
        cursor.execute(_VALUES, [list(profile_ids), wanted, wanted])
        rows = cursor.fetchall()
    grouped: dict[str, tuple[str, str, dict[int, Row]]] = {}
    for slug, name, config, profile_id, number, text, at in rows:
        given = grouped.setdefault(slug, (name, config, {}))[2]
        if profile_id is not None:
            given[profile_id] = (number, text, at)
    for slug, (name, config, given) in grouped.items():
        try:
            yield slug, name, parse(json.loads(config)), given
        except RuleError:
            continue  # of an older version; the reader marks it as failed


def value_of(kind: Kind, row: Row | None, now: datetime | None = None) -> Value:
    """The value of a stored (number, text, at), or of somebody without a row."""
    number, text, at = row or (None, None, None)
    if kind.counts_days:
        if at is None:
            return None
        return max(int(((now or timezone.now()) - at).total_seconds() // SECONDS_A_DAY), 0)
    if kind.type == "text":
        return text
    if kind.type == "moment":
        return at
    number = kind.default if number is None else number
    return int(number) if number is not None and abs(number) < 2**53 and number == int(number) else number
