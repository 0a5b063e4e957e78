"""Counting everybody leaves the machine to sending as long as there is something to send."""

from datetime import timedelta

import pytest
from django.utils import timezone

from campaigns.models import Segment
from campaigns.segments import pace, refresh
from crm.models import Profile
from delivery.models import Delivery, Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def rests(monkeypatch):
    """The lengths of the rests, none of which is waited for."""
    found = []
    monkeypatch.setattr(pace.time, "sleep", found.append)
    return found


@pytest.fixture
def delivery():
    now = timezone.now()
    return Delivery.objects.create(
        cause="c",
        message=Message.objects.create(slug="m", name="M"),
        profile=Profile.objects.create(),
        channel="webpush",
        origin_type="api",
        queued_at=now,
        due_at=now,
        expires_at=now + timedelta(days=1),
    )


def test_counting_rests_while_there_is_something_to_send(rests, delivery, monkeypatch):
    monkeypatch.setattr(refresh, "CHUNK", 2)
    Profile.objects.bulk_create([Profile() for _ in range(4)])
    segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
    assert refresh.refresh(segment).size == 5
    assert len(rests) == 3  # between the three pieces, and at the end
    assert all(0 < rest <= pace.LONGEST for rest in rests)
    delivery.due_at += timedelta(hours=1)
    delivery.save()
    refresh.refresh(segment)
    assert len(rests) == 3


def test_a_rest_is_as_long_as_the_work_asks_for(delivery, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pace.time, "sleep", lambda rest: clock.__setitem__(0, clock[0] + rest))
    paced = pace.Pace()
    clock[0] += 2
    paced.give_way()
    assert (clock[0], paced.rested) == (2 + 2 * pace.REST, 2 * pace.REST)
    clock[0] += 1000
    paced.give_way()
    assert paced.rested == 2 * pace.REST + pace.LONGEST


def test_what_is_taken_to_be_sent_counts_and_what_was_sent_does_not(delivery):
    delivery.state, delivery.lease_until = "sending", timezone.now()
    delivery.save()
    assert pace.sending()
    delivery.state, delivery.sent_at, delivery.lease_until = "sent", timezone.now(), None
    delivery.save()
    assert not pace.sending()
