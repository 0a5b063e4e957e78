"""What previews of text messages show."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django import template

from delivery import accounts, links, sms
from delivery.content.addresses import text_links

register = template.Library()


@register.simple_tag
def sms_estimate(content: Mapping[str, Any], locale: str = "") -> sms.Estimate:
    """The words, parts and cost of a filled-in text message by the account that would send it.

    Its links count with the length that they are sent with.
    """
    account = accounts.route("sms")
    cost, currency = (account.cost_per_part, account.currency) if account else (None, "")
    written = sms.estimate(content, locale, cost, currency)
    rules = links.current()
    if "sms" in rules.untracked or "://" not in str(content.get("text", "")):
        return written
    stand_in = f"{rules.base}/l/".ljust(rules.length, "x")
    sent = text_links(content["text"], lambda url: url if url.startswith(rules.ours) else stand_in)
    size = sms.estimate({**content, "text": sent}, locale, cost, currency)
    return msgspec.structs.replace(size, text=written.text)


@register.filter
def pretty_json(text: str) -> str:
    """JSON with a line for each value; other text as it is."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text
