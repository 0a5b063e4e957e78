"""The form of a sending account: what is ours to say, and what its provider asks for."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from crm.admin.connection_forms import SecretTextarea
from delivery import channels
from delivery.models import Account
from delivery.providers.base import Provider

ADDRESSES = ("url", "host", "base_url", "api_url", "content_url")  # of settings: where credentials are sent
OURS = ("name", "slug", "purpose", "usual", "per_second", "cost_per_part", "currency")


class SetupForm(forms.ModelForm):
    """Our fields plus those of a provider's form. Stored credentials are never shown; empty keeps them."""

    class Meta:
        model = Account
        fields = OURS
        labels = {"usual": gettext_lazy("Use it by default for its purpose")}
        help_texts = {
            "slug": gettext_lazy("Names the account; it can't be changed later."),
            "purpose": gettext_lazy("An account for one purpose comes before the one for everything."),
            "cost_per_part": gettext_lazy(
                "For the cost of messages in the ledger, unless the provider tells it."
            ),
        }
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "slug": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "ltr"}),
            "purpose": UnfoldAdminSelectWidget(),
            "usual": UnfoldBooleanSwitchWidget(),
            "per_second": UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": "0"}),
            "cost_per_part": UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": "0"}),
            "currency": UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "placeholder": "EUR", "size": 5}),
        }

    def __init__(self, provider: Provider, channel: str, data: Any = None, instance: Account | None = None):
        self.provider = provider
        self.secret = provider.Credentials.__struct_fields__
        instance = instance or Account(channel=channel, provider=provider.kind)
        super().__init__(data, instance=instance, initial={} if instance.pk else _proposal(provider, channel))
        if instance.pk:
            del self.fields["slug"]
        for name, field in provider.Form().fields.items():
            self.fields[name] = self._dressed(name, field)
            if instance.pk and name not in self.secret:
                self.initial[name] = instance.config.get(name, field.initial)

    def ours(self) -> list[Any]:
        """The fields that every account has."""
        return [self[name] for name in OURS if name in self.fields]

    def theirs(self) -> list[Any]:
        """The fields that the provider asks for."""
        return [self[name] for name in self.fields if name not in OURS]

    def _dressed(self, name: str, field: forms.Field) -> forms.Field:
        """The field with the admin's widget."""
        attrs: dict[str, str] = {"dir": "ltr", "autocomplete": "off"}
        multiline = isinstance(field.widget, forms.Textarea)
        if name in self.secret:
            attrs |= {"autocomplete": "new-password", "spellcheck": "false"}
            field.widget = (SecretTextarea if multiline else UnfoldAdminPasswordWidget)(attrs=attrs)
            if self.instance.pk and self.instance.credentials.get(name):
                field.required = False
                field.help_text = _("Stored and never shown again. Leave empty to keep it.")
        elif isinstance(field, forms.ChoiceField):
            field.widget = UnfoldAdminSelectWidget(choices=field.choices)
        elif isinstance(field, forms.BooleanField):
            field.widget = UnfoldBooleanSwitchWidget()
        elif isinstance(field, forms.IntegerField):
            field.widget = UnfoldAdminIntegerFieldWidget(attrs=attrs)
        else:
            field.widget = (UnfoldAdminTextareaWidget if multiline else UnfoldAdminTextInputWidget)(
                attrs=attrs
            )
        field.widget.is_required = field.required
        return field

    def clean(self) -> dict[str, Any]:
        """What the provider's form demands of its fields together, stored credentials included."""
        cleaned = super().clean() or self.cleaned_data
        entered = {name: cleaned.get(name) for name in self.provider.Form.base_fields}
        checked = self.provider.Form({**entered, **self.credentials()})
        for name, errors in checked.errors.items():
            if name == NON_FIELD_ERRORS or (name in self.fields and name not in self.errors):
                self.add_error(None if name == NON_FIELD_ERRORS else name, errors)
        self._guard_secrets(cleaned)
        return cleaned

    def _guard_secrets(self, cleaned: dict[str, Any]) -> None:
        """Ask anew for what would be sent to another address than the one that it was entered for."""
        if not self.instance.pk:
            return
        held = self.instance.config or {}
        usual = {name: self.fields[name].initial or "" for name in ADDRESSES if name in self.fields}
        if all((cleaned.get(name) or usual[name]) == (held.get(name) or usual[name]) for name in usual):
            return
        for name in self.secret:
            kept = self.instance.credentials.get(name) and not cleaned.get(name)
            if kept and name in self.fields and name not in self.provider.unsent:
                self.add_error(name, _("Enter it again: what is stored is not sent to another address."))

    def config(self) -> dict[str, Any]:
        """The provider's settings as entered; what its form does not ask for stays as it is, what is empty is usual."""
        known = {**(self.instance.config or {}), **self.cleaned_data}
        return {
            name: known[name]
            for name in self.provider.Config.__struct_fields__
            if name in known and known[name] not in (None, "")
        }

    def credentials(self) -> dict[str, Any]:
        """The credentials as entered, the stored ones where nothing was."""
        held = dict(self.instance.credentials) if self.instance.pk else {}
        return held | {name: value for name in self.secret if (value := self.cleaned_data.get(name))}

    def filled(self) -> Account:
        """The account as entered, not stored."""
        account = self.instance
        config, credentials = self.config(), self.credentials()
        self.provider.complete(config, credentials)
        account.config, account.credentials = config, credentials
        return account


def _proposal(provider: Provider, channel: str) -> dict[str, Any]:
    """A name that is free, and whether the channel wants a usual account."""
    known = channels.everything().get(channel)
    label = (
        f"{provider.label} ({known.label})" if known and len(provider.channels) > 1 else str(provider.label)
    )
    names = set(Account.objects.values_list("name", flat=True))
    slugs = set(Account.objects.values_list("slug", flat=True))
    number, name, slug = 1, label, f"{channel}-{provider.kind}".replace("_", "-")
    first = slug
    while name in names or slug in slugs:
        number += 1
        name, slug = f"{label} {number}", f"{first}-{number}"
    return {"name": name, "slug": slug, "usual": True}
