"""Comparing all ids with the CRM's repairs whatever went wrong before."""

from datetime import timedelta

import pytest
from django.utils import timezone

from crm.connectors.base import ConnectorError, Page
from crm.models import Identifier, Profile, SourceRecord, SyncReject
from crm.sync.engine import run
from tests.crm.sync.fake import FakeConnector


@pytest.fixture
def synced(connection):
    run(connection)
    return connection


def states():
    return dict(SourceRecord.objects.exclude(state="live").values_list("record_id", "state"))


def test_a_deletion_that_was_never_reported_is_found(crm, synced):
    crm.delete("1", "2", told=False)
    report = run(synced, sweep=True)
    assert (report.deleted, report.sweep) == (2, True)
    assert states() == {"1": "missing", "2": "missing"}
    assert not Identifier.objects.filter(kind="crm:people", value="1").exists()
    assert Profile.objects.filter(email="p1@example.com").exists()
    assert run(synced, sweep=True).deleted == 0


def test_a_list_that_leaves_somebody_out_is_not_believed(crm, synced):
    crm.put("3", city="Oslo")
    crm.feed.pop()
    crm.listed = [name for name in crm.people if name != "3"]
    report = run(synced, sweep=True)
    assert (report.deleted, states()) == (0, {})
    assert Profile.objects.get(email="p3@example.com").city == "Oslo"


def test_who_never_came_is_taken_and_who_is_back_returns(crm, synced):
    crm.delete("1")
    run(synced)
    crm.put("1", email="p1@example.com", name="Back")
    crm.put("new", email="new@example.com")
    del crm.feed[-2:]
    report = run(synced, sweep=True)
    assert (report.created, states()) == (1, {})
    assert Identifier.objects.get(kind="crm:people", value="1").profile.first_name == "Back"


def test_an_erased_person_does_not_come_back(crm, synced):
    crm.delete("1", erased=True)
    run(synced)
    crm.put("1", email="p1@example.com")
    run(synced, sweep=True)
    assert states() == {"1": "erased"}
    assert "1" not in crm.read_ids
    assert not Profile.objects.filter(email="p1@example.com").exists()


def test_rejected_records_are_left_to_their_own_tries(crm, synced):
    crm.put("bad", email="nonsense")
    run(synced)
    crm.read_ids.clear()
    run(synced, sweep=True)
    assert crm.read_ids == ["bad"]
    assert SyncReject.objects.get().attempts == 2


def test_it_comes_by_itself_after_some_days_and_once(crm, synced):
    synced.refresh_from_db()
    first = synced.swept_at
    assert first
    crm.delete("1", told=False)
    assert run(synced, now=first + timedelta(days=6)).deleted == 0
    report = run(synced, now=first + timedelta(days=7))
    assert (report.deleted, report.sweep) == (1, True)
    assert not run(synced, now=first + timedelta(days=8)).sweep


def test_a_full_resync_compares_too(crm, synced):
    crm.delete("1", told=False)
    assert run(synced, "full").deleted == 1


def test_one_that_was_interrupted_is_done_by_the_next_run(crm, synced, monkeypatch):
    crm.delete("1", told=False)
    crm.refused = {"1"}
    report = run(synced, sweep=True)
    assert (report.state, report.deleted) == ("failed", 0)
    crm.refused = set()
    report = run(synced)
    assert (report.state, report.deleted) == ("succeeded", 1)
    synced.refresh_from_db()
    assert set(synced.cursor) == {"people"}


def test_objects_that_were_compared_are_not_compared_again(crm, synced, monkeypatch):
    synced.mapping = {"people": synced.mapping["people"], "leads": synced.mapping["people"]}
    synced.save()
    run(synced)
    asked, ids = [], FakeConnector.ids

    def failing(self, name):
        asked.append(name)
        if asked == ["people", "leads"]:
            raise ConnectorError("down")
        return ids(self, name)

    monkeypatch.setattr(FakeConnector, "ids", failing)
    synced.refresh_from_db()
    when = synced.swept_at + timedelta(days=7)
    assert run(synced, now=when).state == "failed"
    assert run(synced, now=when).state == "succeeded"
    run(synced, now=when)
    assert asked == ["people", "leads", "leads"]


def test_a_gap_in_what_the_crm_tells_is_closed_once_a_day(crm, synced):
    crm.delete("1", told=False)
    gap = [Page("people", [], {"seq": 41, "gap": True})]
    crm.script = iter(gap)
    synced.refresh_from_db()
    when = synced.swept_at + timedelta(hours=25)
    report = run(synced, now=when)
    assert (report.deleted, "compared" in report.notes) == (1, True)
    crm.delete("2", told=False)
    crm.script = iter(gap)
    assert run(synced, now=when + timedelta(hours=23)).deleted == 0
    crm.script = iter(gap)
    assert run(synced, now=when + timedelta(hours=25)).deleted == 1


def test_a_gap_told_soon_after_a_comparison_is_not_forgotten(crm, synced):
    crm.delete("1", told=False)
    synced.refresh_from_db()
    when = synced.swept_at + timedelta(hours=1)
    crm.script = iter([Page("people", [], {"seq": 41, "gap": True})])
    assert run(synced, now=when).deleted == 0
    crm.script = iter([Page("people", [], {"seq": 41})])
    assert run(synced, now=when + timedelta(hours=1)).deleted == 0
    crm.script = iter([Page("people", [], {"seq": 41})])
    assert run(synced, now=when + timedelta(hours=24)).deleted == 1
    crm.delete("2", told=False)
    crm.script = iter([Page("people", [], {"seq": 41})])
    assert run(synced, now=when + timedelta(hours=49)).deleted == 0


def test_ids_that_never_end_are_stopped(crm, synced, monkeypatch):
    monkeypatch.setattr("tests.crm.sync.fake.FakeConnector.ids", lambda self, name: iter(lambda: ["1"], None))
    report = run(synced, sweep=True)
    assert report.state == "failed"
    assert "circles" in report.error


def test_a_connector_that_knows_only_a_part_is_not_compared(crm, synced, monkeypatch):
    monkeypatch.setattr("tests.crm.sync.fake.FakeConnector.complete", False)
    crm.listed = []
    assert run(synced, sweep=True).held == 0


def test_two_thousand_differences_are_found_with_few_statements(crm, synced, django_assert_max_num_queries):
    for number in range(2_000):
        crm.put(f"n{number}", email=f"n{number}@example.com")
    crm.feed.clear()
    synced.refresh_from_db()
    synced.cursor = {"people": {"seq": 0}}
    synced.save()
    with django_assert_max_num_queries(200):
        report = run(synced, sweep=True)
    assert report.created == 2_000
    assert timezone.now() - report.finished_at < timedelta(minutes=1)
