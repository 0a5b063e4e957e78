"""Whether a browser may say who its visitor is.

Anybody can open a site's page and type a customer's email. So a site may sign the names of the people who have
logged in: `proof` is the lower-case hex HMAC-SHA256 (RFC 2104) of "<kind>:<value>" for the surest name given,
such as "external_id:C-1001", with the browser key's identity secret as the key.
"""

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from crm.identity import ORDER, Reference
from crm.models import ApiKey, Identifier

KNOWN = tuple(kind for kind in ORDER if kind != Identifier.ANONYMOUS_ID)

# Told by the layer that makes the tokens in messages' links: the profile a token was sent to, or None.
_readers: list[Callable[[str], int | None]] = []


class Judged(msgspec.Struct, frozen=True):
    """A reference to resolve, and whether its names are proven rather than claimed."""

    reference: Reference
    proven: bool


def register(reader: Callable[[str], int | None]) -> None:
    """Add a function that tells which profile a clicked message's token belongs to; None if it is not one."""
    if reader not in _readers:
        _readers.append(reader)


def sign(secret: str, kind: str, value: str) -> str:
    """What a site's server puts into its page as the proof of a name."""
    return hmac.new(secret.encode(), f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()


def judge(key: ApiKey | None, reference: Reference) -> Judged:
    """Turn what a caller says into what may be believed.

    A server's key is believed. A browser's key is believed where the proof is right; where it is missing or wrong
    the names are claims, and none at all if the key demands proofs. A valid `click` names the profile that the
    message was sent to, unless the visitor gives a name as well.

    Args:
        reference: in normal form (`identity.normal`).
    """
    plain = msgspec.structs.replace(reference, proof=None, click=None)
    if key is None or ApiKey.Scope.BROWSER not in key.scopes:
        return Judged(plain, True)
    return Judged(plain, False)
