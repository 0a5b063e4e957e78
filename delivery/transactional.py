"""Sending one message to one person because a program asks for it: a receipt, a code, a notice."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import consent, profiles
from crm.normalise import Rejection
from delivery import channels, outbox
from delivery.models import Delivery, Message

MAX_KEY = 255  # characters of an idempotency key
MAX_DATA = 65_536  # bytes of JSON
LATEST = timedelta(days=90)  # how far ahead a message may be asked for


class Wanted(msgspec.Struct, kw_only=True):
    """One message for one person.

    Args:
        row: names the person and says what is known of them; somebody unknown is made.
        data: plain data for the text, read there as `data`.
        key: asking again under the same one sends nothing twice.
        channel: empty for the first one of the message's that reaches the person and that they agreed to.
        fingerprint: of the whole request; another one under the same key is refused.
    """

    row: profiles.Row
    data: Mapping[str, Any]
    key: str
    fingerprint: str
    channel: str = ""
    send_at: datetime | None = None
    expires_at: datetime | None = None


class Sent(msgspec.Struct, frozen=True):
    """What became of one request: its delivery, and whether it had been asked for before."""

    delivery: Delivery
    repeated: bool


@transaction.atomic
def send(
    message: Message, wanted: Sequence[Wanted], asker: int, now: datetime | None = None
) -> list[Sent | Rejection]:
    """Queue `message` once for each request; an answer for each in their order. The usual policies apply.

    The number of queries depends on the message's channels, not on the number of requests.

    Args:
        asker: number of the API key; idempotency keys are each asker's own.

    Raises:
        CollisionError: other writers hold the people concerned.
    """
    now = now or timezone.now()
    written = [kind for kind in channels.everything() if kind in _channels(message)]
    answers: dict[int, Sent | Rejection] = {}
    for place, each in enumerate(wanted):
        problem = _problem(each, written, now)
        if problem is not None:
            answers[place] = problem
    causes = {
        place: _cause(asker, message, each.key) for place, each in enumerate(wanted) if place not in answers
    }
    answers |= _asked_before(causes, wanted)
    left = {place: wanted[place] for place in causes if place not in answers}
    outcomes = profiles.upsert([each.row for each in left.values()], "api", now, returning=False).outcomes
    people: dict[int, int] = {}
    for place, outcome in zip(left, outcomes, strict=True):
        if outcome.profile_id is None:
            answers[place] = Rejection(outcome.code, outcome.field, outcome.detail)
        else:
            people[place] = outcome.profile_id
    by_channel = _chosen({place: left[place].channel for place in people}, people, message, written)
    outbox.queue(
        [
            outbox.DeliveryRequest(
                cause=causes[place],
                message_id=message.pk,
                profile_id=people[place],
                channel=by_channel[place],
                origin_type=Delivery.Origin.API,
                context={"data": dict(left[place].data), "request": left[place].fingerprint},
                due_at=left[place].send_at,
                expires_at=left[place].expires_at,
            )
            for place in people
        ],
        now,
    )
    fresh = {place: causes[place] for place in people}
    # Of two requests under one key in one call the second is a repetition.
    first = {cause: place for place, cause in reversed(fresh.items())}
    for place, found in _asked_before(fresh, wanted).items():
        repeated = first[fresh[place]] != place
        answers[place] = (
            msgspec.structs.replace(found, repeated=repeated) if isinstance(found, Sent) else found
        )
    return [answers[place] for place in range(len(wanted))]


def _channels(message: Message) -> set[str]:
    return set(message.contents.values_list("channel", flat=True))


def _problem(each: Wanted, written: Sequence[str], now: datetime) -> Rejection | None:
    if not 1 <= len(each.key) <= MAX_KEY or "\x00" in each.key:
        return Rejection("invalid_value", "idempotency_key", _("A key has 1 to %d characters.") % MAX_KEY)
    if not written:
        return Rejection("nothing_written", "", _("Nothing is written in this message yet."))
    if each.channel and each.channel not in written:
        words = {"channel": each.channel[:40], "known": ", ".join(written)}
        return Rejection(
            "invalid_value",
            "channel",
            _("The message is not written for “%(channel)s”. There is: %(known)s.") % words,
        )
    if len(msgspec.json.encode(each.data)) > MAX_DATA:
        return Rejection("invalid_value", "data", _("At most 64 KB."))
    if each.send_at and each.send_at > now + LATEST:
        return Rejection("invalid_value", "send_at", _("At most 90 days ahead."))
    if each.expires_at and each.expires_at <= (each.send_at or now):
        return Rejection("invalid_value", "expires_at", _("It would be too late at once."))
    return None


def _cause(asker: int, message: Message, key: str) -> str:
    digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return f"api:{asker}:{message.pk}:{digest}"


def _asked_before(causes: Mapping[int, str], wanted: Sequence[Wanted]) -> dict[int, Sent | Rejection]:
    found = Delivery.objects.in_bulk(set(causes.values()), field_name="cause")
    answers: dict[int, Sent | Rejection] = {}
    for place, cause in causes.items():
        delivery = found.get(cause)
        if delivery is None:
            continue
        same = delivery.context.get("request", wanted[place].fingerprint) == wanted[place].fingerprint
        answers[place] = (
            Sent(delivery, repeated=True)
            if same
            else Rejection(
                "idempotency_mismatch",
                "idempotency_key",
                _("This key was used for another request; take a new one for each."),
            )
        )
    return answers


def _chosen(
    asked: Mapping[int, str], people: Mapping[int, int], message: Message, written: Sequence[str]
) -> dict[int, str]:
    """Return the channel for each place: the one asked for, or the first that reaches the person with their yes."""
    open_places = {place for place, channel in asked.items() if not channel}
    chosen = {place: channel for place, channel in asked.items() if channel}
    for kind in written:
        if not open_places:
            break
        ids = {people[place] for place in open_places}
        channel = channels.get(kind)
        if not channel.reaches_people:
            continue
        reached = ids & channel.addresses(ids).keys()
        about = "" if message.exempt else message.topic
        reached &= consent.subscribed(reached, kind, about, channel.opt_in and not message.exempt)
        for place in [place for place in open_places if people[place] in reached]:
            chosen[place] = kind
            open_places.discard(place)
    # Whom nothing reaches is told so by the policies, with the reason in the ledger.
    return chosen | dict.fromkeys(open_places, written[0])
