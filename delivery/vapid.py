"""Our identity towards push services (RFC 8292): one key pair for the installation, one signed token per service."""

import base64
import json
import threading
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from delivery.models import VapidKey

LIFETIME = 12 * 3600  # seconds; services refuse more than 24 hours
_ES256 = ec.ECDSA(SHA256(), deterministic_signing=True)
REFRESH_BEFORE = 6 * 3600  # seconds: a push signed now is still valid when a slow service looks at it


def b64url(raw: bytes) -> str:
    """Base64url without padding, as all of web push writes it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Decode base64url with or without padding; ValueError when it is not."""
    return base64.b64decode(
        text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True
    )


def get_or_create() -> VapidKey:
    """Return the installation's key pair, made at the first call. Two first calls at once get the same pair."""
    key = VapidKey.objects.first()
    if key is None:
        private = ec.generate_private_key(ec.SECP256R1())
        VapidKey.objects.bulk_create(
            [
                VapidKey(
                    public_key=b64url(
                        private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                    ),
                    private_key=b64url(private.private_numbers().private_value.to_bytes(32, "big")),
                )
            ],
            ignore_conflicts=True,
        )
        key = VapidKey.objects.get()
    return key


def public_key() -> str:
    """The application server key that browsers subscribe with, base64url without padding."""
    return get_or_create().public_key


class Signer:
    """Makes Authorization headers with one key and keeps them, since signing costs more than all the rest."""

    def __init__(self, public_key: str, private_key: str, subject: str):
        self.public_key = public_key
        self._private = ec.derive_private_key(int.from_bytes(unb64url(private_key), "big"), ec.SECP256R1())
        self._subject = subject
        self._headers: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def authorization(self, origin: str, now: float | None = None) -> str:
        """Return the Authorization header for pushes to `origin` (scheme://host[:port]).

        Args:
            now: Unix time in seconds; default the clock.
        """
        now = time.time() if now is None else now
        with self._lock:
            expires, header = self._headers.get(origin, (0.0, ""))
            if not 0 <= expires - now - REFRESH_BEFORE <= LIFETIME:
                expires = now + LIFETIME
                header = f"vapid t={self._token(origin, int(expires))},k={self.public_key}"
                self._headers[origin] = expires, header
        return header

    def _token(self, origin: str, expires: int) -> str:
        claims = {"aud": origin, "exp": expires, "sub": self._subject}
        return es256(self._private, {"typ": "JWT", "alg": "ES256"}, claims)


def es256(private: ec.EllipticCurvePrivateKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Return a JSON Web Token signed with ES256 (RFC 7515, RFC 7518); the same input gives the same one (RFC 6979)."""
    signed = ".".join(b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    r, s = decode_dss_signature(private.sign(signed.encode(), _ES256))
    return f"{signed}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


_signers: dict[tuple[str, str], Signer] = {}


def signer(subject: str) -> Signer:
    """Return this process's signer for the installation's key; `subject` is a mailto: or https: URL (the operator)."""
    key = get_or_create()
    found = _signers.get((key.public_key, subject))
    if found is None:
        found = _signers.setdefault(
            (key.public_key, subject), Signer(key.public_key, key.private_key, subject)
        )
    return found
