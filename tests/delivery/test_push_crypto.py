"""Encryption and signatures, against the vectors that the RFCs print and a second implementation."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connections
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from py_vapid import Vapid02
from pywebpush import WebPusher

from delivery import vapid
from delivery.encryption import MAX_PLAINTEXT, BadKeys, encrypt
from delivery.models import VapidKey
from delivery.vapid import Signer, b64url, unb64url
from tests.push.client import ClientKeys
from tests.push.judge import MAX_BODY, Refusal, VapidJudge

# RFC 8291, section 5 and appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
BROWSER_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
BROWSER_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SENDER_PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)

# RFC 8292, section 2.4: a token that its key verifies, and what it claims.
VAPID_HEADER = (
    "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE"
    "0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpi"
    "UfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA,k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDY"
    "ic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
)


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(unb64url(text), "big"), ec.SECP256R1())


class TestEncryption:
    def test_rfc_8291(self, monkeypatch) -> None:
        monkeypatch.setattr(ec, "generate_private_key", lambda *_args: private_key(SENDER_PRIVATE))
        monkeypatch.setattr(os, "urandom", lambda size: unb64url(SALT)[:size])
        assert b64url(encrypt(PLAINTEXT, BROWSER_PUBLIC, AUTH)) == BODY

    def test_the_rfcs_browser_reads_what_we_send(self) -> None:
        body = encrypt(PLAINTEXT, BROWSER_PUBLIC, AUTH)
        assert body != encrypt(PLAINTEXT, BROWSER_PUBLIC, AUTH), "a fresh key and salt each time"
        assert ClientKeys(private_key(BROWSER_PRIVATE), unb64url(AUTH)).decrypt(body) == PLAINTEXT

    def test_the_reference_reads_the_rfcs_body(self) -> None:
        assert ClientKeys(private_key(BROWSER_PRIVATE), unb64url(AUTH)).decrypt(unb64url(BODY)) == PLAINTEXT

    def test_the_largest_message_fits_a_push(self) -> None:
        assert len(encrypt(b"x" * MAX_PLAINTEXT, BROWSER_PUBLIC, AUTH)) == MAX_BODY

    @pytest.mark.parametrize(
        ("p256dh", "auth"),
        [
            *(("", AUTH), ("AAAA", AUTH), (BROWSER_PUBLIC, ""), (BROWSER_PUBLIC[:-4] + "AAAA", AUTH)),
            *((BROWSER_PUBLIC, AUTH[:-4]), ("ü" * 87, AUTH), (BROWSER_PUBLIC, "!" * 22)),
        ],
    )
    def test_bad_keys(self, p256dh: str, auth: str) -> None:
        with pytest.raises(BadKeys):
            encrypt(PLAINTEXT, p256dh, auth)

    @given(plaintext=st.binary(max_size=MAX_PLAINTEXT), secret=st.binary(min_size=16, max_size=16))
    @hypothesis_settings(max_examples=25, deadline=None)
    def test_http_ece_reads_whatever_we_send(self, plaintext: bytes, secret: bytes) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        keys = ClientKeys(private, secret).to_json()
        body = encrypt(plaintext, **keys)
        assert http_ece.decrypt(body, private_key=private, auth_secret=secret) == plaintext

    def test_it_is_pywebpushs_format(self) -> None:
        keys = ClientKeys()
        theirs = WebPusher({"endpoint": "", "keys": keys.to_json()}).encode(PLAINTEXT)["body"]
        ours = encrypt(PLAINTEXT, **keys.to_json())
        assert len(ours) == len(theirs)
        assert ours[16:21] == theirs[16:21]


class TestVapid:
    NOW = 1_780_000_000.0

    @pytest.fixture
    def signer(self) -> Signer:
        private = ec.generate_private_key(ec.SECP256R1())
        point = private.public_key().public_numbers()
        public = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
        scalar = private.private_numbers().private_value.to_bytes(32, "big")
        return Signer(b64url(public), b64url(scalar), "mailto:ops@example.com")

    def test_the_judge_accepts_rfc_8292(self) -> None:
        claims = VapidJudge("https://push.example.net").check(VAPID_HEADER, 1453523768 - 3600, None)
        assert claims["sub"] == "mailto:push@example.com"

    def test_a_service_accepts_our_header(self, signer: Signer) -> None:
        judge = VapidJudge("https://push.example.net")
        header = signer.authorization("https://push.example.net", self.NOW)
        claims = judge.check(header, self.NOW, signer.public_key)
        assert claims["exp"] == int(self.NOW) + 12 * 3600
        assert Vapid02.verify(header), "and so does the reference library"

    def test_each_service_gets_its_own(self, signer: Signer) -> None:
        header = signer.authorization("https://one.example", self.NOW)
        with pytest.raises(Refusal):
            VapidJudge("https://two.example").check(header, self.NOW, None)
        assert signer.authorization("https://two.example", self.NOW) != header

    def test_it_is_kept_for_hours_and_renewed_in_time(self, signer: Signer) -> None:
        first = signer.authorization("https://one.example", self.NOW)
        assert signer.authorization("https://one.example", self.NOW + 5 * 3600) == first
        later = self.NOW + 7 * 3600
        renewed = signer.authorization("https://one.example", later)
        assert renewed != first
        VapidJudge("https://one.example").check(renewed, later, signer.public_key)

    def test_a_clock_that_was_set_back_does_not_leave_tokens_from_the_future(self, signer: Signer) -> None:
        signer.authorization("https://one.example", self.NOW)
        earlier = self.NOW - 30 * 24 * 3600
        VapidJudge("https://one.example").check(
            signer.authorization("https://one.example", earlier), earlier, signer.public_key
        )

    @pytest.mark.django_db(transaction=True)
    def test_first_calls_at_once_make_one_pair(self) -> None:
        def call(_number: int) -> str:
            try:
                return vapid.public_key()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            keys = set(pool.map(call, range(8)))
        assert len(keys) == VapidKey.objects.count() == 1

    @pytest.mark.django_db
    def test_the_private_key_is_encrypted_at_rest(self) -> None:
        from django.db import connection

        key = vapid.get_or_create()
        with connection.cursor() as cursor:
            cursor.execute("SELECT private_key FROM delivery_vapidkey")
            [(stored,)] = cursor.fetchall()
        assert key.private_key not in stored
        assert json.dumps(key.private_key) not in stored
        assert len(unb64url(key.public_key)) == 65
