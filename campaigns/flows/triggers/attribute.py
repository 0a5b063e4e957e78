"""Attribute changed: something that we know about somebody is different now."""

import json
from typing import Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from campaigns.flows.triggers.happening import Happening
from campaigns.segments import compiler, computed, fields, grammar
from campaigns.segments.suggestions import Suggestions
from crm import attribute_changes
from crm.attribute_changes import CHANGED, COLUMNS
from crm.rules import operators
from crm.rules.errors import Problem, RuleError
from crm.rules.sql import TRUE, joined, sql

MOST_VALUES = 50


class AttributeConfig(
    msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename={"before": "from", "after": "to"}
):
    """`{"kind": "attribute", "field": "attributes.plan", "from": ["free"], "to": ["pro"]}`

    Without `from` or `to`: any value; null stands for none.
    """

    field: str = ""
    kind: str = "attribute"
    before: list[Any] = []
    after: list[Any] = []


class ValuesField(forms.Field):
    """JSON values, written with commas between them: numbers, true, false, null, and otherwise texts."""

    def to_python(self, value: Any) -> list[Any]:
        if isinstance(value, list):
            return value
        texts = [part.strip() for part in str(value or "").split(",")]
        return [_value(text) for text in texts if text]

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return ", ".join(_text(item) for item in value)

    def validate(self, value: Any) -> None:
        if len(value) > MOST_VALUES:
            raise ValidationError(_("Give at most %d values.") % MOST_VALUES)


def _value(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if found is None or isinstance(found, str | int | float) else text


def _text(value: Any) -> str:
    """The value so that it reads back as the same."""
    return value if isinstance(value, str) and _value(value) == value else json.dumps(value)


class AttributeForm(forms.Form):
    field = forms.ChoiceField(label=gettext_lazy("Field"), widget=UnfoldAdminSelectWidget)
    before = ValuesField(
        label=gettext_lazy("From"),
        required=False,
        help_text=gettext_lazy("Values with commas between them; null for none. Empty: any."),
        widget=UnfoldAdminTextInputWidget(attrs={"data-half": ""}),
    )
    after = ValuesField(
        label=gettext_lazy("To"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"data-half": ""}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own: dict[str, Any] = self.fields
        chosen = self.data.get("field") if self.is_bound else self.initial.get("field")
        groups = [
            (label, [choice for choice in choices if choice[0] in COLUMNS or "." in choice[0]])
            for label, choices in Suggestions().fields()
        ]
        known = {name for _label, choices in groups for name, _text in choices}
        extra = [(chosen, chosen)] if chosen and chosen not in known and _known(str(chosen)) else []
        own["field"].choices = [("", _("Choose a field")), *extra, *groups]


def _known(name: str) -> bool:
    return not _field_problems(name)


def _field_problems(name: str) -> list[Problem]:
    if not name:
        return [Problem("field", _("Choose a field."))]
    try:
        if name.startswith(computed.PREFIX):
            computed.field(name.removeprefix(computed.PREFIX))
        else:
            fields.field(name)
    except RuleError as error:
        return [Problem("field", error.message)]
    if not attribute_changes.can_watch(name):
        return [Problem("field", _("This field changes all the time; choose another."))]
    return []


class Attribute(Happening):
    """Starts whoever a watched field of changes; crm.attribute_changes records the changes."""

    kind, label, icon, position = "attribute", gettext_lazy("A field changes"), "edit_attributes", 30
    help = gettext_lazy(
        "Start when a field of somebody's profile or a computed attribute gets another value."
    )
    Config, Form = AttributeConfig, AttributeForm

    def event(self, config):
        return CHANGED

    def watches(self, config):
        return frozenset({config.field})

    def where(self, config):
        return [{"property": "field", "op": "eq", "value": config.field}]

    def more(self, config, now):
        parts = [
            sql(
                "coalesce(e.properties -> {}::text, 'null'::jsonb) = ANY({}::jsonb[])",
                name,
                [json.dumps(value) for value in values],
            )
            for name, values in (("from", config.before), ("to", config.after))
            if values
        ]
        return joined(" AND ", parts) if parts else TRUE

    def qualifying(self, config, days, now):
        """Who has one of the values `to` now, whenever it came; without `to`, of whom the field has changed."""
        given = [value for value in config.after if value is not None]
        rules = [{"kind": "attribute", "field": config.field, "op": "in", "value": given}] if given else []
        if None in config.after:
            rules.append({"kind": "attribute", "field": config.field, "op": "is_not_set"})
        if not rules:
            return super().qualifying(config, days, now)
        rule = grammar.parse({"any": rules})
        return sql(
            "SELECT found.id AS profile_id, NULL::uuid AS event_id, {}::timestamptz AS at FROM ({}) AS found(id)",
            *(now, compiler.ids(rule, compiler.query(rule, now))),
        )

    def already(self, config, now):
        return {"name": CHANGED, "occurred_at": now.isoformat(), "properties": {"field": config.field}}

    def stored(self, cleaned):
        return {
            "field": cleaned["field"],
            **({"from": cleaned["before"]} if cleaned["before"] else {}),
            **({"to": cleaned["after"]} if cleaned["after"] else {}),
        }

    def initial(self, config):
        return {"field": config.get("field"), "before": config.get("from"), "after": config.get("to")}

    def config_problems(self, config):
        found = _field_problems(config.field)
        for name, values in (("from", config.before), ("to", config.after)):
            if len(values) > MOST_VALUES:
                found.append(Problem(name, _("Give at most %d values.") % MOST_VALUES))
            try:
                for value in values:
                    if value is not None:
                        operators.check_json_scalar(value, name)
            except RuleError as error:
                found += [Problem(path, text) for path, text in error.problems]
        return found

    def summary(self, config):
        if not config.field:
            return ""
        name = label(config.field)
        before, after = (_(" or ").join(map(_told, values)) for values in (config.before, config.after))
        if before and after:
            return _("When %(field)s changes from %(before)s to %(after)s") % {
                "field": name,
                "before": before,
                "after": after,
            }
        if after:
            return _("When %(field)s becomes %(after)s") % {"field": name, "after": after}
        if before:
            return _("When %(field)s is no longer %(before)s") % {"field": name, "before": before}
        return _("When %s changes") % name


def label(name: str) -> str:
    """What a field is called; its name if it is gone."""
    try:
        if name.startswith(computed.PREFIX):
            return str(computed.field(name.removeprefix(computed.PREFIX)).label)
        return fields.field(name).label
    except RuleError:
        return name


def _told(value: Any) -> str:
    if value is None:
        return _("empty")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return f"“{value}”"
