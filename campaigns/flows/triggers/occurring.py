"""When people's dates occur, and whose do within a stretch of time."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection

from campaigns.flows import dates
from campaigns.segments import computed, fields
from crm import geography
from crm.rules.moments import Moment
from crm.rules.sql import TRUE, Sql, sql

PAGE = 20_000  # people
# Clocks differ from UTC by 14 hours at most, and both the day of a value and that of its moment may; a time of day
# moves it by less than a day more.
SLACK = timedelta(days=3)


class Rule(NamedTuple):
    """How a date becomes a moment: once or every year, so much later, `at` which time of the person's day."""

    yearly: bool = False
    offset: dates.Offset = dates.Offset()
    at: time | None = None

    @property
    def length(self) -> timedelta:
        """About how much later than its date a moment is."""
        return timedelta(days=self.offset.days, hours=self.offset.hours, minutes=self.offset.minutes)


class Dates(NamedTuple):
    """Where people's dates are stored: `value` in a statement over `source`, in which the profile's alias is p.

    Args:
        type: "date", "datetime" or "json".
    """

    value: Sql
    type: str
    source: Sql = Sql("crm_profile p")


class Occurrence(NamedTuple):
    """A moment, and what tells it apart from the person's others."""

    at: datetime
    mark: str


class Found(NamedTuple):
    """One person's date, as it is stored, with its occurrences."""

    profile_id: int
    value: Any
    occurrences: list[Occurrence]


def occurrences(
    value: Moment, rule: Rule, zone: ZoneInfo, since: datetime, until: datetime
) -> list[Occurrence]:
    """The moments in (since, until] that a person's date leads to.

    A yearly date occurs for the first time in the year after itself.
    """
    years: Sequence[int | None] = [None]
    if rule.yearly:
        low, high = since - rule.length - SLACK, until - rule.length + SLACK
        years = range(max(low.year, value.start.year + 1), high.year + 1)
    found = []
    for year in years:
        try:
            at = dates.around(value, zone, rule.offset, rule.at, year)
        except OverflowError:
            continue
        if since < at <= until:
            found.append(Occurrence(at, f"date:{year or (value.day or value.start).isoformat()}"))
    return found


def stored(name: str) -> Dates:
    """Where the dates of this name are: a column, an attribute, or a computed attribute.

    Raises:
        RuleError: there is no such field.
    """
    if name.startswith(computed.PREFIX):
        one = computed.field(name.removeprefix(computed.PREFIX))
        source = sql(
            "crm_computedvalue v JOIN crm_profile p ON p.id = v.profile_id AND v.attribute_id = {}", one.pk
        )
        return Dates(Sql("v.at"), "datetime", source)
    field = fields.field(name)
    return Dates(field.operand.value, field.type)


def look(
    field: Dates, rule: Rule, since: datetime, until: datetime, whom: Sql = TRUE, page: int = PAGE
) -> Iterator[Found]:
    """People of whom a date occurs in (since, until], in the order of their ids.

    Args:
        whom: a condition on the profile p.
    """
    candidates = sql(
        "SELECT p.id, to_jsonb({})::text, p.timezone, p.latitude, p.longitude, p.country FROM {}"
        " WHERE {} AND {} AND p.id > ",
        *(field.value, field.source, near(field, rule, since, until), whom),
    )
    after = 0
    while True:
        query = sql("{}{} ORDER BY p.id LIMIT {}", candidates, after, page)
        with connection.cursor() as cursor:
            cursor.execute(query.text, query.params)
            rows = cursor.fetchall()
        for profile_id, told, timezone, latitude, longitude, country in rows:
            stored = msgspec.json.decode(told)
            value = dates.read(stored)
            if value is None:
                continue
            where = {
                "timezone": timezone,
                "latitude": latitude,
                "longitude": longitude,
                "country": country,
            }
            if found := occurrences(value, rule, geography.zone_for(where), since, until):
                yield Found(profile_id, stored, found)
        if len(rows) < page:
            return
        after = rows[-1][0]


def near(field: Dates, rule: Rule, since: datetime, until: datetime) -> Sql:
    """That a date of the profile p may occur in this stretch: it holds for all of whom it does and for few others."""
    first, last = (since - rule.length - SLACK).date(), (until - rule.length + SLACK).date()
    value = field.value
    if field.type == "json":  # ISO days sort as texts do
        text = sql("({} #>> '{{}}') COLLATE \"C\"", value)
        once = sql("left({}, 10) BETWEEN {} AND {}", text, first.isoformat(), last.isoformat())
        day = sql("substr({}, 6, 5)", text)
    elif field.type == "date":
        column, once = value, sql("{} BETWEEN {} AND {}", value, first, last)
        day = sql("to_char({}, 'MM-DD')", column)
    else:
        column = sql("({} AT TIME ZONE 'UTC')", value)
        edges = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
        once = sql("{} >= {}::timestamptz AND {} < {}::timestamptz", value, next(edges), value, next(edges))
        day = sql("to_char({}, 'MM-DD')", column)
    if not rule.yearly:
        return once
    wanted = days_of_year(first, last)
    return sql("{} IS NOT NULL", value) if wanted is None else sql("{} = ANY({}::text[])", day, wanted)


def days_of_year(first: date, last: date) -> list[str] | None:
    """Days as "02-28", with "02-29" where the 28th stands for it; None for all."""
    if (last - first).days >= 365:
        return None
    found = set()
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        found.add(f"{day.month:02d}-{day.day:02d}")
        if (day.month, day.day) == (2, 28):
            found.add("02-29")
    return sorted(found)


def changed_since(since: datetime) -> Sql:
    """That the profile p was written since then."""
    return sql("p.updated_at > {}", since)


def among(profile_ids: Sequence[int]) -> Sql:
    """That the profile p is one of these."""
    return sql("p.id = ANY({}::bigint[])", list(profile_ids))


def many_changed(since: datetime, most: int) -> bool:
    """Whether more profiles than `most` were written since then."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM crm_profile WHERE updated_at > %s LIMIT %s) AS found",
            [since, most + 1],
        )
        return cursor.fetchone()[0] > most
