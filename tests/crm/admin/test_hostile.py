"""What attackers write into names, files and records stays text, and forged or senseless requests change nothing."""

import pytest
from django.urls import reverse

from crm.models import Connection, SyncReject, SyncRun
from tests.crm.admin.files import agree, csv_file, send
from tests.crm.admin.pages import page

pytestmark = pytest.mark.django_db
MARK = "zzhostile"
EVIL = f"'\"><img src=x onerror={MARK}()><script>{MARK}</script>"
HUGE = "9" * 30
POSTS = ("sync", "pause", "remove", "deletions", "retry", "settings", "objects", "fields", "writeback")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Questions are asked in the test's own transaction, which a thread would not see."""
    for module in ("imports", "connection_wizard"):
        monkeypatch.setattr(f"crm.admin.{module}.ask", lambda question, seconds=None: question())


def harmless(response):
    """Whether the page shows the hostile text, and only as text."""
    words = response.content.decode()
    assert response.status_code == 200
    assert MARK in words
    return f"<script>{MARK}" not in words and "<img src=x" not in words and "'\"><" not in words


def test_names_columns_and_cells_of_a_file(admin_client):
    content = f'email,"{EVIL.replace(chr(34), chr(34) * 2)}"\nann@x.com,"{EVIL.replace(chr(34), chr(34) * 2)}"\nno,x\n'
    shown = send(admin_client, csv_file(content, f"{EVIL.replace('/', '')}.csv"))
    assert harmless(shown)
    agree(admin_client, shown)
    made = Connection.objects.get()
    for name in ("fields", "preview", "start", "upload"):
        assert harmless(admin_client.get(page(name, made.pk))), name
    assert harmless(admin_client.post(page("rehearse", made.pk), headers={"HX-Request": "true"}))
    admin_client.post(page("start", made.pk))
    assert harmless(admin_client.get(page("change", made.pk)))
    assert harmless(admin_client.get(reverse("admin:crm_connection_changelist")))
    assert harmless(admin_client.post(page("remove", made.pk), follow=True))


def test_what_a_crm_says(admin_client, connection):
    run = SyncRun.objects.create(connection=connection, state="failed", error=EVIL, notes=EVIL)
    found = SyncReject.objects.create(
        connection=connection,
        run=run,
        object=EVIL,
        record_id=EVIL,
        code=EVIL,
        field=EVIL,
        detail=EVIL,
        raw={EVIL: EVIL},
    )
    connection.schema = {"contacts": {"email": "text"}}
    connection.mapping["contacts"]["fields"][EVIL] = f"attributes.{EVIL}"
    connection.save()
    for address in (
        page("change", connection.pk),
        page("fields", connection.pk, "contacts"),
        page("panel", connection.pk) + "?part=rejects",
        reverse("admin:crm_syncreject_changelist"),
        reverse("admin:crm_syncreject_change", args=[found.pk]),
        reverse("admin:crm_syncrun_change", args=[run.pk]),
    ):
        assert harmless(admin_client.get(address)), address


def test_forged_requests_do_nothing(admin_client, connection):
    admin_client.handler.enforce_csrf_checks = True
    runs = SyncRun.objects.count()
    for name in POSTS:
        assert admin_client.post(page(name, connection.pk), {"op": "anyway", "all": "1"}).status_code == 403
    assert admin_client.post(page("test"), {"kind": "hubspot", "access_token": "x"}).status_code == 403
    assert Connection.objects.get().state == "active"
    assert SyncRun.objects.count() == runs


def test_numbers_beyond_the_database(admin_client, connection):
    many = "9" * 5000
    assert admin_client.post(page("test"), {"connection": HUGE}).status_code == 404
    assert admin_client.get(page("change", HUGE)).status_code == 404
    assert admin_client.get(page("change", many)).status_code == 404
    for number in (HUGE, many, "٣"):
        assert admin_client.post(page("retry", connection.pk), {"only": number}).status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "id",
        "attributes.a\x00b",
        "attributes.",
        "consent:channel:x\x00:",
        "consent:evil:webpush:",
        "consent:channel::",
    ],
)
def test_targets_that_were_not_offered(admin_client, connection, target):
    reply = admin_client.post(page("fields", connection.pk, "contacts"), {"map-city": target})
    assert reply.status_code == 200
    held = Connection.objects.get().mapping["contacts"]
    assert held == connection.mapping["contacts"]
