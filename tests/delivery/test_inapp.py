"""In-app messages: from the outbox into the inbox, and who may read it."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from analytics import tracking
from crm import api_keys, consent, identity
from crm.identity import Reference
from crm.models import Identifier, Profile
from delivery import channels, dispatch
from delivery import inbox as inboxes
from delivery.dispatch import late
from delivery.dispatch.lease import LEASE
from delivery.models import Attempt, Delivery, InAppMessage
from delivery.policies import emergency
from delivery.policies.consent import NO_CONSENT
from tests.crm.api.conftest import Caller
from tests.delivery import world
from tests.delivery.conformance import ChannelConformance
from tests.delivery.world import NOW

SHOP = "https://shop.example.com"
BROWSER = "4f0c8a1e-77aa-4d5c-9c53-2f0e6d1f4f3b"
CONTENT = {
    "title": "Hello {{ profile.first_name }}",
    "text": "Your cart waits",
    "button": "Look",
    "url": "/cart",
    "style": "modal",
    "days": 3,
}


def seen(profile: Profile, anonymous_id: str = "", verified: bool = False) -> None:
    """The site's script has met this person."""
    Identifier.objects.create(
        kind=Identifier.ANONYMOUS_ID,
        value=anonymous_id or f"browser-of-{profile.pk}",
        profile=profile,
        verified=verified,
    )


class TestConformance(ChannelConformance):
    kind = "inapp"
    good = CONTENT
    templated = "title"
    # Its provider is the database, which refuses nobody.
    test_one_persons_trouble_is_theirs_alone = None

    def reach(self, profile: Any) -> None:
        seen(profile)

    def received(self) -> int:
        return InAppMessage.objects.count()

    def test_a_button_has_words_and_a_link(self) -> None:
        for missing in ("button", "url"):
            [problem] = self.channel.problems({k: v for k, v in CONTENT.items() if k != missing})
            assert problem.field == missing

    def test_a_link_leads_to_the_web(self) -> None:
        for field in ("url", "image"):
            [problem] = self.channel.problems({**CONTENT, field: "javascript:alert(1)"})
            assert problem.field == field


@pytest.mark.django_db
class TestConsent:
    def test_silence_is_a_yes_and_a_no_is_a_no(self) -> None:
        silent, left_channel, left_topic = (world.person(n, agrees=False) for n in range(3))
        for person in (silent, left_channel, left_topic):
            seen(person)
        world.answer(left_channel, consent.UNSUBSCRIBED, ["inapp"])
        change = (consent.TOPIC, "offers", consent.UNSUBSCRIBED, "test", NOW)
        consent.record([consent.Change(left_topic.pk, *change)])
        message = world.message(channel="inapp", content=CONTENT, topic="offers")
        deliveries = world.queue(message, [silent, left_channel, left_topic], "inapp")
        dispatch.run(NOW)
        found = Delivery.objects.in_bulk([delivery.pk for delivery in deliveries])
        assert [(found[d.pk].state, found[d.pk].reason) for d in deliveries] == [
            ("sent", ""),
            ("suppressed", NO_CONSENT),
            ("suppressed", NO_CONSENT),
        ]


OVER = LEASE + timedelta(seconds=10)  # a lease counts from when the texts were filled in


class Killed(BaseException):
    """The sender's end, which nothing catches."""


@pytest.mark.django_db
class TestSenderWhoDies:
    """Between putting a message into the inbox and recording it."""

    def dying(self, monkeypatch: pytest.MonkeyPatch, how: type[BaseException], **fields: Any) -> Delivery:
        person = world.person(agrees=False)
        seen(person)
        message = world.message(channel="inapp", content=CONTENT)
        [delivery] = world.queue(message, [person], "inapp", **fields)
        put = inboxes.put

        def put_and_die(expiries: Any) -> set[int]:
            put(expiries)
            raise how

        monkeypatch.setattr(inboxes, "put", put_and_die)
        if how is Killed:
            with pytest.raises(Killed):
                dispatch.run(NOW)
        else:
            dispatch.run(NOW)
        monkeypatch.undo()
        world.answer(person, consent.UNSUBSCRIBED, ["inapp"], NOW)
        return delivery

    def found_sent(self, delivery: Delivery) -> None:
        delivery.refresh_from_db()
        assert (delivery.state, delivery.reason) == ("sent", "")
        assert world.event("message_sent").properties["delivery"] == delivery.pk
        assert world.events("message_suppressed") == world.events("message_failed") == []
        assert InAppMessage.objects.count() == 1
        [attempt] = Attempt.objects.filter(delivery=delivery)
        assert attempt.outcome == "accepted"
        assert attempt.finished_at

    def test_what_was_seen_was_sent_even_if_they_have_left_since(self, monkeypatch) -> None:
        delivery = self.dying(monkeypatch, Killed)
        dispatch.run(NOW + LEASE / 2)
        delivery.refresh_from_db()
        assert delivery.state == "sending", "its lease still holds"
        result = dispatch.run(NOW + OVER)
        assert (result.recovered, result.claimed) == (1, 0)
        assert dispatch.run(NOW + 2 * OVER).idle
        self.found_sent(delivery)

    def test_the_same_when_it_had_expired(self, monkeypatch) -> None:
        delivery = self.dying(monkeypatch, Killed, expires_at=NOW + LEASE / 2)
        dispatch.run(NOW + OVER)
        self.found_sent(delivery)

    def test_the_same_when_only_its_answer_was_lost(self, monkeypatch) -> None:
        delivery = self.dying(monkeypatch, RuntimeError)
        delivery.refresh_from_db()
        assert delivery.state == "deferred"
        assert dispatch.run(delivery.due_at).sent == 1
        self.found_sent(delivery)

    def test_the_same_while_sending_is_stopped(self, monkeypatch) -> None:
        delivery = self.dying(monkeypatch, RuntimeError, expires_at=NOW + LEASE)
        emergency.press("test", "inapp")
        assert late.end(NOW + OVER) == 1
        self.found_sent(delivery)

    def test_a_channel_that_can_not_say_is_asked_again(self, monkeypatch) -> None:
        delivery = self.dying(monkeypatch, RuntimeError)
        delivery.refresh_from_db()

        def broken(self: Any, ids: Any) -> set[int]:
            raise RuntimeError

        monkeypatch.setattr(type(channels.get("inapp")), "arrived", broken)
        assert dispatch.run(delivery.due_at).deferred == 1
        monkeypatch.undo()
        delivery.refresh_from_db()
        assert dispatch.run(delivery.due_at).sent == 1
        self.found_sent(delivery)


@pytest.fixture
def key(db):
    made, text = api_keys.create("web", ["browser"], [SHOP])
    secret = api_keys.renew_identity_secret(made)
    return made, text, secret


@pytest.fixture
def browser(key):
    return Caller(key[1], HTTP_ORIGIN=SHOP)


def sent(person: Profile, **content: Any) -> Delivery:
    """One message in the person's inbox."""
    message = world.message(f"m{Delivery.objects.count()}", "inapp", CONTENT | content)
    [delivery] = world.queue(message, [person], "inapp", timezone.now())
    dispatch.run(timezone.now())
    return delivery


def inbox(caller: Caller, **reference: Any) -> list[dict]:
    """What a page gets."""
    response = caller.post("inbox/", {"profile": reference})
    assert response.status_code == 200, response.content
    return response.json()["messages"]


class TestWhoReadsIt:
    def test_an_unnamed_visitor_by_the_browsers_own_id(self, browser) -> None:
        [pk] = identity.resolve([Reference(anonymous_id=BROWSER)])
        delivery = sent(Profile.objects.get(pk=pk))
        [found] = inbox(browser, anonymous_id=BROWSER)
        assert {k: found[k] for k in ("title", "button", "url", "style", "state", "text", "image")} == {
            "title": "Hello ",
            "text": "Your cart waits",
            "button": "Look",
            "url": "/cart",
            "style": "modal",
            "state": "waiting",
            "image": "",
        }
        assert delivery.pk not in found.values()
        assert inbox(browser, anonymous_id="another-browser-altogether") == []

    def test_a_guessable_id_opens_nothing(self, browser) -> None:
        [pk] = identity.resolve([Reference(anonymous_id="visitor-1")])
        sent(Profile.objects.get(pk=pk))
        assert inbox(browser, anonymous_id="visitor-1") == []

    def test_a_claim_opens_nothing_and_a_proof_does(self, browser, key) -> None:
        ada = world.person(external_id="C-1")
        Identifier.objects.create(kind="external_id", value="C-1", profile=ada)
        Identifier.objects.create(kind="email", value=ada.email, profile=ada)
        seen(ada, BROWSER)
        sent(ada)
        from crm import proof

        right = proof.sign(key[2], "external_id", "C-1")
        assert inbox(browser, anonymous_id=BROWSER) == []
        assert inbox(browser, anonymous_id=BROWSER, external_id="C-1") == []
        assert inbox(browser, anonymous_id=BROWSER, email=ada.email) == []
        assert inbox(browser, anonymous_id=BROWSER, external_id="C-1", proof="0" * 64) == []
        assert inbox(browser, anonymous_id=BROWSER, email=ada.email, proof=right) == []
        assert len(inbox(browser, anonymous_id=BROWSER, external_id="C-1", proof=right)) == 1
        assert len(inbox(browser, external_id="C-1", proof=right)) == 1
        Identifier.objects.filter(value=BROWSER).update(verified=True)
        assert len(inbox(browser, anonymous_id=BROWSER)) == 1

    def test_a_browser_that_a_server_knew_before_its_visitor_claimed_a_name_opens_nothing(
        self, browser
    ) -> None:
        server = Caller(api_keys.create("server", ["write"])[1])
        ada = world.person(channels=["inapp"])
        Identifier.objects.create(kind="email", value=ada.email, profile=ada)
        server.post("events/", {"events": [{"name": "looked", "profile": {"anonymous_id": BROWSER}}]})
        claim = {"anonymous_id": BROWSER, "email": ada.email}
        browser.post("events/", {"events": [{"name": "looked", "profile": claim}]})
        assert Identifier.objects.get(value=BROWSER).profile_id == ada.pk
        sent(ada)
        assert inbox(browser, anonymous_id=BROWSER) == []
        server.post("events/", {"events": [{"name": "logged_in", "profile": claim}]})
        assert len(inbox(browser, anonymous_id=BROWSER)) == 1

    def test_a_click_opens_nothing(self, browser) -> None:
        from delivery import clicks

        ada = world.person()
        seen(ada, BROWSER, verified=True)
        token = clicks.make(sent(ada).pk)
        assert inbox(browser, anonymous_id="a-stranger-with-the-mail", click=token) == []

    def test_from_another_site_and_by_number(self, key, browser) -> None:
        elsewhere = Caller(key[1], HTTP_ORIGIN="https://evil.example.com")
        for origin in (elsewhere, Caller(key[1], HTTP_ORIGIN="null")):
            assert origin.post("inbox/", {"profile": {"anonymous_id": BROWSER}}).status_code == 403
        assert browser.post("inbox/", {"profile": {"id": 1}}).status_code == 400

    def test_asking_too_often_is_put_off(self, browser, settings) -> None:
        settings.NUDGE_RATE_LIMITS = {"inbox": {"address": (0.001, 1), "key": (100, 100)}}
        body = {"profile": {"anonymous_id": BROWSER}}
        assert browser.post("inbox/", body).status_code == 200
        refused = browser.post("inbox/", body)
        assert refused.status_code == 429
        assert int(refused["Retry-After"]) > 1

    def test_a_server_reads_any(self, db) -> None:
        ada = world.person()
        seen(ada)
        sent(ada)
        server = Caller(api_keys.create("server", ["read"])[1])
        assert len(inbox(server, id=ada.pk)) == 1
        assert inbox(server, email="nobody@example.com") == []
        writer = Caller(api_keys.create("writer", ["write"])[1])
        assert writer.post("inbox/", {"profile": {"id": ada.pk}}).status_code == 403


class TestWhatBecomesOfIt:
    @pytest.fixture
    def person(self, db) -> Profile:
        [pk] = identity.resolve([Reference(anonymous_id=BROWSER)])
        return Profile.objects.get(pk=pk)

    def test_answers_are_kept_once_and_forwards_only(self, person, browser) -> None:
        delivery = sent(person)
        [found] = inbox(browser, anonymous_id=BROWSER)
        now = timezone.now()
        assert tracking.record(found["token"], "shown", now)
        assert not tracking.record(found["token"], "shown", now)
        assert inbox(browser, anonymous_id=BROWSER)[0]["state"] == "shown"
        tracking.record(found["token"], "clicked", now)
        tracking.record(found["token"], "shown", now)
        assert inbox(browser, anonymous_id=BROWSER)[0]["state"] == "clicked"
        tracking.record(found["token"], "dismissed", now)
        assert inbox(browser, anonymous_id=BROWSER) == []
        for name in ("message_delivered", "message_opened", "message_clicked", "message_dismissed"):
            assert world.event(name).properties["delivery"] == delivery.pk

    def test_it_expires_and_ends_with_a_no_and_with_the_person(self, person, browser) -> None:
        from crm import privacy
        from delivery import inbox as service

        delivery = sent(person, days=2)
        read = lambda days: service.messages(person.pk, timezone.now() + timedelta(days=days))  # noqa: E731
        assert (len(read(0)), len(read(1.9)), len(read(2.1))) == (1, 1, 0)
        world.answer(person, consent.UNSUBSCRIBED, ["inapp"])
        assert read(0) == []
        world.answer(person, consent.SUBSCRIBED, ["inapp"], at=timezone.now())
        assert len(read(0)) == 1
        privacy.erase([person.pk], "test")
        delivery.refresh_from_db()
        assert delivery.content is None
        assert read(0) == []

    def test_the_inbox_takes_a_fixed_number_of_queries(self, person, django_assert_num_queries) -> None:
        from crm.proof import Judged
        from delivery import inbox as service

        for _ in range(3):
            sent(person)
        who = Judged(Reference(anonymous_id=BROWSER), False)
        with django_assert_num_queries(2):
            assert len(service.messages(service.owner(who), timezone.now())) == 3
