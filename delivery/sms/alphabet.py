"""The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038, section 6.2.1)."""

ESCAPE = 0x1B
# In the order of the codes; the one of the escape itself stands for no character.
_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
BASIC = {character: code for code, character in enumerate(_BASIC) if code != ESCAPE}
EXTENSION = {character: code for code, character in _EXTENSION.items()}
_ALL = BASIC.keys() | EXTENSION.keys()


class NotInAlphabet(ValueError):
    """A character that GSM-7 does not have."""


def fits(text: str) -> bool:
    """Whether all of `text` can be sent in GSM-7."""
    return _ALL.issuperset(text)


def strangers(text: str) -> list[str]:
    """The characters of `text` that GSM-7 does not have, each once, in order of appearance."""
    return list(dict.fromkeys(character for character in text if character not in _ALL))


def septets(text: str) -> int:
    """How many septets `text` takes: two for each character of the extension table."""
    return len(text) + sum(map(text.count, EXTENSION))


def encode(text: str) -> bytes:
    """`text` in septets, one a byte (not packed).

    Raises:
        NotInAlphabet: it can't be sent in GSM-7.
    """
    coded = bytearray()
    for character in text:
        if (code := BASIC.get(character)) is not None:
            coded.append(code)
        elif (code := EXTENSION.get(character)) is not None:
            coded += bytes([ESCAPE, code])
        else:
            raise NotInAlphabet(character)
    return bytes(coded)


def decode(coded: bytes) -> str:
    """The text of septets, one a byte. Of an extension that is none the basic character is shown, as phones do."""
    text, escaped = [], False
    for code in coded:
        if code == ESCAPE:
            escaped = True
            continue
        text.append(_EXTENSION.get(code, _BASIC[code]) if escaped else _BASIC[code])
        escaped = False
    return "".join(text)
