"""What a rule may ask about a profile."""

from typing import Any, NamedTuple

from babel import Locale, UnknownLocaleError
from django.utils.translation import get_language, to_locale
from django.utils.translation import gettext as _

from campaigns.segments.errors import RuleError
from campaigns.segments.operators import Operand
from campaigns.segments.sql import Sql, sql
from crm.models import Profile

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
DEEPEST_PATH = 8


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


def json_path(dotted: str, error_path: str) -> tuple[str, ...]:
    """The keys of `a.b` as they nest in a JSON object. Raises RuleError at `error_path`."""
    keys = tuple(dotted.split("."))
    unusable = any(not key or len(key) > 200 or not _storable(key) for key in keys)
    if unusable or len(keys) > DEEPEST_PATH:
        raise RuleError(
            _("This is no name of a property. Nested ones are written like address.city."), error_path
        )
    return keys


def json_operand(root: str, path: tuple[str, ...]) -> Operand:
    """A value inside a jsonb column. `->` with a text key sees objects only, as containment does."""
    value = Sql(root)
    for key in path:
        value = sql("{} -> {}::text", value, key)
    return Operand(sql("({})", value), "json", root=Sql(root), path=path)


def _storable(key: str) -> bool:
    return not any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in key)


def country_names() -> dict[str, str]:
    """ISO 3166 code -> name in the active language, sorted by name."""
    territories = _locale().territories
    names = {code: name for code, name in territories.items() if len(code) == 2 and code.isalpha()}
    for code in ("EU", "EZ", "UN", "XA", "XB", "ZZ", "QO"):  # groups and placeholders, no countries
        names.pop(code, None)
    return dict(sorted(names.items(), key=lambda item: item[1]))


def language_names() -> dict[str, str]:
    """Language code -> name in the active language."""
    return {code: name for code, name in _locale().languages.items() if len(code) == 2}


def value_name(field_name: str, value: object) -> str:
    """How a value reads to people: countries and languages by name."""
    if field_name == "country":
        return country_names().get(str(value), str(value))
    if field_name == "language":
        return language_names().get(str(value), str(value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value)


def _locale() -> Locale:
    try:
        return Locale.parse(to_locale(get_language() or "en"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")
