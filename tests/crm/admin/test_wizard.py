"""Connecting a CRM step by step, without a browser's scripts; nothing is synced before the last step."""

import threading
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.urls import reverse
from django.utils import timezone

from crm.admin import asking
from crm.connectors.base import ConnectorError
from crm.models import Connection, SourceRecord, SyncRun
from crm.sandbox import faults
from crm.sync import drafts, schedule
from tests.crm.admin.pages import form_of, page, text_of

pytestmark = pytest.mark.django_db
SECRET = "pat-eu1-very-secret"
ACCOUNT = {
    "kind": "hubspot",
    "name": "Main CRM",
    "slug": "main",
    "server": "sandbox",
    "access": "private",
    "access_token": SECRET,
    "deletions_every_minutes": "30",
}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def draft(sandbox):
    made = drafts.begin("hubspot", "Main CRM", "main", {"server": "sandbox"}, {"access_token": SECRET})
    made.refresh_from_db()
    return made


@pytest.fixture
def chosen(draft, admin_client):
    """A draft with contacts and deals, as suggested."""
    admin_client.post(page("objects", draft.pk), {"objects": ["contacts", "deals"]})
    draft.refresh_from_db()
    return draft


def fail(sandbox, **rule):
    sandbox.control.faults = faults.parse([{"path": ".", **rule}])


class TestChoosing:
    def test_every_crm_is_a_card_and_the_sandbox_is_offered(self, admin_client):
        response = admin_client.get(page("add"))
        words = text_of(response)
        for name in ("HubSpot", "Salesforce", "Zoho CRM", "CRM sandbox of this installation"):
            assert name in words
        assert "?kind=salesforce" in response.content.decode()
        assert "?kind=file" not in response.content.decode()

    def test_an_unknown_crm_is_404(self, admin_client):
        assert admin_client.get(page("add") + "?kind=abacus").status_code == 404


class TestAccount:
    def test_the_form_comes_from_the_connector_with_a_free_name(self, sandbox, admin_client):
        Connection.objects.create(kind="hubspot", name="HubSpot", slug="hubspot")
        data = form_of(admin_client.get(page("add") + "?kind=hubspot"))
        assert (data["name"], data["slug"]) == ("HubSpot 2", "hubspot-2")
        assert "access_token" in data

    def test_credentials_that_work_make_a_draft_that_nothing_syncs(self, sandbox, admin_client):
        response = admin_client.post(page("add"), ACCOUNT)
        draft = Connection.objects.get()
        assert response.url == page("objects", draft.pk)
        assert (draft.state, draft.slug, draft.mapping) == ("draft", "main", {})
        assert not SyncRun.objects.exists()
        assert schedule.due(timezone.now() + timedelta(days=1)) == []
        assert LogEntry.objects.count() == 1

    def test_they_are_encrypted_and_shown_on_no_page(self, sandbox, admin_client):
        admin_client.post(page("add"), ACCOUNT)
        draft = Connection.objects.get()
        with database.cursor() as cursor:
            cursor.execute("SELECT credentials FROM crm_connection")
            assert SECRET not in cursor.fetchone()[0]
        assert draft.credentials == {"access_token": SECRET}
        admin_client.post(page("objects", draft.pk), {"objects": ["contacts"]})
        for name in ("settings", "objects", "fields", "preview", "writeback", "schedule"):
            assert SECRET not in admin_client.get(page(name, draft.pk)).content.decode()
        wrong = admin_client.post(page("settings", draft.pk), {**ACCOUNT, "name": ""})
        assert SECRET not in wrong.content.decode()

    @pytest.mark.parametrize("field", ["name", "slug", "access_token"])
    def test_what_is_missing_is_asked_for(self, sandbox, admin_client, field):
        words = text_of(admin_client.post(page("add"), {**ACCOUNT, field: ""}))
        assert "This field is required" in words or "Access token" in words.split("Test connection")[-1]
        assert not Connection.objects.exists()

    def test_a_refused_token_is_said_plainly_and_keeps_nothing(self, sandbox, admin_client):
        fail(sandbox, status=401)
        assert "HubSpot refused the credentials" in text_of(admin_client.post(page("add"), ACCOUNT))
        assert not Connection.objects.exists()

    def test_a_refusal_leaves_the_page_as_it_is(self, sandbox, admin_client):
        fail(sandbox, status=401)
        reply = admin_client.post(page("add"), ACCOUNT, headers=HTMX)
        assert "HubSpot refused the credentials" in text_of(reply)
        assert "<form" not in reply.content.decode()
        assert "HX-Redirect" not in reply

    def test_all_that_is_wrong_is_told_at_once(self, admin_client):
        wrong = {**ACCOUNT, "name": "", "access_token": "", "slug": "Not a name!"}
        words = text_of(admin_client.post(page("add"), wrong, headers=HTMX))
        assert "Fill in first: Name, Access token." in words
        assert "Short name: Enter a valid" in words

    def test_credentials_that_work_lead_the_whole_page_on(self, sandbox, admin_client):
        reply = admin_client.post(page("add"), ACCOUNT, headers=HTMX)
        assert reply["HX-Redirect"] == page("objects", Connection.objects.get().pk)

    def test_no_other_address_can_be_reached(self, sandbox, admin_client):
        admin_client.post(page("add"), {**ACCOUNT, "server": "http://169.254.169.254"})
        assert not Connection.objects.exists()

    def test_testing_tells_how_it_went_and_keeps_nothing(self, sandbox, admin_client):
        assert "120 contacts can be read" in text_of(admin_client.post(page("test"), ACCOUNT))
        assert "120 contacts can be read" in text_of(
            admin_client.post(page("add"), {**ACCOUNT, "op": "test"})
        )
        fail(sandbox, drop=True)
        assert "No answer from" in text_of(admin_client.post(page("test"), ACCOUNT))
        assert not Connection.objects.exists()

    def test_fields_of_another_way_of_access_are_marked_for_hiding(self, sandbox, admin_client):
        body = admin_client.get(page("add") + "?kind=salesforce").content.decode()
        assert 'data-only-for="auth" data-only-values="jwt"' in body
        assert 'name="private_key"' in body.split("<textarea")[1].split(">")[0]

    def test_a_silent_crm_gets_a_sentence_in_time(self, monkeypatch):
        monkeypatch.setattr(asking, "PATIENCE", 0.05)
        silent = threading.Event()
        with pytest.raises(ConnectorError, match="no answer within"):
            asking.ask(silent.wait)
        silent.set()

    def test_silent_crms_do_not_use_up_the_server(self, monkeypatch):
        monkeypatch.setattr(asking, "_places", threading.BoundedSemaphore(1))
        silent = threading.Event()
        with pytest.raises(ConnectorError):
            asking.ask(silent.wait, 0.01)
        with pytest.raises(ConnectorError, match="not answered yet"):
            asking.ask(lambda: 1)
        silent.set()


class TestRecords:
    def test_choosing_takes_the_suggested_mapping(self, draft, admin_client):
        assert 'value="contacts" checked' in admin_client.get(page("objects", draft.pk)).content.decode()
        response = admin_client.post(page("objects", draft.pk), {"objects": ["contacts", "deals"]})
        draft.refresh_from_db()
        assert response.url == page("fields", draft.pk)
        assert set(draft.mapping) == {"contacts", "deals"}
        assert draft.mapping["contacts"]["fields"]["email"] == "email"
        assert draft.mapping["deals"]["won"]

    def test_nothing_or_purchases_alone_are_refused(self, draft, admin_client):
        words = text_of(admin_client.post(page("objects", draft.pk), {}))
        assert "Choose at least one" in words
        assert "Try again" not in words
        words = text_of(admin_client.post(page("objects", draft.pk), {"objects": ["deals"]}))
        assert "need the people they belong to" in words
        draft.refresh_from_db()
        assert draft.mapping == {}

    def test_a_crm_that_fails_meanwhile_can_be_asked_again(self, sandbox, draft, admin_client):
        fail(sandbox, status=500)
        words = text_of(admin_client.post(page("objects", draft.pk), {"objects": ["contacts"]}))
        assert "Try again" in words

    def test_steps_that_need_records_lead_to_choosing_them(self, draft, admin_client):
        for name in ("fields", "preview"):
            assert admin_client.get(page(name, draft.pk)).url == page("objects", draft.pk)
        assert admin_client.get(page("fields", draft.pk, "contacts")).status_code == 404


class TestFields:
    def test_suggestions_are_preselected_and_sending_them_changes_nothing(self, chosen, admin_client):
        before = chosen.mapping
        for name in ("contacts", "deals"):
            url = page("fields", chosen.pk, name)
            data = form_of(admin_client.get(url))
            admin_client.post(url, data)
        chosen.refresh_from_db()
        assert chosen.mapping == before
        assert data["map-amount"] == "value"

    def test_targets_consent_and_who_wins(self, chosen, admin_client):
        data = {"map-email": "email", "map-jobtitle": "attributes.jobtitle", "win-jobtitle": "ours"}
        data["map-newsletter_opt_in"] = "consent:channel:email:inverted"
        response = admin_client.post(page("fields", chosen.pk, "contacts"), data)
        assert response.url == page("fields", chosen.pk, "deals")
        chosen.refresh_from_db()
        part = chosen.mapping["contacts"]
        assert part["fields"] == {"email": "email", "jobtitle": "attributes.jobtitle"}
        assert part["consent"]["newsletter_opt_in"] == {"kind": "channel", "key": "email", "inverted": True}
        assert part["ours"] == ["attributes.jobtitle"]
        body = admin_client.get(page("fields", chosen.pk, "contacts")).content.decode()
        row = body.split('name="map-newsletter_opt_in"')[1].split("</tr>")[0]
        assert "data-crm-inverted>" in row

    def test_the_condition_of_a_purchase(self, chosen, admin_client):
        url = page("fields", chosen.pk, "deals")
        data = {"map-amount": "value", "won-field": "dealstage", "won-value": ["closedwon"]}
        assert "Say which" in text_of(admin_client.post(url, {**data, "won-field": ""}))
        assert "Choose the values" in text_of(admin_client.post(url, {**data, "won-value": []}))
        admin_client.post(url, {**data, "won-other": "shipped"})
        chosen.refresh_from_db()
        assert chosen.mapping["deals"]["won"] == {"field": "dealstage", "equals": ["closedwon", "shipped"]}
        body = admin_client.get(url).content.decode()
        assert 'value="shipped" checked' in body

    def test_values_of_the_condition_come_from_the_crm(self, chosen, admin_client):
        url = page("values", chosen.pk, "deals")
        body = admin_client.get(url, {"won-field": "dealstage"}).content.decode()
        assert 'name="won-value" value="closedwon"' in body
        assert 'type="radio"' in admin_client.get(url, {"won-field": "hs_is_closed_won"}).content.decode()

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            ({"map-firstname": "city", "map-lastname": "city"}, "both go to city"),
            ({"map-firstname": "is_staff"}, "does not exist"),
            ({"map-webpush_opt_in": "consent:nonsense"}, "Choose one"),
        ],
    )
    def test_a_mapping_that_cannot_work_is_shown_again_as_entered(self, chosen, admin_client, data, words):
        before = chosen.mapping
        response = admin_client.post(page("fields", chosen.pk, "contacts"), data)
        assert words in text_of(response)
        chosen.refresh_from_db()
        assert chosen.mapping == before

    def test_a_crm_that_does_not_answer_offers_another_try_and_keeps_the_mapping(
        self, sandbox, chosen, admin_client
    ):
        before = chosen.mapping
        fail(sandbox, status=401)
        url = page("fields", chosen.pk, "contacts")
        words = text_of(admin_client.get(url))
        assert "refused the credentials" in words
        assert "Try again" in words
        admin_client.post(url, {})
        chosen.refresh_from_db()
        assert chosen.mapping == before

    def test_names_that_other_connections_use_are_offered(self, chosen, connection, admin_client):
        connection.mapping = {"contacts": {"fields": {"a": "attributes.vip_level"}}}
        connection.save()
        url = page("fields", chosen.pk, "contacts")
        assert 'value="attributes.vip_level"' in admin_client.get(url).content.decode()
        many = {f"f{number}": f"attributes.name_{number}" for number in range(300)}
        connection.mapping = {"contacts": {"fields": {**many, "b": "attributes.job_title_of_old"}}}
        connection.save()
        body = admin_client.get(url).content.decode()
        assert "attributes.name_7" not in body
        assert body.count('value="attributes.job_title_of_old"') == 1

    def test_topics_in_use_are_offered_for_any_field_of_yes_and_no(self, chosen, connection, admin_client):
        connection.mapping = {"contacts": {"consent": {"ok": {"kind": "topic", "key": "magazine"}}}}
        connection.save()
        url = page("fields", chosen.pk, "contacts")
        admin_client.post(url, {"map-email": "email"})
        body = admin_client.get(url).content.decode()
        assert body.count('value="consent:topic:magazine:"') > 1
        assert body.count('value="consent:topic:newsletter:"') > 1, "the proposal stays on offer"
        admin_client.post(url, {"map-newsletter_opt_in": "consent:topic:magazine:"})
        chosen.refresh_from_db()
        assert chosen.mapping["contacts"]["consent"]["newsletter_opt_in"]["key"] == "magazine"

    def test_a_field_that_is_gone_is_shown_as_such(self, chosen, admin_client):
        chosen.mapping["contacts"]["fields"]["old_plan"] = "attributes.old_plan"
        chosen.save()
        assert "no longer in the CRM" in text_of(admin_client.get(page("fields", chosen.pk, "contacts")))


class TestPreview:
    def test_ten_people_as_they_will_look_and_nothing_is_stored(self, chosen, admin_client):
        response = admin_client.get(page("preview", chosen.pk))
        assert response.content.decode().count('data-testid="preview"') == 10
        assert not SourceRecord.objects.exists()
        assert "agreed to newsletter" in text_of(response)

    def test_rejections_and_what_is_left_out_are_told(self, sandbox, chosen, admin_client):
        stamps = {"createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z"}
        records = [
            {"email": "not-an-email", "firstname": "Ada"},
            {"email": "b@example.com", "phone": "12", "country": "Atlantis"},
        ]
        results = [
            {"id": str(number), "properties": each, "archived": False, **stamps}
            for number, each in enumerate(records)
        ]
        answer = {
            "path": r"/objects/contacts\?",
            "method": "GET",
            "status": 200,
            "body": {"results": results},
        }
        sandbox.control.faults = faults.parse([answer])
        words = text_of(admin_client.get(page("preview", chosen.pk)))
        assert "1 of these would be rejected" in words
        assert "“not-an-email” is not an email address." in words
        assert "“12” makes no sense and is left out" in words
        assert "“Atlantis” makes no sense and is left out" in words

    def test_purchases_say_whether_they_count(self, chosen, admin_client):
        words = text_of(admin_client.get(page("preview", chosen.pk, "deals")))
        assert "a purchase" in words

    def test_choices_can_be_tried_before_they_are_kept(self, chosen, admin_client):
        before = chosen.mapping
        url = page("fields", chosen.pk, "contacts")
        data = {"map-email": "email", "map-company": "city", "op": "preview"}
        part = admin_client.post(url, data, headers={"HX-Request": "true"})
        assert "<html" not in part.content.decode()
        assert part.content.decode().count('data-testid="preview"') == 10
        whole = admin_client.post(url, data).content.decode()
        assert whole.count('data-testid="preview"') == 10
        assert 'name="map-company"' in whole
        chosen.refresh_from_db()
        assert chosen.mapping == before


@pytest.mark.parametrize("name", ["settings", "objects", "fields", "preview", "writeback", "schedule"])
def test_a_step_takes_few_queries(chosen, admin_client, django_assert_max_num_queries, name):
    with django_assert_max_num_queries(6):
        assert admin_client.get(page(name, chosen.pk)).status_code == 200


class TestTheRest:
    def test_what_is_written_back(self, chosen, admin_client):
        url = page("writeback", chosen.pk)
        data = {"contacts-write-opens": "nudge_opens", "contacts-activity": ["message_opened"]}
        response = admin_client.post(url, data)
        assert response.url == page("schedule", chosen.pk)
        chosen.refresh_from_db()
        assert chosen.mapping["contacts"]["write"] == {"nudge_opens": "opens"}
        assert chosen.mapping["contacts"]["activities"] == ["message_opened"]
        assert chosen.mapping["contacts"]["fields"]["email"] == "email"

    def test_a_field_takes_one_value_and_is_not_read_at_once(self, chosen, admin_client):
        url = page("writeback", chosen.pk)
        data = {"contacts-write-opens": "nudge_opens", "contacts-write-clicks": "nudge_opens"}
        assert "can hold only one value" in text_of(admin_client.post(url, data))
        words = text_of(admin_client.post(url, {"contacts-write-city": "city"}))
        assert "is read from the CRM as well" in words

    def test_starting_queues_the_first_full_run(self, chosen, admin_client):
        url = page("schedule", chosen.pk)
        words = text_of(admin_client.get(url))
        assert "fields are taken" in words
        assert "A purchase is what has hs_is_closed_won = yes" in words
        response = admin_client.post(url, {"interval_minutes": "5", "sweep_every_days": "3"})
        assert response.url == page("change", chosen.pk)
        chosen.refresh_from_db()
        assert (chosen.state, chosen.interval_minutes, chosen.sweep_every_days) == ("active", 5, 3)
        assert SyncRun.objects.get().mode == "full"

    @pytest.mark.parametrize("minutes", ["0", "-1", "x", "100000"])
    def test_a_nonsensical_interval_is_refused(self, chosen, admin_client, minutes):
        admin_client.post(page("schedule", chosen.pk), {"interval_minutes": minutes, "sweep_every_days": "3"})
        chosen.refresh_from_db()
        assert chosen.state == "draft"

    def test_it_is_not_started_before_it_can_work(self, draft, admin_client):
        admin_client.post(page("schedule", draft.pk), {"interval_minutes": "5", "sweep_every_days": "3"})
        draft.refresh_from_db()
        assert draft.state == "draft"
        assert not SyncRun.objects.exists()


class TestDrafts:
    def test_the_list_offers_to_continue(self, chosen, admin_client):
        words = text_of(admin_client.get(page("changelist")))
        assert "not started yet" in words
        assert "Continue" in words
        assert admin_client.get(page("change", chosen.pk)).url == page("fields", chosen.pk)

    def test_it_can_be_left_and_thrown_away(self, chosen, admin_client):
        data = {"interval_minutes": "5", "sweep_every_days": "3", "op": "later"}
        assert admin_client.post(page("schedule", chosen.pk), data).url == page("changelist")
        chosen.refresh_from_db()
        assert (chosen.state, chosen.interval_minutes) == ("draft", 5)
        admin_client.post(page("remove", chosen.pk))
        assert not Connection.objects.exists()

    def test_stale_ones_are_forgotten_and_connections_never(self, draft, connection):
        soon = draft.created_at + drafts.KEPT
        assert drafts.forget_stale(soon - timedelta(seconds=1)) == 0
        assert drafts.forget_stale(soon + timedelta(days=1)) == 1
        assert list(Connection.objects.all()) == [connection]

    def test_nothing_else_takes_it_for_a_connection(self, draft, admin_client):
        with pytest.raises(CommandError, match="No CRM is connected yet"):
            call_command("sync", "main")
        assert "Main CRM" not in text_of(admin_client.get(reverse("admin:index")))

    def test_what_a_draft_cannot_do(self, draft, admin_client):
        for name in ("sync", "pause", "retry", "deletions"):
            assert admin_client.post(page(name, draft.pk)).status_code == 404
        assert not SyncRun.objects.exists()

    def test_starting_twice_starts_once(self, chosen):
        drafts.start(chosen, "ada")
        drafts.start(Connection.objects.get(), "ben")
        assert SyncRun.objects.get().requested_by == "ada"


class TestChangingLater:
    def test_another_mapping_reads_everything_again_and_says_so_before(self, connection, admin_client):
        SyncRun.objects.all().delete()
        SourceRecord.objects.create(
            connection=connection,
            object="contacts",
            record_id="1",
            modified_at=timezone.now(),
            content_hash=b"",
        )
        url = page("fields", connection.pk, "contacts")
        response = admin_client.get(url)
        assert "Saving a change reads the 1 record again" in text_of(response)
        data = form_of(response)
        assert admin_client.post(url, data).url == page("change", connection.pk)
        assert not SyncRun.objects.exists()
        admin_client.post(url, {**data, "map-company": ""})
        assert SyncRun.objects.get().mode == "full"
        connection.refresh_from_db()
        assert "company" not in connection.mapping["contacts"]["fields"]

    def test_another_kind_of_records_makes_nothing_else_to_be_read_again(self, connection, admin_client):
        SyncRun.objects.all().delete()
        admin_client.post(page("objects", connection.pk), {"objects": ["contacts", "products"]})
        assert SyncRun.objects.get().mode == "incremental"
        admin_client.post(page("objects", connection.pk), {"objects": ["contacts"]})
        connection.refresh_from_db()
        assert list(connection.mapping) == ["contacts"]

    def test_what_is_written_back_makes_nothing_to_be_read_again(self, connection, admin_client):
        SyncRun.objects.all().delete()
        admin_client.post(page("writeback", connection.pk), {"contacts-write-opens": "nudge_opens"})
        connection.refresh_from_db()
        assert connection.mapping["contacts"]["write"] == {"nudge_opens": "opens"}
        assert not SyncRun.objects.exists()

    def test_an_empty_credential_keeps_the_stored_one_and_a_new_one_replaces_it(
        self, connection, admin_client
    ):
        url = page("settings", connection.pk)
        sent = {**ACCOUNT, "name": "Renamed", "slug": "other", "access_token": ""}
        admin_client.post(url, sent)
        connection.refresh_from_db()
        assert (connection.name, connection.slug) == ("Renamed", "shop")
        assert connection.credentials["access_token"] == "pat-test"
        admin_client.post(url, {**sent, "access_token": "other"})
        connection.refresh_from_db()
        assert connection.credentials["access_token"] == "other"

    def test_credentials_that_fail_are_kept_only_if_one_insists(self, sandbox, connection, admin_client):
        fail(sandbox, status=401)
        url = page("settings", connection.pk)
        sent = {**ACCOUNT, "name": "Shop", "access_token": "new"}
        assert "Save all the same" in text_of(admin_client.post(url, sent, headers=HTMX))
        connection.refresh_from_db()
        assert connection.credentials["access_token"] == "pat-test"
        admin_client.post(url, {**sent, "op": "anyway"})
        connection.refresh_from_db()
        assert connection.credentials["access_token"] == "new"

    def test_another_account_is_refused_once_records_are_here(self, connection, admin_client):
        SourceRecord.objects.create(
            connection=connection,
            object="contacts",
            record_id="1",
            modified_at=timezone.now(),
            content_hash=b"",
        )
        sent = {**ACCOUNT, "name": "Shop", "server": "hubspot", "op": "anyway"}
        assert "another account" in text_of(admin_client.post(page("settings", connection.pk), sent))
        connection.refresh_from_db()
        assert connection.config["server"] == "sandbox"

    def test_testing_uses_the_stored_token(self, connection, admin_client):
        sent = {**ACCOUNT, "access_token": "", "connection": connection.pk}
        assert "can be read" in text_of(admin_client.post(page("test"), sent))
