"""Showing emails as they were filled in."""

import re
from collections.abc import Mapping
from typing import Any

from django import template

from delivery.email import keeping

register = template.Library()
_SCHEME = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)


@register.simple_tag
def email_html(content: Mapping[str, Any]) -> str:
    """The HTML of a filled-in email, a whole document; for the srcdoc of a sandboxed frame."""
    return keeping.html(content)


@register.filter
def in_scheme(html: str, dark: Any) -> str:
    """A document as it looks in the dark or in the light, whatever the device of who looks at it prefers."""
    return _SCHEME.sub(
        lambda found: "(min-width: 0)" if (found[1].lower() == "dark") == bool(dark) else "(max-width: 0)",
        html,
    )


@register.simple_tag
def email_text(content: Mapping[str, Any]) -> str:
    """Its plain text."""
    return keeping.plain(content)
