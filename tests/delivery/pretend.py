"""A channel and its provider for tests: the provider answers as told and keeps a journal of what reached it."""

import hmac
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from django import forms

from crm.models import Profile
from crm.rules.sql import Sql
from delivery import channels, providers
from delivery.channels.base import Address, ContentForm, Outcome, Parcel, Result
from delivery.channels.provided import ProvidedChannel
from delivery.models import Account, Delivery
from delivery.providers.base import AccountForm, Call, Heard, NotGenuine, Provider, Report, Sender


class Text(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A text."""

    text: str


class TextForm(ContentForm):
    main = ("text",)
    text = forms.CharField(widget=forms.Textarea)


class Payload(msgspec.Struct, frozen=True):
    """What the provider is given."""

    text: str
    parts: int = 1


class Pretend(ProvidedChannel):
    """Reaches everybody with an email address."""

    kind = "pretend"
    label = "Pretend"
    Config = Text
    Form = TextForm
    Payload = Payload
    listed = False
    address_fields = ("email",)

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        rows = Profile.objects.filter(pk__in=profile_ids, email__isnull=False).values_list("pk", "email")
        return {profile_id: [Address(email)] for profile_id, email in rows if email}

    def address_rows(self) -> Sql:
        return Sql("SELECT id AS profile_id, email AS value FROM crm_profile WHERE email <> ''")

    def compose(self, delivery: Delivery, content: Text) -> Payload:
        return Payload(content.text, 2)


TextForm.channel = Pretend


class Nothing(msgspec.Struct):
    """No settings."""


class Secret(msgspec.Struct):
    """What calls are proven by."""

    token: str = ""


class CarrierForm(AccountForm):
    """Asks for the secret."""

    token = forms.CharField(required=False, widget=forms.PasswordInput)


def accept(parcel: Parcel) -> Result:
    """The answer of a provider that takes everything."""
    return Result(
        parcel.number, Outcome.ACCEPTED, 200, provider_id=f"p{parcel.delivery.pk}", parts=parcel.payload.parts
    )


class Carrier(Provider):
    """Answers as `answer` says; `sent` counts what was taken by delivery."""

    kind = "carrier"
    channels = ("pretend",)
    label = "Carrier"
    Config = Nothing
    Credentials = Secret
    Form = CarrierForm

    def __init__(self) -> None:
        self.answer: Callable[[Parcel], Result] = accept
        self.asked: list[tuple[str, int]] = []  # (account's name, delivery)
        self._lock = threading.Lock()

    @property
    def sent(self) -> Counter[int]:
        return Counter(delivery for _account, delivery in self.asked)

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        for parcel in parcels:
            with self._lock:
                self.asked.append((sender.name, parcel.delivery.pk))
            yield self.answer(parcel)

    def check(self, sender: Sender) -> str:
        return "It answers."

    def hear(self, sender: Sender, call: Call) -> Heard:
        if not hmac.compare_digest(call.headers.get("x-token", ""), sender.credentials.token or "-"):
            raise NotGenuine
        found: list[dict[str, Any]] = msgspec.json.decode(call.body or b"[]")
        return Heard([msgspec.convert(report, Report) for report in found], answer="taken")


def install(monkeypatch: Any) -> Carrier:
    """Make channel and provider known for one test and return the provider."""
    carrier = Carrier()
    monkeypatch.setitem(channels.everything(), "pretend", Pretend())
    monkeypatch.setitem(providers.everything(), ("pretend", "carrier"), carrier)
    return carrier


def account(name: str = "main", **fields: Any) -> Account:
    """An account of the provider."""
    return Account.objects.create(
        **{
            "name": name,
            "slug": name,
            "channel": "pretend",
            "provider": "carrier",
            "credentials": {"token": "s3cret"},
            **fields,
        }
    )


def answer(outcome: Outcome, **more: Any) -> Callable[[Parcel], Result]:
    """An answer for everybody."""
    return lambda parcel: Result(parcel.number, outcome, detail="told to", **more)
