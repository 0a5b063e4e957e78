"""Reports from people's devices: a push or in-app message was shown, clicked or dismissed."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from analytics.models import Engagement
from crm import log
from crm.models import Event
from delivery import channels, tokens
from delivery.models import Delivery

# A click on a message opens the page behind it, so it is both.
NAMES = {
    "shown": ("message_delivered",),
    "clicked": ("message_opened", "message_clicked"),
    "dismissed": ("message_dismissed",),
}
CLOCK_TOLERANCE = timedelta(minutes=5)


class BadReport(ValueError):
    """The report is not about one of our deliveries or does not say what happened."""


@transaction.atomic
def record(token: str, kind: str, at: datetime | None = None, now: datetime | None = None) -> bool:
    """Store in the log what a device says happened to a message; return whether it is news.

    Args:
        token: as made by `delivery.tokens.make`; it came with the message.
        kind: "shown", "clicked" or "dismissed".
        at: the device's time; ignored where it can't be right.

    Raises:
        BadReport: the token is not ours, or the kind is unknown.
    """
    now = now or timezone.now()
    if kind not in NAMES:
        raise BadReport(f"kind is one of {', '.join(NAMES)}.")
    try:
        delivery_id = tokens.read(token)
    except tokens.BadToken as error:
        raise BadReport("The token is not one of ours.") from error
    # Locked, so that a merge of the profile waits and takes these events along.
    delivery = (
        Delivery.objects.select_for_update(of=("self",), no_key=True)
        .select_related("message")
        .filter(pk=delivery_id)
        .first()
    )
    if delivery is None:
        return False
    if (
        at is None
        or at.tzinfo is None
        or at > now + CLOCK_TOLERANCE
        or at < delivery.queued_at - CLOCK_TOLERANCE
    ):
        at = now
    properties = {
        "message": delivery.message.slug,
        "delivery": delivery.pk,
        "channel": delivery.channel,
        "variant": delivery.variant,
        "origin": {"type": delivery.origin_type, "id": delivery.origin_id, "step": delivery.origin_step},
    }
    events = [
        log.NewEvent(
            log.event_id("engagement", delivery.pk, name),
            delivery.profile_id,
            name,
            min(at, now),
            properties,
            "device",
        )
        for name in NAMES[kind]
    ]
    if delivery.channel in channels.everything():
        channels.get(delivery.channel).reported(delivery.pk, kind, min(at, now))
    return log.append_once(events, now) > 0


def withdraw(gone: Mapping[int, set[str]]) -> None:
    """Take back from the reports what turned out to be a machine's doing; what the log has stays there.

    Args:
        gone: {delivery id: names of events}; what a device of the person told itself stays.
    """
    told = {log.event_id("engagement", pk, name): (pk, name) for pk, names in gone.items() for name in names}
    kept = set(Event.objects.filter(pk__in=told, source="device").values_list("pk", flat=True))
    for name, column in (("message_opened", "opened_at"), ("message_clicked", "clicked_at")):
        ids = [pk for number, (pk, each) in told.items() if each == name and number not in kept]
        if ids:
            Engagement.objects.filter(pk__in=ids).update(**{column: None})
