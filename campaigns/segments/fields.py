"""What a rule may ask about a profile."""

from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from crm.models import Profile
from crm.rules.errors import RuleError
from crm.rules.operators import Operand
from crm.rules.paths import json_operand, json_path
from crm.rules.sql import Sql

# Column -> type of its values. Nothing else of the table can be asked for.
COLUMNS = {
    "country": "text",
    "city": "text",
    "language": "text",
    "lifecycle_stage": "text",
    "birthday": "date",
    "email": "text",
    "phone": "text",
    "first_name": "text",
    "last_name": "text",
    "external_id": "text",
    "timezone": "text",
    "latitude": "number",
    "longitude": "number",
    "first_seen": "datetime",
    "last_seen": "datetime",
    "created_at": "datetime",
    "updated_at": "datetime",
}
ATTRIBUTE_PREFIX = "attributes."


class Field(NamedTuple):
    """A profile column (`path` is empty) or a value inside `attributes`."""

    name: str
    type: str
    path: tuple[str, ...] = ()

    @property
    def operand(self) -> Operand:
        """How it reads in a statement where the profile's alias is p."""
        if not self.path:
            return Operand(Sql(f"p.{self.name}"), self.type)
        return json_operand("p.attributes", self.path)

    @property
    def changes(self) -> str:
        """What `crm.changes` calls it."""
        return "attributes" if self.path else self.name

    @property
    def label(self) -> str:
        if self.path:
            return " ".join(self.path).replace("_", " ")
        column: Any = Profile._meta.get_field(self.name)
        return str(column.verbose_name)


def field(name: str) -> Field:
    """The field of this name, such as `country` or `attributes.plan`. Raises RuleError."""
    if name in COLUMNS:
        return Field(name, COLUMNS[name])
    if name.startswith(ATTRIBUTE_PREFIX):
        return Field(name, "json", json_path(name.removeprefix(ATTRIBUTE_PREFIX), "field"))
    raise RuleError(_("There is no field “%s”.") % name[:100], "field")
