"""Encryption of web push messages (RFC 8291: aes128gcm of RFC 8188 with keys agreed on by ECDH)."""

import hmac
import os
from binascii import a2b_base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_PLAINTEXT = 3993  # bytes: 4096 of body less the header of 86 and the tag with its delimiter of 17
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_RECORD_SIZE = (4096).to_bytes(4, "big")
_KEY_LENGTH = b"\x41"  # an uncompressed point: 65 bytes
_LAST_RECORD = b"\x02"
_KEY_INFO = b"Content-Encoding: aes128gcm\x00\x01"
_NONCE_INFO = b"Content-Encoding: nonce\x00\x01"


class BadKeys(ValueError):
    """The keys of a subscription can't be used."""


def encrypt(plaintext: bytes, p256dh: str, auth: str) -> bytes:
    """Return the body of a push: header, then `plaintext` encrypted for one subscription.

    Args:
        plaintext: at most MAX_PLAINTEXT bytes.
        p256dh: the browser's public key, base64url.
        auth: the browser's 16-byte secret, base64url.

    Raises:
        BadKeys: the keys are no keys.
    """
    try:
        browser, secret = _decoded(p256dh), _decoded(auth)
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, browser)
    except ValueError as error:
        raise BadKeys(f"{BadKeys.__doc__} {type(error).__name__}") from error
    if len(secret) != 16:
        raise BadKeys(f"{BadKeys.__doc__} The secret has {len(secret)} bytes.")
    ours = ec.generate_private_key(_CURVE)
    public = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    salt = os.urandom(16)
    # HKDF (RFC 5869) three times; each result fits one block, so expanding is a single HMAC. RFC 8291, section 3.4.
    shared = _hmac(secret, ours.exchange(_ECDH, theirs))
    material = _hmac(shared, b"WebPush: info\x00" + browser + public + b"\x01")
    pseudorandom = _hmac(salt, material)
    key, nonce = _hmac(pseudorandom, _KEY_INFO)[:16], _hmac(pseudorandom, _NONCE_INFO)[:12]
    record = AESGCM(key).encrypt(nonce, plaintext + _LAST_RECORD, None)
    return b"".join((salt, _RECORD_SIZE, _KEY_LENGTH, public, record))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _decoded(text: str) -> bytes:
    """Decode base64url with or without padding; ValueError when it is not."""
    raw = text.encode("ascii").rstrip(b"=").translate(_URL_SAFE)
    return a2b_base64(raw + b"===="[len(raw) % 4 or 4 :], strict_mode=True)
