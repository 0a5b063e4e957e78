"""Making, checking and revoking keys of the REST API."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.db.models import Q
from django.utils import timezone

from crm.models import ApiKey

SEEN_EVERY = timedelta(minutes=5)
_PORTS = {"http": 80, "https": 443}


def create(name: str, scopes: Collection[str], allowed_origins: Collection[str] = ()) -> tuple[ApiKey, str]:
    """Make a key and return it with its secret text, which is kept nowhere.

    Args:
        name: what it is for; unique.
        scopes: values of ApiKey.Scope. A browser key can't have any other scope.
        allowed_origins: sites a browser key may be used from, such as "https://shop.example.com".

    Raises:
        ValueError: no name, no scope, an unknown one, or "browser" together with another; no such site.
    """
    name = name.strip()
    if not name:
        raise ValueError("Give the key a name.")
    scopes = sorted(set(scopes))
    unknown = set(scopes) - set(ApiKey.Scope.values)
    if not scopes or unknown:
        raise ValueError(f"Choose one or more of {', '.join(ApiKey.Scope.values)}.")
    if ApiKey.Scope.BROWSER in scopes and len(scopes) > 1:
        raise ValueError("A browser key is public, so it can't have any other scope.")
    start = "pk" if ApiKey.Scope.BROWSER in scopes else "sk"
    text = f"{start}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        name=name,
        prefix=text[:8],
        digest=_digest(text),
        scopes=scopes,
        allowed_origins=[origin(site) for site in allowed_origins],
    )
    return key, text


def find(text: str, now: datetime | None = None) -> ApiKey | None:
    """Return the key in force whose secret text is `text`, noting its use every few minutes."""
    now = now or timezone.now()
    key = ApiKey.objects.filter(digest=_digest(text), revoked_at=None).first()
    if key:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - SEEN_EVERY)
        if key.last_used_at is None or key.last_used_at < now - SEEN_EVERY:
            ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
    return key


def revoke(name: str, now: datetime | None = None) -> bool:
    """Put the key called `name` out of force, for good; return whether there was one in force."""
    return bool(ApiKey.objects.filter(name=name, revoked_at=None).update(revoked_at=now or timezone.now()))


def renew_identity_secret(key: ApiKey) -> str:
    """Give a public key a new secret for proofs (crm/proof.py) and return it; those made with the old one end.

    Raises:
        ValueError: a server's key, which needs no proofs.
    """
    if ApiKey.Scope.BROWSER not in key.scopes:
        raise ValueError("Only a public key has an identity secret.")
    secret = secrets.token_urlsafe(32)
    key.identity_secret = {"secret": secret}
    key.save(update_fields=["identity_secret"])
    return secret


def require_proof(key: ApiKey, required: bool) -> None:
    """Let pages name people only with a proof, or again without one.

    Raises:
        ValueError: a proof is asked for that nobody could make.
    """
    if required and not key.identity_secret.get("secret"):
        raise ValueError("Make an identity secret first.")
    key.requires_proof = required
    key.save(update_fields=["requires_proof"])


def origin(site: str) -> str:
    """The origin of a site as browsers write it: scheme, host and, unless it is the default, port.

    Raises:
        ValueError: not a URL such as https://shop.example.com.
    """
    url = urlsplit(site.strip())
    if (
        url.scheme not in _PORTS
        or not url.hostname
        or url.path not in ("", "/")
        or url.query
        or "@" in url.netloc
    ):
        raise ValueError(f"{site!r} is not a site; write it like https://shop.example.com.")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    port = f":{url.port}" if url.port and url.port != _PORTS[url.scheme] else ""
    return f"{url.scheme}://{host}{port}"


def _digest(text: str) -> bytes:
    # The secret is 256 random bits, so a slow password hash would protect nothing more.
    return hashlib.sha256(text.encode()).digest()
