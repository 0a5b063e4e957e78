"""Syncing contacts from the sandbox through HubSpot's own client, up to what the operator sees."""

import io
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection as database

from crm.connectors.base import Hint
from crm.connectors.hubspot import HubSpot
from crm.models import (
    Alert,
    Connection,
    Consent,
    ConsentChange,
    Event,
    Identifier,
    Profile,
    SourceRecord,
    SyncReject,
    SyncRun,
)
from crm.sandbox import faults
from crm.sandbox.inprocess import running_sandbox
from crm.sync import apply, hints, pages, reading, schedule
from crm.sync.engine import AlreadyRunningError, run
from tests.crm.crm_sandbox import connect, later

pytestmark = pytest.mark.django_db
CONTACTS = 700


@pytest.fixture
def sandbox(settings, monkeypatch):
    monkeypatch.setattr(HubSpot, "backoff_seconds", 0.01)
    with running_sandbox(contacts=CONTACTS, seed=1) as running:
        settings.NUDGE_SANDBOX_URL = running.url
        yield running


@pytest.fixture
def connection(sandbox):
    return connect()


def first(sandbox, **wanted):
    """The first live contact with an email whose properties contain `wanted`."""
    return next(
        record
        for record in sandbox.hubspot.contacts.live()
        if "@" in record.properties.get("email", "")
        and all(record.properties.get(name) == value for name, value in wanted.items())
        and not {"\x00"} & set("".join(record.properties.values()))
    )


def person(record):
    return Profile.objects.get(identifiers__kind="shop:contacts", identifiers__value=str(record.id))


def change(sandbox, record, **values):
    sandbox.hubspot.contacts.update(record, values)
    later(sandbox, 60)


def script(sandbox, rules):
    sandbox.control.faults = faults.parse(rules)


def assert_sums(report):
    parts = (report.created, report.updated, report.unchanged, report.rejected, report.deleted)
    assert report.read == sum(parts)


class TestFirstImport:
    def test_everyone_arrives_or_is_rejected_with_a_reason(self, sandbox, connection):
        report = run(connection)
        assert (report.state, report.error, report.mode) == ("succeeded", "", "full")
        assert (report.read, report.expected) == (CONTACTS, CONTACTS)
        assert_sums(report)
        rejects = SyncReject.objects.filter(resolved_at=None)
        assert report.rejected == rejects.count() > 3
        assert {"invalid_email", "invalid_date", "nul_character", "too_long"} <= set(
            rejects.values_list("code", flat=True)
        )
        source = {str(record.id) for record in sandbox.hubspot.contacts.live()}
        taken = set(Identifier.objects.filter(kind="shop:contacts").values_list("value", flat=True))
        assert taken == source - set(rejects.values_list("record_id", flat=True))
        assert Profile.objects.count() == report.created == len(taken)
        assert SourceRecord.objects.filter(state="live").count() == len(taken)

    def test_every_mapped_field_is_equal(self, sandbox, connection):
        run(connection)
        rejected = set(SyncReject.objects.values_list("record_id", flat=True))
        for record in sandbox.hubspot.contacts.live():
            if str(record.id) in rejected:
                continue
            held, profile = record.properties, person(record)
            assert profile.email == (held.get("email") or None)
            assert profile.first_name == held.get("firstname", "").strip()
            assert profile.country == held["hs_country_region_code"]
            assert profile.attributes["loyalty_points"] == int(held["loyalty_points"])
            assert profile.attributes.get("company") == held.get("company")
            assert str(profile.birthday or "") == held.get("date_of_birth", "")
            assert profile.timezone

    def test_consent_comes_along_without_events(self, sandbox, connection):
        run(connection)
        yes = first(sandbox, webpush_opt_in="true", newsletter_opt_in="false")
        answers = Consent.objects.filter(profile=person(yes)).values_list("kind", "key", "state", "source")
        assert set(answers) == {
            ("channel", "webpush", "subscribed", "crm"),
            ("topic", "newsletter", "unsubscribed", "crm"),
        }
        assert not Event.objects.exists()

    def test_progress_is_visible_while_it_runs(self, connection, monkeypatch):
        monkeypatch.setattr(pages, "RECORDS", 100)
        seen = []
        run(connection, progress=lambda report: seen.append((report.state, report.read, report.expected)))
        assert seen[0] == ("running", 100, CONTACTS)
        assert len(seen) == CONTACTS // 100


class TestSecondRun:
    def test_nothing_new_writes_nothing(self, sandbox, connection):
        run(connection)
        SyncReject.objects.all().delete()
        stamps = dict(Profile.objects.values_list("pk", "updated_at"))
        report = run(connection)
        assert (report.state, report.created, report.updated, report.rejected) == ("succeeded", 0, 0, 0)
        again = run(connection, SyncRun.Mode.FULL)
        assert (again.created, again.updated, again.deleted) == (0, 0, 0)
        assert again.unchanged + again.rejected == again.read == CONTACTS
        assert dict(Profile.objects.values_list("pk", "updated_at")) == stamps

    def test_changes_and_new_contacts_arrive(self, sandbox, connection):
        run(connection)
        ann = first(sandbox)
        change(sandbox, ann, city="Reykjavík", loyalty_points="77", jobtitle=None)
        bob = sandbox.hubspot.contacts.create({"email": "bob@new.example", "firstname": "Bob"})
        later(sandbox, 60)
        report = run(connection)
        assert (report.created, report.updated) == (1, 1)
        assert_sums(report)
        profile = person(ann)
        assert (profile.city, profile.attributes["loyalty_points"]) == ("Reykjavík", 77)
        assert "job_title" not in profile.attributes
        assert person(bob).email == "bob@new.example"

    def test_a_change_within_the_look_back_is_not_lost(self, sandbox, connection):
        """HubSpot's index may show a change minutes after newer ones."""
        run(connection)
        later(sandbox, 1200)
        run(connection)
        ann = first(sandbox)
        sandbox.hubspot.contacts.update(ann, {"city": "Late"}, modified=sandbox.clock.now() - 8 * 60_000)
        later(sandbox, 30)
        assert run(connection).updated == 1
        assert person(ann).city == "Late"

    def test_an_older_state_never_overwrites_a_newer_one(self, sandbox, connection):
        run(connection)
        ann = first(sandbox)
        change(sandbox, ann, city="New")
        run(connection)
        stamp = SourceRecord.objects.get(record_id=str(ann.id)).modified_at
        ann.properties["city"], ann.modified = "Old", ann.modified - 5_000
        assert run(connection, SyncRun.Mode.FULL).updated == 0
        assert person(ann).city == "New"
        assert SourceRecord.objects.get(record_id=str(ann.id)).modified_at == stamp

    def test_what_the_person_told_us_stays_where_the_crm_is_empty(self, sandbox, connection):
        ann = first(sandbox)
        sandbox.hubspot.contacts.update(ann, {"city": None})
        run(connection)
        Profile.objects.filter(pk=person(ann).pk).update(city="Told on the website")
        change(sandbox, ann, jobtitle="Baker")
        run(connection)
        assert person(ann).city == "Told on the website"
        change(sandbox, ann, city="Oslo")
        run(connection)
        change(sandbox, ann, city=None)
        run(connection)
        assert person(ann).city is None

    def test_ten_thousand_rows_of_one_second_are_walked(self, sandbox, connection):
        run(connection)
        stamp = sandbox.clock.now()
        for record in sandbox.hubspot.contacts.live():
            sandbox.hubspot.contacts.update(record, {"plan": "vip"}, modified=stamp)
        later(sandbox, 60)
        report = run(connection)
        assert report.read >= CONTACTS
        assert Profile.objects.filter(attributes__plan="vip").count() == Profile.objects.count()


class TestDeletion:
    def test_an_archived_contact_leaves_the_profile_without_the_crms_consent(self, sandbox, settings):
        connection = connect(deletions_every_minutes=1)
        run(connection)
        ann = first(sandbox, webpush_opt_in="true")
        profile = person(ann)
        sandbox.hubspot.contacts.archive(ann)
        later(sandbox, 120)
        report = run(connection)
        assert report.deleted == 1
        assert_sums(report)
        assert SourceRecord.objects.get(record_id=str(ann.id)).state == "deleted"
        assert not Identifier.objects.filter(kind="shop:contacts", value=str(ann.id)).exists()
        assert Profile.objects.filter(pk=profile.pk).exists()
        assert Consent.objects.get(profile=profile, key="webpush").state == "unsubscribed"

    def test_it_does_not_come_back_by_itself_but_when_restored(self, sandbox):
        connection = connect(deletions_every_minutes=1)
        run(connection)
        ann = first(sandbox)
        profile = person(ann)
        sandbox.hubspot.contacts.archive(ann)
        later(sandbox, 120)
        run(connection)
        later(sandbox, 120)
        assert run(connection).deleted == 0
        sandbox.hubspot.contacts.restore(ann)
        assert run(connection, SyncRun.Mode.FULL).updated == 1
        assert person(ann) == profile

    def test_persons_own_consent_outlives_the_crm_record(self, sandbox):
        connection = connect(deletions_every_minutes=1)
        run(connection)
        ann = first(sandbox, webpush_opt_in="true")
        Consent.objects.filter(profile=person(ann), key="webpush").update(source="sdk")
        profile = person(ann)
        sandbox.hubspot.contacts.archive(ann)
        later(sandbox, 120)
        run(connection)
        assert Consent.objects.get(profile=profile, key="webpush").state == "subscribed"


class TestMergeAndPrivacy:
    def test_a_merge_in_hubspot_is_one_here(self, sandbox, connection):
        run(connection)
        winner, loser = [r for r in sandbox.hubspot.contacts.live() if "@" in r.properties.get("email", "")][
            :2
        ]
        kept, people = person(winner), Profile.objects.count()
        sandbox.hubspot.contacts.merge(winner, loser)
        later(sandbox, 60)
        report = run(connection)
        assert (report.merged, report.deleted, Profile.objects.count()) == (1, 0, people - 1)
        gone = SourceRecord.objects.get(record_id=str(loser.id))
        assert (gone.state, gone.merged_into) == ("merged", str(winner.id))
        assert person(winner) == kept
        again = run(connection, SyncRun.Mode.FULL)
        assert (again.merged, again.created, again.deleted) == (0, 0, 0)

    def test_what_hubspot_erased_or_lost_is_found_by_comparing(self, sandbox, connection):
        run(connection)
        ann = first(sandbox)
        profile = person(ann)
        sandbox.hubspot.contacts.erase(ann)
        assert run(connection).deleted == 0
        report = run(connection, sweep=True)
        assert (report.deleted, report.held) == (1, 0)
        assert SourceRecord.objects.get(record_id=str(ann.id)).state == "missing"
        hints.add(connection, [Hint("contacts", str(ann.id), "erased")])
        run(connection)
        profile.refresh_from_db()
        assert (profile.email, profile.first_name) == (None, None)
        assert SourceRecord.objects.get(record_id=str(ann.id)).state == "erased"


class TestConsent:
    def test_a_persons_own_no_is_never_overridden(self, sandbox, connection):
        run(connection)
        ann = first(sandbox, webpush_opt_in="true")
        Consent.objects.filter(profile=person(ann), key="webpush").update(
            state="unsubscribed", source="person", changed_at=datetime.now(UTC)
        )
        change(sandbox, ann, webpush_opt_in="false")
        run(connection)
        change(sandbox, ann, webpush_opt_in="true")
        run(connection)
        assert Consent.objects.get(profile=person(ann), key="webpush").state == "unsubscribed"

    def test_a_persons_yes_is_not_undone_by_an_old_no_of_the_crm(self, sandbox, connection):
        run(connection)
        ann = first(sandbox, webpush_opt_in="false")
        Consent.objects.filter(profile=person(ann), key="webpush").update(
            state="subscribed", source="sdk", changed_at=datetime.now(UTC)
        )
        change(sandbox, ann, city="Elsewhere")
        run(connection)
        assert Consent.objects.get(profile=person(ann), key="webpush").state == "subscribed"

    def test_a_changed_answer_counts_and_is_an_event(self, sandbox, connection):
        run(connection)
        ann = first(sandbox, webpush_opt_in="true")
        change(sandbox, ann, webpush_opt_in="false")
        run(connection)
        profile = person(ann)
        assert Consent.objects.get(profile=profile, key="webpush").state == "unsubscribed"
        assert ConsentChange.objects.filter(profile=profile, key="webpush").count() == 2
        assert Event.objects.get().properties["key"] == "webpush"


class TestRejects:
    def test_a_repaired_record_passes_and_leaves_the_list(self, sandbox, connection):
        run(connection)
        reject = SyncReject.objects.get(code="nul_character")
        assert "\ufffd" in json.dumps(reject.raw, ensure_ascii=False)
        record = sandbox.hubspot.contacts.records[int(reject.record_id)]
        change(sandbox, record, lastname="Clean")
        run(connection)
        reject.refresh_from_db()
        assert reject.resolved_at
        assert person(record).last_name == "Clean"

    def test_a_repeated_email_is_rejected_until_it_is_free(self, sandbox, connection):
        ann = first(sandbox)
        twin = sandbox.hubspot.contacts.create({"firstname": "Twin"})
        twin.properties["email"] = ann.properties["email"]
        run(connection)
        reject = SyncReject.objects.get(record_id=str(twin.id))
        assert (reject.code, reject.field) == ("duplicate_email", "email")
        assert str(ann.id) in reject.detail
        change(sandbox, ann, email="ann.new@example.com")
        run(connection)
        reject.refresh_from_db()
        assert reject.resolved_at
        assert person(twin).email == twin.properties["email"]
        assert person(ann).email == "ann.new@example.com"

    def test_attempts_are_counted(self, sandbox, connection):
        run(connection)
        later(sandbox, 60)
        report = run(connection)
        reject = SyncReject.objects.filter(code="invalid_email").first()
        assert reject.attempts == 2
        assert report.rejected == SyncReject.objects.filter(resolved_at=None).count()
        assert_sums(report)


class TestTrouble:
    def test_a_crash_in_the_middle_loses_and_repeats_nothing(self, sandbox, connection, monkeypatch):
        real, stored = apply.apply, []
        monkeypatch.setattr(pages, "RECORDS", 100)

        def dying(*args):
            if len(stored) == 3:
                raise RuntimeError("power cut")
            stored.append(1)
            return real(*args)

        monkeypatch.setattr(reading, "apply", dying)
        with pytest.raises(RuntimeError):
            run(connection)
        crashed = SyncRun.objects.get()
        assert (crashed.state, crashed.read) == ("failed", 300)
        assert "RuntimeError" in crashed.error
        monkeypatch.setattr(reading, "apply", real)
        later(sandbox, 60)
        report = run(connection)
        assert report.read == CONTACTS - 300 + crashed.rejected  # those are tried again
        assert crashed.created + report.created == Profile.objects.count()
        assert {str(record.id) for record in sandbox.hubspot.contacts.live()} == {
            *Identifier.objects.filter(kind="shop:contacts").values_list("value", flat=True),
            *SyncReject.objects.filter(resolved_at=None).values_list("record_id", flat=True),
        }

    def test_a_run_left_by_a_dead_process_is_ended_and_continued(self, connection):
        dead = SyncRun.objects.create(connection=connection, state="running", started_at=datetime.now(UTC))
        assert run(connection).state == "succeeded"
        dead.refresh_from_db()
        assert dead.state == "failed"
        assert "stopped" in dead.error

    def test_nothing_is_stored_for_a_run_that_was_ended(self, connection, monkeypatch):
        def superseded(found):
            SyncRun.objects.update(state="failed", error="ended")
            yield from pages.batches(found)

        monkeypatch.setattr(reading, "batches", superseded)
        assert run(connection).error == "ended"
        assert not Profile.objects.exists()

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"status": 401}, "refused the credentials"),
            ({"status": 403}, "crm.objects.contacts.read"),
            ({"status": 429}, "fewer calls"),
            ({"status": 503}, "503"),
            ({"status": 200, "body": "<html>Log in</html>"}, "not HubSpot's API"),
            ({"drop": True}, "No answer"),
            ({"truncate": 40}, "No answer"),
        ],
    )
    def test_each_failure_says_what_to_do_and_the_next_run_goes_on(self, sandbox, connection, fault, words):
        script(sandbox, [{"path": "after=", **fault}])
        report = run(connection)
        assert report.state == "failed"
        assert words in report.error
        assert report.read == 100
        assert words in Alert.objects.get(key="sync:shop", resolved_at=None).detail
        script(sandbox, [])
        later(sandbox, 60)
        assert run(connection).state == "succeeded"
        assert not Alert.objects.filter(key="sync:shop", resolved_at=None).exists()
        assert SourceRecord.objects.count() == Profile.objects.count() > CONTACTS * 0.9

    def test_single_failures_are_not_noticed(self, sandbox, connection):
        script(
            sandbox,
            [
                {"path": "contacts", "nth": 2, "status": 429, "headers": {"Retry-After": "0"}},
                {"path": "after=", "nth": 1, "status": 502},
                {"path": "after=", "nth": 3, "truncate": 10},
                {"path": "after=", "nth": 5, "drop": True},
            ],
        )
        assert run(connection).state == "succeeded"

    def test_the_pause_grows_with_every_failure(self, sandbox, connection):
        script(sandbox, [{"path": ".", "status": 401}])
        now = datetime(2026, 11, 2, tzinfo=UTC)
        pauses = []
        for _ in range(8):
            run(connection, now=now)
            connection.refresh_from_db()
            pauses.append((connection.next_sync_at - now) // timedelta(minutes=1))
        assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]

    def test_a_field_that_is_gone_is_noted_and_the_rest_goes_on(self, sandbox, connection):
        run(connection)
        sandbox.hubspot.schema.definitions["plan"]["archived"] = True
        ann = first(sandbox)
        plan = person(ann).attributes["plan"]
        change(sandbox, ann, city="Lima")
        report = run(connection)
        assert "plan" in report.notes
        assert (person(ann).city, person(ann).attributes["plan"]) == ("Lima", plan)


@pytest.mark.django_db(transaction=True)
def test_two_runs_of_one_connection_never_overlap(connection):
    answers = []

    def other(_report):
        def attempt():
            try:
                run(Connection.objects.get(pk=connection.pk))
            except AlreadyRunningError as error:
                answers.append(str(error))
            finally:
                database.close()

        if not answers:
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()

    assert run(connection, progress=other).state == "succeeded"
    assert len(answers) == 1
    assert SyncRun.objects.count() == 1


class TestSchedule:
    def test_a_new_connection_is_due_and_then_waits_its_interval(self, connection):
        assert schedule.due() == [connection.pk]
        assert schedule.run_due(connection.pk) == 1
        assert schedule.due() == []
        connection.refresh_from_db()
        assert schedule.due(connection.next_sync_at) == [connection.pk]

    def test_two_requests_are_one_run_and_a_full_one_wins(self, connection):
        SyncRun.objects.all().delete()
        schedule.request_sync(connection, by="ann")
        schedule.request_sync(connection, SyncRun.Mode.FULL, by="bob")
        waiting = SyncRun.objects.get()
        assert (waiting.mode, waiting.requested_by) == ("full", "bob")

    def test_a_paused_connection_is_only_synced_by_hand(self, connection):
        SyncRun.objects.all().delete()
        connection.state = "paused"
        connection.save()
        assert schedule.due() == []
        schedule.request_sync(connection)
        assert schedule.due() == [connection.pk]

    def test_a_running_connection_is_left_alone_unless_it_is_silent(self, connection):
        now = datetime.now(UTC)
        SyncRun.objects.update(state="running", beat_at=now)
        assert schedule.due(now) == []
        assert schedule.due(now + timedelta(minutes=2)) == [connection.pk]


class TestCommand:
    def test_it_reports_progress_and_the_outcome(self, connection):
        out = io.StringIO()
        call_command("sync", "shop", stdout=out)
        text = out.getvalue()
        assert f"100 %  {CONTACTS} read" in text
        assert f"{CONTACTS} read, {Profile.objects.count()} created, 0 updated" in text
        assert "is not an email address" in text

    def test_it_knows_a_connection_by_name(self, connection):
        call_command("sync", "Shop CRM", "--full", stdout=io.StringIO())
        assert SyncRun.objects.get().mode == "full"

    def test_it_compares_when_asked_and_tells_what_it_held_back(self, sandbox, connection):
        run(connection)
        sandbox.hubspot.contacts.erase(first(sandbox))
        out = io.StringIO()
        call_command("sync", "shop", "--sweep", stdout=out)
        assert "0 merged, 1 deleted, 0 held, 0 written." in out.getvalue()
        assert SyncRun.objects.latest("pk").sweep

    def test_an_unknown_name_is_answered_with_the_known_ones(self, connection):
        with pytest.raises(CommandError, match="There is: shop"):
            call_command("sync", "nope")

    def test_a_failed_run_is_an_error(self, sandbox, connection):
        script(sandbox, [{"path": ".", "status": 401}])
        with pytest.raises(CommandError, match="refused the credentials"):
            call_command("sync", "shop", stdout=io.StringIO())
