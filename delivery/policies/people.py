"""What rules have to know about people: which clock they live by, and when they were born."""

from collections.abc import Collection, Mapping
from datetime import date
from zoneinfo import ZoneInfo

import msgspec

from crm import geography
from crm.models import Profile
from delivery.policies.verdicts import Facts

_FIELDS = ("timezone", "latitude", "longitude", "country", "birthday")


class Person(msgspec.Struct, frozen=True):
    """One person; the zone is the account's for whoever has none that is known."""

    zone: ZoneInfo
    birthday: date | None = None


def of(facts: Facts, profile_ids: Collection[int]) -> Mapping[int, Person]:
    """These people, by profile id; one query, and none for those who were asked for before."""
    missing = [pk for pk in profile_ids if pk not in facts.people]
    if missing:
        rows = {row["id"]: row for row in Profile.objects.filter(pk__in=missing).values("id", *_FIELDS)}
        nobody = Person(geography.account_zone())
        for pk in missing:
            row = rows.get(pk)
            facts.people[pk] = Person(geography.zone_for(row), row["birthday"]) if row else nobody
    return facts.people
