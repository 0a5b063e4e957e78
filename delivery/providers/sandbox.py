"""Pretends to send: keeps what it was given, to be looked at as the phone or mailbox would show it."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import uuid4

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.channels.base import Outcome, Parcel, Result
from delivery.models import SandboxItem
from delivery.providers import register
from delivery.providers.base import AccountForm, Provider, Sender

BATCH = 500


class SandboxConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Nothing needs to be known."""


class SandboxForm(AccountForm):
    """Nothing to fill in."""


@register
class Sandbox(Provider):
    """Takes everything, once each, for every channel."""

    kind = "sandbox"
    channels = ("email", "sms", "whatsapp", "push", "webhook")
    label = gettext_lazy("Sandbox")
    help = gettext_lazy("Nobody gets anything: messages are kept and shown here. For trying things out.")
    position = 90
    Config = SandboxConfig
    Credentials = SandboxConfig
    Form = SandboxForm
    idempotent = True

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Keep each parcel. One that was kept before, by a try whose outcome nobody knows, is kept once."""
        coming = iter(parcels)
        while batch := list(islice(coming, BATCH)):
            numbers = {parcel.number: provider_id(parcel) for parcel in batch}
            SandboxItem.objects.bulk_create(
                [
                    SandboxItem(
                        account_id=sender.account_id,
                        delivery_id=parcel.delivery.pk,
                        provider_id=numbers[parcel.number],
                        address=parcel.address.value,
                        payload=_storable(parcel.payload),
                        received_at=now,
                    )
                    for parcel in batch
                ],
                ignore_conflicts=True,
            )
            for parcel in batch:
                yield Result(
                    parcel.number,
                    Outcome.ACCEPTED,
                    provider_id=numbers[parcel.number],
                    parts=getattr(parcel.payload, "parts", 1),
                )

    def check(self, sender: Sender) -> str:
        """Always works."""
        return _("The sandbox takes everything and sends nothing.")


def provider_id(parcel: Parcel) -> str:
    """What the sandbox calls a message: the same for every try of one delivery to one address."""
    if parcel.delivery.pk is None:  # an answer to somebody who wrote to us
        return f"sandbox-answer-{uuid4().hex}"
    digest = hashlib.sha256(parcel.address.value.encode()).hexdigest()[:12]
    return f"sandbox-{parcel.delivery.pk}-{digest}"


def _storable(payload: Any) -> Any:
    """Return a payload as PostgreSQL keeps JSON: it takes no NUL."""
    return msgspec.json.decode(msgspec.json.encode(payload).replace(b"\\u0000", b""))
