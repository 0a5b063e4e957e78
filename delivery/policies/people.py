"""What rules have to know about people: which clock they live by, and when they were born."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db import connection

from crm import geography
from crm.pg import number_array
from delivery.policies.verdicts import Facts

_PLACE = ("timezone", "latitude", "longitude", "country")
_PEOPLE = f"SELECT id, birthday, {', '.join(_PLACE)} FROM crm_profile WHERE id = ANY(%s::bigint[])"


class Person(msgspec.Struct, frozen=True):
    """One person; the zone is the account's for whoever has none that is known."""

    zone: ZoneInfo
    birthday: date | None = None


def of(facts: Facts, profile_ids: Collection[int]) -> Mapping[int, Person]:
    """These people, by profile id; one query, and none for those who were asked for before."""
    missing = [pk for pk in profile_ids if pk not in facts.people]
    if missing:
        facts.people |= dict.fromkeys(missing, Person(geography.account_zone()))
        zones: dict[tuple[Any, ...], ZoneInfo] = {}
        with connection.cursor() as cursor:
            cursor.execute(_PEOPLE, [number_array(missing)])
            for pk, birthday, *place in cursor.fetchall():
                key = tuple(place)
                zone = zones.get(key)
                if zone is None:
                    zone = zones[key] = geography.zone_for(dict(zip(_PLACE, key, strict=True)))
                facts.people[pk] = Person(zone, birthday)
    return facts.people
