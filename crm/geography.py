"""Where on earth somebody is: time zones and countries of coordinates, and distances.

Zones of coordinates come from tzfpy, which knows the borders of zones to about a hundred metres
(https://github.com/ringsaturn/tzfpy). Nothing here raises: a name that is no zone leads to the next best one.
"""

import math
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import tzfpy
from django.conf import settings

from crm import normalise

EARTH_RADIUS = 6_371_008.8  # metres; the mean radius R1 of IUGG
_OCEAN = "Etc/"  # what tzfpy says of the sea: a zone by longitude, in which nobody lives


def distance(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Metres between two points in degrees, along a great circle on a sphere (haversine formula)."""
    one, two = math.radians(latitude), math.radians(other_latitude)
    half = (
        math.sin((two - one) / 2) ** 2
        + math.cos(one) * math.cos(two) * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(1.0, half)))


def zone_at(latitude: Any, longitude: Any) -> str | None:
    """The IANA name of the time zone at a point on land; None at sea and of what is no point."""
    if not is_point(latitude, longitude):
        return None
    name = tzfpy.get_tz(float(longitude), float(latitude))
    return None if not name or name.startswith(_OCEAN) else normalise.timezone(name)


def is_point(latitude: Any, longitude: Any) -> bool:
    """Whether these are numbers of degrees on earth."""
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and -limit <= value <= limit
        for value, limit in ((latitude, 90), (longitude, 180))
    )


def country_of_zone(zone: str | None) -> str | None:
    """The country, as two letters, that a zone is the time of; None of a zone of no country."""
    return _countries().get(zone) if zone else None


def country_at(latitude: Any, longitude: Any) -> str | None:
    """The country at a point on land: the zones that tzfpy knows end at borders of countries."""
    return country_of_zone(zone_at(latitude, longitude))


def zone_for(profile: Mapping[str, Any]) -> ZoneInfo:
    """The time zone to use for somebody: their own, else that of their coordinates, their country, the account, UTC.

    Args:
        profile: a profile's fields; only timezone, latitude, longitude and country are looked at.
    """
    own = profile.get("timezone")
    found = _zone(own) if isinstance(own, str) and own else None
    if found is None:
        found = _zone(zone_at(profile.get("latitude"), profile.get("longitude")))
    if found is None:
        country = profile.get("country")
        found = _zone(normalise.main_zone(country)) if isinstance(country, str) else None
    return found or account_zone()


def account_zone() -> ZoneInfo:
    """The zone of those who run this."""
    return _zone(settings.TIME_ZONE) or ZoneInfo("UTC")


@lru_cache(maxsize=1024)
def _zone(name: str | None) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return None


@cache
def _countries() -> dict[str, str]:
    """Zone -> country, by tzdata's zone.tab, which lists each zone under one country."""
    table = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    lines = (line.split("\t") for line in table.splitlines() if line and not line.startswith("#"))
    return {parts[2]: parts[0] for parts in lines}
