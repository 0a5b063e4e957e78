"""Google's OAuth 2.0 for service accounts: a signed assertion buys a token for an hour (RFC 7523).

https://developers.google.com/identity/protocols/oauth2/service-account
"""

import hashlib
import threading
import time
from functools import lru_cache
from urllib.parse import urlencode

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.utils.translation import gettext as _

from delivery.providers.base import ProviderError
from delivery.providers.http import ask

TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3600  # seconds of an assertion, the most that Google takes
EARLY = 300  # seconds before its end that a token is renewed


class BadKey(ValueError):
    """A text that is no service account's key; the message is a sentence without secrets."""


class ServiceAccount(msgspec.Struct, frozen=True):
    """What a service account's file says that is needed here."""

    type: str
    project_id: str
    private_key: str
    client_email: str
    private_key_id: str = ""
    token_uri: str = TOKEN_URI


@lru_cache(maxsize=64)
def read_key(text: str) -> ServiceAccount:
    """Read the file of a service account's key; BadKey when it is none."""
    try:
        key = msgspec.json.decode(text, type=ServiceAccount)
        private = load_pem_private_key(key.private_key.encode(), None)
    except (ValueError, TypeError, msgspec.MsgspecError):
        raise BadKey(_("This is not the JSON of a service account's key.")) from None
    if key.type != "service_account" or not isinstance(private, RSAPrivateKey) or not key.project_id:
        raise BadKey(_("This is not the JSON of a service account's key."))
    return key


_tokens: dict[tuple[str, str], tuple[float, str]] = {}
_lock = threading.Lock()


def access_token(key: ServiceAccount, scope: str, now: float | None = None) -> str:
    """Return a bearer token; it is kept for as long as it is good.

    Args:
        now: Unix time in seconds; default the clock.

    Raises:
        ProviderError: Google does not answer, or refuses the key.
    """
    now = time.time() if now is None else now
    with _lock:
        until, token = _tokens.get(_name(key, scope), (0.0, ""))
        if not 0 < until - now - EARLY <= LIFETIME:
            token, seconds = _buy(key, scope, int(now))
            _tokens[_name(key, scope)] = now + seconds, token
    return token


def forget(key: ServiceAccount, scope: str) -> None:
    """Buy another token the next time: Google did not want this one any more."""
    with _lock:
        _tokens.pop(_name(key, scope), None)


def _buy(key: ServiceAccount, scope: str, now: int) -> tuple[str, float]:
    claims = {
        "iss": key.client_email,
        "scope": scope,
        "aud": key.token_uri,
        "iat": now,
        "exp": now + LIFETIME,
    }
    assertion = jwt.encode(claims, key.private_key, "RS256", headers={"kid": key.private_key_id})
    body = urlencode({"grant_type": GRANT, "assertion": assertion}).encode()
    answer = ask(key.token_uri, ["Content-Type: application/x-www-form-urlencoded"], "POST", body)
    found = answer.json
    token, seconds = found.get("access_token"), found.get("expires_in")
    if answer.status != 200 or not isinstance(token, str) or not isinstance(seconds, (int, float)):
        why = str(found.get("error_description") or found.get("error") or "")[:200]
        raise ProviderError(f"Google answers {answer.status} to the service account's key. {why}".strip())
    return token, float(seconds)


def _name(key: ServiceAccount, scope: str) -> tuple[str, str]:
    return hashlib.sha256(f"{key.token_uri} {key.private_key}".encode()).hexdigest(), scope
