"""Reports from people's devices: a push or in-app message was shown, clicked or dismissed."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from django.db import transaction
from django.utils import timezone

from crm import log
from delivery import channels, spool, spool_drain, tokens
from delivery.models import Delivery

# A click on a message opens the page behind it, so it is both.
NAMES = {
    "shown": ("message_delivered",),
    "clicked": ("message_opened", "message_clicked"),
    "dismissed": ("message_dismissed",),
}
KIND = "report"
CLOCK_TOLERANCE = timedelta(minutes=5)
OLDEST = timedelta(days=400)  # no browser keeps a report for so long
_FIELDS = ("profile_id", "channel", "variant", "origin_type", "origin_id", "origin_step", "queued_at")


class BadReport(ValueError):
    """The report is not about one of our deliveries or does not say what happened."""


class Told(spool.Record):
    """What a device says happened to a delivery, when it did, and when it said so."""

    delivery: int
    kind: str
    at: datetime
    came: datetime


_decoder = msgspec.json.Decoder(Told)


def read(token: str, kind: str, at: datetime | None = None, now: datetime | None = None) -> Told:
    """Return the record of a report, without asking the database.

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
    if at is None or at.tzinfo is None or not now - OLDEST <= at <= now + CLOCK_TOLERANCE:
        at = now
    return Told(spool.number(), delivery_id, kind, min(at, now), now)


def keep(*reports: Told) -> bool:
    """Keep reports until they are stored a moment later; return False if there is no room for them."""
    return spool_drain.keep(KIND, *reports)


def record(token: str, kind: str, at: datetime | None = None, now: datetime | None = None) -> bool:
    """Store at once what a device says happened to a message; return whether it is news. See `read`."""
    return bool(store([read(token, kind, at, now)]))


@transaction.atomic
def store(reports: Sequence[Told]) -> int:
    """Store reports in the log; return how many events are news.

    What is there already is left alone, and so is what was said of deliveries that are no more.
    """
    ids = {report.delivery for report in reports}
    # Locked, so that a merge of the profile waits and takes these events along.
    deliveries = {
        delivery.pk: delivery
        for delivery in Delivery.objects.select_for_update(of=("self",), no_key=True)
        .select_related("message")
        .only(*_FIELDS, "message__slug")
        .filter(pk__in=ids)
        .order_by("pk")
    }
    events: list[log.NewEvent] = []
    told: dict[str, list[tuple[int, str, datetime]]] = defaultdict(list)
    for report in reports:
        delivery = deliveries.get(report.delivery)
        if delivery is None:
            continue
        at = report.came if report.at < delivery.queued_at - CLOCK_TOLERANCE else report.at
        events += _events(delivery, report.kind, at)
        told[delivery.channel].append((delivery.pk, report.kind, at))
    for channel in told.keys() & channels.everything().keys():
        channels.get(channel).reported(told[channel])
    now = max((report.came for report in reports), default=timezone.now())
    return log.append_once(list({event.id: event for event in reversed(events)}.values()), now)


def store_kept(bodies: Sequence[bytes]) -> None:
    """Store what was kept, as JSON of `Told`, in the caller's transaction."""
    store([_decoder.decode(body) for body in bodies])


def _events(delivery: Delivery, kind: str, at: datetime) -> list[log.NewEvent]:
    properties = {
        "message": delivery.message.slug,
        "delivery": delivery.pk,
        "channel": delivery.channel,
        "variant": delivery.variant,
        "origin": {"type": delivery.origin_type, "id": delivery.origin_id, "step": delivery.origin_step},
    }
    return [
        log.NewEvent(
            log.event_id("engagement", delivery.pk, name), delivery.profile_id, name, at, properties, "device"
        )
        for name in NAMES[kind]
    ]
