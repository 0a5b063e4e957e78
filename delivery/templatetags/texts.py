"""What previews of text messages show."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django import template

from delivery import accounts, sms

register = template.Library()


@register.simple_tag
def sms_estimate(content: Mapping[str, Any], locale: str = "") -> sms.Estimate:
    """The words, parts and cost of a filled-in text message by the account that would send it."""
    account = accounts.route("sms")
    if account is None:
        return sms.estimate(content, locale)
    return sms.estimate(content, locale, account.cost_per_part, account.currency)


@register.filter
def pretty_json(text: str) -> str:
    """JSON with a line for each value; other text as it is."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text
