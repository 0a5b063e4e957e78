"""Write to CRM: put values into people's records in the connected CRMs."""

from datetime import date, datetime
from typing import Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows import crm_writes, values
from campaigns.flows.fields import PairsField
from campaigns.flows.steps.base import StepKind, go_on
from crm.models import Connection
from crm.rules.errors import Problem

ALL: Literal["all"] = "all"
MOST = 20


class CrmWriteConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which connection, or all that can be written into, and what by the CRM's own names of fields."""

    connection: int | Literal["all"] = "all"
    fields: dict[str, Any] = {}


def _field_names() -> list[str]:
    found = {
        name
        for connection in crm_writes.writable()
        for fields in crm_writes.fields(connection).values()
        for name in fields
    }
    return sorted(found)


class _Form(forms.Form):
    connection = forms.ChoiceField(label=gettext_lazy("CRM"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["connection"].choices = [
            (ALL, _("All connected CRMs")),
            *((str(connection.pk), connection.name) for connection in crm_writes.writable()),
        ]


_WRITE = PairsField(
    label=gettext_lazy("Write"),
    name_label=gettext_lazy("Field in the CRM"),
    names=_field_names,
    value_placeholder="{{ event.properties.plan }}",
    help_text=values.HELP,
)
# Its name is that of a form's own attribute, so that no class body can hold it.
CrmWriteForm = type("CrmWriteForm", (_Form,), {"fields": _WRITE})


class CrmWrite(StepKind):
    """Asks for values to be written; the connection's next sync writes them and notes what the CRM said."""

    kind, label, icon, position, pure = "crm_write", gettext_lazy("Write to CRM"), "sync_alt", 56, False
    help = gettext_lazy("Put values into people's records in a connected CRM; its next sync writes them.")
    Config, Form = CrmWriteConfig, CrmWriteForm

    def run(self, step, people, now):
        config = self.config(step)
        wanted = self._wanted(config, people)
        for connection in _connections(config):
            rows = [
                crm_writes.Wanted(
                    person.enrollment_id, person.flow_id, person.profile_id, wanted[person.enrollment_id]
                )
                for person in people
                if wanted[person.enrollment_id]
            ]
            crm_writes.ask(rows, step.key, connection.pk, now)
        return self._outcomes(config, people, wanted)

    def rehearse(self, step, people, now):
        config = self.config(step)
        return self._outcomes(config, people, self._wanted(config, people))

    def _wanted(self, config: CrmWriteConfig, people: Any) -> dict[int, dict[str, Any]]:
        known = values.known(people, config.fields.values())
        resolved = {
            run: {name: values.resolve(setting, about) for name, setting in config.fields.items()}
            for run, about in known.items()
        }
        return {
            run: {name: value for name, value in told.items() if value is not values.MISSING}
            for run, told in resolved.items()
        }

    def _outcomes(self, config: CrmWriteConfig, people: Any, wanted: dict[int, dict[str, Any]]) -> Any:
        crms = [connection.slug for connection in _connections(config)]
        outcomes = {}
        for person in people:
            told = wanted[person.enrollment_id]
            missing = [name for name in config.fields if name not in told]
            facts: dict[str, Any] = {"crms": crms, "set": told} | ({"missing": missing} if missing else {})
            outcomes[person.enrollment_id] = go_on(**facts)
        return outcomes

    def stored(self, cleaned):
        chosen = cleaned["connection"]
        return {
            "connection": ALL if chosen == ALL else int(chosen),
            "fields": {name: values.read(text) for name, text in cleaned.get("fields") or []},
        }

    def initial(self, config):
        fields = config.get("fields") if isinstance(config.get("fields"), dict) else {}
        return {
            "connection": str(config.get("connection", ALL)),
            "fields": [(name, values.show(value)) for name, value in fields.items()],
        }

    def told(self, step, outcome, facts):
        fields = facts.get("set")
        if outcome != "go_on" or not isinstance(fields, dict):
            return super().told(step, outcome, facts)
        if not fields:
            return _("There was nothing to write into the CRM.")
        pairs = ", ".join(f"{name} = {values.show(value)}" for name, value in fields.items())
        return _("To be written into %(crms)s: %(fields)s.") % {
            "crms": ", ".join(facts.get("crms", [])),
            "fields": pairs,
        }

    def summary(self, step):
        fields = step.config.get("fields")
        if not fields or not isinstance(fields, dict):
            return str(_("Nothing chosen"))
        name = next(iter(fields))
        more = len(fields) - 1
        words = f"{name} = {values.show(fields[name])}"
        return words + (" " + ngettext("and %d more", "and %d more", more) % more if more else "")

    def config_problems(self, step, config):
        if not config.fields:
            return [Problem("fields", _("Say what to write."))]
        if len(config.fields) > MOST:
            return [Problem("fields", _("Write %d fields at most.") % MOST)]
        connections = _connections(config)
        if not connections:
            if config.connection == ALL:
                return [Problem("connection", _("No connected CRM can be written into."))]
            return [Problem("connection", _("This CRM is not connected, or can't be written into."))]
        found = []
        for name, setting in config.fields.items():
            if wrong := values.problem(setting):
                found.append(Problem("fields", f"{name}: {wrong}"))
        for connection in connections:
            found += _refused(connection, config.fields)
        return found


def _connections(config: CrmWriteConfig) -> list[Connection]:
    chosen = crm_writes.writable()
    return [each for each in chosen if config.connection in (ALL, each.pk)]


def _refused(connection: Connection, wanted: dict[str, Any]) -> list[Problem]:
    """What this CRM can't take, as far as its last sync saw."""
    known = crm_writes.fields(connection)
    own = crm_writes.computed(connection)
    found = []
    for name in sorted(set(wanted) & own):
        text = _(
            "%(crm)s: the connection itself writes “%(field)s”; take it out of the mapping or of this step."
        )
        found.append(Problem("fields", text % {"crm": connection.name, "field": name}))
    if not known:
        return found
    if not any(set(wanted) <= set(fields) for fields in known.values()):
        missing = min((set(wanted) - set(fields) for fields in known.values()), key=len)
        text = _("%(crm)s has no field %(fields)s.")
        told = {"crm": connection.name, "fields": ", ".join(f"“{name}”" for name in sorted(missing))}
        return [*found, Problem("fields", text % told)]
    fields = next(fields for fields in known.values() if set(wanted) <= set(fields))
    for name, setting in wanted.items():
        if not isinstance(setting, dict) and setting is not None and not _fits(setting, fields[name]):
            text = _("%(crm)s: “%(field)s” does not take this value.")
            found.append(Problem("fields", text % {"crm": connection.name, "field": name}))
    return found


def _fits(value: Any, kind: str) -> bool:
    """Whether a field of this kind (crm.connectors.base.FieldKind) can hold the value."""
    match kind:
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "date" | "datetime":
            try:
                (date if kind == "date" else datetime).fromisoformat(str(value))
            except ValueError:
                return False
    return True
