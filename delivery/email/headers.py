"""The headers of emails to many people."""

import hashlib
from urllib.parse import urlsplit

from django.conf import settings

from delivery.models import Delivery

_SENDER_ID = hashlib.sha256(settings.NUDGE_PUBLIC_URL.encode()).hexdigest()[:12]


def one_line(text: str) -> str:
    """Return text that can stand in a header: no line breaks and no other control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def of(delivery: Delivery, leave: str) -> dict[str, str]:
    """Return the headers of one person's email.

    Feedback-ID lets Gmail count complaints by message: campaign, message, kind, sender, none of them personal.

    Args:
        leave: the address that unsubscribes by one POST (RFC 8058); empty for what nobody can leave.
    """
    kind = "marketing" if leave else "transactional"
    campaign = f"{delivery.origin_type}{delivery.origin_id or 0}"
    found = {
        "Feedback-ID": f"{campaign}:{delivery.message_id}:{kind}:{_SENDER_ID}",
        # Keeps holiday notices and the like from answering (RFC 3834).
        "Auto-Submitted": "auto-generated",
    }
    if leave:
        found |= {
            "List-Unsubscribe": f"<{leave}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            "List-ID": f"<message-{delivery.message_id}.{_host()}>",
            "Precedence": "bulk",
        }
    return found


def _host() -> str:
    return urlsplit(settings.NUDGE_PUBLIC_URL).hostname or "localhost"
