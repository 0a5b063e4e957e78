"""Web addresses in plain text."""

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

_URL = re.compile(r"https?://[^\s<>\"\x00-\x1f\\^`{|}]+", re.IGNORECASE)
# What ends a sentence rather than an address, in the scripts that our customers write in.
_AFTER = ".,;:!?'*_~،؛؟。、，！？…»”’"
_PAIRS = {")": "(", "]": "["}


@lru_cache(maxsize=2048)  # the same few for everybody
def is_web(address: str) -> bool:
    """Whether a browser may be led to this address: http or https, with a host and nothing that breaks a header."""
    try:
        parts = urlsplit(address)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
    return fine and not any(character.isspace() or ord(character) < 0x21 for character in address)


def text_links(text: str, change: Callable[[str], str]) -> str:
    """Return plain text with each web address in it changed."""
    if "://" not in text:
        return text
    return _URL.sub(lambda found: _changed(found[0], change), text)


def _changed(address: str, change: Callable[[str], str]) -> str:
    end = len(address)
    while end and (
        address[end - 1] in _AFTER
        or (
            address[end - 1] in _PAIRS
            and address.count(address[end - 1], 0, end) > address.count(_PAIRS[address[end - 1]], 0, end)
        )
    ):
        end -= 1
    return change(address[:end]) + address[end:] if is_web(address[:end]) else address
