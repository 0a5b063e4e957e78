"""The switch that stops everything: while it is pressed nothing leaves, by one channel or by any.

What a worker has claimed and not begun goes back into the queue; what was begun can't be called back. When sending
goes on, what has not expired in the meantime goes out.
"""

from time import monotonic
from typing import Any

from django.db import connection, transaction
from django.utils.translation import gettext as _

from crm import alerts, audit
from delivery import channels, outbox
from delivery.models import EmergencyStop

ALL = ""
ASK_EVERY = 0.25  # seconds; well under the second within which nothing more may leave

_HOLDS = "SELECT EXISTS (SELECT FROM delivery_emergencystop WHERE channel IN (%s, %s))"


def stopped() -> frozenset[str]:
    """The channels that are stopped; `ALL` is among them if everything is. One query."""
    return frozenset(EmergencyStop.objects.values_list("channel", flat=True))


def holds(channel: str) -> bool:
    """Whether nothing may leave by this channel now. One query, not by the ORM: every sender asks all the time."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLDS, [ALL, channel])
        return bool(cursor.fetchone()[0])


class Watch:
    """Tells a sender, before each message, whether its channel was stopped; asks the database four times a second."""

    def __init__(self, channel: str):
        self._channel = channel
        self._asked = float("-inf")
        self.held = False

    @property
    def asks(self) -> bool:
        """Whether the next call asks the database; `held` is what it said last."""
        return not self.held and monotonic() - self._asked >= ASK_EVERY

    def __call__(self) -> bool:
        """Whether to stop; once it says so it says so for good."""
        if self.asks:
            self.held = holds(self._channel)
            self._asked = monotonic()
        return self.held


@transaction.atomic
def press(by: Any, channel: str = ALL, reason: str = "") -> bool:
    """Stop a channel, or everything; return False if it was stopped already.

    Args:
        by: the user, as for `crm.audit.record`.
    """
    user = getattr(by, "user", by)
    stop, made = EmergencyStop.objects.get_or_create(
        channel=channel,
        defaults={"reason": reason, "pressed_by": user if getattr(user, "pk", None) else None},
    )
    if made:
        audit.record(by, "sending.stopped", stop, channel=channel)
        alerts.raise_alert(
            _key(channel),
            f"Sending is stopped{f' by {channel}' if channel else ''}",
            "Nothing leaves until somebody lets it go on, on the page of the sending rules. "
            f"Pressed by {user}.{f' They write: {reason}' if reason else ''}",
        )
    return made


@transaction.atomic
def release(by: Any, channel: str = ALL) -> bool:
    """Let a channel, or everything, go on; return False if it was not stopped."""
    stop = EmergencyStop.objects.select_for_update().filter(channel=channel).first()
    if stop is None:
        return False
    audit.record(by, "sending.resumed", stop, channel=channel, since=stop.pressed_at.isoformat())
    stop.delete()
    alerts.resolve(_key(channel))
    outbox.wake_on_commit()
    return True


def words(channel: str) -> str:
    """What is stopped, such as "everything" or "SMS"."""
    known = channels.everything().get(channel)
    return str(known.label) if known else channel or _("everything")


def _key(channel: str) -> str:
    return f"delivery:stop:{channel or 'all'}"
