"""What pages say about the accounts that messages go by."""

from typing import Any

from django import template

from delivery import accounts, channels

register = template.Library()


@register.inclusion_tag("admin/delivery/sandbox/note.html")
def sandbox_note(*kinds: str) -> dict[str, Any]:
    """The note that nobody gets the messages of these channels (default: of all) while they go to the sandbox."""
    known = channels.everything()
    wanted = [kind for kind in (kinds or known) if kind in known and known[kind].provided]
    pretended = accounts.sandboxed(wanted) if wanted else {}
    return {"shown": bool(pretended), "channels": [known[kind].label for kind in known if kind in pretended]}
