"""Computed attributes in the admin: the sentence, the preview, who may do what, and what is refused."""

import re
import uuid

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Segment
from crm import log
from crm.computed import form, gallery
from crm.computed.kinds import kinds, parse
from crm.models import ComputedAttribute, Profile
from delivery.models import Message

pytestmark = pytest.mark.django_db
LIST = "admin:crm_computedattribute_changelist"
ADD = "admin:crm_computedattribute_add"
COUNT = {"kind": "count", "event": "purchase", "last_days": 90}
POSTED = {
    "d.kind": "count",
    "d.event": "purchase",
    "d.window": "last",
    "d.days": "90",
    "d.where0.property": "category",
    "d.where0.was_field": "category",
    "d.where0.type": "text",
    "d.where0.was_type": "text",
    "d.where0.op": "eq",
    "d.where0.was_op": "eq",
    "d.where0.value": "shoes",
}


@pytest.fixture(autouse=True)
def _fresh_suggestions():
    cache.clear()


@pytest.fixture
def ada():
    profile = Profile.objects.create(first_name="Ada", email="ada@example.com")
    log.append(
        [
            log.NewEvent(uuid.uuid4(), profile.pk, "purchase", timezone.now(), {"category": "shoes"}, "test")
            for _ in range(3)
        ]
    )
    return profile


@pytest.fixture
def attribute():
    return ComputedAttribute.objects.create(
        slug="orders", name="Orders", kind="count", config=COUNT, served=True
    )


def login(client, *permissions):
    user = get_user_model().objects.create_user("kim", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)


def change(attribute):
    return reverse("admin:crm_computedattribute_change", args=[attribute.pk])


def text_of(answer):
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def test_a_sentence_becomes_an_attribute_that_is_computed(client, ada):
    login(client, "add_computedattribute", "view_computedattribute", "view_profile", "view_contact_data")
    preview = client.post(reverse("admin:crm_computedattribute_preview"), POSTED)
    assert "Number of “purchase” where category is shoes in the last 90 days" in text_of(preview)
    assert re.search(r"Ada.*3", text_of(preview))
    answer = client.post(reverse(ADD), {**POSTED, "name": "Shoes", "slug": "shoes"})
    made = ComputedAttribute.objects.get()
    assert answer.status_code == 302
    assert made.config == {**COUNT, "where": [{"property": "category", "op": "eq", "value": "shoes"}]}
    assert made.state == "backfilling"


def test_who_may_not_see_addresses_sees_outlines_of_them_in_the_preview(client, ada):
    log.append(
        [log.NewEvent(uuid.uuid4(), ada.pk, "login", timezone.now(), {"note": "ada@example.com"}, "test")]
    )
    login(client, "view_computedattribute", "view_profile")
    posted = {"d.kind": "last", "d.event": "login", "d.property": "note", "d.as": "text", "d.window": "ever"}
    shown = client.post(reverse("admin:crm_computedattribute_preview"), posted).text
    assert "a•••@e•••.com" in shown
    assert "ada@example.com" not in shown


def test_a_draft_is_not_computed(client):
    login(client, "add_computedattribute")
    client.post(reverse(ADD), {**POSTED, "name": "Shoes", "slug": "shoes", "_draft": "1"})
    assert ComputedAttribute.objects.get().state == "draft"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"slug": "Two words"}, "small letters"),
        ({"slug": "orders"}, "already exists"),
        ({"d.days": "0"}, "from 1 to 3650"),
        ({"d.kind": "sum"}, "Choose a property"),
        ({"d.event": ""}, "name of an event"),
        ({"d.kind": "missing", "d.property": "x", "d.threshold": "-5"}, "above 0"),
        ({"name": " "}, "required"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_stored(client, attribute, change, complaint):
    login(client, "add_computedattribute")
    answer = client.post(reverse(ADD), {**POSTED, "name": "Shoes", "slug": "shoes", **change})
    assert answer.status_code == 200
    assert complaint in text_of(answer)
    assert ComputedAttribute.objects.count() == 1


@pytest.mark.parametrize("template", gallery.TEMPLATES, ids=lambda template: template.slug)
def test_each_template_is_complete_and_comes_back_as_it_was(client, template):
    login(client, "add_computedattribute")
    page = client.get(reverse(ADD), {"template": template.slug})
    assert str(template.name) in page.text
    posted: dict[str, list[str]] = {}
    for tag, name in re.findall(r'<(select|input)[^>]* name="(d\.[^"]+)"', page.text):
        if tag == "input":
            value = re.search(rf'<input[^>]* name="{re.escape(name)}"[^>]* value="([^"]*)"', page.text)[1]
        else:
            inside = re.search(rf'<select[^>]* name="{re.escape(name)}".*?</select>', page.text, re.DOTALL)[0]
            chosen = re.search(r'<option value="([^"]*)" selected', inside)
            value = chosen[1] if chosen else ""
        posted.setdefault(name.removeprefix("d."), [value])
    assert form.config(form.read(posted)) == template.config
    parse(template.config)


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_has_a_sentence_that_can_be_drawn(client, ada, kind):
    login(client, "view_computedattribute")
    answer = client.post(reverse("admin:crm_computedattribute_edit"), {"d.kind": kind, "d.event": "purchase"})
    assert answer.status_code == 200
    for name in kinds()[kind].inputs:
        if name not in ("last_days", "as"):
            assert f'name="d.{name}"' in answer.text


def test_a_condition_can_be_added_and_removed(client, ada):
    login(client, "view_computedattribute")
    url = reverse("admin:crm_computedattribute_edit")
    assert 'name="d.where1.op"' in client.post(url, {**POSTED, "op": "add-where"}).text
    assert "d.where0" not in client.post(url, {**POSTED, "op": "remove-where-0"}).text


class TestRights:
    def test_who_may_only_look_changes_nothing(self, client, attribute, ada):
        login(client, "view_computedattribute")
        assert "Compute anew" not in client.get(change(attribute)).text
        assert client.post(change(attribute), {**POSTED, "name": "x", "slug": "orders"}).status_code == 403
        assert client.get(reverse(ADD)).status_code == 403
        recompute = reverse("admin:crm_computedattribute_recompute", args=[attribute.pk])
        assert client.post(recompute).status_code == 403
        assert "Ada" not in client.post(reverse("admin:crm_computedattribute_preview"), POSTED).text

    def test_who_may_not_look_sees_nothing(self, client, attribute):
        login(client, "view_profile")
        for name in ("edit", "preview"):
            assert client.post(reverse(f"admin:crm_computedattribute_{name}"), POSTED).status_code == 403
        assert client.get(change(attribute)).status_code == 403
        progress = reverse("admin:crm_computedattribute_progress", args=[attribute.pk])
        assert client.get(progress).status_code == 403


class TestUse:
    @pytest.fixture(params=["segment", "message"])
    def used(self, request, attribute):
        if request.param == "segment":
            rule = {"kind": "attribute", "field": "computed.orders", "op": "gt", "value": 3}
            Segment.objects.create(slug="loyal", name="Loyal", rule={"all": [rule]})
            return "the segment “Loyal”"
        message = Message.objects.create(slug="thanks", name="Thanks")
        content = {"title": "Hi", "body": "{% if computed.orders > 3 %}Thanks{% endif %}", "url": "/"}
        message.contents.create(channel="webpush", content=content)
        return "the message “Thanks”"

    def test_what_uses_it_is_shown_and_keeps_it_as_it_is(self, client, attribute, used):
        login(client, *(f"{verb}_computedattribute" for verb in ("view", "change", "delete")))
        assert used in client.get(reverse(LIST)).text
        assert used in client.get(change(attribute)).text
        renamed = {
            **POSTED,
            "name": "Orders lately",
            "slug": "orders",
            "d.kind": "sum",
            "d.property": "total",
        }
        assert used in client.post(change(attribute), renamed).text
        client.post(reverse("admin:crm_computedattribute_delete", args=[attribute.pk]), {"post": "yes"})
        attribute.refresh_from_db()
        assert (attribute.name, attribute.config) == ("Orders", COUNT)
        client.post(change(attribute), {"name": "Orders lately", "slug": "orders"})
        attribute.refresh_from_db()
        assert (attribute.name, attribute.config) == ("Orders lately", COUNT)

    def test_what_nothing_uses_can_go(self, client, attribute):
        login(client, "view_computedattribute", "delete_computedattribute")
        client.post(reverse("admin:crm_computedattribute_delete", args=[attribute.pk]), {"post": "yes"})
        assert not ComputedAttribute.objects.exists()


def test_the_list_costs_the_same_however_many_there_are(client, attribute, django_assert_max_num_queries):
    login(client, "view_computedattribute")
    for number in range(5):
        ComputedAttribute.objects.create(slug=f"a{number}", name="A", kind="count", config=COUNT)
    with django_assert_max_num_queries(14):
        client.get(reverse(LIST))
