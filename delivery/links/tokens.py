"""Tokens in tracked links: a delivery's number, which of its links, and our signature.

All are equally long, so that the length of a text message does not depend on them. They hold only letters and digits:
what recognises links in plain text leaves other characters off their end. The signature is HMAC-SHA256, cut to 64 bits:
each guess costs a request, and a hit tells where one link of one message leads.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import Literal

from django.conf import settings

Kind = Literal["link", "open"]
LENGTH = 19  # 62**19 > 2**113
MAX_LINKS = 256
_ID_BITS, _LINK_BITS, _MAC_BITS = 41, 8, 64
_HALF = 62**10  # fits into a machine word
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}


class BadToken(ValueError):
    """This token was not made by us."""


def make(delivery_id: int, link: int = 0, kind: Kind = "link") -> str:
    """Return the token for a link of a delivery (0 to 255), or for its picture: `LENGTH` letters and digits."""
    if not (0 < delivery_id < 2**_ID_BITS and 0 <= link < MAX_LINKS):
        raise ValueError("no room in the token")
    what = delivery_id << _LINK_BITS | link
    number = what << _MAC_BITS | _mac(settings.SECRET_KEY, kind, what)
    high, low = divmod(number, _HALF)
    return (_written(high) + _written(low))[-LENGTH:]


def read(token: str, kind: Kind = "link") -> tuple[int, int]:
    """Return the delivery's id and the link's number.

    Raises:
        BadToken: it is forged, damaged or not a token.
    """
    if len(token) != LENGTH or not _VALUES.keys() >= set(token):
        raise BadToken(BadToken.__doc__)
    number = 0
    for digit in token:
        number = number * 62 + _VALUES[digit]
    what, mac = number >> _MAC_BITS, number & (2**_MAC_BITS - 1)
    if what >> (_ID_BITS + _LINK_BITS):
        raise BadToken(BadToken.__doc__)
    given = mac.to_bytes(8)
    keys = [settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)]
    if not any(hmac.compare_digest(given, _mac(key, kind, what).to_bytes(8)) for key in keys):
        raise BadToken(BadToken.__doc__)
    return what >> _LINK_BITS, what & (MAX_LINKS - 1)


def short_length(base: str) -> int:
    """Return how many characters a tracked link has whose host is `base` (https://go.example.com)."""
    return len(base) + len("/l/") + LENGTH


def _written(number: int) -> str:
    """Ten digits, two at a time."""
    pairs = []
    for _place in range(5):
        number, rest = divmod(number, 3844)
        pairs.append(_PAIRS[rest])
    return "".join(reversed(pairs))


def _mac(secret: str, kind: Kind, what: int) -> int:
    return int.from_bytes(hmac.digest(_key(secret, kind), what.to_bytes(7), "sha256")[: _MAC_BITS // 8])


@lru_cache(maxsize=16)
def _key(secret: str, kind: Kind) -> bytes:
    return hashlib.sha256(f"delivery.links.{kind}:{secret}".encode()).digest()
