"""Marking what is sent only to be looked at."""

from typing import Any

import msgspec

MARK = "[Test]"
FIRST_LINES = ("subject", "title", "text", "body")


def mark_test(content: Any) -> Any:
    """Return a filled-in Config whose first line says that it is a test; one without a line stays as it is."""
    for name in FIRST_LINES:
        text = getattr(content, name, None)
        if isinstance(text, str) and text:
            return msgspec.structs.replace(content, **{name: f"{MARK} {text}"})
    return content
