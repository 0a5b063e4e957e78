"""Addresses of apps, such as shop://cart: which ones the settings of links allow in messages."""

import re

from delivery.models import LinkSettings

MARK = "://"  # ends those of the settings' lines that are words of apps; the others are sites
# What a program would run, show as a page of its own, or read from a disk instead of opening an app.
NEVER = frozenset(
    {
        *("about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "https", "intent"),
        *("jar", "javascript", "mailto", "resource", "vbscript", "view-source", "ws", "wss"),
    }
)
_WORD = re.compile(r"[a-z][a-z0-9+.-]{1,60}://")


def is_app(line: str) -> bool:
    """Whether a line of the settings names the addresses of an app, such as shop://."""
    return _WORD.fullmatch(line) is not None and line.removesuffix(MARK) not in NEVER


def app_schemes() -> frozenset[str]:
    """Return the words that addresses of the account's apps begin with, without ://; one query."""
    lines = LinkSettings.load().untouched_hosts
    return frozenset(line.removesuffix(MARK) for line in lines if is_app(line))
