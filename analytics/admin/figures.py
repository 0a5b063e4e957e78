"""Figures as pages show them: written out, with their definition."""

from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.written import count, percent

LABELS = {
    "audience": gettext_lazy("Audience"),
    "waiting": gettext_lazy("Waiting"),
    "sent": gettext_lazy("Sent"),
    "delivered": gettext_lazy("Delivered"),
    "opened": gettext_lazy("Opened"),
    "clicked": gettext_lazy("Clicked"),
    "dismissed": gettext_lazy("Swiped away"),
    "converted": gettext_lazy("Conversions"),
    "people_converted": gettext_lazy("With a conversion"),
    "revenue": gettext_lazy("Revenue"),
    "suppressed": gettext_lazy("Not sent by rule"),
    "failed": gettext_lazy("Failed"),
    "expired": gettext_lazy("Expired"),
    "new_profiles": gettext_lazy("New profiles"),
    "reachable": gettext_lazy("Reachable"),
    "left": gettext_lazy("Unsubscribed"),
    "entered": gettext_lazy("Entered"),
    "inside": gettext_lazy("Inside"),
    "completed": gettext_lazy("Completed"),
    "exited": gettext_lazy("Left early"),
    "reached": gettext_lazy("Reached"),
    "here": gettext_lazy("Here now"),
    "share": gettext_lazy("Share"),
    "elsewhere": gettext_lazy("In earlier versions"),
}
ICONS = {
    "sent": "send",
    "delivered": "mark_chat_read",
    "opened": "drafts",
    "clicked": "ads_click",
    "dismissed": "notifications_off",
    "converted": "flag",
    "revenue": "payments",
    "new_profiles": "person_add",
    "reachable": "notifications_active",
    "left": "person_remove",
    "entered": "login",
    "inside": "hourglass_top",
    "completed": "task_alt",
    "exited": "logout",
}


class Figure(msgspec.Struct):
    """One figure. `change` compares it with the period before; `tone` is "good", "bad" or ""."""

    key: str
    label: str
    value: str
    definition: str
    note: str = ""
    note_definition: str = ""
    change: str = ""
    change_words: str = ""
    tone: str = ""
    icon: str = ""
    link: str = ""


def figure(key: str, value: str | int, definitions: Mapping[str, Any], **more: str) -> Figure:
    """The figure called `key`; a number is written in the reader's language."""
    text = value if isinstance(value, str) else count(value)
    return Figure(key, str(LABELS[key]), text, str(definitions[key]), icon=ICONS.get(key, ""), **more)


def compared(shown: Figure, now: float, before: float, rising_is: str = "good") -> Figure:
    """Add to `shown` how it changed since the period before; from nothing there is no percentage."""
    if now == before:
        shown.change, shown.change_words = ("0%" if now else ""), _("as in the period before")
        return shown
    falling_is = "bad" if rising_is == "good" else "good"
    shown.tone = rising_is if now > before else falling_is
    if before:
        share = (now - before) / before
        shown.change = ("+" if share > 0 else "−") + percent(abs(share), 0)
    else:
        shown.change = _("new")
    shown.change_words = _("against %s in the period before") % count(before)
    return shown
