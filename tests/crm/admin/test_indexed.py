"""The page of indexed attributes: what segments use, one click to index it, and nothing for who may not."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from campaigns.models import Segment
from crm.models import IndexedAttribute

pytestmark = pytest.mark.django_db
PAGE = "admin:crm_indexedattribute_changelist"


def compared(field, op, value):
    return {"kind": "attribute", "field": field, "op": op, "value": value}


def test_one_click_indexes_what_segments_use(admin_client):
    gold = compared("attributes.plan", "eq", "gold")
    rule = {"all": [gold, {"not": compared("attributes.<b>", "in", [1])}]}
    Segment.objects.create(slug="a", name="A", rule=rule, evaluation_ms=1234)
    Segment.objects.create(
        slug="b", name="B", rule={"any": [gold, compared("attributes.x", "contains", "y")]}
    )
    Segment.objects.create(slug="c", name="C", rule=compared("country", "eq", "PL"))
    page = admin_client.get(reverse(PAGE))
    assert [(row["path"], *row["used"]) for row in page.context["wanted"]] == [
        ("plan", 2, 1234),
        ("<b>", 1, 1234),
    ]
    assert "&lt;b&gt;" in page.content.decode()
    assert 'name="path" value="plan"' in page.content.decode()
    for path, number in (("plan", 1), ("plan", 1), ("a..b", 1)):  # twice is told, as is what is no name
        answer = admin_client.post(reverse("admin:crm_indexedattribute_create"), {"path": path}, follow=True)
        assert IndexedAttribute.objects.count() == number
        assert len(list(answer.context["messages"])) == 1
    status = admin_client.get(reverse("admin:crm_indexedattribute_status"))
    assert "every 3s" in status.content.decode()
    attribute = IndexedAttribute.objects.get()
    IndexedAttribute.objects.update(state="failed", error="No room")
    assert "No room" in admin_client.get(reverse(PAGE)).content.decode()
    admin_client.post(reverse("admin:crm_indexedattribute_retry", args=[attribute.pk]))
    attribute.refresh_from_db()
    assert attribute.state == "adding"
    admin_client.post(reverse("admin:crm_indexedattribute_remove", args=[attribute.pk]))
    attribute.refresh_from_db()
    assert attribute.state == "removing"


def test_who_may_only_look_changes_nothing(client, django_user_model):
    user = django_user_model.objects.create_user("reader", password="x", is_staff=True)
    client.force_login(user)
    assert client.get(reverse(PAGE)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_indexedattribute"))
    attribute = IndexedAttribute.objects.create(path="plan")
    page = client.get(reverse(PAGE))
    assert page.status_code == 200
    assert "<button" not in page.content.decode().partition('id="ix-tables"')[2].partition("</section>")[0]
    assert client.post(reverse("admin:crm_indexedattribute_create"), {"path": "other"}).status_code == 403
    assert client.post(reverse("admin:crm_indexedattribute_remove", args=[attribute.pk])).status_code == 403
    assert client.get(reverse("admin:crm_indexedattribute_create")).status_code == 405
    assert list(IndexedAttribute.objects.values_list("path", "state")) == [("plan", "adding")]
