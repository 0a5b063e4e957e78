"""Previews walk through the people of a segment, one by one."""

import pytest
from django.utils import timezone

from campaigns.models import Segment, SegmentMembership
from crm.models import Profile
from delivery import walking

pytestmark = pytest.mark.django_db


def test_a_walk_stays_within_the_segment_and_goes_round() -> None:
    people = [Profile.objects.create(first_name=name) for name in ("Ann", "Ben", "Cat", "Dan")]
    segment = Segment.objects.create(slug="vip", name="VIP", size=2)
    Segment.objects.create(slug="nobody", name="Nobody")
    for person in (people[1], people[3]):
        SegmentMembership.objects.create(segment=segment, profile=person, entered_at=timezone.now())
    assert walking.groups() == [(f"segment:{segment.pk}", "VIP")]

    def names(group: str, step: int) -> list[str]:
        seen, here = [], 0
        for _ in range(3):
            person = walking.beside(group, here, step)
            seen.append(person.first_name)
            here = person.pk
        return seen

    assert names(f"segment:{segment.pk}", 1) == ["Ben", "Dan", "Ben"]
    assert names(f"segment:{segment.pk}", -1) == ["Dan", "Ben", "Dan"]
    assert names("", 1) == ["Ann", "Ben", "Cat"]
    assert walking.beside("segment:0", 0, 1) is None
    assert walking.beside("segment:x'--", 0, 1) is None
