"""Sending one message to a segment."""

from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from campaigns.models import Broadcast
from campaigns.segments import compiler
from delivery import outbox
from delivery.models import MessageContent


class LaunchError(ValueError):
    """The broadcast can't be launched; the text says why and what to do."""


@transaction.atomic
def launch(broadcast_id: int, user=None, now: datetime | None = None) -> int:
    """Queue the message for everybody who is in the segment at this moment; return how many.

    The segment's rule is asked anew, in one statement with the outbox rows, so that the audience is exactly
    who gets a delivery.

    Raises:
        LaunchError: it was launched before, or the message has no text for the channel.
        RuleError: the segment's rule can't be evaluated.
    """
    now = now or timezone.now()
    broadcast = (
        Broadcast.objects.select_for_update().select_related("segment", "message").get(pk=broadcast_id)
    )
    if broadcast.state != Broadcast.State.DRAFT:
        raise LaunchError("This broadcast was launched already; it can't be sent twice.")
    if not MessageContent.objects.filter(message=broadcast.message, channel=broadcast.channel).exists():
        raise LaunchError("The message has no text for this channel. Write it first.")
    rule = compiler.rule_of(broadcast.segment)
    audience = compiler.ids(rule, compiler.query(rule, now))
    expiry = f"make_interval(hours => {int(broadcast.message.expires_after_hours)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, due_at,
                expires_at, origin_type, origin_id, queued_at)
            SELECT 'broadcast:{broadcast.pk}:' || audience.id, {broadcast.message_id}, audience.id, %s, 'a',
                'queued', %s, %s + {expiry}, 'broadcast', {broadcast.pk}, %s
            FROM ({audience.text}) AS audience JOIN crm_profile p ON p.id = audience.id
            ORDER BY p.id FOR KEY SHARE OF p  -- whoever is merged or removed meanwhile must not undo the launch
            """,
            [broadcast.channel, now, now, now, *audience.params],
        )
        size = cursor.rowcount
    broadcast.state, broadcast.audience = Broadcast.State.LAUNCHED, size
    broadcast.launched_at, broadcast.launched_by = now, user
    broadcast.save()
    outbox.wake_on_commit()
    return size
