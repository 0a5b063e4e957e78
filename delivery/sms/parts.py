"""How a text is divided into messages of the network, which is what providers charge for (3GPP TS 23.040, 9.2.3.24)."""

from typing import Literal

import msgspec

from delivery.sms import alphabet

GSM7: Literal["gsm7"] = "gsm7"
UCS2: Literal["ucs2"] = "ucs2"
Encoding = Literal["gsm7", "ucs2"]
# Units (septets, or UTF-16 code units) of a message alone, and of one of several, which carries a header.
LIMITS: dict[Encoding, tuple[int, int]] = {GSM7: (160, 153), UCS2: (70, 67)}


class Size(msgspec.Struct, frozen=True):
    """What a text takes. `left` units fit into the last part; `strangers` are the characters that force UCS-2."""

    encoding: Encoding
    units: int
    parts: int
    left: int
    strangers: list[str] = []


def measure(text: str) -> Size:
    """Measure `text`; an empty one has no part."""
    if alphabet.fits(text):
        return _size(GSM7, text, alphabet.septets(text), [])
    return _size(
        UCS2, text, len(text) + sum(character > "\uffff" for character in text), alphabet.strangers(text)
    )


def split(text: str) -> list[str]:
    """Return the parts that `text` is sent in. What takes two units is never divided: no half of a pair is a sign."""
    encoding: Encoding = GSM7 if alphabet.fits(text) else UCS2
    return [text[start:end] for start, end, _units in _cuts(encoding, text)]


def _size(encoding: Encoding, text: str, units: int, strangers: list[str]) -> Size:
    alone, of_several = LIMITS[encoding]
    if units <= alone:
        return Size(encoding, units, int(bool(text)), alone - units, strangers)
    cuts = _cuts(encoding, text)
    return Size(encoding, units, len(cuts), of_several - cuts[-1][2], strangers)


def _cuts(encoding: Encoding, text: str) -> list[tuple[int, int, int]]:
    """(start, end, units) of each part."""
    widths = [_width(encoding, character) for character in text]
    alone, limit = LIMITS[encoding]
    if sum(widths) <= alone:
        return [(0, len(text), sum(widths))] if text else []
    found, start, used = [], 0, 0
    for place, width in enumerate(widths):
        if used + width > limit:
            found.append((start, place, used))
            start, used = place, 0
        used += width
    return [*found, (start, len(text), used)]


def _width(encoding: Encoding, character: str) -> int:
    if encoding == GSM7:
        return 2 if character in alphabet.EXTENSION else 1
    return 2 if character > "\uffff" else 1
