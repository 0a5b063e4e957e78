"""Answering who wrote STOP, START or HELP: at most once, and not by the outbox, since it is no message of ours.

That somebody left is confirmed although they left: carriers ask for it, and it is the last they hear.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import connection
from django.utils import timezone, translation
from django.utils.translation import gettext

from delivery import accounts, sms
from delivery.channels.base import Address, Outcome, Parcel
from delivery.content import best_locale, brand
from delivery.models import Delivery, InboundMessage, Keywords
from delivery.providers.base import ProviderError

TASK, QUEUE = "delivery.tasks.answer_inbound", "delivery"
BATCH = 100
LONGEST = timedelta(minutes=30)  # for how long an answer that the provider puts off is tried again
Reply = InboundMessage.Reply

_CLAIM = """
    WITH mine AS MATERIALIZED (
        SELECT id FROM delivery_inboundmessage WHERE reply = 'waiting' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE delivery_inboundmessage m SET reply = 'sending' FROM mine WHERE m.id = mine.id RETURNING m.id
"""


class Answers:
    """What is said, in the person's language."""

    def __init__(self, settings: Keywords | None):
        self._own: dict[str, dict[str, str]] = settings.texts if settings else {}
        self._name = brand.current().name

    def text(self, meaning: str, language: str) -> str:
        """The answer to a word."""
        best = best_locale(self._own, language)
        if best is not None and self._own[best].get(meaning):
            return self._own[best][meaning]
        with translation.override(language or None):
            text = {
                "stop": gettext("You will get no more messages from us. Reply START to come back."),
                "start": gettext("You will get our messages again. Reply STOP to unsubscribe."),
                "help": gettext(
                    "You get messages from us because you asked for them. Reply STOP to unsubscribe."
                ),
            }[meaning]
        return f"{self._name}: {text}" if self._name else text


def send(now: datetime | None = None) -> int:
    """Send the answers that wait; return how many were claimed.

    They are marked before they are sent, and stay so when the worker dies: nobody is answered twice.
    """
    now = now or timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [BATCH])
        claimed = [row[0] for row in cursor.fetchall()]
    rows = list(
        InboundMessage.objects.select_related("account").filter(pk__in=claimed).order_by("account_id", "pk")
    )
    for _account, group in groupby(rows, key=lambda row: row.account_id):
        _send(list(group), now)
    return len(claimed)


def _send(rows: Sequence[InboundMessage], now: datetime) -> None:
    """Send answers by one account and note what became of them."""
    account = rows[0].account
    outcomes: dict[int, Outcome] = {}
    try:
        provider, sender = accounts.provider(account), accounts.sender(account)
        for result in provider.send(sender, [_parcel(row, now) for row in rows], now):
            outcomes[result.number] = result.outcome
    except ProviderError:
        outcomes = {row.pk: Outcome.RETRY for row in rows}
    for row in rows:
        outcome = outcomes.get(row.pk)
        again = outcome in (Outcome.RETRY, Outcome.CONFIGURATION) and now - row.received_at < LONGEST
        row.reply = Reply.SENT if outcome == Outcome.ACCEPTED else Reply.WAITING if again else Reply.FAILED
    InboundMessage.objects.bulk_update(rows, ["reply"])


def _parcel(row: InboundMessage, now: datetime) -> Parcel:
    unsaved = Delivery(channel=row.channel, queued_at=now, expires_at=now + LONGEST)
    return Parcel(row.pk, unsaved, Address(row.address), _payload(row), row.account_id)


def _payload(row: InboundMessage) -> Any:
    from delivery.channels.sms import SmsPayload
    from delivery.whatsapp.payload import WhatsAppPayload

    if row.channel == "whatsapp":
        return WhatsAppPayload(row.reply_text, text=row.reply_text)
    text = sms.simplify(row.reply_text, "signs")
    size = sms.measure(text)
    return SmsPayload(text, size.encoding, size.parts)
