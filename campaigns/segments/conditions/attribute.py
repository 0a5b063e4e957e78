"""A condition on what a profile says."""

from datetime import datetime
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import computed, fields
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from crm import indexed_attributes, masking
from crm.rules import inputs, operators, passing, words
from crm.rules.sql import Sql, sql


class AttributeConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}`"""

    kind: str
    field: str
    op: str
    value: Any = msgspec.UNSET


class Attribute(Condition):
    """A profile field or attribute compared with a value."""

    kind, label, icon, position = "attribute", gettext_lazy("Profile field"), "badge", 1
    template = "admin/campaigns/segment/conditions/attribute.html"
    Config = AttributeConfig

    def check(self):
        name = self.config.field
        self.field: fields.Field | computed.ComputedField
        if name.startswith(computed.PREFIX):
            self.field = computed.field(name.removeprefix(computed.PREFIX))
        else:
            self.field = fields.field(name)
        self.comparison = operators.check(self.config.op, self.config.value, self.field.type)

    def predicate(self, query: Query) -> Sql | None:
        if isinstance(self.field, computed.ComputedField):
            return None
        operand = self.field.operand
        column = query.columns.get(self.field.path)
        if column is not None and indexed_attributes.serves(self.comparison):
            operand = operators.Operand(Sql(f"p.{column}"), "json")
        return operators.predicate(operand, self.comparison, query.now)

    def part(self, query: Query) -> Part:
        if isinstance(self.field, computed.ComputedField):
            return self.field.part(self.comparison, query)
        return super().part(query)

    def needs(self) -> Needs:
        if isinstance(self.field, computed.ComputedField):
            return Needs(fields=frozenset([computed.CHANGES]))
        return Needs(fields=frozenset([self.field.changes]))

    def passed(self, query: Query, since: datetime) -> list[Sql]:
        if isinstance(self.field, computed.ComputedField):
            return self.field.passed(self.comparison, query, since)
        return []

    def passed_predicate(self, query: Query, since: datetime) -> Sql | None:
        if isinstance(self.field, computed.ComputedField):
            return None
        return passing.changed(self.field.operand, self.comparison, since, query.now)

    def describe(self) -> str:
        return words.comparison(self.field.label, self.comparison, self.field.name)

    def fact(self, query: Query) -> Sql:
        if isinstance(self.field, computed.ComputedField):
            return self.field.fact(query)
        return sql("to_jsonb({})", self.field.operand.value)

    def tell(self, fact: Any) -> str:
        if fact is None:
            return _("%s is empty") % self.field.label
        if masking.hidden():
            fact = masking.data(fact, self.config.field.rpartition(".")[2])
        return _("%(field)s is %(value)s") % {
            "field": self.field.label,
            "value": words.value(fact, self.field.name),
        }

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "field": "country", "op": "eq", "value": None}

    @classmethod
    def read(cls, posted):
        name = inputs.named(posted, "field")
        typed = inputs.first(posted, "field") == inputs.OTHER and name != inputs.OTHER
        if typed and not name.startswith((fields.ATTRIBUTE_PREFIX, computed.PREFIX)):
            name = fields.ATTRIBUTE_PREFIX + name
        return {"kind": cls.kind, "field": name, **inputs.read_comparison(posted)}

    @classmethod
    def row(cls, data, suggest):
        name = str(data.get("field") or "")
        known = suggest.field_names()
        in_attributes = name not in fields.COLUMNS and not name.startswith(computed.PREFIX)
        return {
            **inputs.name_choice(name, known),
            "fields": suggest.fields(),
            "label": "" if name == inputs.OTHER else name.removeprefix(fields.ATTRIBUTE_PREFIX),
            **inputs.comparison(data, suggest.type(name), suggest.values(name), is_json=in_attributes),
        }
