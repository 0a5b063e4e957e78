"""Importing files in the admin, step by step, without a browser's scripts."""

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm import uploads
from crm.connectors.base import ConnectorError
from crm.models import Connection, Consent, Profile, SourceRecord, SyncReject, SyncRun, Upload
from crm.sync import engine, schedule
from crm.sync.engine import AlreadyRunningError
from tests.crm.admin.files import PEOPLE, agree, begun, csv_file, excel_file, exported, send
from tests.crm.admin.pages import page, text_of

pytestmark = pytest.mark.django_db
MAY = ("add_connection", "change_connection", "view_connection")


@pytest.fixture(autouse=True)
def at_once(request, monkeypatch):
    """Questions are asked in the test's own transaction, which a thread would not see."""
    if "transactional_db" in request.fixturenames:
        return
    for module in ("imports", "connection_wizard"):
        monkeypatch.setattr(f"crm.admin.{module}.ask", lambda question, seconds=None: question())


@pytest.fixture
def imported(admin_client):
    """A file that was imported to its end."""
    made = begun(admin_client)
    admin_client.post(page("start", made.pk))
    engine.run(made)
    made.refresh_from_db()
    return made


def newer(client, connection, file, **data):
    """Upload a newer file and agree to how it is read."""
    url = page("upload", connection.pk)
    response = agree(client, send(client, file, url), url, **data)
    connection.refresh_from_db()
    return response


class TestReaching:
    def test_the_lists_and_the_cards_lead_here(self, admin_client):
        for model, about in (("profile", "people"), ("product", "products")):
            body = admin_client.get(reverse(f"admin:crm_{model}_changelist")).content.decode()
            assert f"{page('import')}?about={about}" in body
        assert f'href="{page("import")}"' in admin_client.get(page("add")).content.decode()
        assert (
            'value="products" checked'
            in admin_client.get(page("import") + "?about=products").content.decode()
        )

    def test_only_for_who_may_add_connections(self, staff, client):
        assert "/login/" in client.get(page("import")).url
        viewer = staff("view_profile", "view_connection")
        assert viewer.get(page("import")).status_code == 403
        assert send(viewer, csv_file()).status_code == 403
        assert not Upload.objects.exists()
        assert page("import") not in viewer.get(reverse("admin:crm_profile_changelist")).content.decode()

    def test_other_pages_need_the_right_to_change(self, imported, staff):
        viewer = staff("view_connection")
        for name in ("upload", "start", "rehearse"):
            assert viewer.get(page(name, imported.pk)).status_code == 403
            assert viewer.post(page(name, imported.pk)).status_code == 403

    def test_a_forged_form_is_refused(self, admin_user):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_user)
        assert send(strict, csv_file()).status_code == 403
        assert not Upload.objects.exists()


class TestLooking:
    def test_a_file_is_shown_before_anything_is_made_of_it(self, admin_client):
        words = text_of(send(admin_client, csv_file()))
        assert "E-mail First name Points SMS opt-in ann@x.com Ann 5 yes" in words
        assert Upload.objects.get().uploaded_by == "admin"
        assert not Connection.objects.exists()

    def test_the_key_is_a_column_that_every_row_has_for_itself(self, admin_client):
        file = csv_file("Customer ID,E-mail,City\n,a@x.com,Rome\n7,b@x.com,Rome\n")
        assert begun(admin_client, file).config["key"] == "E-mail"
        file = csv_file("Customer ID,E-mail\n1,a@x.com\n2,a@x.com\n")
        assert begun(admin_client, file).config["key"] == "Customer ID"

    def test_agreeing_makes_a_draft_with_the_suggested_fields(self, admin_client):
        response = agree(admin_client, send(admin_client, csv_file()))
        draft = Connection.objects.get()
        assert response.url == page("fields", draft.pk)
        assert (draft.kind, draft.state, draft.name, draft.slug) == (
            "file",
            "draft",
            "spring fair",
            "spring-fair",
        )
        assert draft.mapping["people"]["fields"]["E-mail"] == "email"
        assert not SyncRun.objects.exists()
        assert LogEntry.objects.filter(object_id=draft.pk).exists()

    def test_products_from_a_workbook(self, admin_client):
        draft = begun(
            admin_client, excel_file(["SKU", "Name", "Price"], ["1-a", "Cup", 3.5]), about="products"
        )
        assert list(draft.mapping) == ["products"]
        assert draft.config["key"] == "SKU"

    def test_the_second_file_of_a_name_gets_its_own(self, admin_client):
        begun(admin_client)
        second = begun(admin_client)
        assert (second.name, second.slug) == ("spring fair 2", "spring-fair-2")

    def test_a_taken_name_and_an_unknown_column_are_told(self, admin_client):
        first = begun(admin_client)
        shown = send(admin_client, csv_file())
        assert "of this name already" in text_of(agree(admin_client, shown, name=first.name))
        assert "no such column" in text_of(agree(admin_client, shown, key="Shoe size"))
        assert Connection.objects.count() == 1

    def test_garbled_text_is_told_with_how_it_reads_otherwise(self, admin_client):
        content = ("E-mail,City\n" + "a@x.com,Rome\n" * 3 + "b@x.com,Łódź\n").encode("cp1250")
        shown = send(admin_client, csv_file(content))
        assert "the text is garbled" in text_of(shown)
        assert "Windows, Central Europe b@x.com,Łódź" in text_of(shown)
        again = agree(admin_client, shown, reading="cp1250")
        assert "b@x.com Łódź" in text_of(again)
        agree(admin_client, again)
        assert Connection.objects.get().config["encoding"] == "cp1250"

    def test_garbled_far_down_is_found_too(self, admin_client):
        rows = b"".join(b"p%d@x.com,Rome\n" % n for n in range(80_000))
        shown = send(admin_client, csv_file(b"E-mail,City\n" + rows + "z@x.com,Köln\n".encode("cp1252")))
        assert "Western Europe z@x.com,Köln" in text_of(shown)

    def test_a_few_broken_rows_do_not_keep_the_others_out(self, admin_client):
        content = "E-mail,City\na@x.com,Łódź\n".encode() + b"b@x.com,R\xf6m\n" + b"c@x.com,Rome\n"
        draft = begun(admin_client, csv_file(content))
        words = text_of(admin_client.post(page("rehearse", draft.pk)))
        assert "2 would be new here 1 could not be taken" in words
        assert "3 – It holds characters that are not in the encoding that was chosen. b@x.com · R?m" in words
        admin_client.post(page("start", draft.pk))
        assert engine.run(draft).created == 2
        assert "b@x.com,R?m" in exported(admin_client, "syncreject").decode()

    def test_utf8_read_as_something_else_is_told(self, admin_client):
        words = text_of(send(admin_client, csv_file("E-mail,City\na@x.com,Łódź\n"), encoding="cp1252"))
        assert "The text of this file is in UTF-8." in words

    def test_utf16_is_told_and_read(self, admin_client):
        content = "E-mail,City\na@x.com,Łódź\n".encode("utf-16-le")
        shown = send(admin_client, csv_file(content))
        assert "seems to be in UTF-16" in text_of(shown)
        assert "a@x.com Łódź" in text_of(agree(admin_client, shown, encoding="utf-16"))
        assert "garbled" in text_of(send(admin_client, csv_file(b"\xd8\xd8\xd8"), encoding="utf-16"))

    @pytest.mark.parametrize(
        ("file", "words"),
        [
            (csv_file(b""), "The file is empty"),
            (csv_file(b"E-mail\n"), "but no rows"),
            (csv_file("a,a\n1,2\n"), "Two columns are called"),
            (csv_file(b"PK\x03\x04", "people.csv"), "has to end in .xlsx"),
            (csv_file(b"nothing", "people.xlsx"), "not an Excel workbook"),
        ],
    )
    def test_what_is_no_table_is_told_plainly(self, admin_client, file, words):
        file.seek(0)
        assert words in html.unescape(text_of(send(admin_client, file)))
        assert not Connection.objects.exists()

    def test_too_large_is_refused_and_not_kept(self, admin_client, monkeypatch):
        monkeypatch.setattr(uploads, "LIMIT", 20)
        assert "larger than 0 MB" in text_of(send(admin_client, csv_file()))
        assert not Upload.objects.exists()
        assert "Choose a file" in text_of(admin_client.post(page("import"), {}))

    def test_nobody_can_name_another_persons_file(self, admin_client, staff):
        shown = send(admin_client, csv_file())
        assert "Choose a file" in text_of(agree(staff(*MAY), shown))
        assert "Choose a file" in text_of(agree(admin_client, shown, kept="1:forged"))
        assert not Connection.objects.exists()

    def test_names_and_cells_are_no_markup(self, admin_client):
        evil = "<script>alert(1)</script>"
        file = csv_file(f"E-mail,{evil}\nno address{evil},{evil}\n", f"{evil}.csv")
        shown = send(admin_client, file)
        draft = begun(admin_client, csv_file(f"E-mail,{evil}\nno address{evil},{evil}\n", "x.csv"))
        pages = [shown, *(admin_client.get(page(name, draft.pk)) for name in ("upload", "fields", "preview"))]
        pages.append(admin_client.post(page("rehearse", draft.pk)))
        admin_client.post(page("start", draft.pk))
        engine.run(draft)
        pages.append(admin_client.get(page("change", draft.pk)))
        assert "&lt;script&gt;" in pages[-2].content.decode()
        assert all(evil not in response.content.decode() for response in pages)


class TestTrying:
    def test_a_dry_run_tells_what_would_happen_and_keeps_nothing(self, admin_client):
        draft = begun(admin_client)
        words = text_of(admin_client.post(page("rehearse", draft.pk)))
        assert "2 would be new here" in words
        assert "1 could not be taken" in words
        assert "All 3 records were tried. Nothing was kept." in words
        assert "4 E-mail “nonsense” is not an email address. nonsense · Carl · 1" in words
        for model in (Profile, Consent, SourceRecord, SyncReject, SyncRun):
            assert not model.objects.exists()
        draft.refresh_from_db()
        assert (draft.state, draft.cursor) == ("draft", {})

    def test_it_is_asked_beside_the_page_and_still_keeps_nothing(self, transactional_db, admin_client):
        draft = begun(admin_client)
        assert "2 would be new here" in text_of(admin_client.post(page("rehearse", draft.pk)))
        assert not Profile.objects.exists()
        assert not SyncRun.objects.exists()

    def test_of_a_long_file_it_says_that_only_a_part_was_tried(self, admin_client, monkeypatch):
        for name in ("crm.sync.rehearsal.RECORDS", "crm.connectors.file.BATCH", "crm.sync.pages.RECORDS"):
            monkeypatch.setattr(name, 2)
        words = text_of(admin_client.post(page("rehearse", begun(admin_client).pk)))
        assert "Only the first 2 records were tried" in words

    def test_as_a_part_of_the_page_it_comes_alone(self, admin_client):
        draft = begun(admin_client)
        assert 'hx-trigger="load, submit"' in admin_client.get(page("start", draft.pk)).content.decode()
        part = admin_client.post(page("rehearse", draft.pk), headers={"HX-Request": "true"})
        assert "<html" not in part.content.decode()
        assert "2 would be new here" in text_of(part)

    def test_a_crm_is_tried_too(self, connection, admin_client):
        before = SyncRun.objects.count()
        words = text_of(admin_client.get(page("rehearse", connection.pk)))
        assert "reads real records" in words
        words = text_of(admin_client.post(page("rehearse", connection.pk)))
        assert "would be new here" in words
        assert "records were tried" in words
        assert not Profile.objects.exists()
        assert SyncRun.objects.count() == before

    @pytest.mark.parametrize("failure", [ConnectorError("No answer."), AlreadyRunningError("No answer.")])
    def test_why_it_can_not_be_told_is_told(self, admin_client, monkeypatch, failure):
        def fail(_connection):
            raise failure

        monkeypatch.setattr("crm.admin.imports.rehearse", fail)
        assert "No answer." in text_of(admin_client.post(page("rehearse", begun(admin_client).pk)))

    def test_without_any_field_there_is_nothing_to_try_or_start(self, admin_client):
        draft = begun(admin_client)
        draft.mapping = {"people": {"fields": {}}}
        draft.save()
        assert "No field of “People” is taken yet." in text_of(admin_client.post(page("rehearse", draft.pk)))
        admin_client.post(page("start", draft.pk))
        assert not SyncRun.objects.exists()


class TestImporting:
    def test_starting_queues_one_run_and_no_schedule(self, admin_client):
        draft = begun(admin_client)
        assert admin_client.post(page("start", draft.pk)).url == page("change", draft.pk)
        draft.refresh_from_db()
        assert draft.state == "paused"
        assert SyncRun.objects.get().requested_by == "admin"
        assert schedule.due() == [draft.pk]
        assert schedule.run_due(draft.pk) == 1
        assert schedule.due() == []
        assert Profile.objects.get(email="ann@x.com").attributes == {"points": 5}
        assert Consent.objects.get(profile__email="bob@x.com").state == "unsubscribed"
        assert SyncReject.objects.get().record_id == "nonsense"

    def test_its_page_speaks_of_a_file(self, imported, admin_client):
        words = text_of(admin_client.get(page("change", imported.pk)))
        assert "spring fair.csv · uploaded" in words
        assert "Upload a newer file" in words
        for wrong in ("Sync now", "Pause", "Resume", "Write back", "behind", "Next sync:"):
            assert wrong not in words.split("Connections chevron_right")[-1]

    def test_steps_that_files_do_not_have(self, imported, admin_client):
        pk = imported.pk
        assert admin_client.get(page("settings", pk)).url == page("upload", pk)
        assert admin_client.get(page("objects", pk)).url == page("upload", pk)
        assert admin_client.get(page("schedule", pk)).url == page("start", pk)
        assert admin_client.get(page("writeback", pk)).status_code == 404
        assert admin_client.post(page("pause", pk)).status_code == 404
        imported.refresh_from_db()
        assert imported.state == "paused"

    def test_a_crms_connection_takes_no_file(self, connection, admin_client):
        assert admin_client.get(page("upload", connection.pk)).status_code == 404
        assert admin_client.get(page("start", connection.pk)).status_code == 404

    def test_of_a_newer_file_only_differences_count(self, imported, admin_client):
        changed = PEOPLE.replace("Ann", "Anna") + "zoe@x.com,Zoe,3,\n"
        assert newer(admin_client, imported, csv_file(changed, "summer.csv")).url == page(
            "start", imported.pk
        )
        words = text_of(admin_client.post(page("rehearse", imported.pk)))
        assert "1 would be new here 1 would be changed 1 would stay as it is 1 could not be taken" in words
        admin_client.post(page("start", imported.pk))
        report = engine.run(imported)
        assert (report.created, report.updated, report.unchanged, report.rejected) == (1, 1, 1, 1)
        assert Profile.objects.get(email="ann@x.com").first_name == "Anna"

    def test_a_corrected_row_leaves_the_rejects(self, imported, admin_client):
        assert SyncReject.objects.filter(resolved_at=None).count() == 1
        newer(admin_client, imported, csv_file("E-mail,First name\ncarl@x.com,Carl\n"))
        admin_client.post(page("start", imported.pk))
        report = engine.run(imported)
        assert (report.created, report.deleted) == (1, 0)
        assert not SyncReject.objects.filter(resolved_at=None).exists()
        assert Profile.objects.count() == 3

    def test_a_newer_file_without_the_key_is_refused(self, imported, admin_client):
        words = text_of(send(admin_client, csv_file("Mail\nx@x.com\n"), page("upload", imported.pk)))
        assert "no column “E-mail”" in words
        assert imported.config == Connection.objects.get().config

    def test_columns_that_went_missing_are_named(self, imported, admin_client):
        shown = send(admin_client, csv_file("E-mail\nx@x.com\n"), page("upload", imported.pk))
        assert "what they told stays as it is: First name , Points" in text_of(shown)

    def test_rejects_can_be_downloaded_corrected_and_uploaded(self, imported, admin_client):
        url = reverse("admin:crm_syncreject_export") + f"?connection__id__exact={imported.pk}"
        assert html.escape(url) in admin_client.get(page("change", imported.pk)).content.decode()
        rows = exported(admin_client, "syncreject", f"?connection__id__exact={imported.pk}").decode()
        assert rows.startswith("E-mail,First name,Points,SMS opt-in,nudge_reason,nudge_field,nudge_row")
        assert "nonsense,Carl,1,,“nonsense” is not an email address.,E-mail,4," in rows
        newer(admin_client, imported, csv_file(rows.replace("nonsense,Carl", "carl@x.com,Carl")))
        admin_client.post(page("start", imported.pk))
        assert engine.run(imported).created == 1
        assert Profile.objects.get(email="carl@x.com").attributes == {"points": 1}

    def test_twenty_thousand_rows_take_a_bounded_number_of_queries(self, admin_client):
        rows = "".join(f"p{n}@x.com,Name {n},{n}\n" for n in range(20_000))
        with CaptureQueriesContext(
            database,
        ) as queries:
            draft = begun(admin_client, csv_file("E-mail,First name,Points\n" + rows))
        assert len(queries) < 100
        admin_client.post(page("start", draft.pk))
        with CaptureQueriesContext(database) as queries:
            assert engine.run(draft).created == 20_000
        assert len(queries) < 500
