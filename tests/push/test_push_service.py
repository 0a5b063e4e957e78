"""The local push service judges pushes as strictly as real ones do and fails on demand."""

import base64
import json
import subprocess
import sys
import threading
import time
from typing import Any

import http_ece
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.push.client import BrowserlessSubscription, ClientKeys, subscribe, subscribe_many
from tests.push.faults import Fault
from tests.push.journal import Journal
from tests.push.loopthread import WAIT
from tests.push.sender import Sender
from tests.push.service import PushService

# RFC 8291, section 5: the receiver's private key and authentication secret, the message and its plain text.
RFC_8291_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
RFC_8291_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
RFC_8291_MESSAGE = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A"
    "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
RFC_8291_TEXT = b"When I grow up, I want to be a watermelon"


@pytest.fixture
def subscription(push_service: PushService, sender: Sender) -> BrowserlessSubscription:
    """A subscription bound to the sender's key."""
    return subscribe(push_service, sender.public_key)


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TestEncryption:
    def test_decrypts_the_example_of_rfc_8291(self) -> None:
        secret = int.from_bytes(unb64(RFC_8291_PRIVATE), "big")
        keys = ClientKeys(ec.derive_private_key(secret, ec.SECP256R1()), unb64(RFC_8291_AUTH))
        assert keys.decrypt(unb64(RFC_8291_MESSAGE)) == RFC_8291_TEXT

    def test_journals_what_was_sent(
        self, push_service: PushService, subscription: BrowserlessSubscription, sender: Sender
    ) -> None:
        headers = {"Topic": "cart", "Urgency": "high"}
        answer = sender.push(subscription.to_json(), '{"title": "Hallo ☕"}', ttl=90, headers=headers)
        assert (answer.status_code, answer.headers["TTL"]) == (201, "90")
        assert answer.headers["Location"].startswith(f"{push_service.origin}/m/")
        push = subscription.wait_for_push()
        assert push.json == {"title": "Hallo ☕"}
        assert (push.headers["topic"], push.headers["urgency"], push.headers["ttl"]) == ("cart", "high", "90")
        assert push.received_at.tzinfo is not None
        assert push_service.acks.wait_for(lambda ack: ack.endpoint == push.endpoint).code == 100

    def test_a_push_for_other_keys_is_taken_but_not_delivered(
        self, push_service: PushService, subscription: BrowserlessSubscription, sender: Sender
    ) -> None:
        foreign = {"endpoint": subscription.endpoint, "keys": ClientKeys().to_json()}
        assert sender.push(foreign, "{}").status_code == 201
        assert push_service.acks.wait_for(lambda ack: ack.endpoint == subscription.endpoint).code == 101
        with pytest.raises(http_ece.ECEException):
            _ = subscription.wait_for_push().payload


class TestStrictness:
    @staticmethod
    def send(subscription: BrowserlessSubscription, sender: Sender, **changes: Any) -> tuple[int, int | None]:
        """Post a good push with some parts changed (headers; `claims`; `body`); return status and errno."""
        keys = subscription.to_json()["keys"]
        origin = subscription.endpoint.partition("/wpush")[0]
        body = changes.pop("body", None) or http_ece.encrypt(
            b"{}", private_key=ec.generate_private_key(ec.SECP256R1()), dh=unb64(keys["p256dh"]),
            auth_secret=unb64(keys["auth"]),
        )  # fmt: skip
        headers = {
            "TTL": "60",
            "Content-Encoding": "aes128gcm",
            "Authorization": sender.authorization(origin, **changes.pop("claims", {})),
        } | changes
        answer = sender.post(subscription.endpoint, body, headers)
        assert answer.status_code == 201 or answer.json()["code"] == answer.status_code
        return answer.status_code, answer.json()["errno"] if answer.content else None

    def test_a_good_push_is_taken(self, subscription: BrowserlessSubscription, sender: Sender) -> None:
        assert self.send(subscription, sender) == (201, None)

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "https://push.example.com"},
            {"aud": None},
            {"exp": int(time.time()) - 1},
            {"exp": int(time.time()) + 25 * 3600},
            {"exp": "tomorrow"},
            {"sub": None},
            {"sub": "push@example.com"},
        ],
        ids=["aud-other", "aud-missing", "exp-past", "exp-far", "exp-text", "sub-missing", "sub-no-url"],
    )
    def test_bad_claims(
        self, subscription: BrowserlessSubscription, sender: Sender, claims: dict[str, Any]
    ) -> None:
        assert self.send(subscription, sender, claims=claims) == (401, 109)

    def test_a_wrong_signature(self, subscription: BrowserlessSubscription, sender: Sender) -> None:
        origin = subscription.endpoint.partition("/wpush")[0]
        mine, other = sender.authorization(origin), Sender().authorization(origin)
        mixed = f"{other.partition(',')[0]},{mine.partition(',')[2]}"
        assert self.send(subscription, sender, Authorization=mixed) == (401, 109)

    def test_another_senders_key(self, subscription: BrowserlessSubscription) -> None:
        assert self.send(subscription, Sender()) == (401, 109)

    @pytest.mark.parametrize(
        ("changes", "answer"),
        [
            ({"Authorization": None}, (401, 109)),
            ({"Authorization": "WebPush abc"}, (401, 109)),
            ({"Authorization": "vapid t=a.b.c, k=d"}, (401, 109)),
            ({"TTL": None}, (400, 111)),
            ({"TTL": "soon"}, (400, 112)),
            ({"TTL": "-1"}, (400, 112)),
            ({"Topic": "not base64!"}, (400, 113)),
            ({"Topic": "a" * 33}, (400, 113)),
            ({"Urgency": "extreme"}, (400, 111)),
            ({"Content-Encoding": None}, (400, 110)),
            ({"Content-Encoding": "aesgcm"}, (400, 110)),
            ({"body": b"plain text"}, (400, 110)),
            ({"body": bytes(4097)}, (413, 104)),
        ],
        ids=str,
    )
    def test_bad_requests(
        self,
        subscription: BrowserlessSubscription,
        sender: Sender,
        changes: dict[str, Any],
        answer: tuple[int, int],
    ) -> None:
        assert self.send(subscription, sender, **changes) == answer
        assert not any(push.accepted for push in subscription.pushes)

    def test_the_largest_payload(self, subscription: BrowserlessSubscription, sender: Sender) -> None:
        assert sender.push(subscription.to_json(), "x" * 3993).status_code == 201
        assert sender.push(subscription.to_json(), "x" * 3994).status_code == 413

    def test_a_long_ttl_is_cut(self, subscription: BrowserlessSubscription, sender: Sender) -> None:
        assert sender.push(subscription.to_json(), "{}", ttl=10**9).headers["TTL"] == str(30 * 24 * 3600)

    def test_ended_and_unknown_subscriptions(
        self, push_service: PushService, subscription: BrowserlessSubscription, sender: Sender
    ) -> None:
        subscription.unsubscribe()
        assert sender.push(subscription.to_json(), "{}").json()["errno"] == 106
        push_service.forget(subscription.endpoint)
        answer = sender.push(subscription.to_json(), "{}")
        assert (answer.status_code, answer.json()["errno"]) == (404, 102)


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status", "retry_after"),
        [
            (Fault.not_found(), 404, None),
            (Fault.gone(), 410, None),
            (Fault.too_large(), 413, None),
            (Fault.too_many(7), 429, "7"),
            (Fault.too_many("Wed, 21 Oct 2026 07:28:00 GMT"), 429, "Wed, 21 Oct 2026 07:28:00 GMT"),
            (Fault.unavailable(), 503, None),
            (Fault.unavailable(120), 503, "120"),
            (Fault.answer(403), 403, None),
        ],
    )
    def test_an_answer_for_the_next_two_pushes(
        self,
        subscription: BrowserlessSubscription,
        sender: Sender,
        fault: Fault,
        status: int,
        retry_after: str | None,
    ) -> None:
        subscription.fail_next(fault, times=2)
        answers = [sender.push(subscription.to_json(), "{}") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [status, status, 201]
        assert answers[0].headers.get("Retry-After") == retry_after
        assert [push.status for push in subscription.pushes] == [status, status, 201]

    @pytest.mark.parametrize("accept", [False, True])
    def test_a_closed_connection(
        self, subscription: BrowserlessSubscription, sender: Sender, accept: bool
    ) -> None:
        subscription.fail_next(Fault.closed(accept=accept))
        with pytest.raises(requests.ConnectionError):
            sender.push(subscription.to_json(), "{}")
        assert [push.accepted for push in subscription.pushes] == [accept]

    def test_a_slow_answer(self, subscription: BrowserlessSubscription, sender: Sender) -> None:
        subscription.fail_next(Fault.slow(0.2))
        start = time.monotonic()
        assert sender.push(subscription.to_json(), "{}").status_code == 201
        assert time.monotonic() - start >= 0.2

    def test_a_held_answer(
        self, push_service: PushService, subscription: BrowserlessSubscription, sender: Sender
    ) -> None:
        subscription.fail_next(Fault.held())
        answers: Journal[int] = Journal()
        thread = threading.Thread(
            target=lambda: answers.append(sender.push(subscription.to_json(), "{}").status_code), daemon=True
        )
        thread.start()
        assert subscription.wait_for_push().json == {}
        assert not list(answers)
        push_service.release()
        assert answers.wait_for() == 201
        thread.join(WAIT)

    def test_an_outage(self, sender: Sender) -> None:
        with PushService() as service:
            subscription = subscribe(service, sender.public_key)
            service.stop()
            with pytest.raises(requests.ConnectionError):
                sender.push(subscription.to_json(), "{}")
            service.start()
            assert sender.push(subscription.to_json(), "{}").status_code == 201


class TestJournal:
    @given(st.lists(st.integers(0, 9)), st.integers(0, 9))
    def test_finds_the_oldest_match(self, entries: list[int], wanted: int) -> None:
        journal: Journal[tuple[int, int]] = Journal()
        for position, entry in enumerate(entries):
            journal.append((position, entry))
        if wanted in entries:
            assert journal.wait_for(lambda entry: entry[1] == wanted) == (entries.index(wanted), wanted)
        else:
            with pytest.raises(TimeoutError):
                journal.wait_for(lambda entry: entry[1] == wanted, timeout=0)

    def test_a_limit_keeps_the_newest_and_counts_all(self) -> None:
        journal: Journal[int] = Journal(limit=2)
        for number in range(5):
            journal.append(number)
        assert (list(journal), journal.total) == ([3, 4], 5)


def test_benchmark_mode_takes_anything_for_known_endpoints(sender: Sender) -> None:
    with PushService(verify="none", journal_limit=10) as service:
        for subscription in subscribe_many(service, 20):
            assert sender.post(subscription.endpoint, b"anything", {}).status_code == 201
        assert (service.journal.total, len(service.journal)) == (20, 10)
        assert sender.post(f"{service.origin}/wpush/v2/unknown", b"", {}).status_code == 404


def test_runs_as_a_program(sender: Sender) -> None:
    command = [sys.executable, "-m", "tests.push.service", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            origin = json.loads(process.stdout.readline())["origin"]
            answer = requests.post(f"{origin}/subscriptions", json={"count": 2}, timeout=WAIT)
            for subscription in answer.json()["subscriptions"]:
                assert sender.push(subscription, "{}").status_code == 201
            stats = requests.get(f"{origin}/stats", timeout=WAIT).json()
            assert stats == {"pushes": 2, "accepted": 2, "delivered": 2, "subscriptions": 2}
        finally:
            process.terminate()
        assert process.wait(WAIT) == 0
