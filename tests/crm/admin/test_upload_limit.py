"""Nobody fills the disk with files that they may not send."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.test import Client
from django.urls import reverse

from crm import uploads
from crm.admin import upload_limit
from tests.crm.admin.pages import page

pytestmark = pytest.mark.django_db


@pytest.fixture
def kept(monkeypatch):
    """Files that reached the temporary folder."""
    made = []
    real = TemporaryUploadedFile.__init__

    def noticed(self, *args, **kwargs):
        made.append(args)
        real(self, *args, **kwargs)

    monkeypatch.setattr(TemporaryUploadedFile, "__init__", noticed)
    return made


def post(client, url, size=6 * 1024 * 1024):
    return client.post(url, {"file": SimpleUploadedFile("people.csv", b"a,b\n" * (size // 4))})


def test_a_stranger_cannot_with_a_token_of_their_own(kept):
    client = Client(enforce_csrf_checks=True)
    client.get(reverse("admin:login"))
    for url in (reverse("admin:login"), page("import")):
        assert post(client, url).status_code == 400
    assert kept == []


def test_nor_can_staff_who_may_not_import(staff, kept):
    client = staff("view_connection")
    client.handler.enforce_csrf_checks = True
    client.get(reverse("admin:index"))
    assert post(client, page("import")).status_code == 400
    assert kept == []


def test_who_may_import_can_up_to_the_limit(staff, kept, monkeypatch):
    client = staff("add_connection")
    assert post(client, page("import")).status_code == 200
    assert kept != []
    kept.clear()
    monkeypatch.setattr(uploads, "LIMIT", 1024 * 1024)
    monkeypatch.setattr(upload_limit, "FORM", 1024)
    assert post(client, page("import")).status_code == 400
    assert kept == []
