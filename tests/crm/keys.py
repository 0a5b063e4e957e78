"""Push subscriptions whose keys are real."""

import base64
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_POINT = ec.generate_private_key(ec.SECP256R1()).public_key()


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def subscription(endpoint: str = "https://updates.push.services.mozilla.com/wpush/v2/1") -> dict[str, Any]:
    """What a browser's PushSubscription.toJSON() gives."""
    point = _POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {
        "endpoint": endpoint,
        "expirationTime": None,
        "keys": {"p256dh": b64url(point), "auth": b64url(secrets.token_bytes(16))},
    }
