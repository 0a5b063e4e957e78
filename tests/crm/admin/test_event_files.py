"""Importing a file of events in the admin."""

import csv
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from crm import event_files
from crm.models import AuditEntry, Event, EventFile
from tests.crm.admin.pages import form_of, text_of

CSV = b"what,who,when,total\nbought,a@example.com,2026-03-01 10:00,5\nbought,bad,2026-03-01 10:00,7\n"


def page(name, *args):
    return reverse(f"admin:crm_eventfile_{name}", args=args)


@pytest.fixture
def importer(staff):
    return staff("import_event")


@pytest.fixture
def file(importer):
    answer = importer.post(page("add"), {"file": SimpleUploadedFile("orders.csv", CSV)})
    [file] = EventFile.objects.all()
    assert answer["Location"] == page("change", file.pk)
    return file


def columns(client, file):
    """The form as it stands, with what the guess could not know."""
    form = form_of(client.get(page("change", file.pk)))
    return form | {"role-0": "name", "role-1": "email", "role-2": "occurred_at", "zone": "Europe/Warsaw"}


def test_from_the_file_to_the_rejected_rows(importer, file):
    form = columns(importer, file)
    preview = importer.post(page("preview", file.pk), form)
    assert "a@example.com" in preview.content.decode()
    assert "2026-03-01T10:00:00+01:00" in preview.content.decode()
    assert "Some rows tell no time" not in preview.content.decode()
    untimed = importer.post(page("preview", file.pk), form | {"role-2": "property"})
    assert "Some rows tell no time" in untimed.content.decode()
    assert not Event.objects.exists()
    importer.post(page("start", file.pk), form)
    assert "data-quiet-refresh" in importer.get(page("status", file.pk)).content.decode()
    event_files.work()
    shown = text_of(importer.get(page("change", file.pk)))
    assert "imported" in shown
    assert "100 %" in shown
    assert Event.objects.get().properties == {"total": 5}
    content = b"".join(importer.get(page("rejected", file.pk)).streaming_content).decode("utf-8-sig")
    [row] = csv.DictReader(io.StringIO(content))
    assert (row["rejected_row"], row["rejected_field"], row["who"]) == ("3", "who", "bad")
    actions = (
        AuditEntry.objects.filter(action__startswith="events.")
        .order_by("pk")
        .values_list("action", flat=True)
    )
    assert list(actions) == ["events.uploaded", "events.imported", "events.rejects_exported"]


def test_columns_that_tell_no_person_are_refused(importer, file):
    form = columns(importer, file) | {"role-1": "property"}
    for name in ("preview", "start"):
        assert "Choose the column that tells the person" in text_of(importer.post(page(name, file.pk), form))
    file.refresh_from_db()
    assert file.state == "draft"


def test_cancelled_taken_up_again_and_thrown_away(importer, file):
    importer.post(page("start", file.pk), columns(importer, file))
    importer.post(page("cancel", file.pk))
    shown = importer.get(page("change", file.pk))
    assert "resume" in shown.content.decode()
    importer.post(page("start", file.pk))
    event_files.work()
    assert Event.objects.count() == 1
    other = event_files.keep("x.csv", [b"email,event\n"])
    importer.post(page("discard", other.pk))
    assert not EventFile.objects.filter(pk=other.pk).exists()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8bno", b"PK\x03\x04"])
def test_a_bad_file_is_refused_with_a_reason(importer, content):
    answer = importer.post(page("add"), {"file": SimpleUploadedFile("x.csv", content)})
    assert 'aria-invalid="true"' in answer.content.decode()
    assert not EventFile.objects.exists()


def test_only_who_may_import_sees_any_of_it(staff, file, importer):
    nobody = staff("view_event", "view_eventfile")
    pages = ["change", "preview", "status", "start", "cancel", "discard", "rejected"]
    for address in [page("add"), page("changelist"), *(page(name, file.pk) for name in pages)]:
        assert nobody.get(address).status_code == nobody.post(address).status_code == 403
    list_of_events = reverse("admin:crm_event_changelist")
    assert page("changelist") not in nobody.get(list_of_events).content.decode()
    assert page("changelist") in staff("view_event", "import_event").get(list_of_events).content.decode()


def test_another_importer_who_may_not_see_contacts_gets_no_rows(staff, file):
    other = staff("import_event")
    assert "a@example.com" not in other.post(page("preview", file.pk), {}).content.decode()
    assert other.get(page("rejected", file.pk)).status_code == 403
