"""Salesforce record ids: fifteen case-sensitive characters, or eighteen with a checksum of their case."""

from __future__ import annotations

import re

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
INSTANCE = "Qy000"  # what follows the key prefix: the server that made the record, and a reserved digit
ORGANIZATION = "00DQy0000004Wxy"
USER = "005Qy0000001Adm"
SHAPE = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")


def checksum(short: str) -> str:
    """The three characters that tell which of the fifteen are capitals."""
    return "".join(
        CHECK[sum(1 << place for place, char in enumerate(short[start : start + 5]) if "A" <= char <= "Z")]
        for start in (0, 5, 10)
    )


def make(prefix: str, number: int) -> str:
    """The 18-character id of an object's nth record; ascending numbers give ascending ids."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    short = prefix + INSTANCE + digits.rjust(7, "0")
    return short + checksum(short)


def long_form(text: str) -> str | None:
    """The 18-character form of an id, or None if the text has not the shape of one."""
    if not SHAPE.fullmatch(text):
        return None
    short = text[:15]
    if len(text) == 18 and text[15:].upper() != checksum(short):
        return None
    return short + checksum(short)
