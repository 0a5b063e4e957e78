"""Merging profiles while others write about them: nothing may stay behind with the profile that goes."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from analytics import tracking
from campaigns.models import Flow, Segment, SegmentMembership
from crm import consent, identity, pg, subscriptions
from crm.identity import Reference
from crm.models import Consent, Device, Event, Identifier, Profile
from delivery import tokens
from delivery.models import Delivery, Message
from tests.crm.concurrently import run

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def until_somebody_waits(seconds: float = 30) -> None:
    """Return when another transaction of this database waits for a lock that this one holds."""
    with connection.cursor() as cursor:
        for _ in range(int(seconds * 20)):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return
            cursor.execute("SELECT pg_stat_clear_snapshot(), pg_sleep(0.05)")
    raise AssertionError("nobody waits")


def meanwhile(write, merge):
    """Run `merge` while the transaction of `write` is open, and let that end once the merge waits for it."""
    written = threading.Event()

    def writer():
        with transaction.atomic():
            write()
            written.set()
            until_somebody_waits()

    def merger():
        assert written.wait(30)
        merge()

    run(writer, merger)


@pytest.fixture
def two(transactional_db):
    """An anonymous profile that goes, and the known one it goes into."""
    return Profile.objects.create(), Profile.objects.create(email="a@x.com")


class TestDeadlocks:
    def test_both_go_on(self, two):
        """Who writes about a device takes the person's row after the device's; a merge the other way round."""
        loser, winner = two
        device = Device.objects.create(profile=loser, endpoint="https://push.example/1", p256dh="p", auth="a")
        held, tries = threading.Event(), []

        @pg.atomically
        def writer():
            owner = Device.objects.select_for_update().get(pk=device.pk).profile_id
            tries.append(owner)
            held.set()
            if len(tries) == 1:
                until_somebody_waits()
            consent.record([consent.Change(owner, "channel", "webpush", "unsubscribed", "person", NOW)])

        def merger():
            assert held.wait(30)
            identity.merge([(loser.pk, winner.pk)], "test", NOW)

        run(writer, merger)
        assert Consent.objects.get().profile_id == winner.pk
        assert Device.objects.get().profile_id == winner.pk


class TestEventsWrittenMeanwhile:
    def test_of_a_device(self, two):
        loser, winner = two
        device = Device.objects.create(profile=loser, endpoint="https://push.example/1", p256dh="p", auth="a")
        meanwhile(
            lambda: subscriptions.mark_gone([device.pk], "gone", NOW),
            lambda: identity.merge([(loser.pk, winner.pk)], "test", NOW),
        )
        assert Event.objects.get(name="push_unsubscribed").profile_id == winner.pk

    def test_of_a_delivery(self, two):
        loser, winner = two
        message = Message.objects.create(slug="m", name="M")
        delivery = Delivery.objects.create(
            cause="c",
            message=message,
            profile=loser,
            channel="webpush",
            state="sent",
            origin_type="api",
            queued_at=NOW,
            sent_at=NOW,
            due_at=NOW,
            expires_at=NOW + timedelta(days=1),
        )
        meanwhile(
            lambda: tracking.record(tokens.make(delivery.pk), "clicked", NOW, NOW),
            lambda: identity.merge([(loser.pk, winner.pk)], "test", NOW),
        )
        clicks = Event.objects.filter(name__in=["message_opened", "message_clicked"])
        assert [event.profile_id for event in clicks] == [winner.pk, winner.pk]


@pytest.mark.django_db
def test_two_visitors_in_the_same_segment_and_flow_become_one_person():
    segment = Segment.objects.create(slug="all", name="All")
    flow = Flow.objects.create(slug="f", name="F")
    losers = [Profile.objects.create() for _ in range(2)]
    for number, loser in enumerate(losers):
        Identifier.objects.create(kind="anonymous_id", value=str(number), profile=loser)
        SegmentMembership.objects.create(segment=segment, profile=loser, entered_at=NOW)
        _enrol(flow, loser)
    [one, two] = identity.resolve(
        [Reference(email="a@x.com", anonymous_id=str(number)) for number in range(2)], NOW
    )
    assert one == two
    assert [row.profile_id for row in SegmentMembership.objects.all()] == [one]
    assert list(flow.enrollments.values_list("profile_id", "run_key")) == [(one, "k")]


def _enrol(flow: Flow, profile: Profile) -> None:
    version, _ = flow.versions.get_or_create(number=1, defaults={"definition": {}, "published_at": NOW})
    flow.enrollments.create(
        version=version,
        profile=profile,
        run_key="k",
        step="s",
        due_at=NOW + timedelta(days=1),
        entered_at=NOW,
    )
