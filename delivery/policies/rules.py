"""The rules that hold for a message: its own, where it has none those of its topic, else those of the account."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from django.db.models import Q

from delivery.models import Delivery, FrequencyCap, Message, SendingHours, SendingRules
from delivery.policies.clock import Span
from delivery.policies.verdicts import Facts

Level = Literal["account", "topic", "message"]
Collision = SendingRules.Collision
COUNTING = (Collision.SENT,)


class Hours(msgspec.Struct, frozen=True):
    """Hours that hold for one channel, or for all if it is empty."""

    span: Span
    channel: str = ""


class Cap(msgspec.Struct, frozen=True):
    """At most `number` messages a period; `of` all, of the same topic, or of the same message.

    A channel means that it counts and holds for this channel alone. Priorities up to `spares` are let through.
    """

    number: int
    period: str
    rolling: bool = True
    channel: str = ""
    of: Literal["all", "topic", "message"] = "all"
    spares: int = 0


class Effective(msgspec.Struct, frozen=True):
    """What holds for one message, with the level that says so about hours, limits and other channels."""

    quiet: tuple[Hours, ...] = ()
    windows: tuple[Hours, ...] = ()
    caps: tuple[Cap, ...] = ()
    skip_when_capped: bool = False
    collision: str = Collision.OFF.value
    collision_hours: int = 24
    adults_only: bool = False
    adult_age: int = 18
    skip_unknown_age: bool = True
    global_holdout_percent: int = 0
    counts: bool = (
        False  # whether what is sent of it has to be written down, for limits or for other messages
    )
    quiet_from: Level = "account"
    windows_from: Level = "account"

    def quiet_for(self, channel: str) -> tuple[Span, ...]:
        """The quiet hours of a channel."""
        return tuple(each.span for each in self.quiet if each.channel in ("", channel))

    def windows_for(self, channel: str) -> tuple[Span, ...]:
        """The send windows of a channel; none at all means any hour."""
        return tuple(each.span for each in self.windows if each.channel in ("", channel))


NOTHING = Effective()


def of(facts: Facts, deliveries: Sequence[Delivery]) -> Mapping[int, Effective]:
    """The rules by message id, kept in `facts` for the next who asks about the batch."""
    missing = {d.message_id: d.message for d in deliveries if d.message_id not in facts.rules}
    if missing:
        facts.rules |= load(missing.values())
    return facts.rules


def load(messages: Iterable[Message]) -> dict[int, Effective]:
    """The rules by message id, in three queries."""
    wanted = list(messages)
    topics = {message.topic for message in wanted if message.topic}
    rows = (
        SendingRules.objects.filter(
            Q(topic=None, message=None) | Q(topic__slug__in=topics) | Q(message__in=[m.pk for m in wanted])
        )
        .select_related("topic")
        .prefetch_related("hours", "caps")
    )
    account: list[SendingRules] = []
    by_topic: dict[str, SendingRules] = {}
    by_message: dict[int, SendingRules] = {}
    for row in rows:
        if row.message_id:
            by_message[row.message_id] = row
        elif row.topic:
            by_topic[row.topic.slug] = row
        else:
            account.append(row)
    return {
        message.pk: resolve(
            account[0] if account else None, by_topic.get(message.topic), by_message.get(message.pk), message
        )
        for message in wanted
    }


def resolve(
    account: SendingRules | None,
    topic: SendingRules | None,
    message: SendingRules | None,
    about: Message | None = None,
) -> Effective:
    """Put the levels together; `about` is the message, whose own mark may make it one for adults."""
    levels = [row for row in (account, topic, message) if row is not None]  # the widest first
    found: dict[str, object] = {
        "adults_only": bool(about and about.adults_only),
        "counts": bool(about and about.content_group),
    }
    caps: tuple[Cap, ...] = ()
    for row in levels:
        widest = row.level == "account"
        hours = list(row.hours.all())
        quiet, windows = _hours(hours, SendingHours.Kind.QUIET), _hours(hours, SendingHours.Kind.WINDOW)
        if quiet or row.own_quiet or widest:
            found |= {"quiet": quiet, "quiet_from": row.level}
        if windows or row.own_windows or widest:
            found |= {"windows": windows, "windows_from": row.level}
        caps = (() if row.only_own_caps else caps) + tuple(_cap(each, row.level) for each in row.caps.all())
        if row.caps.all() or row.collision in COUNTING:
            found["counts"] = True
        if row.when_capped:
            found["skip_when_capped"] = row.when_capped == SendingRules.WhenCapped.SKIP
        if row.collision:
            found |= {"collision": row.collision, "collision_hours": row.collision_hours}
        found["adults_only"] = found["adults_only"] or row.adults_only
    if account is not None:
        found |= {
            "adult_age": account.adult_age,
            "skip_unknown_age": account.skip_unknown_age,
            "global_holdout_percent": account.global_holdout_percent,
        }
    return Effective(caps=caps, **found)  # type: ignore[arg-type]


def _hours(rows: Iterable[SendingHours], kind: str) -> tuple[Hours, ...]:
    return tuple(
        Hours(Span(row.start, row.end, tuple(sorted(row.days))), row.channel)
        for row in rows
        if row.kind == kind
    )


def _cap(row: FrequencyCap, level: str) -> Cap:
    of: Literal["all", "topic", "message"] = "all"
    if level == "message":
        of = "message"
    elif level == "topic" or row.counts == FrequencyCap.Counts.TOPIC:
        of = "topic"
    return Cap(row.number, row.period, row.rolling, row.channel, of, row.spares)
