"""Messages that are part of a service: marked by one person, approved by another.

An approval is of the message as it is: a trigger (migration 0008) takes it back when anything of the message or its
contents changes, whatever code changes it.
"""

from datetime import datetime
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import audit
from delivery.models import Message

PERMISSION = "delivery.approve_transactional"


class ApprovalError(ValueError):
    """The message can't be approved by this person now; the text says why."""


def marked(message: Message, user: Any) -> None:
    """Note on an object that is about to be saved who marked it as transactional, or took the mark away."""
    message.transactional_marked_by = user if message.transactional else None


def hindrance(message: Message, user: Any) -> str:
    """Why this person can't approve the message, as a sentence; "" if they can."""
    if not message.transactional:
        return _("The message is not marked as transactional.")
    if message.transactional_approved_at:
        return _("The message is approved already.")
    if not user.has_perm(PERMISSION):
        return _("You have no permission to approve messages as transactional.")
    if message.transactional_marked_by_id == user.pk:
        return _("Another person has to approve what you marked.")
    if _last_editor(message) == user.pk:
        return _("Another person has to approve what you edited last.")
    return ""


@transaction.atomic
def approve(by: Any, message_id: int, now: datetime | None = None) -> None:
    """Approve a message as it is now.

    Args:
        by: the request, or the user.

    Raises:
        ApprovalError: see `hindrance`.
    """
    message = Message.objects.select_for_update().get(pk=message_id)
    user = getattr(by, "user", by)
    reason = hindrance(message, user)
    if reason:
        raise ApprovalError(reason)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('nudge.approving', 'on', true)")
        Message.objects.filter(pk=message_id).update(
            transactional_approved_by=user, transactional_approved_at=now or timezone.now()
        )
        cursor.execute("SELECT set_config('nudge.approving', '', true)")
    audit.record(by, "message.approved_as_transactional", message)


@transaction.atomic
def withdraw(by: Any, message_id: int) -> bool:
    """Take an approval back; return False if there was none."""
    message = Message.objects.select_for_update().get(pk=message_id)
    if message.transactional_approved_at is None:
        return False
    Message.objects.filter(pk=message_id).update(
        transactional_approved_by=None, transactional_approved_at=None
    )
    audit.record(by, "message.approval_withdrawn", message)
    return True


def _last_editor(message: Message) -> int | None:
    """Who changed the message last in the admin."""
    kind = ContentType.objects.get_for_model(Message)
    edits = LogEntry.objects.filter(
        content_type=kind, object_id=str(message.pk), action_flag__in=(ADDITION, CHANGE)
    )
    return edits.order_by("-action_time", "-pk").values_list("user_id", flat=True).first()
