"""Values that lie inside JSON, named like `address.city`."""

from django.utils.translation import gettext as _

from crm.rules.errors import RuleError
from crm.rules.operators import Operand
from crm.rules.sql import Sql, sql

DEEPEST_PATH = 8


def json_path(dotted: str, error_path: str) -> tuple[str, ...]:
    """The keys of `a.b` as they nest in a JSON object. Raises RuleError at `error_path`."""
    if not dotted:
        raise RuleError(_("Choose a property."), error_path)
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
