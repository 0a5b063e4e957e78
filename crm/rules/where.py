"""Conditions on the properties of an event."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _

from crm.rules import operators, paths
from crm.rules.errors import RuleError
from crm.rules.sql import Sql

LONGEST_NAME = 200
MOST_PROPERTIES = 20


class Where(msgspec.Struct, forbid_unknown_fields=True):
    """A condition on one property of the event."""

    property: str
    op: str
    value: Any = msgspec.UNSET


def check_name(name: str, path: str) -> None:
    """Raises RuleError for a name no event can have."""
    if not name or len(name) > LONGEST_NAME or any(letter < " " for letter in name):
        raise RuleError(_("Give the name of an event."), path)
    operators.check_json_scalar(name, path)


def check_where(where: list[Where], path: str) -> list[tuple[tuple[str, ...], operators.Comparison]]:
    """The checked conditions on properties, each with its JSON path. Raises RuleError."""
    if len(where) > MOST_PROPERTIES:
        raise RuleError(_("Give at most %d conditions.") % MOST_PROPERTIES, path)
    checked = []
    for index, item in enumerate(where):
        keys = paths.json_path(item.property, f"{path}[{index}].property")
        try:
            checked.append((keys, operators.check(item.op, item.value, "json")))
        except RuleError as error:
            raise error.under(f"{path}[{index}]") from error
    return checked


def properties(where, column: str, now) -> list[Sql]:
    """SQL for each checked condition on the properties in a jsonb column.

    Values are compared where they lie, as no index on all properties could serve containment; PostgreSQL reads the rows
    with several processes then.
    """
    return [
        operators.predicate(paths.json_operand(column, keys)._replace(path=()), comparison, now)
        for keys, comparison in where
    ]
