"""What keeps messages and coupon pools from being deleted, said with links to it."""

from collections.abc import Iterable
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from delivery import usage


def needed(kind: str, objects: Iterable[Any]) -> list[SafeString]:
    """Return a sentence for each thing that needs one of these (`kind` is one of `delivery.usage`)."""
    uses = usage.uses(kind)
    return [
        format_html(
            _("“{name}” is used by {use}"),
            name=each.name,
            use=format_html('<a class="text-link" href="{}">{}</a>', use.url, use.text),
        )
        for each in objects
        for use in uses.get(each.slug, [])
    ]
