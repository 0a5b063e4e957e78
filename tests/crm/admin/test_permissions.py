"""Who may do what with CRM connections."""

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import User

from crm.models import Connection, SyncReject, SyncRun
from crm.sync import drafts
from tests.crm.admin.pages import page, text_of

pytestmark = pytest.mark.django_db
POSTS = ("sync", "pause", "remove", "deletions", "retry")
STEPS = ("settings", "objects", "fields", "preview", "writeback", "schedule")
PAGES = ("change", "panel", *STEPS)
OF_OBJECTS = ("fields", "preview", "values")


def test_without_login_nothing(connection, client):
    for name in (*POSTS, *PAGES):
        assert client.post(page(name, connection.pk)).status_code == 302
        assert "/login/" in client.get(page(name, connection.pk)).url
    for name in OF_OBJECTS:
        assert "/login/" in client.get(page(name, connection.pk, "contacts")).url
    assert client.post(page("test"), {"kind": "hubspot"}).status_code == 302


def test_staff_without_permission_nothing(connection, staff):
    client = staff()
    for name in PAGES:
        assert client.get(page(name, connection.pk)).status_code == 403
    for name in (*POSTS, *STEPS):
        assert client.post(page(name, connection.pk)).status_code == 403
    for name in OF_OBJECTS:
        assert client.get(page(name, connection.pk, "contacts")).status_code == 403
    assert client.get(page("add")).status_code == 403
    assert client.post(page("test"), {"kind": "hubspot"}).status_code == 403


def test_a_viewer_looks_and_touches_nothing(connection, staff):
    client = staff("view_connection")
    runs = SyncRun.objects.count()
    words = text_of(client.get(page("change", connection.pk)))
    assert "Sync now" not in words.replace("Press “Sync now”", "")
    assert client.get(page("panel", connection.pk)).status_code == 200
    for name in (*POSTS, *STEPS):
        assert client.post(page(name, connection.pk)).status_code == 403
    assert Connection.objects.filter(pk=connection.pk, state="active").exists()
    assert SyncRun.objects.count() == runs


def test_only_who_may_delete_can_disconnect(connection, staff):
    client = staff("view_connection", "change_connection")
    assert client.post(page("remove", connection.pk)).status_code == 403
    assert client.post(page("sync", connection.pk)).status_code == 302


def test_who_may_add_but_not_change_cannot_try_stored_credentials(connection, staff):
    client = staff("add_connection")
    assert client.post(page("test"), {"kind": "hubspot", "connection": connection.pk}).status_code == 403


def test_an_unknown_connection_is_404(admin_client):
    assert admin_client.get(page("panel", 4711)).status_code == 404
    assert admin_client.get(page("change", "x")).status_code == 404


def begun_by(user, slug="new"):
    draft = drafts.begin("hubspot", slug, slug, {"server": "sandbox"}, {"access_token": "x"})
    LogEntry.objects.log_actions(user.pk, [draft], ADDITION, change_message="", single_object=True)
    return draft


def user_of(client):
    return User.objects.get(pk=client.session["_auth_user_id"])


def test_who_may_only_add_can_finish_what_they_began_and_nothing_else(connection, staff):
    client = staff("add_connection")
    draft = begun_by(user_of(client))
    assert client.get(page("objects", draft.pk)).status_code == 200
    assert client.get(page("change", draft.pk)).status_code == 302
    assert client.get(page("objects", connection.pk)).status_code == 403
    viewer = staff("view_connection")
    assert viewer.get(page("objects", draft.pk)).status_code == 403
    assert viewer.get(page("change", draft.pk)).status_code == 200
    drafts.start(draft)
    assert client.get(page("objects", draft.pk)).status_code == 403


def test_who_may_only_add_cannot_read_with_the_credentials_of_another_ones_draft(sandbox, staff):
    client = staff("add_connection")
    draft = begun_by(user_of(staff("add_connection")))
    for name in (*PAGES, "rehearse"):
        assert client.get(page(name, draft.pk)).status_code == 403
    for name in (*STEPS, "remove", "rehearse", "start", "upload"):
        assert client.post(page(name, draft.pk)).status_code == 403
    assert client.post(page("test"), {"kind": "hubspot", "connection": draft.pk}).status_code == 403
    assert staff("add_connection", "change_connection").get(page("objects", draft.pk)).status_code == 200


def test_rejected_records_are_shown_only_to_who_may_see_them(connection, staff):
    SyncReject.objects.create(
        connection=connection,
        object="contacts",
        record_id="4711",
        code="email",
        detail="“ann at home” is no address.",
        raw={"email": "ann at home"},
    )
    addresses = [page("change", connection.pk), page("panel", connection.pk) + "?part=rejects"]
    for permissions in ((), ("view_syncreject",), ("change_connection",)):
        client = staff("view_connection", *permissions)
        seen = {"ann at home" in text_of(client.get(address)) for address in addresses}
        assert seen == {bool(permissions)}
