"""CRM connections in the admin: connecting, watching, mapping, and who may do what."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from crm.connectors.hubspot import HubSpot
from crm.models import Connection, Identifier, Profile, SourceRecord, SyncReject, SyncRun
from crm.sandbox import faults
from crm.sandbox.inprocess import running_sandbox
from crm.sync.engine import run
from tests.crm.crm_sandbox import connect

pytestmark = pytest.mark.django_db
SECRET = "pat-eu1-very-secret"
FORM = {
    "kind": "hubspot",
    "name": "Main CRM",
    "slug": "main",
    "interval_minutes": "5",
    "server": "sandbox",
    "access_token": SECRET,
    "deletions_every_minutes": "30",
}


@pytest.fixture
def sandbox(settings, monkeypatch):
    monkeypatch.setattr(HubSpot, "backoff_seconds", 0.01)
    with running_sandbox(contacts=150) as running:
        settings.NUDGE_SANDBOX_URL = running.url
        yield running


@pytest.fixture
def connection(sandbox):
    return connect()


def page(name, *args):
    return reverse(f"admin:crm_connection_{name}", args=args)


def login(client, *permissions):
    user = User.objects.create_user("staff", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


class TestConnecting:
    def test_the_form_comes_from_the_connector_and_makes_a_first_full_run(self, sandbox, admin_client):
        text = admin_client.get(page("add")).content.decode()
        assert "Access token" in text
        assert 'name="kind" value="hubspot"' in text
        response = admin_client.post(page("add"), FORM)
        connection = Connection.objects.get()
        assert response.url == page("change", connection.pk)
        assert (connection.slug, connection.interval_minutes) == ("main", 5)
        assert connection.config == {"server": "sandbox", "deletions_every_minutes": 30}
        assert connection.mapping["contacts"]["fields"]["email"] == "email"
        assert SyncRun.objects.get().mode == "full"

    def test_credentials_are_encrypted_and_never_shown(self, sandbox, admin_client, django_db_blocker):
        from django.db import connection as database

        admin_client.post(page("add"), FORM)
        connection = Connection.objects.get()
        with database.cursor() as cursor:
            cursor.execute("SELECT credentials FROM crm_connection")
            assert SECRET not in cursor.fetchone()[0]
        assert connection.credentials == {"access_token": SECRET}
        for name in ("change", "settings", "mapping", "panel"):
            assert SECRET not in admin_client.get(page(name, connection.pk)).content.decode()

    def test_an_empty_credential_keeps_the_stored_one_and_a_new_one_replaces_it(
        self, connection, admin_client
    ):
        form = {**FORM, "name": "Renamed", "access_token": ""}
        admin_client.post(page("settings", connection.pk), form)
        connection.refresh_from_db()
        assert (connection.name, connection.slug) == ("Renamed", "shop")
        assert connection.credentials == {"access_token": "pat-test"}
        admin_client.post(page("settings", connection.pk), {**form, "access_token": "other"})
        connection.refresh_from_db()
        assert connection.credentials == {"access_token": "other"}

    @pytest.mark.parametrize("field", ["name", "slug", "access_token"])
    def test_what_is_missing_is_asked_for(self, sandbox, admin_client, field):
        response = admin_client.post(page("add"), {**FORM, field: ""})
        assert response.status_code == 200
        assert "This field is required" in response.content.decode()
        assert not Connection.objects.exists()

    def test_a_refused_token_connects_nothing_and_is_said_plainly(self, sandbox, admin_client):
        sandbox.control.faults = faults.parse([{"path": ".", "status": 401}])
        text = admin_client.post(page("add"), FORM).content.decode()
        assert "HubSpot refused the access token" in text
        assert not Connection.objects.exists()

    def test_no_other_address_can_be_reached(self, sandbox, admin_client):
        admin_client.post(page("add"), {**FORM, "server": "http://169.254.169.254"})
        assert not Connection.objects.exists()

    def test_testing_tells_how_it_went(self, sandbox, admin_client):
        assert "150 contacts can be read" in admin_client.post(page("test"), FORM).content.decode()
        text = admin_client.post(page("test"), {**FORM, "access_token": ""}).content.decode()
        assert "Fill in first: Access token" in text
        sandbox.control.faults = faults.parse([{"path": ".", "drop": True}])
        assert "No answer from" in admin_client.post(page("test"), FORM).content.decode()

    def test_testing_a_stored_connection_uses_the_stored_token(self, connection, admin_client):
        form = {**FORM, "access_token": "", "connection": connection.pk}
        assert "can be read" in admin_client.post(page("test"), form).content.decode()


class TestWatching:
    def test_the_list_shows_state_and_figures_in_few_queries(
        self, connection, admin_client, django_assert_max_num_queries
    ):
        run(connection)
        connect("Second", "second")
        with django_assert_max_num_queries(10):
            text = admin_client.get(page("changelist")).content.decode()
        assert "up to date" in text
        assert "waiting" in text
        assert str(SourceRecord.objects.count()) in text

    def test_an_empty_list_says_what_to_do(self, admin_client):
        assert "No CRM connections yet" in admin_client.get(page("changelist")).content.decode()

    def test_progress_is_a_progressbar(self, connection, admin_client):
        SyncRun.objects.update(state="running", read=50, expected=200)
        text = admin_client.get(page("panel", connection.pk)).content.decode()
        assert re.search(r'role="progressbar"[^>]*aria-valuenow="25"', text)
        assert "50 of about 200" in text
        assert "every 2s" in text

    def test_the_report_of_the_last_run(self, connection, admin_client):
        report = run(connection)
        text = admin_client.get(page("change", connection.pk)).content.decode()
        assert f"<td>{report.created}</td>" in text
        assert "crm_syncreject" not in text
        assert reverse("admin:crm_syncreject_changelist") in text

    def test_a_failure_is_shown_with_its_reason(self, sandbox, connection, admin_client):
        sandbox.control.faults = faults.parse([{"path": ".", "status": 403}])
        run(connection)
        assert "may not read contacts" in admin_client.get(page("change", connection.pk)).content.decode()

    def test_sync_now_full_resync_and_pause(self, connection, admin_client):
        run(connection)
        admin_client.post(page("sync", connection.pk))
        assert SyncRun.objects.get(state="queued").requested_by == "admin"
        admin_client.post(page("sync", connection.pk), {"mode": "full"})
        assert SyncRun.objects.get(state="queued").mode == "full"
        admin_client.post(page("pause", connection.pk))
        connection.refresh_from_db()
        assert connection.state == "paused"

    def test_disconnecting_keeps_the_profiles(self, connection, admin_client):
        run(connection)
        people = Profile.objects.count()
        assert admin_client.post(page("remove", connection.pk)).status_code == 302
        assert (Connection.objects.count(), SyncRun.objects.count(), SyncReject.objects.count()) == (0, 0, 0)
        assert Profile.objects.count() == people > 0
        assert not Identifier.objects.filter(kind__startswith="shop:").exists()

    @pytest.mark.parametrize("name", ["sync", "pause", "remove"])
    def test_a_link_changes_nothing(self, connection, admin_client, name):
        assert admin_client.get(page(name, connection.pk)).status_code == 405


class TestMapping:
    def test_it_shows_what_is_taken_and_saves_with_a_full_run(self, connection, admin_client):
        run(connection)
        url = page("mapping", connection.pk)
        text = admin_client.get(url).content.decode()
        assert re.search(r'<option value="first_name" selected>', text)
        assert re.search(r'<option value="consent:channel:webpush:" selected>', text)
        data = {"map-email": "email", "map-jobtitle": "attributes.jobtitle"}
        data["map-newsletter_opt_in"] = "consent:channel:email:"
        assert admin_client.post(url, data).status_code == 302
        connection.refresh_from_db()
        assert connection.mapping["contacts"] == {
            "fields": {"email": "email", "jobtitle": "attributes.jobtitle"},
            "consent": {"newsletter_opt_in": {"kind": "channel", "key": "email"}},
        }
        assert SyncRun.objects.get(state="queued").mode == "full"
        assert run(connection).updated > 0

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            ({"map-firstname": "city", "map-lastname": "city"}, "both go to city"),
            ({"map-firstname": "is_staff"}, "does not exist"),
            ({"map-webpush_opt_in": "consent:nonsense"}, "Choose one"),
        ],
    )
    def test_a_mapping_that_cannot_work_is_not_saved(self, connection, admin_client, data, words):
        before = connection.mapping
        text = admin_client.post(page("mapping", connection.pk), data).content.decode()
        assert words in text
        connection.refresh_from_db()
        assert connection.mapping == before

    def test_a_crm_that_does_not_answer_keeps_the_mapping(self, sandbox, connection, admin_client):
        before = connection.mapping
        sandbox.control.faults = faults.parse([{"path": ".", "status": 401}])
        url = page("mapping", connection.pk)
        assert "refused the access token" in admin_client.get(url).content.decode()
        admin_client.post(url, {})
        connection.refresh_from_db()
        assert connection.mapping == before


class TestRunsAndRejects:
    def test_reports_and_rejects_can_be_read(self, connection, admin_client):
        report = run(connection)
        text = admin_client.get(reverse("admin:crm_syncrun_change", args=[report.pk])).content.decode()
        assert "succeeded" in text
        assert admin_client.get(reverse("admin:crm_syncrun_changelist")).status_code == 200
        reject = SyncReject.objects.get(code="invalid_email")
        text = admin_client.get(reverse("admin:crm_syncreject_changelist")).content.decode()
        assert "is not an email address" in text
        text = admin_client.get(reverse("admin:crm_syncreject_change", args=[reject.pk])).content.decode()
        assert "not-an-email" in text

    def test_try_again_queues_a_run_for_those_who_may(self, connection, admin_client, client):
        run(connection)
        reject = SyncReject.objects.first()
        data = {"action": "try_again", "_selected_action": [reject.pk]}
        url = reverse("admin:crm_syncreject_changelist")
        admin_client.post(url, data)
        assert SyncRun.objects.filter(state="queued").count() == 1
        SyncRun.objects.filter(state="queued").delete()
        login(client, "view_syncreject").post(url, data)
        assert not SyncRun.objects.filter(state="queued").exists()

    def test_one_record_is_tried_again_from_its_page(self, connection, admin_client):
        run(connection)
        reject = SyncReject.objects.first()
        url = reverse("admin:crm_syncreject_try_this_again", args=[reject.pk])
        assert admin_client.get(url).status_code == 200
        assert not SyncRun.objects.filter(state="queued").exists()
        admin_client.post(url, {"_form_submitted": "on"})
        assert SyncRun.objects.filter(state="queued").count() == 1


class TestPermissions:
    POSTS = ("sync", "pause", "remove")
    PAGES = ("change", "panel", "settings", "mapping")

    def test_without_login_nothing(self, connection, client):
        for name in (*self.POSTS, *self.PAGES):
            assert client.post(page(name, connection.pk)).status_code == 302
        assert client.post(page("test"), FORM).status_code == 302

    def test_staff_without_permission_nothing(self, connection, client):
        login(client)
        for name in self.PAGES:
            assert client.get(page(name, connection.pk)).status_code == 403
        for name in self.POSTS:
            assert client.post(page(name, connection.pk)).status_code == 403
        assert client.get(page("add")).status_code == 403
        assert client.post(page("test"), FORM).status_code == 403

    def test_a_viewer_looks_and_touches_nothing(self, connection, client):
        login(client, "view_connection")
        text = client.get(page("change", connection.pk)).content.decode()
        assert "Sync now</" not in text
        assert client.get(page("panel", connection.pk)).status_code == 200
        for name in self.POSTS:
            assert client.post(page(name, connection.pk)).status_code == 403
        assert client.get(page("settings", connection.pk)).status_code == 403
        assert Connection.objects.filter(pk=connection.pk, state="active").exists()

    def test_only_who_may_delete_can_disconnect(self, connection, client):
        login(client, "view_connection", "change_connection")
        assert client.post(page("remove", connection.pk)).status_code == 403
        assert client.post(page("sync", connection.pk)).status_code == 302

    def test_an_unknown_connection_is_404(self, admin_client):
        assert admin_client.get(page("panel", 4711)).status_code == 404
        assert admin_client.get(page("change", "x")).status_code == 404
