"""What a provider is: one class that knows a service's settings, sends through it and understands its reports."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import msgspec
from django import forms

from delivery.channels.base import Parcel, Result


class ProviderError(Exception):
    """The provider can't be used as it is set up. The text is a sentence for an administrator, without secrets."""


class NotGenuine(Exception):
    """A call that says it comes from the provider and can't prove it."""


class Sender(msgspec.Struct, frozen=True):
    """One account, ready for use. `callback` is the public address that its provider may report to."""

    account_id: int
    name: str
    config: Any  # the provider's Config
    credentials: Any  # the provider's Credentials
    callback: str


class Reported(StrEnum):
    """What providers tell about a message that they took."""

    DELIVERED = "delivered"  # it is on the phone or in the mailbox
    READ = "read"
    FAILED = "failed"  # it will not arrive, and nothing is known against the address
    BOUNCED = "bounced"  # the address does not exist: nobody may write to it again
    DELAYED = "delayed"  # a soft bounce; the provider goes on trying
    COMPLAINED = "complained"  # the person called it spam
    UNSUBSCRIBED = "unsubscribed"  # the person told the provider


class Report(msgspec.Struct, frozen=True):
    """One thing that a provider told. `key` tells it from others of the same account, so that it counts once.

    `address` is the one concerned, where the provider names it; `cost` of the whole message.
    """

    key: str
    provider_id: str
    kind: Reported
    at: datetime
    detail: str = ""
    address: str = ""
    cost: str = ""


class Inbound(msgspec.Struct, frozen=True):
    """Something that a person wrote to us, such as STOP. `key` as in Report.

    `understood` is "stop", "start" or "help" where the provider has understood and answered it itself.
    """

    key: str
    address: str
    text: str
    at: datetime
    understood: str = ""


class Call(msgspec.Struct, frozen=True):
    """A request to an account's callback address. Header names are lower-case; `url` is as the provider called it."""

    method: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    address: str = ""


class Heard(msgspec.Struct, frozen=True):
    """What one call said, and what to answer it."""

    reports: list[Report] = []
    inbound: list[Inbound] = []
    answer: str = ""
    content_type: str = "text/plain"


class AccountForm(forms.Form):
    """Edits what a provider must know; fields are named like those of its Config and Credentials."""


class Provider(ABC):
    """A service that carries messages. A subclass in its own file with `@register` is all it takes.

    `idempotent` tells that it takes a key with a message and sends the same key once: only then is an attempt with
    unknown outcome tried again. Where that depends on the account, `repeatable` says so.
    """

    kind: ClassVar[str]
    channels: ClassVar[tuple[str, ...]]
    label: ClassVar[Any]
    help: ClassVar[Any] = ""  # where to find what the form asks for
    position: ClassVar[int] = 50
    Config: ClassVar[type[msgspec.Struct]]
    Credentials: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[AccountForm]]
    idempotent: ClassVar[bool] = False
    unsent: ClassVar[tuple[str, ...]] = ()  # credentials that stay here, such as keys for signing

    @abstractmethod
    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send, and yield one Result for each parcel as it becomes known, in any order.

        `parcels` is read as there is room; a parcel that was read may have been sent. Nothing is raised for a
        single parcel. A Result's `provider_id` is what later reports call the message.
        """

    @abstractmethod
    def check(self, sender: Sender) -> str:
        """Try the credentials without sending; return a sentence of what was found.

        Raises:
            ProviderError: they can't be used.
        """

    def complete(self, config: dict[str, Any], credentials: dict[str, Any]) -> None:  # noqa: B027 - few need it
        """Add to what was entered for an account, before it is saved, what can be made here, such as keys."""

    def facts(self, sender: Sender) -> list[tuple[str, str]]:
        """Return (label, text) of what an administrator has to enter elsewhere, such as a DNS record."""
        return []

    def repeatable(self, config: Any) -> bool:
        """Tell whether an account with this Config sends the same key once."""
        return self.idempotent

    def hear(self, sender: Sender, call: Call) -> Heard:
        """Understand a call to `sender.callback`. Unknown words are left out, not refused.

        Raises:
            NotGenuine: it is not proven that the provider calls.
        """
        raise NotGenuine
