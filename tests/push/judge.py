"""Is this push request well formed and rightly signed? Refusals carry autopush's status and errno.

Rules: RFC 8030 (TTL, Urgency, Topic), RFC 8188 and 8291 (body), RFC 8292 (VAPID), and the errno table of
autopush-rs (docs/src/http.md). Stricter than autopush in two points that other vendors enforce: `sub` is
required (RFC 8292 only recommends it, Apple demands it) and Urgency must be one of the four words.
"""

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from tests.push.client import unb64url

MAX_BODY = 4096
MAX_TTL = 30 * 24 * 3600
MAX_VAPID_LIFETIME = 24 * 3600
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TOKEN_CACHE_SIZE = 4096


class Refusal(Exception):
    """A push that is answered with an error."""

    def __init__(self, status: int, errno: int | None, message: str) -> None:
        super().__init__(message)
        self.status, self.errno, self.message = status, errno, message


def ttl_of(headers: Mapping[str, str]) -> int:
    """The TTL header in seconds, cut to what the service keeps; Refusal when missing or not a number."""
    text = headers.get("ttl")
    if text is None:
        raise Refusal(400, 111, "Missing TTL header")
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, 112, f"Invalid TTL header: {text!r}")
    return min(int(text), MAX_TTL)


def check_headers(headers: Mapping[str, str], body: bytes) -> None:
    """Refuse a bad Topic, Urgency, content encoding or size."""
    topic = headers.get("topic")
    if topic is not None and not _TOPIC.fullmatch(topic):
        raise Refusal(400, 113, "Topic must be 1 to 32 base64url characters")
    if headers.get("urgency", "normal") not in {"very-low", "low", "normal", "high"}:
        raise Refusal(400, 111, "Urgency must be very-low, low, normal or high")
    if len(body) > MAX_BODY:
        raise Refusal(413, 104, f"Body of {len(body)} bytes is larger than {MAX_BODY}")
    if body:
        _check_encryption(headers, body)


def _check_encryption(headers: Mapping[str, str], body: bytes) -> None:
    if headers.get("content-encoding") != "aes128gcm":
        raise Refusal(400, 110, "Content-Encoding must be aes128gcm")
    # RFC 8188: salt (16), record size (4), length of key id (1), key id: the sender's public key (65); tag (16).
    if len(body) < 86 + 17 or body[20] != 65 or body[21] != 4:
        raise Refusal(400, 110, "Body has no aes128gcm header with an uncompressed P-256 key")
    if struct.unpack("!L", body[16:20])[0] < 18:
        raise Refusal(400, 110, "Record size is below 18")


class VapidJudge:
    """Check `Authorization: vapid t=…, k=…` (RFC 8292) for pushes to one origin.

    Senders reuse a token for hours, so checked signatures are remembered; times and keys are checked each time.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._checked: dict[str, tuple[dict[str, Any], str]] = {}

    def check(self, authorization: str | None, now: float, subscription_key: str | None) -> dict[str, Any]:
        """Return the token's claims; Refusal 401 when anything is wrong.

        `now` is a Unix time in seconds, `subscription_key` the application server key the subscription is
        bound to.
        """
        if not authorization:
            raise _unauthorized("Missing Authorization header")
        claims, key = self._checked.get(authorization) or self._verify(authorization)
        if claims.get("aud") != self.origin:
            raise _unauthorized(f"aud is {claims.get('aud')!r}, not {self.origin!r}")
        expires = claims.get("exp")
        if not isinstance(expires, int | float) or isinstance(expires, bool):
            raise _unauthorized("exp is not a number")
        if expires <= now:
            raise _unauthorized("exp has passed")
        if expires > now + MAX_VAPID_LIFETIME:
            raise _unauthorized("exp is more than 24 hours ahead")
        if not str(claims.get("sub", "")).startswith(("mailto:", "https:")):
            raise _unauthorized("sub is not a mailto: or https: URL")
        if subscription_key is not None and key != subscription_key.rstrip("="):
            raise _unauthorized("k is not the key of the subscription")
        return claims

    def _verify(self, authorization: str) -> tuple[dict[str, Any], str]:
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() != "vapid":
            raise _unauthorized(f"Authorization scheme is {scheme!r}, not vapid")
        fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        if not {"t", "k"} <= fields.keys():
            raise _unauthorized("Authorization lacks t or k")
        token, key = fields["t"], fields["k"].rstrip("=")
        try:
            public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unb64url(key))
            head, payload, signature = token.split(".")
            raw = unb64url(signature)
            header, claims = json.loads(unb64url(head)), json.loads(unb64url(payload))
        except (ValueError, UnicodeDecodeError) as error:
            raise _unauthorized(f"Token cannot be read: {error}") from error
        if (
            not isinstance(header, dict)
            or header.get("alg") != "ES256"
            or not isinstance(claims, dict)
            or len(raw) != 64
        ):
            raise _unauthorized("Token is not an ES256 JWT")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            public_key.verify(der, f"{head}.{payload}".encode(), ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise _unauthorized("Signature does not verify") from error
        if len(self._checked) >= _TOKEN_CACHE_SIZE:
            self._checked.clear()
        self._checked[authorization] = claims, key
        return claims, key


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, 109, message)
