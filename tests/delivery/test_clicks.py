"""Visitors who come by a link of a message."""

from datetime import timedelta

import pytest
from django.utils import timezone

from crm import api_keys
from crm.models import Event, Identifier
from delivery import clicks, dispatch
from tests.crm.api.conftest import Caller
from tests.delivery import world
from tests.push import client
from tests.push.service import PushService

SHOP = "https://shop.example.com"


@pytest.fixture
def ann(db):
    person = world.person(channels=["memory"])
    Identifier.objects.create(kind="email", value=person.email, profile=person)
    return person


@pytest.fixture
def delivery(ann):
    [made] = world.queue(world.message(), [ann], now=timezone.now())
    dispatch.run(timezone.now())
    return made


@pytest.fixture
def browser(db):
    return Caller(api_keys.create("web", ["browser"], [SHOP])[1], HTTP_ORIGIN=SHOP)


def arrive(browser, visitor, token):
    """The page hands the token in."""
    event = {"name": "identified", "profile": {"anonymous_id": visitor, "click": token}}
    answer = browser.post("events/", {"events": [event]})
    assert answer.json()["accepted"] == 1, answer.content
    return Event.objects.order_by("-seq").first().profile_id


def test_the_visitor_becomes_whom_it_was_sent_to(ann, delivery, browser):
    browser.post("events/", {"events": [{"name": "looked", "profile": {"anonymous_id": "visitor"}}]})
    assert arrive(browser, "visitor", clicks.make(delivery.pk)) == ann.pk
    assert Event.objects.get(name="looked", profile_id=ann.pk)
    assert Identifier.objects.get(value="visitor").profile_id == ann.pk
    assert not Identifier.objects.get(value="visitor").verified


def test_somebody_else_stays_somebody_else(ann, delivery, browser):
    bob = {"anonymous_id": "bob's browser", "email": "bob@example.com"}
    browser.post("events/", {"events": [{"name": "looked", "profile": bob}]})
    found = arrive(browser, "bob's browser", clicks.make(delivery.pk))
    assert found == Identifier.objects.get(value="bob@example.com").profile_id != ann.pk


@pytest.mark.parametrize("what", ["forged", "old", "junk", "a report's token", "off", "erased"])
def test_other_tokens_link_nobody(ann, delivery, browser, settings, what):
    from crm import privacy
    from delivery import tokens

    now = timezone.now()
    token = {
        "forged": clicks.make(delivery.pk)[:-1] + "!",
        "old": clicks.make(delivery.pk, now - clicks.VALID - timedelta(minutes=1)),
        "junk": "ü.\x01" * 50,
        "a report's token": tokens.make(delivery.pk),
    }.get(what, clicks.make(delivery.pk))
    if what == "off":
        settings.NUDGE_LINK_VISITORS = False
    if what == "erased":
        privacy.erase([ann.pk], "test")
    assert arrive(browser, "visitor", token) != ann.pk


def test_a_push_brings_its_token(push: PushService, db):
    ann = world.person()
    world.browser(ann, client.subscribe(push))
    message = world.message(channel="webpush", content={"title": "Hello", "url": "/cart"})
    world.queue(message, [ann], "webpush", timezone.now())
    dispatch.run(timezone.now())
    [arrived] = push.journal
    token = arrived.json["click"]
    assert clicks.people([token]) == {token: ann.pk}
