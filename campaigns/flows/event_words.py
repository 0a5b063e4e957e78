"""What the product's own events are called where a flow names them; a customer's own stand as they are."""

from django.utils.translation import gettext_lazy as _

NAMES = {
    "message_sent": _("a message sent"),
    "message_delivered": _("a message that arrived"),
    "message_opened": _("a message opened"),
    "message_clicked": _("a link in a message followed"),
    "message_read": _("a message read"),
    "message_dismissed": _("a message closed"),
    "message_converted": _("a message that led to its goal"),
    "message_suppressed": _("a message not sent by rule"),
    "message_failed": _("a message that failed"),
    "message_bounced": _("a message that bounced"),
    "message_complained": _("a message reported as spam"),
    "message_received": _("an answer from them"),
    "push_subscribed": _("notifications allowed"),
    "push_unsubscribed": _("notifications refused"),
    "consent_changed": _("a yes or a no of theirs"),
    "segment_entered": _("a segment entered"),
    "segment_left": _("a segment left"),
    "flow_entered": _("a flow entered"),
    "flow_completed": _("a flow gone through"),
    "flow_exited": _("a flow left early"),
}


def words(name: str) -> str:
    """The event's name in words, or as it is."""
    return str(NAMES.get(name, name))
