"""In-app messages: banners, dialogs and an inbox inside the customer's own site, shown by the page's script."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.models import Identifier
from crm.rules.sql import Sql, sql
from delivery import inbox
from delivery.channels import register
from delivery.channels.base import Address, Channel, ContentForm, Outcome, Parcel, Result
from delivery.content import ContentError, Link
from delivery.models import Delivery

BATCH = 500
MAX_DAYS = 90
Text = Annotated[str, msgspec.Meta(min_length=1)]


class InAppContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A message inside the site. Links are https://… or paths of the site that shows it."""

    title: Text
    text: str = ""
    button: str = ""
    url: Link = ""
    image: Link = ""
    style: Literal["banner", "modal", "inbox"] = "banner"
    days: Annotated[int, msgspec.Meta(ge=1, le=MAX_DAYS)] = 7


class InAppForm(ContentForm):
    main = ("title", "text", "button", "url", "style")
    more = ("image", "days")
    title = forms.CharField(label=gettext_lazy("Title"), widget=forms.TextInput(attrs={"data-count": "60"}))
    text = forms.CharField(
        label=gettext_lazy("Text"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "data-count": "200"}),
    )
    button = forms.CharField(label=gettext_lazy("Button"), required=False)
    url = forms.CharField(
        label=gettext_lazy("Button opens"),
        required=False,
        help_text=gettext_lazy("https://… or a path of your site such as /cart."),
    )
    style = forms.ChoiceField(
        label=gettext_lazy("Shown as"),
        required=False,
        initial="banner",
        choices=[
            ("banner", gettext_lazy("banner: at the edge of the page, until it is closed")),
            ("modal", gettext_lazy("dialog: in front of the page")),
            ("inbox", gettext_lazy("inbox: only where the site lists messages")),
        ],
    )
    image = forms.CharField(
        label=gettext_lazy("Picture"), required=False, help_text=gettext_lazy("Address of a picture.")
    )
    days = forms.IntegerField(
        label=gettext_lazy("Days it waits"),
        required=False,
        min_value=1,
        max_value=MAX_DAYS,
        help_text=gettext_lazy("For the person's next visit. Empty: seven."),
    )


@register
class InApp(Channel):
    """Puts messages into people's inboxes; a visit fetches them (delivery/api/inbox.py).

    Nobody has to subscribe to what a site says within itself, as in the field's other products; a no to the channel
    or the topic is respected.
    """

    kind = "inapp"
    label = gettext_lazy("In-app")
    Config = InAppContent
    Form = InAppForm
    repeatable = True  # the inbox holds a delivery once
    preview = "admin/delivery/inapp.html"
    address_fields = ("identifiers",)
    opt_in = False

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return one inbox for each person whom the site's script has seen."""
        seen = (
            Identifier.objects.filter(profile_id__in=profile_ids, kind=Identifier.ANONYMOUS_ID)
            .values_list("profile_id", flat=True)
            .distinct()
        )
        return {profile_id: [Address(str(profile_id))] for profile_id in seen}

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return sql(
            "SELECT DISTINCT profile_id, profile_id::text AS value FROM crm_identifier WHERE kind = {}",
            Identifier.ANONYMOUS_ID,
        )

    def relink(self, content: InAppContent, change: Callable[[str], str]) -> InAppContent:
        """Return the message with its button's address changed."""
        return msgspec.structs.replace(content, url=change(content.url))

    def compose(self, delivery: Delivery, content: InAppContent) -> timedelta:
        """Return how long it waits for a visit; its words are kept with the delivery."""
        return timedelta(days=content.days)

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content; a button needs a place to go to, and the other way round."""
        found = super().problems(content)
        for given, missing in (("button", "url"), ("url", "button")):
            if content.get(given) and not content.get(missing):
                found.append(ContentError(missing, _("A button has both words and a link.")))
        return found

    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Put each into its inbox."""
        coming = iter(parcels)
        while batch := list(islice(coming, BATCH)):
            kept = inbox.put({parcel.delivery.pk: now + parcel.payload for parcel in batch})
            for parcel in batch:
                if parcel.delivery.pk in kept:
                    yield Result(parcel.number, Outcome.ACCEPTED)
                else:
                    yield Result(parcel.number, Outcome.REFUSED, detail="the person was deleted")

    def arrived(self, delivery_ids: Collection[int]) -> set[int]:
        """Return those that are in an inbox."""
        return inbox.holds(delivery_ids)

    def reported(self, reports: Sequence[tuple[int, str, datetime]]) -> None:
        """Note it in the inboxes."""
        inbox.note(reports)


InAppForm.channel = InApp
