"""The admin pages of segments: who may do what, and what is refused."""

import json
import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Broadcast, Flow, Segment, SegmentMembership
from campaigns.segments import evaluate, grammar, plans
from crm.models import Profile
from delivery.models import Message

pytestmark = pytest.mark.django_db

COUNTRY = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
ROW = {
    "node": ["n0", "n1"],
    "n0.kind": "group",
    "n0.mode": "all",
    "n1.kind": "attribute",
    "n1.parent": "n0",
    "n1.field": "country",
    "n1.was_field": "country",
    "n1.type": "choice",
    "n1.op": "eq",
    "n1.was_op": "eq",
    "n1.value": "PL",
}


@pytest.fixture(autouse=True)
def _fresh_suggestions():
    cache.clear()


@pytest.fixture
def segment():
    return Segment.objects.create(slug="poles", name="Poles", rule={"all": [COUNTRY]})


def login(client, *permissions):
    user = get_user_model().objects.create_user("kim", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def page(segment):
    return reverse("admin:campaigns_segment_change", args=[segment.pk])


class TestRights:
    def test_who_may_only_look_sees_the_rule_but_changes_nothing(self, client, segment):
        Profile.objects.create(country="PL", first_name="Ola", email="ola@example.com")
        login(client, "view_segment")
        answer = client.get(page(segment))
        assert answer.status_code == 200
        assert "Save segment" not in answer.text
        assert client.post(page(segment), {**ROW, "name": "x", "slug": "x"}).status_code == 403
        assert client.get(reverse("admin:campaigns_segment_add")).status_code == 403
        panel = client.post(reverse("admin:campaigns_segment_preview"), ROW).text
        assert 'data-size="1"' in panel
        assert "ola@example.com" not in panel
        assert client.post(reverse("admin:campaigns_segment_explain"), ROW).status_code == 403

    def test_people_are_shown_to_who_may_see_profiles(self, client):
        Profile.objects.create(country="PL", first_name="Ola", email="ola@example.com")
        login(client, "view_segment", "view_profile", "view_contact_data")
        assert "ola@example.com" in client.post(reverse("admin:campaigns_segment_preview"), ROW).text
        answer = client.post(
            reverse("admin:campaigns_segment_explain"), {**ROW, "who": "ola@example.com"}
        ).text
        assert "Ola is in." in answer

    @pytest.mark.parametrize("name", ["edit", "preview", "explain"])
    def test_the_parts_of_the_builder_are_closed_to_others(self, client, name):
        url = reverse(f"admin:campaigns_segment_{name}")
        assert client.post(url, ROW).status_code == 302
        assert client.post(url, ROW, headers={"HX-Request": "true"})["HX-Redirect"] == reverse("admin:login")
        login(client)
        assert client.post(url, ROW).status_code == 403

    def test_a_get_changes_and_shows_nothing(self, client):
        login(client, "view_segment")
        assert client.get(reverse("admin:campaigns_segment_preview")).status_code == 405


class TestSaving:
    def test_a_rule_is_saved_as_built(self, admin_client):
        answer = admin_client.post(
            reverse("admin:campaigns_segment_add"), {**ROW, "name": "Poles", "slug": "poles"}
        )
        assert answer.status_code == 302
        assert Segment.objects.get().rule == {"all": [COUNTRY]}

    def test_mistakes_stand_beside_their_condition(self, admin_client, segment):
        answer = admin_client.post(page(segment), {**ROW, "n1.value": "", "name": "Poles", "slug": "poles"})
        assert answer.status_code == 200
        assert "A value is missing." in answer.text
        segment.refresh_from_db()
        assert segment.rule == {"all": [COUNTRY]}

    def test_a_segment_cannot_contain_itself(self, admin_client, segment):
        row = {**ROW, "n1.kind": "segment", "n1.slug": "poles", "name": "Poles", "slug": "poles"}
        answer = admin_client.post(page(segment), row)
        assert "in a circle: poles → poles" in answer.text

    def test_hostile_input_is_escaped(self, admin_client):
        evil = '"><script>alert(1)</script>'
        row = {
            **ROW,
            "n1.field": "city",
            "n1.was_field": "city",
            "n1.type": "text",
            "n1.value": evil,
            "name": evil,
        }
        Profile.objects.create(city=evil, first_name=evil, attributes={evil: evil})
        for url in ("campaigns_segment_add", "campaigns_segment_preview", "campaigns_segment_edit"):
            answer = admin_client.post(reverse(f"admin:{url}"), row)
            assert answer.status_code == 200
            assert "<script>alert" not in answer.text

    @pytest.mark.parametrize(
        "junk", [{"node": ["n0", "n9999999", "x", "n1"]}, {"n1.parent": "n1"}, {"n1.kind": "os"}]
    )
    def test_junk_is_left_out(self, admin_client, junk):
        answer = admin_client.post(
            reverse("admin:campaigns_segment_edit"), {**ROW, **junk, "op": "add-group", "target": "n0"}
        )
        assert answer.status_code == 200


class TestDeleting:
    def test_a_segment_in_use_stays(self, admin_client, segment):
        Segment.objects.create(slug="other", name="Other", rule={"not": {"kind": "segment", "slug": "poles"}})
        Flow.objects.create(slug="f", name="Welcome", draft={"entry": {"kind": "segment", "slug": "poles"}})
        message = Message.objects.create(slug="m", name="m")
        Broadcast.objects.create(name="Sale", message=message, segment=segment)
        url = reverse("admin:campaigns_segment_delete", args=[segment.pk])
        shown = admin_client.get(url).text
        for use in ("the segment “Other”", "the flow “Welcome”", "the broadcast “Sale”"):
            assert use in shown
        assert admin_client.post(url, {"post": "yes"}).status_code == 200
        assert Segment.objects.filter(pk=segment.pk).exists()

    def test_an_unused_one_goes(self, admin_client, segment):
        admin_client.post(reverse("admin:campaigns_segment_delete", args=[segment.pk]), {"post": "yes"})
        assert not Segment.objects.exists()


def test_the_list_costs_the_same_for_many(admin_client, segment, django_assert_max_num_queries):
    for number in range(20):
        Segment.objects.create(slug=f"s{number}", name="x", rule={"kind": "segment", "slug": "poles"})
    with django_assert_max_num_queries(12):
        assert "the segment “x”" in admin_client.get(reverse("admin:campaigns_segment_changelist")).text


class TestPanel:
    def preview(self, client, **row):
        return client.post(reverse("admin:campaigns_segment_preview"), {**ROW, **row}).text

    def test_the_second_look_tells_what_saving_would_change(self, admin_client, segment):
        ola, jan, huda = (Profile.objects.create(country=country) for country in ("PL", "PL", "SA"))
        segment.evaluated_at = timezone.now()
        segment.save()
        SegmentMembership.objects.bulk_create(
            SegmentMembership(segment=segment, profile=person, entered_at=timezone.now())
            for person in (ola, jan)
        )
        same = self.preview(admin_client, segment=segment.pk)
        assert "exact" not in same
        first = self.preview(admin_client, segment=segment.pk, **{"n1.value": "SA"})
        assert '{"exact": "1"}' in first
        second = self.preview(admin_client, segment=segment.pk, exact="1", **{"n1.value": "SA"})
        words = " ".join(re.sub("<[^>]*>", " ", second).split())
        assert "1 person comes in" in words
        assert "2 people drop out" in words

    def test_an_estimate_is_marked_and_a_slow_rule_warned_about(self, admin_client, monkeypatch):
        Profile.objects.create(country="PL")
        guess = evaluate.preview(grammar.parse({"all": [COUNTRY]}))._replace(
            size=1200, estimated=True, low=1000, high=1400, counts_estimated=True, counts={"all[0]": 700}
        )
        monkeypatch.setattr(evaluate, "preview", lambda *args, **kwargs: guess)
        slow = plans.Plan(9_000, (plans.Reason("all[0]", "every_profile", "country", 10**6),), True)
        monkeypatch.setattr(plans, "plan", lambda rule: slow)
        shown = self.preview(admin_client)
        assert 'data-say="About 1,200 people match"' in shown
        assert "~700" in shown
        assert "9 seconds" in shown
        assert 'data-goto="n1"' in shown
        assert slow.reasons[0].advice in shown
        assert "between 1,000 and 1,400" in self.preview(admin_client, exact="1")

    def test_a_rule_with_very_many_values_can_be_sent(self, admin_client):
        values = {
            "n1.op": "in",
            "n1.was_op": "in",
            "n1.listed": "1",
            "n1.value": [f"{n:03}" for n in range(1000)],
        }
        assert 'data-size="0"' in self.preview(admin_client, **values)

    def test_people_to_ask_about_are_found_as_far_as_one_may_see_them(self, client):
        person = Profile.objects.create(first_name="Ola", email="ola@example.com")
        url = reverse("admin:campaigns_segment_people")
        login(client, "view_segment", "view_profile")
        assert f"#{person.pk}" not in client.post(url, {"who": "ola@example.com"}).text
        by_number = client.post(url, {"who": f"#{person.pk}"}).text
        assert f"#{person.pk}" in by_number
        assert "ola@example.com" not in by_number


def test_buttons_change_the_tree(admin_client):
    edit = reverse("admin:campaigns_segment_edit")
    added = admin_client.post(edit, {**ROW, "op": "add-event", "target": "n0"})
    assert 'name="n2.kind" value="event"' in added.text
    focus = json.loads(added["HX-Trigger-After-Settle"])["segment:focus"]
    assert focus == {"id": "n2", "added": True, "op": "add-event", "say": ""}
    moved = admin_client.post(edit, {**ROW, "op": "duplicate", "target": "n1"})
    assert json.loads(moved["HX-Trigger-After-Settle"])["segment:focus"]["say"] == "Now 2 of 2"
    assert 'id="n1"' not in admin_client.post(edit, {**ROW, "op": "remove", "target": "n1"}).text
    assert (
        'name="n2.kind" value="attribute"'
        in admin_client.post(edit, {**ROW, "op": "duplicate", "target": "n1"}).text
    )
    # Another field starts with an operator of its own type and without a value.
    other = admin_client.post(edit, {**ROW, "n1.field": "birthday"}).text
    assert 'value="before" selected' in other
