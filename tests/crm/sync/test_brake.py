"""Many deletions at once wait for a person."""

from datetime import timedelta

import pytest
from django.utils import timezone

from crm.models import Alert, Identifier, SourceRecord, SyncHint, SyncRun
from crm.sync import brake, schedule
from crm.sync.engine import run
from tests.crm.sync.fake import FakeCrm

LOST = [str(number) for number in range(1, 31)]


@pytest.fixture
def crm():
    return FakeCrm(people=200)


@pytest.fixture
def synced(connection):
    run(connection)
    return connection


def live():
    return SourceRecord.objects.filter(state="live").count()


def alert():
    return Alert.objects.filter(key="sync:crm:held", resolved_at=None).first()


class TestFeed:
    def test_a_tenth_may_go(self, crm, synced):
        crm.delete(*LOST[:20])
        report = run(synced)
        assert (report.deleted, report.held, live()) == (20, 0, 180)
        assert alert() is None

    def test_ten_may_always_go(self, crm, synced):
        crm.delete(*list(crm.people)[:185])
        brake.allow(synced, "ann")
        run(synced)
        later = timezone.now() + timedelta(days=2)
        synced.refresh_from_db()
        crm.delete(*list(crm.people)[:10])
        assert run(synced, now=later).deleted == 10

    def test_more_is_held_and_everything_else_goes_on(self, crm, synced):
        crm.delete(*LOST)
        crm.put("200", city="Oslo")
        report = run(synced)
        assert (report.state, report.deleted, report.held, report.updated) == ("succeeded", 0, 30, 1)
        assert report.read == 31 == report.updated + report.held
        assert live() == 200
        assert "30 deletions are held back" in report.notes
        assert "30 records are gone" in alert().detail

    def test_pieces_within_a_day_count_together(self, crm, synced):
        crm.delete(*LOST[:15])
        assert run(synced).deleted == 15
        crm.delete(*LOST[15:])
        assert run(synced).held == 15
        assert live() == 185

    def test_held_records_are_not_read_until_somebody_agrees(self, crm, synced):
        crm.delete(*LOST)
        run(synced)
        report = run(synced)
        assert (report.held, crm.read_ids) == (0, [])
        assert alert().count == 1

    def test_after_a_yes_they_go_and_the_alert_with_them(self, crm, synced):
        crm.delete(*LOST)
        run(synced)
        brake.allow(synced, "ann")
        assert SyncRun.objects.get(state="queued").requested_by == "ann"
        schedule.run_due(synced.pk)
        assert live() == 170
        assert not Identifier.objects.filter(kind="crm:people", value__in=LOST).exists()
        assert alert() is None
        assert not SyncHint.objects.exists()

    def test_a_yes_is_not_believed_blindly(self, crm, synced):
        """Whoever is back meanwhile stays."""
        crm.delete(*LOST)
        run(synced)
        crm.put("1", email="p1@example.com", name="Back", city=None)
        crm.feed.pop()
        brake.allow(synced, "ann")
        run(synced)
        assert live() == 171
        assert SourceRecord.objects.get(record_id="1").state == "live"

    def test_a_yes_ends(self, crm, synced):
        brake.allow(synced, "ann", timezone.now() - timedelta(days=2))
        crm.delete(*LOST)
        assert run(synced).held == 30

    def test_erasures_are_held_too_and_stay_erasures(self, crm, synced):
        crm.delete(*LOST, erased=True)
        assert run(synced).held == 30
        brake.allow(synced, "ann")
        run(synced)
        assert SourceRecord.objects.filter(state="erased").count() == 30

    def test_to_erase_who_was_deleted_before_is_no_second_deletion(self, crm, synced):
        crm.delete(*LOST[:20])
        assert run(synced).deleted == 20
        crm.delete(*LOST[:20], erased=True)
        report = run(synced)
        assert (report.held, SourceRecord.objects.filter(state="erased").count()) == (0, 20)


class TestSweep:
    def test_an_empty_list_deletes_nobody(self, crm, synced):
        """A permission was lost."""
        crm.listed = []
        report = run(synced, sweep=True)
        assert (report.state, report.held, report.deleted, live()) == ("succeeded", 200, 0, 200)
        assert alert()
        crm.listed = None
        assert run(synced, sweep=True).held == 0
        assert (alert(), live()) == (None, 200)
        assert not SyncHint.objects.exists()

    def test_after_a_yes_what_is_really_gone_goes(self, crm, synced):
        crm.delete(*LOST, told=False)
        assert run(synced, sweep=True).held == 30
        brake.allow(synced, "ann")
        run(synced)
        assert live() == 170
