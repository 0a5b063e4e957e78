"""WhatsApp: templates that Meta has approved, or free words to people who wrote within the last day."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.channels import register
from delivery.channels.base import ContentForm, Parcel, Result
from delivery.channels.phones import PhoneChannel
from delivery.content import Compiled, ContentError, Link
from delivery.content.addresses import text_links
from delivery.models import Delivery, WhatsAppTemplate
from delivery.whatsapp import templates, window
from delivery.whatsapp.payload import WhatsAppPayload

MAX_TEXT = 4_096  # characters of a free message
MAX_SHOWN = 1_024  # of a filled-in template
FILES = ("IMAGE", "VIDEO", "DOCUMENT")  # headers that are shown from an address


class WhatsAppContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A template's name and language with the values for its places, or a text.

    Args:
        parameters: of the body, by name or number.
        header: address of the picture, film or document, or the value of the place in a header of words. Twilio's
            templates have none: what is above the words has places among the parameters.
        buttons: what a button's address ends with, or its answer, by the button's number from 0.
        shown: what the phone shows, and what kind of header and buttons the template has: told by `compile`.
    """

    template: str = ""
    language: str = ""
    parameters: dict[str, str] = {}
    header: str = ""
    buttons: dict[str, str] = {}
    text: str = ""
    picture: Link = ""
    shown: str = ""
    header_kind: str = ""
    header_name: str = ""
    labels: Annotated[list[str], msgspec.Meta(max_length=10)] = []


class TemplateField(forms.ChoiceField):
    """One of the approved templates. One that is no longer approved stays chosen; the channel says so."""

    def __init__(self, **kwargs: Any):
        super().__init__(choices=lambda: [("", _("No template")), *templates.offered()], **kwargs)

    def valid_value(self, value: Any) -> bool:
        return True


class LinesField(forms.CharField):
    """A dict, written as one "name = value" a line."""

    widget = forms.Textarea(attrs={"rows": 3, "dir": "ltr"})

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{name} = {' '.join(str(text).split())}" for name, text in value.items())

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return (initial or {}) != self.to_python(data)
        except forms.ValidationError:
            return True

    def to_python(self, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        pairs = [line.partition("=") for line in str(value or "").splitlines() if line.strip()]
        if any(not equals or not name.strip() for name, equals, _value in pairs):
            raise forms.ValidationError(_("Write one a line, such as 1 = {{ profile.first_name }}."))
        return {name.strip(): text.strip() for name, _equals, text in pairs}


class WhatsAppForm(ContentForm):
    main = ("template", "parameters", "text")
    more = ("header", "buttons", "picture")
    template = TemplateField(
        label=gettext_lazy("Template"),
        required=False,
        help_text=gettext_lazy(
            "Those that WhatsApp has approved. Their list is read anew on the page of templates."
        ),
    )
    parameters = LinesField(
        label=gettext_lazy("Values"),
        required=False,
        help_text=gettext_lazy("For the template's places, one a line: 1 = {{ profile.first_name }}"),
    )
    text = forms.CharField(
        label=gettext_lazy("Or free text"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=gettext_lazy("Reaches only people who wrote to you within the last 24 hours."),
    )
    header = forms.CharField(
        label=gettext_lazy("Header"),
        required=False,
        help_text=gettext_lazy(
            "Address of the template's picture, film or document; or the word in its header."
        ),
    )
    buttons = LinesField(
        label=gettext_lazy("Buttons"),
        required=False,
        help_text=gettext_lazy(
            "What a button's address ends with, or what its press says; the first is 0: 0 = cart"
        ),
    )
    picture = forms.CharField(
        label=gettext_lazy("Picture of the free text"),
        required=False,
        help_text=gettext_lazy("Address of a picture."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = dict(kwargs.pop("initial", None) or {})
        if initial.get("template") and initial.get("language"):
            initial["template"] = f"{initial['template']}/{initial.pop('language')}"
        kwargs["initial"] = initial
        super().__init__(*args, **kwargs)

    def content(self) -> dict[str, Any]:
        """The authored JSON: a chosen template is its name and language."""
        values = {name: value for name, value in super().content().items() if value != {}}
        name, _slash, language = str(values.pop("template", "")).partition("/")
        return values | ({"template": name, "language": language} if name else {})


@register
class WhatsApp(PhoneChannel):
    """Sends to the person's number."""

    kind = "whatsapp"
    label = "WhatsApp"
    position = 40
    Config = WhatsAppContent
    Form = WhatsAppForm
    Payload = WhatsAppPayload
    preview = "admin/delivery/whatsapp.html"
    mock = "admin/delivery/mock/whatsapp.html"
    tracks_links = True

    def relink(self, content: WhatsAppContent, change: Callable[[str], str]) -> WhatsAppContent:
        """Return the words with their links changed; those that are part of an approved template stay."""
        if not content.template:
            text = text_links(content.text, change)
            return msgspec.structs.replace(content, text=text, shown=text)
        shown, parameters = content.shown, {}
        for name, value in content.parameters.items():
            parameters[name] = text_links(value, change)
            if parameters[name] != value:
                shown = shown.replace(value, parameters[name])
        return msgspec.structs.replace(content, parameters=parameters, shown=shown)

    def compile(self, content: dict[str, Any]) -> Compiled:
        """With the template's own words, so that the ledger tells what people saw.

        Raises:
            ContentError: the template is unknown or not approved.
        """
        if not content.get("template"):
            return Compiled(self.Config, {**content, "shown": content.get("text", "")})
        found = templates.find(content["template"], content.get("language", ""))
        if found is None or found.state != WhatsAppTemplate.State.APPROVED:
            raise ContentError("template", _unusable(found))
        values = content.get("parameters") or {}
        header = templates.part(found.components, "HEADER")
        kind = str(header.get("format", "")).lower()
        names = templates.variables(header.get("text")) if kind == "text" else []
        words = [templates.filled(templates.part(found.components, "BODY").get("text"), values)]
        if kind == "text":
            value = content.get("header", "")
            words.insert(0, templates.filled(header.get("text"), dict.fromkeys(names, value)))
        if footer := templates.part(found.components, "FOOTER").get("text"):
            words.append(str(footer))
        buttons = templates.buttons(found.components)
        kinds = [templates.button_kind(button) for button in buttons]
        return Compiled(
            self.Config,
            {
                **content,
                "shown": "\n".join(words),
                "header_kind": kind if names or kind.upper() in FILES else "",
                "header_name": next((name for name in names if not name.isdecimal()), ""),
                "labels": [str(button.get("text", "")) for button in buttons][:10],
                "buttons": {
                    f"{kinds[int(number)]}:{number}": value
                    for number, value in (content.get("buttons") or {}).items()
                    if number.isdecimal() and int(number) < len(kinds) and kinds[int(number)]
                },
            },
        )

    def compose(self, delivery: Delivery, content: WhatsAppContent) -> WhatsAppPayload:
        """Return what the provider needs.

        Raises:
            ContentError: it is empty or too long, or a place has no value for this person, which WhatsApp refuses.
        """
        if not content.template:
            if not content.text.strip():
                raise ContentError("text", _("This must not be empty."))
            if len(content.text) > MAX_TEXT:
                raise ContentError("text", _("longer than %d characters") % MAX_TEXT)
            return WhatsAppPayload(content.text, text=content.text, header=content.picture)
        for name, value in content.parameters.items():
            if not value.strip():
                raise ContentError("parameters", _("“%s” has no value for this person") % name)
        if content.header_kind and not content.header.strip():
            raise ContentError("header", _("This must not be empty."))
        if empty := [key.partition(":")[2] for key, value in content.buttons.items() if not value.strip()]:
            raise ContentError("buttons", _("“%s” has no value for this person") % empty[0])
        if len(content.shown) > MAX_SHOWN:
            raise ContentError("parameters", _("longer than %d characters") % MAX_SHOWN)
        return WhatsAppPayload(
            content.shown,
            content.template,
            content.language,
            # WhatsApp takes no line breaks, tabs or rows of spaces in a value.
            {name: " ".join(value.split()) for name, value in content.parameters.items()},
            content.header,
            content.header_kind,
            content.header_name,
            content.buttons,
            labels=content.labels,
        )

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content: also a template that can't be sent or lacks a value."""
        found = super().problems(content)
        if found:
            return found
        if bool(content.get("template")) == bool(str(content.get("text", "")).strip()):
            return [ContentError("text", _("Choose a template or write a text, and not both."))]
        return _template_problems(content) if content.get("template") else []

    def carrier(self, account_id: int | None) -> Callable[[Iterable[Parcel], datetime], Iterator[Result]]:
        """Send by one account, and refuse free words to whoever has not written to it of late."""
        carry = super().carrier(account_id)

        def send(parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
            refused: list[Result] = []
            for result in carry(window.let_through(account_id or 0, parcels, now, refused), now):
                yield result
                while refused:
                    yield refused.pop()
            yield from refused

        return send


WhatsAppForm.channel = WhatsApp


def _unusable(found: WhatsAppTemplate | None) -> str:
    if found is None:
        return _("There is no such template; read the list anew.")
    return _("WhatsApp says of this template: %s") % found.get_state_display()


def _template_problems(content: dict[str, Any]) -> list[ContentError]:
    row = templates.find(content["template"], content.get("language", ""))
    if row is None or row.state != WhatsAppTemplate.State.APPROVED:
        return [ContentError("template", _unusable(row))]
    found = []
    places = templates.places(row.components)
    given = content.get("parameters") or {}
    if missing := [name for name in places if not given.get(name)]:
        found.append(ContentError("parameters", _("The template also needs: %s") % ", ".join(missing)))
    if extra := [name for name in given if name not in places]:
        found.append(ContentError("parameters", _("The template has no place for: %s") % ", ".join(extra)))
    header = templates.part(row.components, "HEADER")
    kind = str(header.get("format", "")).upper()
    wants = kind in FILES or (kind == "TEXT" and bool(templates.variables(header.get("text"))))
    if kind not in ("", "TEXT", *FILES):
        found.append(
            ContentError("template", _("Headers of this kind can't be filled in: %s") % kind.lower())
        )
    elif wants and not content.get("header"):
        found.append(ContentError("header", _("This template has a header that needs a value.")))
    elif content.get("header") and not wants:
        found.append(ContentError("header", _("This template has no header to fill in.")))
    needed = [
        str(number)
        for number, button in enumerate(templates.buttons(row.components))
        if templates.button_kind(button) in ("url", "copy_code")
    ]
    if lacking := [number for number in needed if not (content.get("buttons") or {}).get(number)]:
        found.append(ContentError("buttons", _("These buttons need a value: %s") % ", ".join(lacking)))
    return found
