"""The kinds of computed attributes. Each class with a `kind` in a module here is one; adding a file adds kinds."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from crm.computed.kinds.base import Kind
from crm.rules.errors import RuleError
from crm.rules.shapes import problem


@cache
def kinds() -> dict[str, type[Kind]]:
    """Every kind by its name, in the order the form offers them."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    found = sorted(_concrete(Kind), key=lambda kind: (kind.position, kind.kind))
    return {kind.kind: kind for kind in found}


def _concrete(base: type[Kind]) -> Iterator[type[Kind]]:
    for kind in base.__subclasses__():
        if "kind" in vars(kind):
            yield kind
        yield from _concrete(kind)


def parse(config: Any) -> Kind:
    """The attribute that a definition's JSON describes.

    Raises:
        RuleError: with the path of what is wrong.
    """
    if not isinstance(config, dict) or not isinstance(config.get("kind"), str):
        raise RuleError(_("A definition is an object with a “kind”."), "kind")
    kind = kinds().get(config["kind"])
    if kind is None:
        raise RuleError(_("The kind is one of: %s.") % ", ".join(kinds()), "kind")
    try:
        return kind(msgspec.convert(config, kind.Config))
    except msgspec.ValidationError as error:
        raise RuleError("", problems=[problem(error, "")]) from error
