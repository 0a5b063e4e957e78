"""Email: to the address of a profile, by the account's provider."""

from collections.abc import Callable, Collection
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.models import Profile
from crm.rules.sql import Sql
from delivery.channels import register
from delivery.channels.base import Address, ContentForm
from delivery.channels.provided import ProvidedChannel
from delivery.content import ContentError, brand, liquid
from delivery.content import problems as shape_problems
from delivery.content.addresses import text_links
from delivery.email import headers, keeping, layouts, links
from delivery.email.compiling import CompiledEmail, blocks_problems, converted
from delivery.email.content import EmailContent, EmailPayload, FilledEmail, Head
from delivery.email.widgets import BlocksField
from delivery.models import Delivery
from delivery.preferences import links as preference_links

CLIPPED = 100_000  # bytes of HTML after which Gmail hides the rest, the link to leave with it


class EmailForm(ContentForm):
    main = ("subject", "preheader", "blocks", "mjml", "html")
    more = ("from_name", "from_address", "reply_to", "to_name", "text", "direction")
    subject = forms.CharField(
        label=gettext_lazy("Subject"),
        help_text=gettext_lazy("Phones show about 40 characters."),
        widget=forms.TextInput(attrs={"data-count": "60"}),
    )
    preheader = forms.CharField(
        label=gettext_lazy("Preview text"),
        required=False,
        help_text=gettext_lazy("Shown after the subject in the list of emails."),
        widget=forms.TextInput(attrs={"data-count": "100"}),
    )
    blocks = BlocksField(label=gettext_lazy("Body"), required=False)
    mjml = forms.CharField(
        label=gettext_lazy("MJML"),
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 16, "dir": "ltr", "spellcheck": "false", "data-email-source": "mjml"}
        ),
    )
    html = forms.CharField(
        label=gettext_lazy("HTML"),
        required=False,
        widget=forms.Textarea(
            attrs={"rows": 16, "dir": "ltr", "spellcheck": "false", "data-email-source": "html"}
        ),
    )
    from_name = forms.CharField(
        label=gettext_lazy("Sender's name"),
        required=False,
        help_text=gettext_lazy("Empty: the brand's, else the sending account's."),
    )
    from_address = forms.CharField(
        label=gettext_lazy("Sender's address"),
        required=False,
        help_text=gettext_lazy("Empty: the brand's, else the sending account's."),
    )
    reply_to = forms.CharField(
        label=gettext_lazy("Answers go to"),
        required=False,
        help_text=gettext_lazy("Empty: the brand's, else the sending account's."),
    )
    to_name = forms.CharField(
        label=gettext_lazy("Name of the person"),
        required=False,
        help_text=gettext_lazy("Shown beside their address, such as {{ profile.first_name }}."),
    )
    text = forms.CharField(
        label=gettext_lazy("Plain text"),
        required=False,
        help_text=gettext_lazy("For mail programs that show no HTML. Empty: made of the body."),
        widget=forms.Textarea(attrs={"rows": 6}),
    )
    direction = forms.ChoiceField(
        label=gettext_lazy("Written"),
        required=False,
        initial="auto",
        choices=[
            ("auto", gettext_lazy("as its letters are")),
            ("ltr", gettext_lazy("from left to right")),
            ("rtl", gettext_lazy("from right to left")),
        ],
    )


@register
class Email(ProvidedChannel):
    """Sends to the email address of a person."""

    kind = "email"
    label = gettext_lazy("Email")
    position = 20
    Config = EmailContent
    Form = EmailForm
    Payload = EmailPayload
    address_fields = ("email",)
    preview = "admin/delivery/email/preview.html"
    mock = "admin/delivery/email/mock.html"
    tracks_links = True

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return each person's email address."""
        rows = Profile.objects.filter(pk__in=profile_ids, email__isnull=False).values_list("pk", "email")
        return {profile_id: [Address(email)] for profile_id, email in rows if email}

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return Sql("SELECT id AS profile_id, email AS value FROM crm_profile WHERE email <> ''")

    def compile(self, content: dict[str, Any]) -> Any:
        """Return authored content in the brand's present looks, ready to be filled in."""
        return CompiledEmail(content, brand.current())

    def compose(self, delivery: Delivery, content: FilledEmail) -> EmailPayload:
        """Return the email's parts and headers.

        Raises:
            ContentError: its subject is empty or an address is none.
        """
        subject = headers.one_line(content.subject)
        if not subject:
            raise ContentError("subject", _("This must not be empty."))
        for name in ("from_address", "reply_to"):
            _check_address(name, getattr(content, name))
        layout = keeping.keep(content.layout)
        transactional = delivery.transactional
        leave = preference_links.carried(delivery)["unsubscribe_url"]
        return EmailPayload(
            to_name=headers.one_line(content.to_name),
            from_address=content.from_address.strip(),
            from_name=headers.one_line(content.from_name),
            reply_to=content.reply_to.strip(),
            subject=subject,
            html=layouts.assemble(layout.html, content.values),
            text=content.text or keeping.text_of(layout, content.values),
            headers=headers.of(delivery, "" if transactional else leave),
        )

    def relink_payload(
        self, payload: EmailPayload, change: Callable[[str], str], picture: str
    ) -> EmailPayload:
        """Return the email with the links of both its parts changed, and the picture at the end of its HTML."""
        html = links.rewrite(payload.html, change)
        return msgspec.structs.replace(
            payload,
            html=links.with_picture(html, picture) if picture else html,
            text=text_links(payload.text, change),
        )

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content: its head, its body, each of its blocks."""
        head = {name: value for name, value in content.items() if name in Head.__struct_fields__}
        found = shape_problems(Head, head)
        for name in ("from_address", "reply_to"):
            value = content.get(name, "")
            if isinstance(value, str) and not liquid.is_template(value):
                try:
                    _check_address(name, value)
                except ContentError as error:
                    found.append(error)
        try:
            email = converted({"subject": "-", **{k: v for k, v in content.items() if k not in head}})
            singles = blocks_problems(email.blocks)
            if singles:
                return [*found, ContentError("blocks", " ".join(singles))]
            layouts.compiled(email, brand.current())
        except ContentError as error:
            found.append(error)
        return found

    def advice(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what could be better: who sends it, and how much of it is shown."""
        found = []
        looks = brand.current()
        if not looks.postal_address.strip():
            found.append(
                ContentError(
                    "blocks", _("Many countries ask for your postal address: fill it in in the brand kit.")
                )
            )
        try:
            layout = layouts.compiled(converted(content), looks)
        except ContentError:
            return found
        size = sum(len(part.encode()) for part in layout.html if isinstance(part, str))
        if size > CLIPPED:
            text = _("The HTML has %(size)d kB; Gmail hides what comes after about %(limit)d.")
            found.append(ContentError("blocks", text % {"size": size // 1000, "limit": CLIPPED // 1000}))
        if not content.get("preheader"):
            found.append(
                ContentError("preheader", _("Without it, mail programs show the first words of the body."))
            )
        return found


EmailForm.channel = Email


def _check_address(field: str, value: str) -> None:
    if not value.strip():
        return
    try:
        validate_email(value.strip())
    except ValidationError:
        raise ContentError(field, _("“%s” is not an email address.") % value[:80]) from None
