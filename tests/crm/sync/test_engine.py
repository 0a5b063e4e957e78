"""What every run keeps to: the budget, the plan, the changes of fields and settings, the end of dead ones."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from psycopg.errors import DeadlockDetected

from crm import connectors
from crm.connectors.base import Budget, ConnectorError, Field, Page
from crm.connectors.tokens import Token
from crm.models import (
    AccessToken,
    Alert,
    Identifier,
    OutgoingActivity,
    Profile,
    SourceRecord,
    SyncReject,
    SyncRun,
)
from crm.sync import hints, queue, schedule, setup
from crm.sync.apply import SupersededError, apply
from crm.sync.engine import run
from crm.sync.mapping import parse
from tests.crm.sync.fake import MAPPING, START, FakeConnector

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def synced(connection):
    run(connection)
    return connection


class TestReport:
    def test_calls_budget_and_lag_are_told(self, crm, connection):
        crm.budget = Budget(100, 1000)
        report = run(connection, now=crm.now + timedelta(seconds=90))
        assert (report.calls, report.budget_used, report.budget_limit) == (2, 100, 1000)
        assert report.lag_seconds == 90
        connection.refresh_from_db()
        assert connection.synced_until == crm.now
        assert set(report.cursor_after) == {"people"}

    def test_an_unchanged_run_needs_few_statements(self, crm, synced, django_assert_max_num_queries):
        with django_assert_max_num_queries(40):
            assert run(synced).read == 0

    def test_statements_do_not_grow_with_the_records(self, crm, synced):
        def statements():
            with CaptureQueriesContext(database) as queries:
                report = run(synced)
            assert report.updated == len(crm.people)
            return len(queries)

        for number in crm.people:
            crm.put(number, city="A")
        few = statements()
        for number in range(100, 400):
            crm.put(str(number), email=f"p{number}@example.com")
        run(synced)
        for number in crm.people:
            crm.put(number, city="B")
        assert statements() <= few


class TestBudget:
    def test_a_scheduled_run_leaves_a_fifth_to_others(self, crm, synced):
        crm.budget = Budget(800, 1000)
        crm.put("1", city="Oslo")
        report = run(synced, now=NOW)
        assert (report.state, report.updated) == ("succeeded", 0)
        assert "800 of the 1000 calls" in report.notes
        synced.refresh_from_db()
        assert synced.next_sync_at == NOW + timedelta(minutes=15)

    def test_a_person_may_use_more_of_it(self, crm, synced):
        crm.put("1", city="Oslo")
        crm.budget = Budget(949, 1000)
        assert run(synced, by="ann").updated == 1
        crm.budget = Budget(950, 1000)
        crm.put("1", city="Rome")
        assert run(synced, by="ann").updated == 0

    def test_what_was_stored_before_the_stop_stays(self, crm, connection, monkeypatch):
        monkeypatch.setattr("crm.sync.pages.RECORDS", 10)
        crm.page_size = 10
        seen = []

        def spend(report):
            seen.append(report.read)
            crm.budget = Budget(900, 1000)

        assert run(connection, progress=spend).read == 10
        crm.budget = None
        run(connection)
        assert Profile.objects.count() == 40

    def test_an_exhausted_budget_parks_the_connection(self, crm, connection, monkeypatch):
        def exhausted(self, name):
            raise ConnectorError("The daily calls are used up.", retry_minutes=240)

        monkeypatch.setattr(FakeConnector, "fields", exhausted)
        assert run(connection, now=NOW).state == "failed"
        connection.refresh_from_db()
        assert connection.next_sync_at == NOW + timedelta(hours=4)


class TestFullResync:
    def test_what_one_run_did_not_begin_the_next_reads_in_full(self, crm, synced, monkeypatch):
        synced.mapping = {"people": MAPPING, "leads": MAPPING}
        synced.save()
        run(synced)
        modes = []
        pages = FakeConnector.pages

        def failing(self, name, cursor, mode, names):
            modes.append((name, mode))
            if name == "leads" and len(modes) == 2:
                raise ConnectorError("down")
            return pages(self, name, cursor, mode, names)

        monkeypatch.setattr(FakeConnector, "pages", failing)
        assert run(synced, "full").state == "failed"
        assert run(synced).state == "succeeded"
        run(synced)
        assert modes == [
            *(("people", "full"), ("leads", "full")),
            *(("people", "incremental"), ("leads", "full")),
            *(("people", "incremental"), ("leads", "incremental")),
        ]


class TestFields:
    def test_news_about_fields_is_told_once(self, crm, synced):
        crm.fields.append(Field("shoe", "Shoe size", "number"))
        assert "New fields in the CRM: shoe." in run(synced).notes
        assert run(synced).notes == ""
        crm.fields.pop()
        assert "shoe" in run(synced).notes
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_a_mapped_field_that_goes_is_an_alert_until_it_is_back(self, crm, synced):
        city = crm.fields.pop(2)
        crm.put("1", name="Ann")
        report = run(synced)
        assert (report.state, report.updated) == ("succeeded", 1)
        assert "city no longer exists" in report.notes
        assert run(synced).notes
        assert Alert.objects.get(resolved_at=None).count == 1
        crm.fields.append(city)
        run(synced)
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_a_mapped_field_of_another_kind_is_an_alert(self, crm, synced):
        crm.fields[2] = Field("city", "City", "list")
        assert "city (text → list)" in run(synced).notes
        assert "city (text → list)" in Alert.objects.get(resolved_at=None).detail

    def test_a_field_without_a_time_of_change_is_read_in_full_each_week(self, crm, connection):
        crm.fields[2] = Field("city", "City", "text", volatile=True)
        assert "city may change" in run(connection).notes
        crm.put("1", city="Computed")
        crm.feed.pop()
        run(connection)
        assert not Profile.objects.filter(city="Computed").exists()
        connection.refresh_from_db()
        run(connection, now=connection.swept_at + timedelta(days=7))
        assert Profile.objects.filter(city="Computed").exists()


class TestSettings:
    def test_what_names_no_other_account_may_change(self, synced):
        cursor = synced.cursor
        setup.change_settings(synced, {"account": "one", "comment": "ours"})
        synced.refresh_from_db()
        assert synced.config["comment"] == "ours"
        assert synced.cursor == cursor != {}

    def test_another_account_is_refused_once_records_are_here(self, synced):
        with pytest.raises(setup.OtherAccountError, match="new connection"):
            setup.change_settings(synced, {"account": "two"})
        synced.refresh_from_db()
        assert synced.config == {}

    def test_before_that_everything_the_old_one_told_is_forgotten(self, connection):
        connection.cursor, connection.schema, connection.watch = (
            {"people": {"seq": 9}},
            {"people": {}},
            {"calls": 1},
        )
        connection.save()
        AccessToken.objects.create(connection=connection, token={"value": "old"})
        setup.change_settings(connection, {"account": "two"})
        connection.refresh_from_db()
        assert (connection.cursor, connection.schema, connection.watch) == ({}, {}, {})
        assert not AccessToken.objects.exists()

    def test_new_credentials_end_the_old_ones_token(self, synced):
        AccessToken.objects.create(connection=synced, token={"value": "old"})
        setup.change_settings(synced, {}, {"token": "new"})
        synced.refresh_from_db()
        assert synced.credentials == {"token": "new"}
        assert not AccessToken.objects.exists()

    def test_credentials_of_another_account_read_nothing(self, crm, connection, monkeypatch):
        """Its record 1 is another person."""
        asked = []

        def account(self):
            asked.append(self.credentials.token)
            return {"t": "one", "again": "one"}.get(self.credentials.token, "two")

        monkeypatch.setattr(FakeConnector, "account", account)
        run(connection)
        run(connection)
        assert asked == ["t"]
        setup.change_settings(connection, {}, {"token": "again"})
        assert run(connection).state == "succeeded"
        setup.change_settings(connection, {}, {"token": "other"})
        crm.put("1", name="Somebody else")
        hints.remember(connection, "people", [("1", "changed")], NOW)
        for only in (False, True):
            report = run(connection, hints_only=only)
            assert (report.state, report.read, "another account" in report.error) == ("failed", 0, True)
        setup.change_settings(connection, {}, {"token": "t"})
        assert run(connection).updated == 1

    def test_a_full_sync_is_not_forgotten_when_the_account_cant_be_asked(self, crm, synced, monkeypatch):
        def account(self):
            self._call()
            return "one"

        monkeypatch.setattr(FakeConnector, "account", account)
        crm.down = "Away."
        queue.request_sync(synced, SyncRun.Mode.FULL)
        assert run(synced).state == "failed"
        crm.down = ""
        assert run(synced).read == 40

    def test_before_anything_was_read_another_account_may_take_its_place(self, crm, connection, monkeypatch):
        monkeypatch.setattr(FakeConnector, "account", lambda self: self.credentials.token)
        people, crm.people = crm.people, {}
        crm.feed = []
        run(connection)
        crm.people = people
        setup.change_settings(connection, {}, {"token": "other"})
        assert run(connection).created == 40

    def test_settings_that_do_not_fit_change_nothing(self, synced):
        with pytest.raises(ConnectorError):
            setup.change_settings(synced, {"account": 7})
        synced.refresh_from_db()
        assert synced.config == {}


class TestRejects:
    def test_hopeless_ones_are_tried_less_often(self, crm, synced):
        crm.put("bad", email="nonsense")
        run(synced)
        SyncReject.objects.update(attempts=10)
        crm.read_ids.clear()
        run(synced)
        assert crm.read_ids == []
        run(synced, now=datetime.now(UTC) + timedelta(hours=2))
        assert crm.read_ids == ["bad"]


class TestDeadRuns:
    def test_one_is_ended_even_if_the_connection_is_paused(self, connection):
        connection.state = "paused"
        connection.save()
        dead = SyncRun.objects.create(connection=connection, state="running", beat_at=START)
        assert schedule.end_dead() == 1
        dead.refresh_from_db()
        assert (dead.state, bool(dead.finished_at)) == ("failed", True)
        assert "stopped" in dead.error

    def test_one_that_shows_progress_is_left_alone(self, connection):
        SyncRun.objects.create(connection=connection, state="running", beat_at=datetime.now(UTC))
        assert schedule.end_dead() == 0


class TestOldRuns:
    def test_idle_reports_go_after_a_week_and_others_after_a_quarter(self, connection):
        def report(days, **values):
            return SyncRun.objects.create(
                connection=connection, state="succeeded", finished_at=NOW - timedelta(days=days), **values
            ).pk

        report(91, created=5)
        report(8)
        kept = [report(60, updated=1), report(6), report(400)]  # the last one of a connection stays
        queue.forget_runs(NOW)
        assert list(SyncRun.objects.order_by("pk").values_list("pk", flat=True)) == kept


def test_a_connection_that_is_removed_takes_its_alerts_along(crm, connection):
    crm.down = "Nobody home."
    run(connection)
    assert Alert.objects.filter(resolved_at=None).exists()
    setup.remove(connection)
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert not SourceRecord.objects.exists()


class TestWritingBackIsRefused:
    @pytest.fixture
    def refused(self, synced, monkeypatch):
        def write(self, object_name, changes):
            raise ConnectorError("No permission to write.")

        monkeypatch.setattr(FakeConnector, "write", write, raising=False)
        monkeypatch.setattr(FakeConnector, "write_batch", 10)
        synced.mapping = {"people": {**MAPPING, "write": {"name": "first_name"}}}
        synced.save()
        return synced

    def test_it_is_told_and_reading_keeps_its_pace(self, refused):
        for number in range(4):
            now = NOW + timedelta(minutes=2 * number)
            report = run(refused, now=now)
            refused.refresh_from_db()
            assert (report.state, refused.next_sync_at) == ("succeeded", now + timedelta(minutes=2))
            assert "No permission to write." in report.notes
        assert Alert.objects.get(resolved_at=None).detail == "No permission to write."

    def test_the_alert_ends_with_it(self, refused, monkeypatch):
        run(refused, now=NOW)
        monkeypatch.setattr(FakeConnector, "write", lambda self, name, changes: [None] * len(changes))
        run(refused, now=NOW + timedelta(minutes=2))
        assert not Alert.objects.filter(resolved_at=None).exists()


class TestReadAgain:
    def test_what_a_vanished_field_told_meanwhile_comes_when_it_is_back(self, crm, synced):
        """A field that the token may not see for a day is no field, and then it is one again."""
        fields = crm.fields
        crm.fields = [field for field in fields if field.name != "city"]
        crm.put("1", city="Oslo", name="Ann")
        run(synced)
        assert Profile.objects.get(email="p1@example.com").city is None
        crm.fields = fields
        report = run(synced)
        assert Profile.objects.get(email="p1@example.com").city == "Oslo"
        assert "city" in report.notes
        assert run(synced).read == 0

    def test_everything_means_also_what_an_interrupted_first_import_has_read(
        self, crm, connection, monkeypatch
    ):
        """The mapping was changed while half of the people were here."""
        crm.page_size = 10

        def listing(self, object_name, cursor, mode, names):
            ids, at = list(crm.people), cursor.get("at")
            if at is None and (mode == "full" or not cursor):
                at = 0
            for place in range(at or 0, len(ids) if at is not None else 0, 10):
                self._call()
                records = [crm.people[record_id] for record_id in ids[place : place + 10]]
                yield Page(object_name, records, {"at": place + 10}, current=True)
                crm.down = "Away." if place == 10 and not done else ""
            yield Page(object_name, [], {"done": True}, until=crm.now)

        done = []
        monkeypatch.setattr(FakeConnector, "pages", listing)
        monkeypatch.setattr("crm.sync.pages.RECORDS", 10)
        for number in crm.people:
            crm.put(number, city="Oslo")
        connection.mapping = {"people": {"fields": {"email": "email"}}}
        connection.save()
        queue.request_sync(connection, SyncRun.Mode.FULL)
        assert run(connection).state == "failed"
        assert 0 < Profile.objects.count() < 40
        done.append(True)
        crm.down = ""
        connection.mapping = {"people": MAPPING}
        connection.save()
        queue.request_sync(connection, SyncRun.Mode.FULL)
        schedule.run_due(connection.pk, NOW)
        schedule.run_due(connection.pk, NOW + timedelta(minutes=2))
        assert Profile.objects.filter(city="Oslo").count() == 40
        connection.refresh_from_db()
        assert connection.cursor == {"people": {"done": True}}
        assert run(connection).read == 0

    def test_a_deadlock_with_another_writer_is_no_failure(self, crm, connection, monkeypatch):
        from crm.sync import reading

        stored, calls = reading.apply, []

        def collide(*args):
            calls.append(1)
            if len(calls) == 1:
                raise OperationalError("deadlock detected") from DeadlockDetected()
            return stored(*args)

        monkeypatch.setattr(reading, "apply", collide)
        report = run(connection)
        assert (report.state, report.created) == ("succeeded", 40)


def test_a_token_fetched_with_other_credentials_is_not_used(connection):
    """A run that began before the credentials were changed may still fetch one."""
    before = connectors.connector(connection)
    setup.change_settings(connection, {"account": "one"}, {"token": "new"})
    assert before.tokens.get(lambda _held: Token("of the old")).value == "of the old"
    after = connectors.connector(connection)
    assert after.tokens.get(lambda held: Token(f"of the new, {held}")).value == "of the new, None"
    again = connectors.connector(connection)
    assert again.tokens.get(lambda _held: Token("needless")).value == "of the new, None"


def test_a_run_that_goes_on_while_its_connection_is_removed_leaves_no_names(crm, synced, monkeypatch):
    """A name that stays would give a later connection's record to another person."""
    report = SyncRun.objects.create(connection=synced, state=SyncRun.State.RUNNING)
    forget = setup.writeback.forget

    def store_meanwhile(connection):
        with suppress(SupersededError):
            page = Page("people", [crm.put("new", email="new@example.com")], {})
            apply(report, page, parse(MAPPING), "person", NOW)
        forget(connection)

    monkeypatch.setattr(setup.writeback, "forget", store_meanwhile)
    setup.remove(synced)
    assert not Identifier.objects.filter(kind="crm:people").exists()


def test_what_nobody_needs_any_more_goes(crm, connection):
    crm.put("1", email="nonsense")
    run(connection, now=NOW)
    crm.put("1", email="p1@example.com")
    run(connection, now=NOW + timedelta(minutes=2))
    waiting = {"connection": connection, "object": "people", "record_id": "1", "name": "message_opened"}
    for attempts in (0, 5):
        OutgoingActivity.objects.create(
            **waiting, event_id=uuid.uuid4(), occurred_at=NOW, attempts=attempts, properties={}
        )
    crm.put("2", email="nonsense")
    run(connection, now=NOW + timedelta(minutes=4))
    queue.forget_settled(NOW + timedelta(days=80))
    assert (SyncReject.objects.count(), OutgoingActivity.objects.count()) == (2, 2)
    queue.forget_settled(NOW + timedelta(days=91))
    assert SyncReject.objects.get().record_id == "2"
    assert OutgoingActivity.objects.get().attempts == 0
