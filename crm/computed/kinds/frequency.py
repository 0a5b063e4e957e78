"""What occurs how often: different values, the most frequent one, the usual hour."""

from typing import Any, Literal

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.computed.kinds.base import (
    Ask,
    Kind,
    Windowed,
    columns,
    profiles_with_zones,
    property_path,
    typed,
)
from crm.computed.kinds.figures import OfProperty
from crm.rules.paths import json_operand
from crm.rules.sql import Sql, sql


class OneOf(OfProperty, kw_only=True, rename={"result": "as"}):
    """A value of a property; `as` says which type it has: others do not count. Texts are cut at 500 characters."""

    result: Literal["text", "number", "moment"] = "text"


class Usual(Windowed, kw_only=True):
    """The part of the time of day or week that occurs most often."""

    of: Literal["hour", "weekday"]


class _ByValue(Kind):
    """Counts the events of each value first, then looks at a person's values."""

    def value(self) -> Sql:
        """The value that one event e counts for; null for none."""
        raise NotImplementedError

    def counted(self, ask: Ask, joins: Sql | None = None, zone: Sql | None = None) -> Sql:
        """profile_id, zone, value, n, last_at, first_at, next_at: one row for each person and value."""
        inside, at = self.inside(ask), Sql("e.occurred_at")
        return sql(
            "SELECT e.profile_id, {} AS zone, {} AS value, count(*) FILTER (WHERE {}) AS n,"
            " max({}) FILTER (WHERE {}) AS last_at, min({}) FILTER (WHERE {}) AS first_at,"
            " min({}) FILTER (WHERE NOT {}) AS next_at"
            " FROM crm_event e{} WHERE {} GROUP BY 1, 2, 3",
            zone or Sql("NULL::text"),
            self.value(),
            *(inside, at, inside, at, inside, at, inside),
            joins or Sql(""),
            self.matching(ask),
        )

    def commonest(self, ask: Ask, kind: str, counted: Sql) -> Sql:
        """The value with the most events; of equal ones the one that occurred last, then the smallest."""
        order = 'value COLLATE "C"' if kind == "text" else "value"
        chosen = Sql(
            f"(array_agg(value ORDER BY n DESC, last_at DESC, {order})"
            " FILTER (WHERE value IS NOT NULL AND n > 0))[1]"
        )
        return sql(
            "SELECT profile_id, {}, {} AS due_at, zone FROM ({}) AS counted GROUP BY profile_id, zone",
            columns(kind, chosen),
            self.due(ask, Sql("min(first_at)"), Sql("min(next_at)")),
            counted,
        )


class Distinct(_ByValue):
    kind, label, position = "distinct", gettext_lazy("number of different"), 6
    Config = OfProperty
    inputs = ("property", "last_days")

    def check(self) -> None:
        self.path = property_path(self.config.property)

    @property
    def default(self) -> float | None:
        return 0

    def value(self) -> Sql:
        return sql("nullif({}, 'null'::jsonb)", json_operand("e.properties", self.path).value)

    def rows(self, ask: Ask) -> Sql:
        return sql(
            "SELECT profile_id, {}, {} AS due_at, zone FROM ({}) AS counted GROUP BY profile_id, zone",
            columns("number", Sql("(count(value) FILTER (WHERE n > 0))::float8")),
            self.due(ask, Sql("min(first_at)"), Sql("min(next_at)")),
            self.counted(ask),
        )

    def describe(self) -> str:
        return _("number of different %(property)s of %(events)s") % {
            "property": self.config.property,
            "events": self.about(),
        }


class MostFrequent(_ByValue):
    """A favourite category, and the like."""

    kind, label, position = "most_frequent", gettext_lazy("most frequent"), 9
    Config = OneOf
    inputs = ("property", "as", "last_days")

    def check(self) -> None:
        self.path = property_path(self.config.property)

    @property
    def type(self) -> str:
        return self.config.result

    def value(self) -> Sql:
        return typed(self.path, self.type)

    def rows(self, ask: Ask) -> Sql:
        return self.commonest(ask, self.type, self.counted(ask))

    def describe(self) -> str:
        return _("most frequent %(property)s of %(events)s") % {
            "property": self.config.property,
            "events": self.about(),
        }


class UsualTime(_ByValue):
    """0 to 23 for an hour, 1 (Monday) to 7 for a weekday; both where the person lives."""

    kind, label, position = "usual", gettext_lazy("usual"), 11
    Config = Usual
    inputs = ("of", "last_days")
    zoned = True

    def value(self) -> Sql:
        part = "hour" if self.config.of == "hour" else "isodow"
        return Sql(f"extract({part} FROM e.occurred_at AT TIME ZONE p.zone)::float8")

    def rows(self, ask: Ask) -> Sql:
        people = sql(" JOIN {} p ON p.id = e.profile_id", profiles_with_zones(ask))
        return self.commonest(ask, "number", self.counted(ask, people, Sql("p.zone")))

    def in_words(self, value: Any) -> str:
        if value is None:
            return "–"
        return f"{value:02d}:00" if self.config.of == "hour" else str(WEEKDAYS[value - 1])

    def describe(self) -> str:
        phrase = _("usual hour of %s") if self.config.of == "hour" else _("usual weekday of %s")
        return phrase % self.about()
