"""A channel that only remembers what it was given: for tests and for trying flows without an account."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

import msgspec
from django import forms
from django.utils.translation import gettext_lazy as _

from crm.models import Profile
from crm.rules.sql import Sql
from delivery.channels import register
from delivery.channels.base import Address, Channel, ContentForm, Outcome, Parcel, Result
from delivery.models import Delivery


class MemoryContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A text."""

    text: str


class MemoryForm(ContentForm):
    main = ("text",)
    text = forms.CharField(label=_("Text"), widget=forms.Textarea)


def accept(parcel: Parcel) -> Result:
    """The answer of a provider that takes everything."""
    return Result(parcel.number, Outcome.ACCEPTED, 200)


@register
class Memory(Channel):
    """Reaches everybody with an email address. `sent` is what it was given; `answer` may be replaced."""

    kind = "memory"
    label = _("Memory")
    Config = MemoryContent
    Form = MemoryForm
    listed = False
    address_fields = ("email",)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything and accept everything."""
        self.sent: list[Parcel] = []
        self.answer: Callable[[Parcel], Result] = accept

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return each person's email address."""
        rows = Profile.objects.filter(pk__in=profile_ids, email__isnull=False).values_list("pk", "email")
        return {profile_id: [Address(email)] for profile_id, email in rows if email}

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return Sql("SELECT id AS profile_id, email AS value FROM crm_profile WHERE email <> ''")

    def compose(self, delivery: Delivery, content: MemoryContent) -> str:
        """Return the text."""
        return content.text

    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Remember each parcel and yield `answer` for it."""
        for parcel in parcels:
            self.sent.append(parcel)
            yield self.answer(parcel)


MemoryForm.channel = Memory
