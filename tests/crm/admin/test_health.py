"""The list of connections and the page that shows how the syncs of one go."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from crm.admin.connection_health import lag_words
from crm.connectors.base import Hint, HookAnswer
from crm.connectors.hubspot import HubSpot
from crm.models import Connection, Identifier, Profile, SourceRecord, SyncHint, SyncReject, SyncRun
from crm.sandbox import faults
from crm.sync.engine import run
from tests.crm.admin.pages import page, text_of
from tests.crm.crm_sandbox import connect

pytestmark = pytest.mark.django_db


@pytest.fixture
def contacts(connection):
    """The connection with nothing but contacts, so that runs are short."""
    connection.mapping = {"contacts": connection.mapping["contacts"]}
    connection.save()
    return connection


def body(client, name, *args):
    return client.get(page(name, *args)).content.decode()


def reject(connection, number=1, **values):
    return SyncReject.objects.create(
        connection=connection, object="contacts", record_id=str(number), code="invalid_email", field="email",
        detail=f"“no{number}” is not an email address.", raw={"email": f"no{number}"}, **values,
    )  # fmt: skip


class TestList:
    def test_a_line_each_with_state_lag_and_figures_in_few_queries(
        self, contacts, admin_client, django_assert_num_queries
    ):
        run(contacts)
        connect("Second", "second")
        reject(contacts, 4711)
        with django_assert_num_queries(5):
            response = admin_client.get(page("changelist"))
        words = text_of(response)
        assert "up to date" in words
        assert "waiting" in words
        assert "s behind" in words
        assert f" {SourceRecord.objects.count()} " in words

    def test_an_empty_list_says_what_to_do(self, admin_client):
        assert "No CRM connections yet" in text_of(admin_client.get(page("changelist")))


class TestPanel:
    def test_it_takes_few_queries(self, contacts, admin_client, django_assert_num_queries):
        run(contacts)
        for number in range(20):
            reject(contacts, number + 5000)
        with django_assert_num_queries(8):
            admin_client.get(page("panel", contacts.pk))
        with django_assert_num_queries(8):
            admin_client.get(page("change", contacts.pk))

    def test_state_and_lag_in_words(self, contacts, admin_client):
        run(contacts)
        contacts.refresh_from_db()
        contacts.synced_until = timezone.now() - timedelta(seconds=8)
        contacts.save()
        words = text_of(admin_client.get(page("panel", contacts.pk)))
        assert "up to date" in words
        assert f"complete up to {contacts.synced_until:%H:%M:%S} , 8 s behind" in words

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (None, ""),
            (8.2, "8 s behind"),
            (400, "6 min behind"),
            (9000, "2 h behind"),
            (200_000, "2 days behind"),
        ],
    )
    def test_lag(self, seconds, words):
        assert lag_words(seconds) == words

    def test_progress_is_a_progressbar_with_what_is_at_it(self, connection, admin_client):
        connection.mapping = {"contacts": {}, "deals": {}}
        connection.save()
        SyncRun.objects.update(
            state="running",
            started_at=timezone.now(),
            read=50,
            expected=200,
            cursor_after={"deals": {"x": 1}},
        )
        text = body(admin_client, "panel", connection.pk)
        assert re.search(r'role="progressbar"[^>]*aria-valuenow="25"', text)
        assert "50 of about 200" in text
        assert "every 2s" in text
        assert re.search(r'class="is-done">\s*<dt>.*?Contacts', text, re.S)
        assert re.search(r'class="is-now">\s*<dt>.*?Deals', text, re.S)

    def test_the_report_of_the_last_run(self, contacts, admin_client):
        report = run(contacts)
        text = body(admin_client, "change", contacts.pk)
        assert f'<td class="is-number">{report.created}</td>' in text
        assert f'<td class="is-number">{report.calls}</td>' in text
        assert reverse("admin:crm_syncrun_change", args=[report.pk]) in text

    def test_the_budget_of_calls(self, connection, admin_client):
        SyncRun.objects.update(state="succeeded", budget_used=200, budget_limit=250)
        text = body(admin_client, "panel", connection.pk)
        assert re.search(r'role="meter"[^>]*aria-valuenow="80"', text)
        assert "is-tight" in text
        assert "200 of 250 used" in text

    def test_a_failure_is_shown_with_its_reason(self, sandbox, contacts, admin_client):
        sandbox.control.faults = faults.parse([{"path": ".", "status": 403}])
        report = run(contacts)
        words = text_of(admin_client.get(page("change", contacts.pk)))
        assert "last sync failed" in words
        assert report.error
        assert " ".join(report.error.split()) in words

    def test_a_mapped_field_that_the_crm_lost_is_a_warning(self, contacts, admin_client):
        contacts.mapping["contacts"]["fields"]["old_plan"] = "attributes.old_plan"
        contacts.schema = {"contacts": dict.fromkeys(contacts.mapping["contacts"]["fields"], "text")}
        del contacts.schema["contacts"]["old_plan"]
        contacts.mapping["contacts"]["consent"] = {}
        contacts.mapping["contacts"]["write"] = {}
        contacts.save()
        words = text_of(admin_client.get(page("panel", contacts.pk)))
        assert "The field old_plan of contacts is mapped, but no longer in the CRM." in words

    def test_the_address_for_calls_is_for_those_who_may_change(self, connection, admin_client, staff):
        assert "/hooks/crm/shop/" in body(admin_client, "change", connection.pk)
        assert "/hooks/crm/shop/" not in body(staff("view_connection"), "change", connection.pk)

    def test_whether_the_crm_calls(self, connection, admin_client, client, monkeypatch):
        assert "No call has come yet" in text_of(admin_client.get(page("change", connection.pk)))
        url = reverse("crm-hook", args=["shop"])
        assert client.post(url, b"[]", content_type="application/json").status_code == 401
        connection.refresh_from_db()
        assert connection.called_at is None
        hints = [Hint("contacts", "1"), Hint("contacts", "2")]
        monkeypatch.setattr(HubSpot, "hook", lambda self, request: HookAnswer(hints))
        client.post(url, b"[]", content_type="application/json")
        words = text_of(admin_client.get(page("change", connection.pk)))
        assert "The last call: now. 2 records wait to be read." in words


class TestHeldDeletions:
    @pytest.fixture
    def held(self, connection):
        SyncRun.objects.update(state="succeeded")
        SyncHint.objects.bulk_create(
            SyncHint(connection=connection, object="contacts", record_id=f"r{number}", kind="held")
            for number in range(40)
        )
        return connection

    def test_a_plain_question_with_the_records(self, held, admin_client):
        words = text_of(admin_client.get(page("panel", held.pk)))
        assert "40 records vanished from the CRM at once" in words
        assert "needs your answer" in words
        assert "contacts r7" in words
        assert "needs your answer" in text_of(admin_client.get(page("changelist")))

    def test_a_yes_lets_the_next_run_do_it(self, held, admin_client):
        admin_client.post(page("deletions", held.pk))
        held.refresh_from_db()
        assert held.deletions_allowed_until > timezone.now()
        assert SyncRun.objects.get(state="queued").requested_by == "admin"
        assert "vanished" not in text_of(admin_client.get(page("panel", held.pk)))
        assert "deletions" in LogEntry.objects.get().change_message.lower()


class TestDoing:
    def test_sync_now_full_resync_comparison_and_pause(self, connection, admin_client):
        SyncRun.objects.update(state="succeeded")
        admin_client.post(page("sync", connection.pk))
        assert SyncRun.objects.get(state="queued").requested_by == "admin"
        admin_client.post(page("sync", connection.pk), {"mode": "full"})
        assert SyncRun.objects.get(state="queued").mode == "full"
        assert not SyncRun.objects.get(state="queued").sweep
        admin_client.post(page("sync", connection.pk), {"mode": "sweep"})
        assert SyncRun.objects.get(state="queued").sweep
        admin_client.post(page("pause", connection.pk))
        connection.refresh_from_db()
        assert connection.state == "paused"
        admin_client.post(page("pause", connection.pk))
        connection.refresh_from_db()
        assert connection.state == "active"
        assert LogEntry.objects.count() == 5

    def test_disconnecting_keeps_the_profiles(self, contacts, admin_client):
        run(contacts)
        people = Profile.objects.count()
        assert admin_client.post(page("remove", contacts.pk)).status_code == 302
        assert (Connection.objects.count(), SyncRun.objects.count(), SyncReject.objects.count()) == (0, 0, 0)
        assert Profile.objects.count() == people > 0
        assert not Identifier.objects.filter(kind__startswith="shop:").exists()

    @pytest.mark.parametrize("name", ["sync", "pause", "remove", "deletions", "retry"])
    def test_a_link_changes_nothing(self, connection, admin_client, name):
        assert admin_client.get(page(name, connection.pk)).status_code == 405


class TestRejects:
    def test_they_are_shown_with_reason_and_record(self, connection, admin_client):
        reject(connection)
        reject(connection, 2, resolved_at=timezone.now())
        words = text_of(admin_client.get(page("change", connection.pk)))
        assert "“no1” is not an email address." in words
        assert "no2" not in words

    @pytest.mark.parametrize(
        ("data", "tried"),
        [
            ({"reject": [0, 1]}, {"1", "2"}),
            ({"only": [1], "reject": [0]}, {"2"}),
            ({"all": "1"}, {"1", "2", "3"}),
        ],
    )
    def test_one_the_chosen_or_all_are_tried_again(self, connection, admin_client, data, tried):
        made = [reject(connection, number) for number in (1, 2, 3)]
        sent = {
            name: [made[place].pk for place in value] if isinstance(value, list) else value
            for name, value in data.items()
        }
        admin_client.post(page("retry", connection.pk), sent)
        assert set(SyncHint.objects.values_list("record_id", flat=True)) == tried
        assert SyncRun.objects.filter(state="queued").exists()

    def test_none_chosen_tries_nothing(self, connection, admin_client):
        SyncRun.objects.all().delete()
        reject(connection)
        admin_client.post(page("retry", connection.pk))
        assert not SyncRun.objects.exists()

    def test_records_of_another_connection_are_left_alone(self, connection, admin_client):
        other = reject(connect("Second", "second"))
        admin_client.post(page("retry", connection.pk), {"reject": [other.pk]})
        assert not SyncHint.objects.exists()

    def test_their_list_and_the_runs_can_be_read(self, contacts, admin_client):
        report = run(contacts)
        found = SyncReject.objects.get(code="invalid_email")
        text = text_of(admin_client.get(reverse("admin:crm_syncrun_change", args=[report.pk])))
        assert "succeeded" in text
        assert admin_client.get(reverse("admin:crm_syncrun_changelist")).status_code == 200
        text = text_of(admin_client.get(reverse("admin:crm_syncreject_changelist")))
        assert "is not an email address" in text
        text = text_of(admin_client.get(reverse("admin:crm_syncreject_change", args=[found.pk])))
        assert "not-an-email" in text

    def test_trying_again_from_the_list_is_for_those_who_may(self, connection, admin_client, staff):
        SyncRun.objects.all().delete()
        data = {"action": "try_again", "_selected_action": [reject(connection).pk]}
        url = reverse("admin:crm_syncreject_changelist")
        staff("view_syncreject").post(url, data)
        assert not SyncRun.objects.exists()
        admin_client.post(url, data)
        assert SyncRun.objects.filter(state="queued").count() == 1
        assert SyncHint.objects.get().record_id == "1"

    def test_one_record_is_tried_again_from_its_page(self, connection, admin_client):
        SyncRun.objects.all().delete()
        url = reverse("admin:crm_syncreject_try_this_again", args=[reject(connection).pk])
        assert admin_client.get(url).status_code == 200
        assert not SyncRun.objects.exists()
        admin_client.post(url, {"_form_submitted": "on"})
        assert SyncRun.objects.filter(state="queued").count() == 1
