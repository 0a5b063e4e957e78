"""What was sent, put together again from what is kept of it."""

import threading
from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import connection

from delivery.email import layouts, text
from delivery.models import EmailLayout

_HELD = 64  # layouts; another batch rarely has as many

# It is used today, too, which is how it is known when it is needed no longer; nobody waits for another to say so.
_KEEP = """
    WITH used AS (
        UPDATE delivery_emaillayout SET used_at = now() WHERE digest = (
            SELECT digest FROM delivery_emaillayout
            WHERE digest = %(digest)s AND used_at < now() - interval '1 day' FOR UPDATE SKIP LOCKED)
    )
    INSERT INTO delivery_emaillayout (digest, parts, used_at) VALUES (%(digest)s, %(parts)s::jsonb, now())
    ON CONFLICT (digest) DO NOTHING
"""


class Held(msgspec.Struct):
    """The parts of a layout. `kept` tells that the present transaction has it in the database."""

    html: layouts.Parts
    text: layouts.Parts
    kept: bool


class _Mine(threading.local):
    def __init__(self) -> None:
        self.held: dict[str, Held] = {}


_mine = _Mine()  # a transaction belongs to a thread


def hold(layout: layouts.Layout) -> None:
    """Have a layout at hand that is about to be filled in. Whether it is in the database is for `keep` to find out."""
    _remember(layout.digest, Held(layout.html, layout.text, kept=False))


def keep(digest: str) -> Held:
    """Return a layout that somebody's email goes out in, and store it in the caller's transaction if it is not.

    Raises:
        LookupError: nobody has compiled it.
    """
    found = _find(digest)
    if found is None:
        raise LookupError(f"There is no email layout {digest}.")
    if not found.kept:
        parts = msgspec.json.encode({"html": found.html, "text": found.text}).decode()
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, {"digest": digest, "parts": parts})
        found.kept = True
    return found


def html(content: Mapping[str, Any]) -> str:
    """Return the HTML of a filled-in email as deliveries keep it; empty when its layout is gone."""
    found = _find(content.get("layout", ""))
    return layouts.assemble(found.html, content.get("values", [])) if found else ""


def plain(content: Mapping[str, Any]) -> str:
    """Return its text part."""
    if content.get("text"):
        return content["text"]
    found = _find(content.get("layout", ""))
    return text_of(found, content.get("values", [])) if found else ""


def text_of(held: Held, values: list[str]) -> str:
    """Return the text part of a layout with somebody's values."""
    return text.tidy(layouts.assemble(held.text, [text.from_value(value) for value in values]))


def _find(digest: str) -> Held | None:
    found = _mine.held.get(digest)
    if found is None:
        parts = EmailLayout.objects.filter(digest=digest).values_list("parts", flat=True).first()
        if parts is not None:
            found = Held(parts["html"], parts["text"], kept=True)
            _remember(digest, found)
    return found


def _remember(digest: str, held: Held) -> None:
    _mine.held.pop(digest, None)
    _mine.held[digest] = held
    while len(_mine.held) > _HELD:
        _mine.held.pop(next(iter(_mine.held)))
