"""Salesforce's record ids: 15 case-sensitive characters, or 18 with a checksum of their case."""

import re

SHAPE = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def long_form(text: str) -> str | None:
    """The 18 characters of an id, or None if the text is none."""
    if not SHAPE.fullmatch(text):
        return None
    short = text[:15]
    check = "".join(
        CHECK[sum(1 << place for place, char in enumerate(short[start : start + 5]) if "A" <= char <= "Z")]
        for start in (0, 5, 10)
    )
    return short + check if text[15:].upper() in ("", check) else None
