"""Sending a message to oneself, through everything that real ones go through."""

import uuid
from typing import Any

from django import forms
from django.core.validators import validate_email
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm import normalise
from delivery import channels, outbox
from delivery.admin import people
from delivery.models import Delivery, Message, MessageContent

BY_EMAIL, BY_PHONE = ("email",), ("sms", "whatsapp")


class TestForm(BaseDialogForm):
    """Whose data fills a test in, by which channel, and where it goes to."""

    form_before_template = "admin/delivery/sandbox/before_dialog.html"

    person = forms.CharField(
        label=_("Filled in for"),
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Email, phone or customer number of a person."),
    )
    channel = forms.ChoiceField(label=_("By"), widget=UnfoldAdminSelectWidget)
    variant = forms.ChoiceField(label=_("Variant"), required=False, widget=UnfoldAdminSelectWidget)
    address = forms.CharField(
        label=_("Send it to"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "Your own email address or number, for channels that have some. Empty: to the person, if they agreed."
        ),
    )

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        mail = getattr(request.user, "email", "")
        known = bool(mail) and people.find(mail) is not None
        offered = people.suggestions()
        kwargs.setdefault("initial", {"person": mail if known or not offered else offered[0][0]})
        super().__init__(request, object_id, *args, **kwargs)
        written = set(
            MessageContent.objects.filter(message=object_id).values_list("channel", "variant")
            if str(object_id or "").isdigit()
            else ()
        )
        listed = {kind: channel.label for kind, channel in channels.everything().items() if channel.listed}
        held = {kind for kind, _variant in written}
        self.fields["channel"].choices = [(k, label) for k, label in listed.items() if k in held] or list(
            listed.items()
        )
        letters = sorted({variant for _kind, variant in written})
        self.fields["variant"].choices = [
            ("", _("the person's")),
            *((letter, letter.upper()) for letter in letters),
        ]
        if len(letters) < 2:
            del self.fields["variant"]
        self.written, self.recipient = written, ""

    def get_before_template_context(
        self, request: HttpRequest, object_id: int | str | None = None
    ) -> dict[str, Any]:
        """For the note about the sandbox."""
        return {"kinds": [kind for kind, _label in self.fields["channel"].choices]}

    def clean_person(self) -> Any:
        """Return the profile."""
        found = people.find(self.cleaned_data["person"])
        if found is None:
            raise forms.ValidationError(_("Nobody is known by this."))
        return found

    def clean(self) -> dict[str, Any]:
        """Check that the address is one of the channel's kind."""
        cleaned = super().clean() or self.cleaned_data
        address, channel = cleaned.get("address", "").strip(), cleaned.get("channel")
        variant = cleaned.get("variant")
        if variant and (channel, variant) not in self.written:
            self.add_error("variant", _("This variant has no text for the channel."))
        if address and channel in BY_EMAIL:
            try:
                validate_email(address)
            except forms.ValidationError as error:
                self.add_error("address", error)
        elif address and channel in BY_PHONE:
            try:
                address = normalise.phone(address) or ""
            except normalise.Rejection:
                self.add_error(
                    "address", _("Write the number with the country's code, such as +48 600 100 200.")
                )
        elif address:
            self.add_error("address", _("This channel has no addresses to write to: leave it empty."))
        cleaned["address"] = address
        self.recipient = address or getattr(cleaned.get("person"), "display_name", "")
        return cleaned


@transaction.atomic
def send(message: Message, wanted: dict[str, Any]) -> Delivery:
    """Queue a test of a saved message; `wanted` is what TestForm asks for."""
    profile, cause = wanted["person"], f"test:{uuid.uuid4()}"
    context: dict[str, Any] = {}
    if event := people.data_for(profile).get("event"):
        context["event"] = event
    if wanted.get("address"):
        context["test"] = {"address": wanted["address"]}
    outbox.queue(
        [
            outbox.DeliveryRequest(
                cause=cause,
                message_id=message.pk,
                profile_id=profile.pk,
                channel=wanted["channel"],
                variant=wanted.get("variant") or "",
                origin_type=Delivery.Origin.TEST,
                context=context,
            )
        ]
    )
    return Delivery.objects.get(cause=cause)
