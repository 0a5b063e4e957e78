"""A condition on where somebody is."""

import math
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Query
from crm import masking
from crm.geography import EARTH_RADIUS
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import FALSE, Sql, joined, sql

FARTHEST = 20_038  # km: half way round the earth
MARGIN = 1e-7  # degrees by which the box is larger than the circle, against rounding
TINY = 1e-12  # degrees: products of smaller angles would underflow, which PostgreSQL refuses


class NearConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "near", "latitude": 52.23, "longitude": 21.01, "radius_km": 5}`; degrees and kilometres."""

    kind: str
    latitude: int | float
    longitude: int | float
    radius_km: int | float


class Near(Condition):
    """Whose coordinates lie within a distance of a point, along a great circle on a sphere, its edge included."""

    kind, label, icon, position = "near", gettext_lazy("Near a place"), "near_me", 9
    template = "admin/campaigns/segment/conditions/near.html"
    Config = NearConfig

    def check(self):
        for name, limit in (("latitude", 90), ("longitude", 180)):
            value = getattr(self.config, name)
            operators.check_json_scalar(value, name)
            if not -limit <= value <= limit:
                raise RuleError(
                    _("Give a number from %(low)d to %(high)d.") % {"low": -limit, "high": limit}, name
                )
        operators.check_json_scalar(self.config.radius_km, "radius_km")
        if not 0 < self.config.radius_km <= FARTHEST:
            raise RuleError(_("Give a number of kilometres from 0 to %d.") % FARTHEST, "radius_km")

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["latitude", "longitude"]))

    def predicate(self, query: Query) -> Sql:
        """A box that an index can serve, then the haversine formula: https://en.wikipedia.org/wiki/Haversine_formula."""
        half = min(self.config.radius_km * 1000 / EARTH_RADIUS / 2, math.pi / 2)
        return sql("{} AND {} <= {}::float8", self._box(), self._haversine(), math.sin(half) ** 2)

    def _box(self) -> Sql:
        radius = math.degrees(self.config.radius_km * 1000 / EARTH_RADIUS)
        south = self.config.latitude - radius - MARGIN
        north = self.config.latitude + radius + MARGIN
        across = [(-180.0, 180.0)]
        if south > -90 and north < 90:
            share = math.sin(math.radians(radius)) / math.cos(math.radians(self.config.latitude))
            reach = math.degrees(math.asin(min(1.0, share))) + MARGIN
            across = _around(self.config.longitude - reach, self.config.longitude + reach)
        return sql(
            "p.latitude BETWEEN {}::float8 AND {}::float8 AND ({})",
            max(south, -90.0),
            min(north, 90.0),
            joined(
                " OR ",
                [sql("p.longitude BETWEEN {}::float8 AND {}::float8", west, east) for west, east in across],
            )
            if across
            else FALSE,
        )

    def _haversine(self) -> Sql:
        latitude, longitude = (_degrees(Sql(f"p.{name}")) for name in ("latitude", "longitude"))
        here = [
            value if abs(value) >= TINY else 0.0 for value in (self.config.latitude, self.config.longitude)
        ]
        return sql(
            "(power(sin(radians({} - {}::float8) / 2), 2)"
            " + {}::float8 * cos(radians({})) * power(sin(radians({} - {}::float8) / 2), 2))",
            latitude,
            here[0],
            math.cos(math.radians(here[0])),
            latitude,
            longitude,
            here[1],
        )

    def describe(self) -> str:
        config = self.config
        return _("is within %(radius)s km of %(latitude)s, %(longitude)s") % {
            "radius": words.number(config.radius_km),
            "latitude": config.latitude,
            "longitude": config.longitude,
        }

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT to_jsonb(2 * {}::float8 * asin(sqrt(least(1, {}))))"
            " WHERE p.latitude BETWEEN -90 AND 90 AND p.longitude BETWEEN -180 AND 180)",
            EARTH_RADIUS / 1000,
            self._haversine(),
        )

    def tell(self, fact: Any) -> str:
        if masking.hidden():  # a distance from points of one's choice tells where somebody lives
            return ""
        if fact is None:
            return _("It is not known where they are")
        return _("%s km away") % words.number(round(fact, 1))

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "latitude": None, "longitude": None, "radius_km": 5}

    @classmethod
    def read(cls, posted):
        return rows.read_near(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.near(data, suggest)


def _degrees(column: Sql) -> Sql:
    return sql("(CASE WHEN abs({}) < {}::float8 THEN 0 ELSE {} END)", column, TINY, column)


def _around(west: float, east: float) -> list[tuple[float, float]]:
    """The longitudes from west to east, in one or two ranges within -180 to 180."""
    if east - west >= 360:
        return [(-180.0, 180.0)]
    if west < -180:
        return [(-180.0, east), (west + 360, 180.0)]
    if east > 180:
        return [(west, 180.0), (-180.0, east - 360)]
    return [(west, east)]
