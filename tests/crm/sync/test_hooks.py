"""Calls from a CRM are hints to look at a record, and nothing else."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from crm.models import Connection, Profile, SourceRecord, SyncHint, SyncRun
from crm.sync import hints, schedule
from crm.sync.engine import run

SECRET = {"x-secret": "s3cret"}


@pytest.fixture
def synced(connection):
    run(connection)
    return connection


@pytest.fixture
def woken(monkeypatch):
    tasks = []
    monkeypatch.setattr("crm.wake.on_commit", lambda task, queue: tasks.append(task))
    return tasks


def call(client, *hinted, slug="crm", headers=SECRET):
    body = json.dumps([{"object": "people", "record_id": name, "kind": kind} for name, kind in hinted])
    return client.post(f"/hooks/crm/{slug}/", body, content_type="application/json", headers=headers)


class TestTheCall:
    def test_it_is_answered_remembered_and_wakes_a_run(self, client, connection, woken):
        reply = call(client, ("1", "changed"), ("2", "deleted"))
        assert (reply.status_code, reply.content, reply["Content-Type"]) == (200, b"<Ack/>", "text/xml")
        assert set(SyncHint.objects.values_list("record_id", "kind")) == {("1", "changed"), ("2", "deleted")}
        assert woken == ["crm.tasks.sync_due"]

    def test_a_forged_one_leaves_nothing(self, client, connection, woken, django_assert_max_num_queries):
        with django_assert_max_num_queries(2):
            reply = call(client, ("1", "deleted"), headers={"x-secret": "guess"})
        assert reply.status_code == 401
        assert not SyncHint.objects.exists()
        assert woken == []

    def test_unknown_names_and_other_methods_are_refused(self, client, connection):
        assert call(client, ("1", "changed"), slug="nobody").status_code == 401
        assert client.get("/hooks/crm/crm/").status_code == 405
        Connection.objects.update(state="draft")
        assert call(client, ("1", "changed")).status_code == 401

    def test_a_huge_body_is_not_read(self, client, connection):
        reply = client.post(
            "/hooks/crm/crm/", b" " * (1024 * 1024 + 1), content_type="application/json", headers=SECRET
        )
        assert reply.status_code == 413

    def test_a_storm_is_one_row_and_few_statements(
        self, client, connection, woken, django_assert_max_num_queries
    ):
        with django_assert_max_num_queries(10):
            for _ in range(2):
                call(client, *[("1", "changed")] * 300, ("2", "changed"))
        assert SyncHint.objects.count() == 2

    def test_what_makes_no_sense_is_left_out(self, client, connection, woken):
        call(client, ("", "changed"), ("x" * 300, "changed"), ("a\x00b", "changed"))
        hints.add(connection, [hints.Hint("deals", "1")])
        assert not SyncHint.objects.exists()
        assert woken == []

    def test_there_is_an_end_to_it(self, client, connection, monkeypatch):
        monkeypatch.setattr(hints, "MOST", 3)
        call(client, *[(str(number), "changed") for number in range(10)])
        call(client, ("11", "changed"))
        assert SyncHint.objects.count() == 3

    @pytest.mark.parametrize(
        ("words", "kept"),
        [
            (["erased", "deleted", "changed"], "erased"),
            (["changed", "deleted", "changed"], "deleted"),
            (["held", "changed"], "deleted"),
            (["held_erased", "deleted"], "erased"),
            (["erased", "held_erased"], "held_erased"),
            (["deleted", "held"], "held"),
        ],
    )
    def test_the_strongest_word_stays(self, connection, words, kept):
        for word in words:
            hints.remember(connection, "people", [("1", word)], timezone.now())
        assert SyncHint.objects.get().kind == kept


class TestTheRun:
    def test_hinted_records_are_read_at_once_and_nothing_else(self, client, crm, synced):
        crm.put("1", city="Oslo")
        crm.put("2", city="Rome")
        call(client, ("1", "changed"))
        report = run(synced, hints_only=True)
        assert (report.state, report.updated, crm.read_ids) == ("succeeded", 1, ["1"])
        assert Profile.objects.get(email="p1@example.com").city == "Oslo"
        assert not SyncHint.objects.exists()
        assert run(synced).updated == 1

    def test_gone_is_believed_when_it_cant_be_read(self, client, crm, synced):
        crm.delete("1", "2", told=False)
        call(client, ("1", "deleted"), ("2", "erased"), ("3", "deleted"), ("4", "erased"))
        run(synced, hints_only=True)
        states = SourceRecord.objects.exclude(state="live").values_list("record_id", "state")
        assert set(states) == {("1", "deleted"), ("2", "erased")}

    def test_deleted_before_it_was_created(self, client, crm, synced):
        call(client, ("new", "deleted"))
        crm.put("new", email="new@example.com")
        assert run(synced).created == 1
        crm.delete("new", told=False)
        call(client, ("new", "deleted"))
        run(synced)
        assert SourceRecord.objects.get(record_id="new").state == "deleted"

    def test_one_bad_id_keeps_nothing_else_out(self, client, crm, synced):
        crm.refused = {"bad"}
        crm.put("1", city="Oslo")
        crm.feed.pop()
        call(client, ("bad", "changed"), ("1", "changed"))
        report = run(synced)
        assert (report.state, report.updated) == ("succeeded", 1)
        assert "Record bad" in report.notes
        assert not SyncHint.objects.exists()

    def test_a_bad_id_does_not_wake_runs_for_ever(self, client, crm, synced):
        crm.refused = {"bad"}
        call(client, ("bad", "changed"), ("1", "changed"))
        assert run(synced, hints_only=True).state == "succeeded"
        assert not SyncHint.objects.exists()

    @pytest.mark.parametrize("word", ["erased", "held_erased"])
    def test_that_somebody_is_gone_is_not_forgotten_while_the_crm_has_trouble(self, crm, synced, word):
        crm.delete("1", told=False)
        hints.remember(synced, "people", [("1", word)], timezone.now())
        if word in hints.WAITING:
            Connection.objects.update(deletions_allowed_until=timezone.now() + timedelta(days=1))
        crm.refused = {"1"}
        report = run(synced)
        assert (report.state, "Record 1" in report.notes) == ("succeeded", True)
        calls = run(synced, hints_only=True).calls
        assert calls == 0, "it is not tried again and again"
        assert schedule.due(timezone.now() + timedelta(minutes=1)) == []
        crm.refused = set()
        SyncHint.objects.update(received_at=timezone.now())  # an hour later
        run(synced)
        assert SourceRecord.objects.get(record_id="1").state == "erased"
        assert not SyncHint.objects.exists()

    @pytest.mark.parametrize("erased", [True, False])
    def test_a_call_about_an_erasure_may_be_faster_than_the_erasure(self, client, crm, synced, erased):
        """Nothing else would ever tell that it was more than a deletion."""
        call(client, ("1", "erased"))
        run(synced, hints_only=True)
        assert SourceRecord.objects.get(record_id="1").state == "live"
        if erased:
            crm.delete("1", told=False)
        assert run(synced, hints_only=True).calls == 0
        SyncHint.objects.update(received_at=timezone.now() + timedelta(minutes=20))  # half an hour later
        run(synced, hints_only=True)
        assert SourceRecord.objects.get(record_id="1").state == ("erased" if erased else "live")
        assert not SyncHint.objects.exists()

    def test_nor_do_hints_that_nobody_reads(self, client, crm, synced):
        hints.remember(synced, "leads", [("1", "deleted")], timezone.now())
        assert run(synced, hints_only=True).calls == 0
        assert not SyncHint.objects.exists()

    def test_another_word_during_the_look_up_is_kept(self, crm, synced):
        hints.remember(synced, "people", [("1", "changed")], timezone.now())
        due = hints.due(synced, "people", waiting=False)
        hints.remember(synced, "people", [("1", "changed")], timezone.now() + timedelta(seconds=1))
        hints.done(synced, due)
        assert SyncHint.objects.exists()


class TestWhen:
    def test_soon_but_gathered(self, client, crm, synced, woken):
        call(client, ("1", "changed"))
        ended = SyncRun.objects.get().finished_at
        assert schedule.due(ended + timedelta(seconds=1)) == []
        assert schedule.due(ended + timedelta(seconds=6)) == [synced.pk]
        synced.refresh_from_db()
        planned = synced.next_sync_at
        assert schedule.run_due(synced.pk, ended + timedelta(seconds=6)) == 1
        synced.refresh_from_db()
        assert synced.next_sync_at == planned

    def test_calls_for_a_paused_connection_wait(self, client, synced, woken):
        Connection.objects.update(state="paused")
        assert call(client, ("1", "changed")).status_code == 200
        assert schedule.due(timezone.now() + timedelta(minutes=1)) == []
        assert SyncHint.objects.exists()

    def test_a_failing_crm_is_not_hammered(self, client, crm, synced, woken):
        call(client, ("1", "changed"))
        crm.down = "Nobody home."
        now = timezone.now() + timedelta(seconds=10)
        run(synced, now=now, hints_only=True)
        assert schedule.due(now + timedelta(seconds=60)) == []


def test_the_crm_is_asked_to_call_our_public_address(crm, connection, settings):
    settings.NUDGE_PUBLIC_URL = "https://nudge.example.com"
    run(connection)
    run(connection)
    connection.refresh_from_db()
    assert crm.watched == ["https://nudge.example.com/hooks/crm/crm/"] * 2
    assert connection.watch == {"calls": 2}
