"""Flows as files, in the admin."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from campaigns.models import Flow, Segment

SOURCE = """\
version: 1
segments:
  poles:
    name: Poles
    rule:
      kind: attribute
      field: country
      op: eq
      value: PL
flows:
  welcome:
    name: Welcome
    trigger:
      kind: segment
      segment: poles
      'on': entered
    steps:
      - key: s1
        kind: wait
        config:
          amount: 1
          unit: days
"""


@pytest.fixture
def page(admin_client):
    return lambda **sent: admin_client.post(reverse("admin:campaigns_flow_import"), sent)


def test_a_file_is_looked_at_and_then_taken(page, admin_client):
    shown = page(text=SOURCE.replace("\n", "\r\n"))
    assert [change.state for change in shown.context["changes"]] == ["created", "created"]
    assert b"import-sure" in shown.content
    assert not Flow.objects.exists()
    assert page(text=SOURCE, sure="1").status_code == 302
    assert Flow.objects.get().state == "draft"
    assert (
        admin_client.get(reverse("admin:campaigns_flow_export"), {"flow": "welcome"}).content.decode()
        == SOURCE
    )
    listed = reverse("admin:campaigns_flow_changelist")
    assert reverse("admin:campaigns_flow_import") in admin_client.get(listed).content.decode()
    chosen = {"action": "export_chosen", "_selected_action": [Flow.objects.get().pk]}
    assert admin_client.post(listed, chosen, follow=True).content.decode() == SOURCE
    again = page(text=SOURCE)
    assert not again.context["possible"]
    changed = page(text=SOURCE.replace("name: Welcome", "name: Hello <b>", 1)).content.decode()
    assert '<span class="is-added">' in changed
    assert "Hello &lt;b&gt;</span>" in changed


def test_mistakes_are_shown_by_line(page):
    shown = page(text=SOURCE.replace("op: eq", "op: <b>"), sure="1")
    assert shown.context["problems"][0].position.line == 8
    assert b"op: <b>" not in shown.content.replace(b"op: &lt;b&gt;", b"")
    assert not Flow.objects.exists()
    assert page(text="").context["form"].errors


def test_who_may_do_what(client, db):
    user = User.objects.create_user("mo", password="x", is_staff=True)
    client.force_login(user)
    address = reverse("admin:campaigns_flow_import")
    assert client.get(address).status_code == 403
    assert client.get(reverse("admin:campaigns_flow_export")).status_code == 403
    names = ["view_flow", "add_flow", "change_flow"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    shown = client.post(address, {"text": SOURCE, "sure": "1"})
    assert [change.slug for change in shown.context["forbidden"]] == ["poles"]
    assert not Segment.objects.exists()
    Flow.objects.create(slug="a", name="A", draft={})
    assert client.get(reverse("admin:campaigns_flow_export")).status_code == 200
