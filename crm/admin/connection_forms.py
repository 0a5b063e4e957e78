"""The forms of a CRM connection: its settings, made from its connector's own form, and its field mapping."""

from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from crm.connectors.base import Connector, Field
from crm.models import Connection, Profile
from crm.patches import FIELDS
from crm.sync import mapping as mappings
from crm.sync.mapping import ATTRIBUTE, ConsentRule, Mapping, MappingError

CONSENT = "consent:"
CHANNELS = {"webpush": gettext_lazy("web push"), "email": gettext_lazy("email"), "sms": gettext_lazy("SMS")}


class BasicsForm(forms.ModelForm):
    """What every connection has."""

    class Meta:
        model = Connection
        fields = ["name", "slug", "interval_minutes"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "slug": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "ltr"}),
            "interval_minutes": UnfoldAdminIntegerFieldWidget(attrs={"min": 1}),
        }
        help_texts = {
            "slug": gettext_lazy(
                "Names the connection in commands and identifiers; it can't be changed later."
            ),
        }

    def clean_interval_minutes(self) -> int:
        """At least a minute."""
        minutes = self.cleaned_data["interval_minutes"]
        if minutes < 1:
            raise forms.ValidationError(_("At least 1 minute."))
        return minutes


class SettingsForm(BasicsForm):
    """Basics plus the fields of a connector's form. Stored credentials are never shown; empty keeps them."""

    def __init__(self, connector: type[Connector], data: Any = None, instance: Connection | None = None):
        self.connector = connector
        self.secret = connector.Credentials.__struct_fields__
        super().__init__(data, instance=instance, initial={} if instance else self._proposal())
        if self.stored:
            del self.fields["slug"]
        for name, field in connector.Form().fields.items():
            self.fields[name] = self._dressed(name, field)
            if self.stored and name not in self.secret:
                self.initial[name] = instance.config.get(name, field.initial)

    def _proposal(self) -> dict[str, str]:
        """A name for the first connection of a kind; further ones need names of their own."""
        if Connection.objects.filter(slug=self.connector.kind).exists():
            return {}
        return {"name": str(self.connector.label), "slug": self.connector.kind}

    @property
    def stored(self) -> bool:
        """Whether the connection exists already."""
        return self.instance.pk is not None

    def _dressed(self, name: str, field: forms.Field) -> forms.Field:
        """The field with the admin's widget."""
        if name in self.secret:
            field.widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "dir": "ltr"})
            if self.stored:
                field.required = False
                field.help_text = _("Stored and never shown again. Leave empty to keep it.")
        elif isinstance(field, forms.ChoiceField):
            field.widget = UnfoldAdminSelectWidget(choices=field.choices)
        elif isinstance(field, forms.IntegerField):
            field.widget = UnfoldAdminIntegerFieldWidget()
        else:
            field.widget = UnfoldAdminTextInputWidget()
        field.widget.is_required = field.required
        return field

    def config(self) -> dict[str, Any]:
        """The connector's settings as entered."""
        return {
            name: self.cleaned_data[name]
            for name in self.connector.Config.__struct_fields__
            if name in self.cleaned_data
        }

    def credentials(self) -> dict[str, Any]:
        """The credentials as entered, the stored ones where nothing was."""
        held = dict(self.instance.credentials) if self.stored else {}
        return held | {name: value for name in self.secret if (value := self.cleaned_data.get(name))}


class MappingRow(msgspec.Struct):
    """One CRM field in the mapping editor; `input` is the name of its drop-down."""

    input: str
    label: str
    name: str
    kind: str
    chosen: str
    groups: list[tuple[str, list[tuple[str, str]]]]


class MappingForm:
    """A drop-down for each CRM field.

    Args:
        fields: the CRM's fields; those of the mapping that it no longer has are added.
    """

    def __init__(self, fields: list[Field], mapping: Mapping, data: Any = None):
        known = {field.name for field in fields}
        gone = [Field(name, name, "text") for name in mapping.names() if name not in known]
        self.fields = [*fields, *gone]
        self.gone = {field.name for field in gone}
        self.data = data
        self.error = ""
        self.mapping = mapping if data is None else self._read(data, mapping)

    def _read(self, data: Any, held: Mapping) -> Mapping:
        chosen: dict[str, str] = {}
        consent: dict[str, dict[str, Any]] = {}
        try:
            for field in self.fields:
                target = data.get(f"map-{field.name}", "")
                if target.startswith(CONSENT):
                    kind, key, inverted = _consent_parts(target)
                    consent[field.name] = {"kind": kind, "key": key, "inverted": inverted == "inverted"}
                elif target:
                    chosen[field.name] = target
            return mappings.parse({"fields": chosen, "consent": consent})
        except MappingError as error:
            self.error = str(error)
            return held

    def rows(self) -> tuple[list[MappingRow], list[MappingRow]]:
        """Rows that are mapped, and the others."""
        rows = [self._row(field) for field in sorted(self.fields, key=lambda field: field.label.casefold())]
        return [row for row in rows if row.chosen], [row for row in rows if not row.chosen]

    def _row(self, field: Field) -> MappingRow:
        name = f"map-{field.name}"
        chosen = self.mapping.fields.get(field.name, "")
        rule = self.mapping.consent.get(field.name)
        if rule:
            chosen = _consent_value(rule)
        entered = self.data.get(name, "") if self.error else ""
        if entered and not entered.startswith(CONSENT):
            chosen = entered  # so that it can be put right
        kind = _("no longer exists") if field.name in self.gone else field.kind
        return MappingRow(name, field.label, field.name, kind, chosen, self._choices(field, chosen))

    def _choices(self, field: Field, chosen: str) -> list[tuple[str, list[tuple[str, str]]]]:
        own = ATTRIBUTE + field.name
        attributes = [own] if not chosen.startswith(ATTRIBUTE) or chosen == own else [chosen, own]
        groups = [
            (_("Profile"), [(name, str(Profile._meta.get_field(name).verbose_name)) for name in FIELDS]),
            (_("Attribute"), [(name, name.removeprefix(ATTRIBUTE)) for name in attributes]),
        ]
        if field.kind == "boolean" or chosen.startswith(CONSENT):
            groups.append((_("Consent"), _consent_choices(field, chosen)))
        return groups


def _consent_parts(value: str) -> list[str]:
    """Kind, key and "inverted" or nothing of a drop-down's value."""
    parts = value.removeprefix(CONSENT).split(":", 2)
    if len(parts) != 3 or not parts[1]:
        raise MappingError(_("Choose one of the consents offered."))
    return parts


def _consent_value(rule: ConsentRule) -> str:
    return f"{CONSENT}{rule.kind}:{rule.key}:{'inverted' if rule.inverted else ''}"


def _consent_choices(field: Field, chosen: str) -> list[tuple[str, str]]:
    choices: dict[str, str] = {}
    for channel, label in CHANNELS.items():
        names = {"channel": label}
        choices[f"{CONSENT}channel:{channel}:"] = _("yes agrees to %(channel)s") % names
        choices[f"{CONSENT}channel:{channel}:inverted"] = _("yes opts out of %(channel)s") % names
    choices[f"{CONSENT}topic:{field.name}:"] = _("yes agrees to the topic %(topic)s") % {"topic": field.name}
    if chosen.startswith(CONSENT):
        _kind, key, inverted = _consent_parts(chosen)
        words = _("yes opts out of %(channel)s") if inverted else _("yes agrees to %(channel)s")
        if chosen not in choices:
            choices[chosen] = words % {"channel": key}
    return list(choices.items())
