"""What a channel is: one class that checks its content, finds people's addresses and sends a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec
from django import forms

from crm.models import Device
from crm.rules.sql import Sql
from delivery.content import Compiled, ContentError, problems
from delivery.models import Attempt, Delivery

Outcome = Attempt.Outcome


class Address(msgspec.Struct, frozen=True):
    """Where one person can be reached: what suppression lists hold, and the device if it is one."""

    value: str
    device: Device | None = None


class Parcel(msgspec.Struct, frozen=True):
    """One composed message for one address; `number` is the attempt's id, `account_id` of whose provider it is."""

    number: int
    delivery: Delivery
    address: Address
    payload: Any
    account_id: int | None = None


class Result(msgspec.Struct, frozen=True):
    """What the provider said about one parcel. STARTED: it was asked, and nobody knows what became of it.

    `detail` is for operators: no secrets. `retry_after` is the provider's wish, for RETRY. `group` names what a
    CONFIGURATION problem concerns, such as the push service's origin. `provider_id` is what the provider calls the
    message in later reports; `parts` is how many it charges for. `told` is what the answer says about the person
    besides, as a report would (a value of `delivery.providers.base.Reported`). `account_id` names another account than
    the parcel's, if one carried it, or is 0 when there was none: then it says nothing about the parcel's.
    """

    number: int
    outcome: Outcome
    status_code: int | None = None
    detail: str = ""
    retry_after: timedelta | None = None
    group: str = ""
    provider_id: str = ""
    parts: int = 1
    told: str = ""
    account_id: int | None = None


class ContentForm(forms.Form):
    """Edits one channel's content; the fields are named like those of the channel's Config.

    `main` and `more` list them in order; `more` is folded away at first.
    """

    channel: ClassVar[type["Channel"]]
    main: ClassVar[tuple[str, ...]]
    more: ClassVar[tuple[str, ...]] = ()

    def content(self) -> dict[str, Any]:
        """The authored JSON as entered: empty fields are left out."""
        return {name: value for name, value in self.cleaned_data.items() if value not in (None, "", [])}

    def clean(self) -> dict[str, Any]:
        """Show everything that is wrong with the content at its field."""
        cleaned = super().clean() or self.cleaned_data
        for problem in self.channel().problems(self.content()):
            if problem.field in self.errors:
                continue
            self.add_error(problem.field if problem.field in self.fields else None, problem.message)
        return cleaned


class Channel(ABC):
    """A way to reach people. A subclass in its own file with `@register` is all it takes.

    `repeatable` tells that sending the same delivery twice shows it once, because the device replaces it or the
    provider takes an idempotency key; only then an attempt with unknown outcome is tried again.
    """

    kind: ClassVar[str]
    label: ClassVar[Any]
    Config: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[ContentForm]]
    repeatable: ClassVar[bool] = False
    listed: ClassVar[bool] = True  # offered to marketers
    reaches_people: ClassVar[bool] = (
        True  # else another system is told, which is no way to choose for a person
    )
    position: ClassVar[int] = 50  # among those offered; the first is what a new message step sends by
    preview: ClassVar[str] = ""  # the template that shows a filled-in Config as `content`
    opt_in: ClassVar[bool] = True  # needs a yes of the person; else only a no counts
    provided: ClassVar[bool] = False  # by an account at a provider, see `delivery.channels.provided`
    tracks_links: ClassVar[bool] = (
        False  # its links are replaced by ours that count; else its devices tell of clicks
    )
    address_fields: ClassVar[tuple[str, ...]]  # what of a profile changes its addresses, as in `crm.changes`

    @abstractmethod
    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return the addresses of those who have one, in a fixed number of queries."""

    @abstractmethod
    def address_rows(self) -> Sql:
        """Return a SELECT of profile_id and value for everybody: the same addresses as a set, for segments."""

    @abstractmethod
    def compose(self, delivery: Delivery, content: Any) -> Any:
        """Return what `send` needs of one person's filled-in Config.

        Raises:
            ContentError: it can't be sent, e.g. because it is too long.
        """

    def relink(self, content: Any, change: Callable[[str], str]) -> Any:
        """Return a filled-in Config with the addresses that readers can follow changed."""
        return content

    def relink_payload(self, payload: Any, change: Callable[[str], str], picture: str) -> Any:
        """The same for what `compose` returned, where links are known only then; `picture` is the address of the tiny
        one that tells of an opened message, "" for none."""
        return payload

    @abstractmethod
    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send, and yield one Result for each parcel as it becomes known, in any order.

        `parcels` is read as there is room; a parcel that was read may have been sent. Nothing is raised for a
        single parcel.
        """

    def carrier(self, account_id: int | None) -> Callable[[Iterable[Parcel], datetime], Iterator[Result]]:
        """Return what sends by one account (`account_id`, None where the channel has none)."""
        return self.send

    def repeats(self, account_id: int | None) -> bool:
        """Tell whether an attempt by this account with unknown outcome may be made again."""
        return self.repeatable

    def reported(self, reports: Sequence[tuple[int, str, datetime]]) -> None:  # noqa: B027 - few want to know
        """Told that devices showed messages, or that people clicked or closed them: (delivery's id, "shown",
        "clicked" or "dismissed", when). In the transaction that logs it."""

    def arrived(self, delivery_ids: Collection[int]) -> set[int]:
        """Return those of these deliveries that are known to have reached people, whatever became of the sender."""
        return set()

    def compile(self, content: dict[str, Any]) -> Compiled:
        """Return authored JSON ready to be filled in; ContentError when it is not fit to be sent."""
        return Compiled(self.Config, content)

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored JSON, to be told when it is saved."""
        return problems(self.Config, content)

    def advice(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what an author should know of authored JSON and that does not keep it from being saved."""
        return []
