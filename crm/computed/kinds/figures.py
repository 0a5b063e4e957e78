"""Figures over events: how many, and sums, extremes and averages of a number in them."""

from typing import Any, ClassVar, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.computed.kinds.base import Ask, Kind, Windowed, as_float, number, property_path
from crm.rules.errors import RuleError
from crm.rules.operators import check_json_scalar
from crm.rules.paths import json_operand
from crm.rules.sql import Sql, sql


class OfProperty(Windowed, kw_only=True):
    """A figure over the numbers in one property."""

    property: str


class ToThreshold(OfProperty, kw_only=True):
    """How far the `figure` is from `threshold`."""

    threshold: float
    figure: Literal["sum", "last"] = "sum"


class Figure(Kind):
    """An aggregate of SQL over the events that count."""

    def aggregate(self) -> Sql:
        """The aggregate over one event e, to be filtered."""
        raise NotImplementedError

    def value(self) -> Sql:
        """The number made of the aggregate, which is called figure."""
        return as_float("figure")

    def rows(self, ask: Ask) -> Sql:
        at = Sql("e.occurred_at")
        inside = self.inside(ask)
        first = sql("min({}) FILTER (WHERE {})", at, inside)
        following = sql("min({}) FILTER (WHERE NOT {})", at, inside)
        return sql(
            "SELECT profile_id, {} AS number, NULL::text AS text, NULL::timestamptz AS at, due_at, NULL::text AS zone"
            " FROM (SELECT e.profile_id, {} FILTER (WHERE {}) AS figure, {} AS due_at FROM crm_event e WHERE {}"
            " GROUP BY e.profile_id) AS found",
            self.value(),
            self.aggregate(),
            inside,
            self.due(ask, first, following),
            self.matching(ask),
        )


class Count(Figure):
    kind, label, position = "count", gettext_lazy("number of"), 1
    Config = Windowed
    inputs = ("last_days",)

    @property
    def default(self) -> float | None:
        return 0

    def aggregate(self) -> Sql:
        return Sql("count(*)")

    def value(self) -> Sql:
        return Sql("figure::float8")

    def describe(self) -> str:
        return _("number of %s") % self.about()


class _OfNumbers(Figure):
    """A figure over the numbers in a property; other values do not count."""

    fn: ClassVar[str]
    phrase: ClassVar[Any]
    Config: ClassVar[type[msgspec.Struct]] = OfProperty
    inputs: ClassVar[tuple[str, ...]] = ("property", "last_days")

    def check(self) -> None:
        self.path = property_path(self.config.property)

    def numbers(self) -> Sql:
        return number(json_operand("e.properties", self.path))

    def aggregate(self) -> Sql:
        return sql("{}({})", Sql(self.fn), self.numbers())

    def describe(self) -> str:
        return str(self.phrase) % {"property": self.config.property, "events": self.about()}


class Sum(_OfNumbers):
    kind, label, position, fn = "sum", gettext_lazy("sum of"), 2, "sum"
    phrase = gettext_lazy("sum of %(property)s of %(events)s")

    @property
    def default(self) -> float | None:
        return 0

    def value(self) -> Sql:
        return sql("coalesce({}, 0)", as_float("figure"))


class Average(_OfNumbers):
    kind, label, position, fn = "average", gettext_lazy("average of"), 3, "avg"
    phrase = gettext_lazy("average of %(property)s of %(events)s")


class Minimum(_OfNumbers):
    kind, label, position, fn = "min", gettext_lazy("smallest"), 4, "min"
    phrase = gettext_lazy("smallest %(property)s of %(events)s")

    @property
    def advances_by(self) -> str | None:
        return None if self.window else "least"


class Maximum(_OfNumbers):
    kind, label, position, fn = "max", gettext_lazy("largest"), 5, "max"
    phrase = gettext_lazy("largest %(property)s of %(events)s")

    @property
    def advances_by(self) -> str | None:
        return None if self.window else "greatest"


class Missing(_OfNumbers):
    """What is missing to free shipping, and the like: never less than nothing."""

    kind, label, position = "missing", gettext_lazy("amount missing to"), 12
    Config = ToThreshold
    inputs = ("threshold", "figure", "property", "last_days")

    def check(self) -> None:
        super().check()
        check_json_scalar(self.config.threshold, "threshold", ordered=True)
        if not 0 < self.config.threshold < 1e12:
            raise RuleError(_("Give a number above 0."), "threshold")

    @property
    def default(self) -> float | None:
        return float(self.config.threshold)

    def aggregate(self) -> Sql:
        if self.config.figure == "sum":
            return sql("sum({})", self.numbers())
        return sql("array_agg({} ORDER BY e.occurred_at DESC, e.seq DESC)", self.numbers())

    def value(self) -> Sql:
        figure = "figure" if self.config.figure == "sum" else "figure[1]"
        return sql(
            "greatest(round({}::numeric - coalesce({}, 0), 12), 0)::float8",
            str(self.config.threshold),
            sql("(CASE WHEN abs({}) < 1e300 THEN {} END)", Sql(figure), Sql(figure)),
        )

    def describe(self) -> str:
        phrase = (
            _("amount missing to %(threshold)s: the sum of %(property)s of %(events)s")
            if self.config.figure == "sum"
            else _("amount missing to %(threshold)s: the last %(property)s of %(events)s")
        )
        return phrase % {
            "threshold": f"{self.config.threshold:g}",
            "property": self.config.property,
            "events": self.about(),
        }
