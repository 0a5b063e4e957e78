"""Firebase and Apple are providers like any other; both are real servers, Apple's over HTTP/2 and TLS."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import certifi
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crm.models import Device
from delivery import httpclient, push
from delivery.channels.base import Address, Outcome
from delivery.providers import apns, fcm, google_auth
from delivery.providers.base import AccountForm, ProviderError
from tests.delivery import provider_conformance as asked
from tests.delivery import services
from tests.delivery.apps import apple, google
from tests.delivery.provider_conformance import ProviderConformance
from tests.delivery.world import NOW

TOKENS = tuple(f"cRk9wAb:APA91b{letter * 24}" for letter in "abc")
PHONES = tuple(letter * 64 for letter in "abc")


def payload(**more: Any) -> push.PushPayload:
    return push.PushPayload(**{"tag": "nudge-1", "ttl": 3600, "title": "Hi", "token": "t", **more})


class TestFcm(ProviderConformance):
    channel, kind = "push", "fcm"
    secrets = ("PRIVATE KEY", "ya29")
    answers = (*(asked.OK, asked.BAD, asked.GONE, asked.BUSY, asked.BROKEN, asked.REFUSED, asked.CUT),)
    addresses = TOKENS
    words = {
        asked.OK: "",
        asked.BAD: "INVALID_ARGUMENT",
        asked.GONE: "UNREGISTERED",
        asked.BUSY: "QUOTA_EXCEEDED",
        asked.BROKEN: "UNAVAILABLE",
        asked.REFUSED: 403,
        asked.CUT: services.CUT,
    }

    @pytest.fixture(autouse=True)
    def _service(self, settings: Any) -> Any:
        google_auth._tokens.clear()
        self.google = google.Google()
        with services.serving(self.google) as service:
            self.google.root = service.url
            settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [service.host]
            self.config = {"base_url": service.url}
            self.credentials = {"service_account": google.key_file(service.url)}
            yield

    def serve(self, answer: str) -> None:
        self.google.usual = self.words[answer]

    def received(self) -> list[Any]:
        return list(self.google.taken.values())

    def payload(self) -> msgspec.Struct:
        return payload(
            image="https://shop.example.com/a.png",
            badge=2,
            sound="default",
            url="https://shop.example.com/",
            actions=(push.Button("Buy", "shop://buy"),),
            collapse=True,
            data={"coupon": "A1"},
        )

    @pytest.mark.parametrize(
        ("word", "fields", "outcome"),
        [
            ("INVALID_ARGUMENT", ["message.token"], Outcome.GONE),
            ("INVALID_ARGUMENT", ["message.android.ttl"], Outcome.REFUSED),
            ("SENDER_ID_MISMATCH", [], Outcome.REFUSED),
            ("THIRD_PARTY_AUTH_ERROR", [], Outcome.CONFIGURATION),
            ("INTERNAL", [], Outcome.STARTED),
            (404, [], Outcome.CONFIGURATION),
        ],
    )
    def test_what_its_codes_mean(self, word: Any, fields: list[str], outcome: Outcome) -> None:
        self.google.usual, self.google.fields = word, fields
        [result, *_rest] = self.provider.send(self.sender(), iter(self.parcels()), NOW)
        assert result.outcome == outcome

    def test_one_token_serves_many_batches_and_a_revoked_one_is_bought_anew(self) -> None:
        for _round in range(2):
            self.send(asked.OK)
        assert self.google.bought == 1
        self.google.good_tokens = set()
        _parcels, results = self.send(asked.OK)
        assert {result.outcome for result in results} == {Outcome.CONFIGURATION}
        _parcels, results = self.send(asked.OK)
        assert {result.outcome for result in results} == {Outcome.ACCEPTED}
        assert self.google.bought == 2

    def test_a_token_is_renewed_before_it_ends(self) -> None:
        key = google_auth.read_key(self.credentials["service_account"])
        now = time.time()
        for ago in (3400, 3390, 0):
            google_auth.access_token(key, fcm.SCOPE, now - ago)
        assert self.google.bought == 2

    def test_a_key_that_google_refuses_says_so_without_its_secret(self) -> None:
        self.google.root = "http://elsewhere"
        with pytest.raises(ProviderError) as told:
            list(self.provider.send(self.sender(), iter(self.parcels()), NOW))
        assert "400" in str(told.value)
        assert "PRIVATE" not in str(told.value)

    @pytest.mark.parametrize("text", ["", "{}", "[1]", '{"type": "service_account"}', "\x00"])
    def test_another_file_is_told_in_the_form(self, text: str) -> None:
        form = self.provider.Form({"service_account": text})
        assert "service_account" in form.errors


class TestApns(ProviderConformance):
    channel, kind = "push", "apns"
    config = {"team_id": apple.TEAM, "key_id": apple.KEY_ID, "app": apple.TOPIC}
    credentials = {"private_key": apple.P8}
    secrets = ("PRIVATE KEY",)
    answers = TestFcm.answers
    addresses = PHONES
    said = {
        asked.OK: (200, ""),
        asked.BAD: (400, "BadDeviceToken"),
        asked.GONE: (410, "Unregistered"),
        asked.BUSY: (429, "TooManyRequests"),
        asked.BROKEN: (503, "ServiceUnavailable"),
        asked.REFUSED: (403, "InvalidProviderToken"),
        asked.CUT: apple.CUT,
    }

    @pytest.fixture(autouse=True)
    def _service(self, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        pem = apple.certificate(tmp_path)
        monkeypatch.setattr(certifi, "where", lambda: str(pem))
        monkeypatch.setattr(httpclient, "_local", threading.local())
        with apple.Apple(pem).running() as self.apple:
            settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [self.apple.host]
            self.config = {**type(self).config, "base_url": f"https://{self.apple.host}"}
            yield

    def serve(self, answer: str) -> None:
        self.apple.usual = self.said[answer]

    def received(self) -> list[Any]:
        return list(self.apple.taken.values())

    def payload(self) -> msgspec.Struct:
        return payload(sound="default", badge=0, image="https://shop.example.com/a.png")

    def test_one_connection_and_one_token_carry_a_batch_under_stable_ids(self) -> None:
        parcels, results = self.send(asked.OK)
        again = list(self.provider.send(self.sender(), iter(parcels), NOW))
        assert self.apple.connections == 1
        assert len(self.apple.tokens) == 1
        assert {result.provider_id for result in results} == {result.provider_id for result in again}
        assert len(self.received()) == len(parcels), "the collapse id shows a repetition once"

    def test_a_phone_that_registered_since_is_kept(self) -> None:
        [parcel, *_rest] = self.parcels()
        self.apple.usual = (410, "Unregistered")
        outcomes = []
        for passed in (timedelta(days=-1), timedelta(days=1)):
            device = Device(endpoint=PHONES[0], changed_at=datetime.now(UTC) + passed)
            known = msgspec.structs.replace(parcel, address=Address(PHONES[0], device))
            [result] = self.provider.send(self.sender(), iter([known]), NOW)
            outcomes.append(result.outcome)
        assert outcomes == [Outcome.GONE, Outcome.RETRY]

    def test_a_key_that_apple_refuses_fails_the_check(self) -> None:
        self.serve(asked.REFUSED)
        with pytest.raises(ProviderError, match="InvalidProviderToken"):
            self.provider.check(self.sender())

    def test_all_processes_make_the_same_token_for_half_an_hour(self) -> None:
        sender = self.sender()
        made = []
        for passed in (0, 1799, 1800):
            apns._token.cache_clear()  # another process
            made.append(apns.provider_token(sender, 1_800_000_000.0 + passed))
        assert made[0] == made[1] != made[2]

    @pytest.mark.parametrize("text", ["", "x", google.key_file("")])
    def test_another_file_is_told_in_the_form(self, text: str) -> None:
        form: AccountForm = self.provider.Form({"private_key": text})
        assert "private_key" in form.errors


Texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(
    content=st.builds(
        push.PushPayload,
        tag=Texts.filter(bool),
        ttl=st.integers(0, push.MAX_TTL),
        title=Texts.filter(bool),
        body=Texts,
        url=st.sampled_from(["", "https://shop.example.com/x", "/cart"]),
        app_url=st.sampled_from(["", "shop://cart"]),
        image=st.sampled_from(["", "https://shop.example.com/a.png"]),
        sound=st.sampled_from(["", "default"]),
        badge=st.none() | st.integers(0, 9999),
        collapse=st.booleans(),
        urgency=st.sampled_from(["normal", "high"]),
        silent=st.booleans(),
        actions=st.lists(st.builds(push.Button, Texts, Texts), max_size=3).map(tuple),
        data=st.dictionaries(Texts, Texts, max_size=3),
        token=st.just("t"),
    ),
    left=st.integers(0, push.MAX_TTL),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_both_services_understand_every_push(content: push.PushPayload, left: int) -> None:
    """Held to FCM's API description and to Apple's rules."""
    message = push.fcm_message(content, TOKENS[0], left, NOW)
    google.check("SendMessageRequest", {"message": message})
    assert ("notification" in message) != content.silent
    headers = push.apns_headers(content, 5)
    assert all(
        1 <= len(value) <= 64 and value.isascii() and value.isprintable() for value in headers.values()
    )
    assert ("alert" in push.aps(content)) != content.silent
