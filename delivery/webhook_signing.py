"""Signing calls as Standard Webhooks 1.0 has it (https://www.standardwebhooks.com), for which there are libraries."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"  # of a key as people see it
LENGTHS = range(24, 65)  # bytes of a key, as the standard has it


def make() -> str:
    """A new key (base64)."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def read(written: str) -> str:
    """The key (base64) of what somebody entered, with or without the prefix.

    Raises:
        ValueError: it is none.
    """
    key = written.strip().removeprefix(PREFIX)
    try:
        length = len(base64.b64decode(key, validate=True))
    except binascii.Error:
        length = 0
    if length not in LENGTHS:
        raise ValueError("not a key of Standard Webhooks")
    return key


def sign(keys: Sequence[str], number: str, at: int, body: bytes) -> list[str]:
    """The headers of one call.

    Args:
        keys: base64.
        number: the call's own, the same when it is repeated.
        at: seconds since 1970.
    """
    signed = f"{number}.{at}.".encode() + body
    signatures = [
        base64.b64encode(hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()).decode()
        for key in keys
    ]
    told = " ".join(f"v1,{signature}" for signature in signatures)
    return [f"webhook-id: {number}", f"webhook-timestamp: {at}", f"webhook-signature: {told}"]
