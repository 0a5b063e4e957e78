"""Showing emails as they were filled in."""

from collections.abc import Mapping
from typing import Any

from django import template

from delivery.email import keeping

register = template.Library()


@register.simple_tag
def email_html(content: Mapping[str, Any]) -> str:
    """The HTML of a filled-in email, a whole document; for the srcdoc of a sandboxed frame."""
    return keeping.html(content)


@register.simple_tag
def email_text(content: Mapping[str, Any]) -> str:
    """Its plain text."""
    return keeping.plain(content)
