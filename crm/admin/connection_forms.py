"""The forms of a CRM connection: its account, made from its connector's own form, its objects and its schedule."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from crm.connectors.base import Connector, ObjectType
from crm.models import Connection

BECOMES = {
    "person": (
        "group",
        gettext_lazy("Each becomes a profile; people known by the same email or number become one."),
    ),
    "purchase": (
        "shopping_cart",
        gettext_lazy("Each that is won becomes a purchase of its person, for segments, flows and revenue."),
    ),
    "product": ("inventory_2", gettext_lazy("Each becomes an entry of the product catalogue.")),
}


class SecretTextarea(UnfoldAdminTextareaWidget):
    """For keys of several lines; what is in it is never shown again."""

    def format_value(self, value: Any) -> str:
        """Nothing."""
        return ""


class SettingsForm(forms.ModelForm):
    """Name plus the fields of a connector's form. Stored credentials are never shown; empty keeps them."""

    class Meta:
        model = Connection
        fields = ["name", "slug"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "slug": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "ltr"}),
        }
        help_texts = {
            "slug": gettext_lazy(
                "Names the connection in commands and identifiers; it can't be changed later."
            ),
        }

    def __init__(self, connector: type[Connector], data: Any = None, instance: Connection | None = None):
        self.connector = connector
        self.secret = connector.Credentials.__struct_fields__
        super().__init__(data, instance=instance, initial={} if instance else self._proposal())
        if self.stored and self.instance.state != Connection.State.DRAFT:
            del self.fields["slug"]
        for name, field in connector.Form().fields.items():
            self.fields[name] = self._dressed(name, field)
            if self.stored and name not in self.secret:
                self.initial[name] = self.instance.config.get(name, field.initial)

    def _proposal(self) -> dict[str, str]:
        """A name that is free."""
        label, slug = str(self.connector.label), self.connector.kind
        names = set(Connection.objects.values_list("name", flat=True))
        slugs = set(Connection.objects.values_list("slug", flat=True))
        number, name = 1, label
        while name in names or slug in slugs:
            number += 1
            name, slug = f"{label} {number}", f"{self.connector.kind}-{number}"
        return {"name": name, "slug": slug}

    @property
    def stored(self) -> bool:
        """Whether the connection exists already."""
        return self.instance.pk is not None

    def _dressed(self, name: str, field: forms.Field) -> forms.Field:
        """The field with the admin's widget."""
        attrs: dict[str, str] = {}
        # A form may say which of its fields belong to which way of logging in.
        deciding = getattr(self.connector.Form, "only_for", {}).get(name)
        if deciding:
            attrs = {"data-only-for": deciding[0], "data-only-values": " ".join(deciding[1])}
        if name in self.secret:
            attrs |= {"autocomplete": "new-password", "dir": "ltr", "spellcheck": "false"}
            multiline = isinstance(field.widget, forms.Textarea)
            field.widget = (SecretTextarea if multiline else UnfoldAdminPasswordWidget)(attrs=attrs)
            if self.stored and self.instance.credentials.get(name):
                field.required = False
                field.help_text = _("Stored and never shown again. Leave empty to keep it.")
        elif isinstance(field, forms.ChoiceField):
            field.widget = UnfoldAdminSelectWidget(choices=field.choices, attrs=attrs)
        elif isinstance(field, forms.IntegerField):
            field.widget = UnfoldAdminIntegerFieldWidget(attrs=attrs)
        else:
            field.widget = UnfoldAdminTextInputWidget(attrs={"dir": "ltr", **attrs})
        field.widget.is_required = field.required
        return field

    def clean(self) -> dict[str, Any]:
        """What the connector's form demands of its fields together, stored credentials included."""
        cleaned = super().clean()
        entered = {name: cleaned.get(name) for name in self.connector.Form.base_fields}
        checked = self.connector.Form({**entered, **self.credentials()})
        for name, errors in checked.errors.items():
            if name == NON_FIELD_ERRORS or (name in self.fields and name not in self.errors):
                self.add_error(None if name == NON_FIELD_ERRORS else name, errors)
        return cleaned

    def config(self) -> dict[str, Any]:
        """The connector's settings as entered; what its form does not ask for stays as it is."""
        held = self.instance.config if self.stored else {}
        known = {**held, **self.cleaned_data}
        return {name: known[name] for name in self.connector.Config.__struct_fields__ if name in known}

    def credentials(self) -> dict[str, Any]:
        """The credentials as entered, the stored ones where nothing was."""
        held = dict(self.instance.credentials) if self.stored else {}
        return held | {name: value for name in self.secret if (value := self.cleaned_data.get(name))}

    def problems(self, names: Iterable[str] | None = None) -> str:
        """What is missing and what is wrong among these fields (default: all), in sentences."""
        wrong = [name for name in self.errors if names is None or name in names]
        empty = [name for name in wrong if name in self.fields and not self[name].data]
        said = [str(self.errors[name][0]) for name in wrong if name not in self.fields]
        said += [
            f"{self.fields[name].label}: {self.errors[name][0]}"
            for name in wrong
            if name in self.fields and name not in empty
        ]
        if empty:
            labels = ", ".join(str(self.fields[name].label) for name in empty)
            said.insert(0, _("Fill in first: %s.") % labels)
        return " ".join(said)


class ScheduleForm(forms.ModelForm):
    """How often changes are fetched, and how often everything is compared."""

    class Meta:
        model = Connection
        fields = ["interval_minutes", "sweep_every_days"]
        widgets = {
            name: UnfoldAdminIntegerFieldWidget(attrs={"min": 1})
            for name in ("interval_minutes", "sweep_every_days")
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name, most in (("interval_minutes", 1440), ("sweep_every_days", 90)):
            self.fields[name].min_value = 1
            self.fields[name].validators.extend(forms.IntegerField(min_value=1, max_value=most).validators)


class ObjectCard:
    """One kind of record to choose: `found`, what it becomes, and whether it is chosen."""

    def __init__(self, found: ObjectType, chosen: bool):
        self.found, self.chosen = found, chosen
        self.icon, self.becomes = BECOMES[found.role]


class ObjectsForm:
    """Which kinds of records are read.

    Args:
        held: the objects of the mapping so far; none yet: the connector's proposal.
    """

    def __init__(self, connector: type[Connector], held: Any, data: Any = None):
        names = [found.name for found in connector.objects]
        if data is not None:
            wanted = set(data.getlist("objects"))
        else:
            wanted = set(held) or {found.name for found in connector.objects if found.chosen}
        self.chosen = [name for name in names if name in wanted]
        self.error = ""
        people = {found.name for found in connector.objects if found.role == "person"}
        if data is not None and not self.chosen:
            self.error = _("Choose at least one.")
        elif (
            data is not None
            and not people & set(self.chosen)
            and any(found.role == "purchase" and found.name in self.chosen for found in connector.objects)
        ):
            self.error = _("Purchases need the people they belong to: choose those as well.")
        self.cards = [ObjectCard(found, found.name in self.chosen) for found in connector.objects]
