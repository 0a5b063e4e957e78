"""Where messages speak of what is computed about people."""

import re

from django.urls import reverse
from django.utils.translation import gettext as _

from crm.computed.usage import Use
from delivery.content.people import COMPUTED, texts
from delivery.models import MessageContent

_NAMED = re.compile(COMPUTED + r"""\s*(?:\.\s*|\[\s*["'])([a-z][a-z0-9_]*)""")


def computed() -> dict[str, list[Use]]:
    """The messages that name each computed attribute, by its slug; one query however many there are."""
    found: dict[str, dict[int, Use]] = {}
    rows = MessageContent.objects.filter(content__icontains=COMPUTED).select_related("message")
    for row in rows:
        use = Use(
            _("the message “%s”") % row.message.name,
            reverse("admin:delivery_message_change", args=[row.message_id]),
        )
        for text in texts(row.content):
            for slug in _NAMED.findall(text):
                found.setdefault(slug, {})[row.message_id] = use
    return {slug: list(uses.values()) for slug, uses in found.items()}
