"""One person led through a draft: what they would get, when, and why."""

from datetime import timedelta

import pytest
from django.urls import reverse

from campaigns.flows import inventing, walkthrough
from campaigns.flows.definition import parse
from campaigns.models import Decision, Enrollment, Flow
from crm.models import Identifier, Profile
from delivery.models import Delivery
from tests.campaigns.admin.conftest import client_with
from tests.campaigns.flows.conftest import World

LOOKED = {"kind": "event", "name": "looked"}
MESSAGE = {"kind": "message", "config": {"message": "hello", "channel": "inapp"}}
DRAFT = {
    "trigger": {"kind": "event", "name": "carted"},
    "entry": {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
    "reentry": {"mode": "always"},
    "exit_on": [],
    "steps": [
        {
            "key": "w",
            "kind": "wait_for",
            "config": {"events": [{"name": "ordered"}], "timeout": {"amount": 3, "unit": "days"}},
            "branches": [
                {
                    "name": "ordered",
                    "steps": [{"key": "x", "kind": "exit", "config": {"reason": "has ordered"}}],
                },
                {"name": "no", "steps": []},
            ],
        },
        {
            "key": "q",
            "kind": "split",
            "branches": [
                {"name": "looked", "rule": LOOKED, "steps": [{"key": "m", **MESSAGE}]},
                {"name": "else", "steps": []},
            ],
        },
    ],
}


@pytest.fixture
def ann(world: World) -> Profile:
    world.message.contents.create(
        channel="inapp",
        content={"title": "Hi {{ profile.first_name }}", "text": "{{ event.properties.total }}"},
    )
    Flow.objects.create(slug="f", name="F", draft=DRAFT)
    pk = world.person("ann")
    Profile.objects.filter(pk=pk).update(first_name="Ann", country="PL", email="ann@example.com")
    Identifier.objects.create(profile_id=pk, kind=Identifier.ANONYMOUS_ID, value="browser")
    world.happens(pk, "looked")
    world.happens(pk, "carted", total=20)
    return Profile.objects.get(pk=pk)


def walked(world: World, person: Profile, event=None, **choices: str) -> walkthrough.Walk:
    event = event or {"name": "carted", "properties": {"total": 7}}
    given = {name.replace("_", "-").removeprefix("at-"): way for name, way in choices.items()}
    return walkthrough.walk(Flow.objects.get().pk, "f", parse(DRAFT), person, event, world.now, given)


def test_a_walk_waits_in_fast_forward_and_shows_the_message_and_the_facts(world, ann):
    walk = walked(world, ann)
    assert [stop.key for stop in walk.stops] == ["w", "q", "m"]
    assert walk.stops[0].leaves == world.now + timedelta(days=3)
    assert [asked.holds for asked in walk.enters] == [True]
    assert [(asked.holds, asked.why.fact != "") for asked in walk.stops[1].asked] == [(True, True)]
    [sent] = walk.stops[2].sent
    assert not sent.problem
    assert (sent.content["title"], sent.content["text"], sent.verdict) == ("Hi Ann", "7", None)
    assert walk.ends == world.now + timedelta(days=3)


def test_the_outcome_of_a_wait_and_of_a_split_may_be_chosen(world, ann):
    happened = walked(world, ann, at_1_w="0")
    assert ([stop.key for stop in happened.stops], happened.ends) == (["w", "x"], world.now)
    other = walked(world, ann, at_2_q="1")
    assert [stop.key for stop in other.stops] == ["w", "q"]


def test_what_would_stop_a_message_is_told(world, ann):
    Identifier.objects.filter(kind=Identifier.ANONYMOUS_ID).delete()
    [sent] = walked(world, ann).stops[2].sent
    assert sent.verdict is not None
    assert sent.verdict.reason == "no active device"


def test_a_walk_changes_nothing(world, ann):
    walked(world, ann)
    assert not Enrollment.objects.exists()
    assert not Decision.objects.exists()
    assert not Delivery.objects.exists()


@pytest.fixture
def url(ann) -> str:
    return reverse("admin:campaigns_flow_walkthrough", args=[Flow.objects.get().pk])


def test_the_page_walks_by_their_last_event_or_an_invented_one(ann, url):
    client = client_with("campaigns.view_flow", "crm.view_profile", "crm.view_contact_data")
    assert "walk-form" in client.get(url).content.decode()
    real = client.post(url, {"person": "ann"}, headers={"HX-Request": "true"}).content.decode()
    assert real.count('data-testid="walk-stop"') == 3
    assert "<p>20</p>" in real.replace(' class="inapp-text"', "")
    own = {"person": str(ann.pk), "event": "own", "properties": '{"total": 99}', "way-2-q": "1"}
    assert client.post(url, own).content.decode().count('data-testid="walk-stop"') == 2
    bad = client.post(url, {**own, "properties": "{"}).content.decode()
    assert "not valid JSON" in bad


def test_who_sees_no_contact_data_gets_no_answer_that_would_tell_some(ann, url):
    client = client_with("campaigns.view_flow", "crm.view_profile")
    person = {"person": str(ann.pk)}
    assert 'data-testid="walk-stop"' in client.post(url, person).content.decode()
    asks = {"kind": "attribute", "field": "email", "op": "eq", "value": "ann@example.com"}
    Flow.objects.update(draft={**DRAFT, "entry": asks})
    page = client.post(url, person).content.decode()
    assert "which you may not see" in page
    assert "walk-stop" not in page
    assert client_with("campaigns.view_flow").get(url).status_code == 403


def test_messages_of_a_walk_can_be_sent_to_who_tests(world, ann, url):
    tester = world.person("tester")
    send = reverse("admin:campaigns_flow_walkthrough_send", args=[Flow.objects.get().pk])
    form = {"person": str(ann.pk), "to": "tester"}
    viewer = client_with("campaigns.view_flow", "crm.view_profile", "crm.view_contact_data")
    assert viewer.post(send, form).status_code == 403
    rights = ("campaigns.view_flow", "crm.view_profile", "crm.view_contact_data", "delivery.change_message")
    client = client_with(*rights)
    assert "Nobody has this" in client.post(send, {**form, "to": "unknown"}).content.decode()
    assert "1 test" in client.post(send, form).content.decode()
    delivery = Delivery.objects.get()
    assert (delivery.profile_id, delivery.origin_type, delivery.channel) == (tester, "test", "inapp")
    assert delivery.context["event"]["properties"] == {"total": 20}


def test_an_invented_event_starts_the_flow_as_it_stands(world):
    conditions = [
        ("total", "gt", 20), ("cart.items", "gte", 3), ("currency", "in", ["EUR", "PLN"]), ("plan", "ne", "example"),
        ("code", "starts_with", "AB"), ("gift", "is_set", None), ("gone", "is_not_set", None), ("city", "lt", "b"),
        ("delivery", "within_next", {"days": 2}), ("placed", "before", "2026-01-05"), ("price", "between", [2, 3]),
    ]  # fmt: skip
    where = [
        {"property": name, "op": op} | ({} if value is None else {"value": value})
        for name, op, value in conditions
    ]
    trigger = {"kind": "event", "name": "carted", "where": where}
    flow = world.flow([{"key": "w", "kind": "wait", "config": {"amount": 1, "unit": "days"}}],
                      trigger=trigger, key="properties.cart.id")  # fmt: skip
    ann = world.person("ann")
    made = inventing.properties(parse(flow.draft), world.now)
    world.happens(ann, "carted", **made)
    world.run()
    assert Enrollment.objects.get().run_key == f"key:{made['cart']['id']}"


def test_the_walk_begins_with_an_invented_event_that_fits(ann, url):
    Flow.objects.update(
        draft={**DRAFT, "key": "properties.cart_id",
               "trigger": {"kind": "event", "name": "new", "where": [{"property": "total", "op": "gte", "value": 20}]}}
    )  # fmt: skip
    rights = ("campaigns.view_flow", "crm.view_profile", "crm.view_contact_data")
    page = client_with(*rights).get(url, {"person": f"#{ann.pk}"}).content.decode()
    assert "&quot;total&quot;: 20" in page
    assert "cart_id" in page
