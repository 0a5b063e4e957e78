"""The sender's side for tests: pywebpush with a key of its own and no proxies."""

import time
from typing import Any

import pywebpush
import requests
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02, jwt
from pywebpush import WebPushException

from tests.push.client import b64url
from tests.push.loopthread import WAIT


class Sender:
    """An application server with a VAPID key pair; `public_key` is the applicationServerKey in base64url."""

    def __init__(self) -> None:
        self._vapid = Vapid02()
        self._vapid.generate_keys()
        point = self._vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = b64url(point)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies

    def authorization(self, origin: str, **claims: Any) -> str:
        """An Authorization header for pushes to `origin`; `claims` replace the usual ones (None removes)."""
        usual = {"aud": origin, "exp": int(time.time()) + 3600, "sub": "mailto:push@example.com"}
        chosen = {name: value for name, value in (usual | claims).items() if value is not None}
        token = jwt.sign(chosen, self._vapid.private_key)  # Vapid02.sign would refuse or repair bad claims
        return f"vapid t={token},k={self.public_key}"

    def push(
        self, subscription: dict[str, Any], data: str, *, ttl: int = 60, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """Encrypt and send `data`; return the answer, even a refusal. Network errors are those of requests."""
        try:
            response = pywebpush.webpush(
                subscription,
                data,
                vapid_private_key=self._vapid,
                vapid_claims={"sub": "mailto:push@example.com"},
                ttl=ttl,
                timeout=WAIT,
                headers=headers,
                requests_session=self._session,
            )
        except WebPushException as error:
            if error.response is None:
                raise
            return error.response
        assert isinstance(response, requests.Response)
        return response

    def post(
        self, endpoint: str, body: bytes, headers: dict[str, str | None], timeout: float = WAIT
    ) -> requests.Response:
        """Send a request as it is; a header of None is left out."""
        return self._session.post(endpoint, data=body, headers=headers, timeout=timeout)
