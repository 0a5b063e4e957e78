"""Push subscriptions without a browser: key pairs of our own, so tests can decrypt what the product sent."""

import base64
import secrets
from typing import TYPE_CHECKING, Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.push.loopthread import WAIT

if TYPE_CHECKING:
    from tests.push.faults import Fault
    from tests.push.journal import Push
    from tests.push.service import PushService, Subscription


def b64url(raw: bytes) -> str:
    """Base64url without padding, as all of web push writes it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Decode base64url, padded or not; raises ValueError for anything else."""
    text = text.rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class ClientKeys:
    """The P-256 key pair and 16-byte authentication secret of one subscription (RFC 8291, section 2)."""

    def __init__(
        self, private_key: ec.EllipticCurvePrivateKey | None = None, auth: bytes | None = None
    ) -> None:
        self.private_key = private_key or ec.generate_private_key(ec.SECP256R1())
        self.auth = auth or secrets.token_bytes(16)

    def decrypt(self, body: bytes) -> bytes:
        """Plain text of an aes128gcm body; raises http_ece.ECEException when it was not for these keys."""
        return http_ece.decrypt(body, private_key=self.private_key, auth_secret=self.auth)

    def to_json(self) -> dict[str, str]:
        """The `keys` member of PushSubscription.toJSON()."""
        point = self.private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"p256dh": b64url(point), "auth": b64url(self.auth)}


class BrowserlessSubscription:
    """One subscription at the local push service whose private keys are here."""

    def __init__(self, service: "PushService", subscription: "Subscription") -> None:
        self._service = service
        self._subscription = subscription
        self.endpoint = subscription.endpoint

    def to_json(self) -> dict[str, Any]:
        """What PushSubscription.toJSON() gives a page: `endpoint`, `expirationTime`, `keys`."""
        assert self._subscription.keys
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": self._subscription.keys.to_json()}

    def fail_next(self, fault: "Fault", times: int = 1) -> None:
        """Let the next `times` pushes to this subscription meet `fault`; calls queue up."""
        self._service.fail_next(self.endpoint, fault, times)

    @property
    def pushes(self) -> "list[Push]":
        """Every push to this subscription so far, refused ones too."""
        return [push for push in self._service.journal if push.endpoint == self.endpoint]

    def wait_for_push(self, timeout: float = WAIT) -> "Push":
        """Return the first accepted push to this subscription."""
        return self._service.journal.wait_for(
            lambda push: push.endpoint == self.endpoint and push.accepted, timeout
        )

    def unsubscribe(self) -> None:
        """Give the subscription up as a page does; later pushes are answered 410."""
        self._service.unregister(self.endpoint, 200)


def subscribe(service: "PushService", application_server_key: str | None = None) -> BrowserlessSubscription:
    """Make a subscription at `service`.

    `application_server_key` is the VAPID public key (base64url) it is bound to; None takes any valid key.
    """
    return BrowserlessSubscription(service, service.register(application_server_key, keys=ClientKeys()))


def subscribe_many(
    service: "PushService", count: int, application_server_key: str | None = None
) -> list[BrowserlessSubscription]:
    """Make `count` subscriptions, e.g. for a benchmark."""
    return [subscribe(service, application_server_key) for _ in range(count)]
