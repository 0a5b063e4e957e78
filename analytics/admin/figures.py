"""Figures as pages show them: written out, with their definition."""

import msgspec

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
    change: str = ""
    change_words: str = ""
    tone: str = ""
    icon: str = ""
    link: str = ""
