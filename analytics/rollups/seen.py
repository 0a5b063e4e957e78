"""From events of the log to what they say about deliveries."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from crm.log import LoggedEvent

# Event -> the column that has the first time of it.
FIRSTS = {
    "message_delivered": "shown_at",
    "message_opened": "opened_at",
    "message_clicked": "clicked_at",
    "message_dismissed": "dismissed_at",
    "message_read": "read_at",
    "message_bounced": "bounced_at",
    "message_complained": "complained_at",
    "message_machine_opened": "machine_opened_at",
    "message_machine_clicked": "machine_clicked_at",
}
SENT = "message_sent"
ENDED = ("message_suppressed", "message_failed")
WITHDRAWN = "message_withdrawn"
CONSENT = "consent_changed"
NAMES = frozenset({*FIRSTS, SENT, *ENDED, WITHDRAWN, CONSENT})
# What rules about machines may take back, by the bit that says so in `Seen.taken`.
TAKEN = {"opened_at": 1, "clicked_at": 2, "machine_opened_at": 4, "machine_clicked_at": 8}
TIMES = ("sent_at", *FIRSTS.values(), "unsubscribed_at")
TRAITS = ("locale", "country", "zone", "provider")
DEVICES = frozenset({"message_opened", "message_clicked", SENT})
MAX_TEXT = 100  # characters
LARGEST = 2**63


class Seen(msgspec.Struct):
    """What some events say about one delivery; as in Engagement.

    Whoever reads the events in whatever order and parts comes to the same: of several times the first counts, of
    several ends the last, of several texts the smallest. Only of what is taken back the order of the log matters.
    `taken` has the bits of what was taken back: what was known of it before these events counts no more.
    """

    delivery: int
    sent_at: datetime | None = None
    shown_at: datetime | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    dismissed_at: datetime | None = None
    read_at: datetime | None = None
    bounced_at: datetime | None = None
    complained_at: datetime | None = None
    unsubscribed_at: datetime | None = None
    machine_opened_at: datetime | None = None
    machine_clicked_at: datetime | None = None
    taken: int = 0
    ended_at: datetime | None = None
    ended: str = ""
    reason: str = ""
    locale: str = ""
    country: str = ""
    zone: str = ""
    provider: str = ""
    device: str = ""
    device_at: datetime | None = None


def delivery_of(event: LoggedEvent) -> int | None:
    """The number of the delivery that an event is about, if that can be one."""
    number = event.properties.get("delivery")
    return number if type(number) is int and 0 < number < LARGEST else None


def collect(events: Iterable[LoggedEvent], zone: Callable[[str], bool]) -> list[Seen]:
    """What the events say, by delivery; those that name none say nothing.

    Args:
        events: in the order of the log.
        zone: whether the database knows a time zone of this name.
    """
    found: dict[int, Seen] = {}
    for event in events:
        number = delivery_of(event)
        if number is None or event.name not in NAMES:
            continue
        if event.name == CONSENT and event.properties.get("state") != "unsubscribed":
            continue
        if number not in found:
            found[number] = Seen(number)
        _note(found[number], event, zone)
    return [found[number] for number in sorted(found)]


def _note(seen: Seen, event: LoggedEvent, zone: Callable[[str], bool]) -> None:
    name, at = event.name, event.occurred_at
    if name == SENT:
        _first(seen, "sent_at", at)
        for trait in TRAITS:
            told = _text(event.properties.get(trait))
            if told and (trait != "zone" or zone(told)):
                setattr(seen, trait, min(told, getattr(seen, trait) or told))
    elif name in ENDED:
        _end(seen, event)
    elif name == WITHDRAWN:
        _withdraw(seen, event.properties.get("names"))
    elif name == CONSENT:
        _first(seen, "unsubscribed_at", at)
    else:
        _first(seen, FIRSTS[name], at)
    device = _text(event.properties.get("device")) if name in DEVICES else ""
    if device:
        _use(seen, device, None if name == SENT else at)


def _first(seen: Seen, column: str, at: datetime) -> None:
    known = getattr(seen, column)
    if known is None or at < known:
        setattr(seen, column, at)


def _end(seen: Seen, event: LoggedEvent) -> None:
    ended = "suppressed" if event.name == "message_suppressed" else event.properties.get("state")
    ended = ended if ended in ("suppressed", "expired") else "failed"
    reason = str(event.properties.get("reason") or "")
    if seen.ended_at is None or (event.occurred_at, ended, reason) > (seen.ended_at, seen.ended, seen.reason):
        seen.ended_at, seen.ended, seen.reason = event.occurred_at, ended, reason


def _withdraw(seen: Seen, names: Any) -> None:
    for name in names if isinstance(names, Sequence) else ():
        column = FIRSTS.get(name, "")
        if bit := TAKEN.get(column):
            setattr(seen, column, None)
            seen.taken |= bit


def _use(seen: Seen, device: str, at: datetime | None) -> None:
    """What something was opened with counts before what it was sent to (`at` None)."""
    if _device_rank(device, at) < _device_rank(seen.device, seen.device_at) or not seen.device:
        seen.device, seen.device_at = device, at


def _device_rank(device: str, at: datetime | None) -> tuple[bool, float, str]:
    return at is None, at.timestamp() if at else 0.0, device


def _text(told: Any) -> str:
    return told[:MAX_TEXT] if isinstance(told, str) else ""
