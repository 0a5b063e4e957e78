"""What pages say about the accounts that messages go by."""

from collections.abc import Iterable
from typing import Any

from django import template

from delivery import accounts, channels

register = template.Library()


@register.inclusion_tag("admin/delivery/sandbox/note.html")
def sandbox_note(*kinds: str | Iterable[str]) -> dict[str, Any]:
    """The note that nobody gets the messages of these channels (default: of all) while they go to the sandbox.

    Args:
        kinds: channels, or lists of them.
    """
    known = channels.everything()
    asked = {kind for each in kinds for kind in ([each] if isinstance(each, str) else each)}
    wanted = [kind for kind in known if known[kind].provided and (kind in asked or not kinds)]
    pretended = accounts.sandboxed(wanted) if wanted else {}
    return {"shown": bool(pretended), "channels": [known[kind].label for kind in known if kind in pretended]}
