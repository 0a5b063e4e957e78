"""SMS: text messages, counted in parts, and MMS where the provider carries pictures."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery import sms
from delivery.channels import register
from delivery.channels.base import ContentForm
from delivery.channels.phones import PhoneChannel
from delivery.content import ContentError, Link
from delivery.content.addresses import text_links
from delivery.models import Delivery

MAX_CHARACTERS = 1_600  # what Twilio takes, and ten parts for others
Text = Annotated[str, msgspec.Meta(min_length=1)]


class SmsContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A text message. `simplify` is how far its spelling may change to save parts; `picture` makes it an MMS."""

    text: Text
    simplify: sms.Simplify = "signs"
    opt_out: bool = False
    picture: Link = ""


class SmsPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes to the provider; `parts` is what the network makes of it."""

    text: str
    encoding: sms.Encoding
    parts: int
    media: str = ""


class SmsForm(ContentForm):
    main = ("text", "opt_out")
    more = ("simplify", "picture")
    text = forms.CharField(
        label=gettext_lazy("Text"),
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy(
            "The preview counts the parts that are paid for: 160 characters fit into one,"
            " 70 with emoji or other scripts."
        ),
    )
    opt_out = forms.BooleanField(
        label=gettext_lazy("Say how to leave"),
        required=False,
        help_text=gettext_lazy("Adds “Reply STOP to unsubscribe.” in the person's language."),
    )
    simplify = forms.ChoiceField(
        label=gettext_lazy("Cheaper spelling"),
        required=False,
        initial="signs",
        choices=[
            ("signs", gettext_lazy("plain quotes, dashes and spaces where that saves parts")),
            ("letters", gettext_lazy("also letters without accents, such as a for ą")),
            ("no", gettext_lazy("exactly as written")),
        ],
    )
    picture = forms.CharField(
        label=gettext_lazy("Picture (MMS)"),
        required=False,
        help_text=gettext_lazy(
            "Address of a picture. Costs more, and only some countries and providers carry it."
        ),
    )


@register
class Sms(PhoneChannel):
    """Sends a text to the person's number."""

    kind = "sms"
    label = gettext_lazy("SMS")
    position = 30
    Config = SmsContent
    Form = SmsForm
    Payload = SmsPayload
    preview = "admin/delivery/sms.html"
    mock = "admin/delivery/mock/sms.html"
    tracks_links = True

    def relink(self, content: SmsContent, change: Callable[[str], str]) -> SmsContent:
        """Return the words with their links changed."""
        return msgspec.structs.replace(content, text=text_links(content.text, change))

    def compose(self, delivery: Delivery, content: SmsContent) -> SmsPayload:
        """Return the words as they go out.

        Raises:
            ContentError: nothing is left of them, or they are too long.
        """
        text = sms.shown(msgspec.to_builtins(content), delivery.locale or "")
        if not text:
            raise ContentError("text", _("This must not be empty."))
        if len(text) > MAX_CHARACTERS:
            raise ContentError("text", _too_long(len(text)))
        size = sms.measure(text)
        return SmsPayload(text, size.encoding, size.parts, content.picture)

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content; variables count with a usual length."""
        found = super().problems(content)
        if not found and len(sms.estimate(content).text) > MAX_CHARACTERS:
            found.append(ContentError("text", _too_long(len(sms.estimate(content).text))))
        return found

    def parts(self, content: dict[str, Any]) -> int:
        """How many parts authored content is sent in; of a variable the length is guessed."""
        return sms.estimate(content).parts


SmsForm.channel = Sms


def _too_long(length: int) -> str:
    return _("too long: %(length)d characters, a text message takes %(limit)d") % {
        "length": length,
        "limit": MAX_CHARACTERS,
    }
