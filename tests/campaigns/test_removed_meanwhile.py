"""People who are removed while a large audience is being written: the others are kept."""

import threading

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from campaigns import audience, broadcasts
from campaigns.models import Broadcast, Segment, SegmentMembership
from campaigns.segments import refresh
from crm import identity
from crm.models import Profile
from delivery.models import Delivery, Message, MessageContent
from tests.campaigns.flows.conftest import NOW

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people():
    names = [identity.Reference(external_id=f"p{number}") for number in range(3)]
    return identity.resolve(names, NOW)


@pytest.fixture
def segment():
    return Segment.objects.create(slug="all", name="All", rule={"all": []})


def while_being_removed(profile_id: int, work):
    """Call `work` in a thread while another transaction has removed the person and is about to commit."""
    failures, done = [], []

    def run():
        try:
            done.append(work())
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        Profile.objects.filter(pk=profile_id).delete()
        thread.start()
        # It comes to wait for us, at the latest when it commits, or ends if it need not.
        for _try in range(100):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees the first look again
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event_type = 'Lock'"
                )
                if cursor.fetchone()[0]:
                    break
            thread.join(0.1)
            if not thread.is_alive():
                break
    thread.join(30)
    assert not failures, failures
    return done[0]


def test_a_broadcast_is_launched_to_the_others(people, segment):
    message = Message.objects.create(slug="hello", name="Hello")
    MessageContent.objects.create(message=message, channel="webpush", content={"title": "Hello"})
    broadcast = Broadcast.objects.create(name="b", message=message, segment=segment)
    assert while_being_removed(people[1], lambda: broadcasts.launch(broadcast.pk, now=NOW)) == 2
    assert set(Delivery.objects.values_list("profile_id", flat=True)) == {people[0], people[2]}
    found = audience.figures([broadcast])[broadcast.pk]
    assert (found.audience, found.waiting, found.deleted) == (3, 2, 1)


def test_a_segment_takes_the_others_in(people, segment):
    refreshed = while_being_removed(people[1], lambda: refresh.refresh(segment))
    assert refreshed.error == ""
    # Nobody was locked, so the one who went may have been stored; what is uncertain is counted again soon.
    refresh.refresh_all(timezone.now() + refresh.SEEN_AFTER)
    assert set(SegmentMembership.objects.values_list("profile_id", flat=True)) == {people[0], people[2]}
