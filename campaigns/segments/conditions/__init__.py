"""The kinds of conditions. Each module here holds one class; adding a file adds a kind."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from campaigns.segments.conditions.base import Condition


@cache
def kinds() -> dict[str, type[Condition]]:
    """Every kind of condition by its name, in the order the builder offers them."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    named = [kind for kind in Condition.__subclasses__() if "kind" in vars(kind)]
    found = sorted(named, key=lambda kind: (kind.position, kind.kind))
    return {kind.kind: kind for kind in found}
