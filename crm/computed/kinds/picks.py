"""The first and the last: a value in it, when it was, how long ago."""

from typing import Literal

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.computed.kinds.base import Ask, Events, Kind, columns, property_path, typed
from crm.computed.kinds.frequency import OneOf
from crm.rules.sql import Sql, sql


class PickOf(OneOf, kw_only=True):
    """As OneOf; without a property it is when the event happened."""

    property: str = ""


class Since(Events, kw_only=True):
    """How long ago the first or last event was."""

    which: Literal["first", "last"] = "last"


class _Pick(Kind):
    """The first or last event that has a value of the type asked for."""

    Config = PickOf
    inputs = ("property", "as", "last_days")
    ends: tuple[str, str]  # the aggregate that finds its time, the direction to sort by

    def check(self) -> None:
        self.path = property_path(self.config.property) if self.config.property else ()

    @property
    def type(self) -> str:
        return self.config.result if self.path else "moment"

    @property
    def advances_by(self) -> str | None:
        if self.path or self.window:
            return None
        return "greatest" if self.ends[0] == "max" else "least"

    def rows(self, ask: Ask) -> Sql:
        extreme, direction = self.ends
        has = sql("{} AND value IS NOT NULL", self.inside(ask, "occurred_at"))
        at = sql("{}(occurred_at) FILTER (WHERE {})", Sql(extreme), has)
        chosen = at
        if self.path:
            order = Sql(f"occurred_at {direction}, seq {direction}")
            chosen = sql("(array_agg(value ORDER BY {}) FILTER (WHERE {}))[1]", order, has)
        following = sql("min(occurred_at) FILTER (WHERE NOT {})", self.inside(ask, "occurred_at"))
        value = typed(self.path, self.type) if self.path else Sql("true")
        return sql(
            "SELECT profile_id, {}, {} AS due_at, NULL::text AS zone"
            " FROM (SELECT e.profile_id, e.occurred_at, e.seq, {} AS value FROM crm_event e WHERE {}) AS found"
            " GROUP BY profile_id",
            columns(self.type, chosen),
            self.due(ask, at, following),
            value,
            self.matching(ask),
        )


class First(_Pick):
    kind, label, position = "first", gettext_lazy("first"), 7
    ends = ("min", "ASC")

    def describe(self) -> str:
        if not self.path:
            return _("time of the first %s") % self.about()
        return _("first %(property)s of %(events)s") % {
            "property": self.config.property,
            "events": self.about(),
        }


class Last(_Pick):
    kind, label, position = "last", gettext_lazy("last"), 8
    ends = ("max", "DESC")

    def describe(self) -> str:
        if not self.path:
            return _("time of the last %s") % self.about()
        return _("last %(property)s of %(events)s") % {
            "property": self.config.property,
            "events": self.about(),
        }


class DaysSince(Kind):
    """The moment is what is kept; the days are counted when somebody asks, so they are never stale."""

    kind, label, position = "days_since", gettext_lazy("days since the"), 10
    Config = Since
    inputs = ("which",)
    counts_days = True

    @property
    def advances_by(self) -> str | None:
        return "greatest" if self.config.which == "last" else "least"

    def rows(self, ask: Ask) -> Sql:
        extreme = Sql("max" if self.config.which == "last" else "min")
        return sql(
            "SELECT e.profile_id, NULL::float8 AS number, NULL::text AS text, {}(e.occurred_at) AS at,"
            " NULL::timestamptz AS due_at, NULL::text AS zone FROM crm_event e WHERE {} GROUP BY e.profile_id",
            extreme,
            self.matching(ask),
        )

    def describe(self) -> str:
        phrase = _("days since the last %s") if self.config.which == "last" else _("days since the first %s")
        return phrase % self.about()
