"""The addresses in an email's HTML."""

import re
from collections.abc import Callable, Collection, Sequence
from html import escape, unescape

from django.utils.translation import gettext as _

from delivery.content import ContentError
from delivery.links.apps import app_schemes

# Only whole addresses: a mail program has no page that a path could belong to.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://[^\s]*\Z", re.IGNORECASE)
_FINE = re.compile(r"(?:https?://[^\s/]|mailto:|tel:|sms:|cid:|data:image/)[^\s]*\Z", re.IGNORECASE)
_ADDRESSES = re.compile(r"""\b(href|src)\s*=\s*(["'])(.*?)\2""", re.IGNORECASE | re.DOTALL)
_ANCHORS = re.compile(r"""(<a\b[^>]*?\bhref\s*=\s*)(["'])(https?://.*?)\2""", re.IGNORECASE | re.DOTALL)
LEADS = re.compile(r"""\b(?:href|src)\s*=\s*["']\s*\Z""", re.IGNORECASE)
_VALUE = "\x00"  # stands for what is filled in


def rewrite(html: str, change: Callable[[str], str]) -> str:
    """Return `html` with the http(s) address of every <a> changed; `change` takes and returns plain addresses."""
    return _ANCHORS.sub(lambda m: f"{m[1]}{m[2]}{escape(change(unescape(m[3])))}{m[2]}", html)


def with_picture(html: str, address: str) -> str:
    """Return `html` with an invisible picture at the end of its body."""
    picture = f'<img src="{escape(address)}" width="1" height="1" alt="" style="display:block;border:0">'
    place = html.rfind("</body")
    if place < 0:
        place = html.lower().rfind("</body")
    return html[:place] + picture + html[place:] if place >= 0 else html + picture


def is_fine(address: str, apps: Callable[[], Collection[str]] = app_schemes) -> bool:
    """Whether an address may stand in an email; `apps` is only asked about those that lead neither to the web nor to
    a mailbox or telephone."""
    if not address or address.startswith("#") or _FINE.match(address) is not None:
        return True
    found = _SCHEME.match(address)
    return found is not None and found[1].lower() in apps()


def check(address: str, field: str, apps: Callable[[], Collection[str]] = app_schemes) -> None:
    """Raise ContentError when an address is none that a mail program can open."""
    if not is_fine(address, apps):
        told = _(
            "“%s” is not a whole address: it must begin with https:// or mailto:, or lead to an app that the"
            " settings of links name."
        )
        raise ContentError(field, told % address[:80])


def check_authored(pieces: Sequence[tuple[str, bool]], field: str) -> None:
    """Look at the addresses that are written in a body; those that begin with something filled in are looked at
    when it is known."""
    html = "".join(_VALUE if is_liquid else piece for piece, is_liquid in pieces)
    for found in _ADDRESSES.finditer(html):
        address = unescape(found[3]).strip()
        if not address.startswith(_VALUE):
            check(address.replace(_VALUE, "x"), field)
