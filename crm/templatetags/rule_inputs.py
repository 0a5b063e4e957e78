"""{% load rule_inputs %}: mistakes of a rule beside the inputs they are about.

A row's context has `node`, whose `wrong` is a crm.rules.wrong.Wrong; without one the tags say nothing.
"""

from typing import Any

from django import template
from django.template.context import Context
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from crm.rules.wrong import Wrong

register = template.Library()


def _wrong(context: Context) -> tuple[Wrong | None, str]:
    node: Any = context.get("node")
    return (node.get("wrong"), f"{node['id']}.") if isinstance(node, dict) else (None, "")


@register.simple_tag(takes_context=True)
def wrong(context: Context, element: str) -> str:
    """`<input id="{{ prefix }}value" {% wrong prefix|add:"value" %}>`: marks the input when a mistake is about it."""
    found, prefix = _wrong(context)
    if found is None or not found.claim(element.removeprefix(prefix), element):
        return ""
    return format_html('aria-invalid="true" aria-describedby="{}-wrong"', element)


@register.simple_tag(takes_context=True)
def told(context: Context) -> SafeString:
    """The messages about the inputs above it in the row."""
    found, _prefix = _wrong(context)
    messages = found.told() if found else []
    return format_html_join("", '<p class="sg-problem" role="alert" id="{}-wrong">{}</p>', messages)


@register.simple_tag(takes_context=True)
def untold(context: Context) -> SafeString:
    """The messages that belong to no input of the row."""
    found, _prefix = _wrong(context)
    rest = [(text,) for text in found.rest()] if found else []
    return format_html_join("", '<p class="sg-problem" role="alert">{}</p>', rest)
