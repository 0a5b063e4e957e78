"""{% load masking %}: contact data in templates, as far as the reader may see it."""

from typing import Any

from django import template

from crm import masking

register = template.Library()


@register.filter
def contact(value: Any, kind: str) -> Any:
    """`{{ profile.email|contact:"email" }}`; kinds as in crm.masking.shown."""
    return masking.contact(kind, value)


@register.simple_tag
def contacts_hidden() -> bool:
    """Whether the reader may see no contact data: `{% contacts_hidden as hidden %}`."""
    return masking.hidden()
