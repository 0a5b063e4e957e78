"""What starts flows. Every module of this folder that holds a TriggerKind is found by itself."""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.translation import gettext as _

from campaigns.flows.triggers.base import Start, TriggerKind
from crm.rules.errors import Problem

if TYPE_CHECKING:
    from campaigns.flows.definition import Definition

__all__ = ["Start", "Trigger", "TriggerKind", "load", "of", "problems", "registry", "summary"]

registry: dict[str, TriggerKind] = {}
PLAIN = "event"  # the kind of a trigger that names none, as that of an exit event


class Trigger(NamedTuple):
    """A kind with its checked settings."""

    kind: TriggerKind
    config: Any


def load() -> None:
    """Find all kinds; called when Django is ready."""
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
                if isinstance(value, type) and issubclass(value, TriggerKind) and hasattr(value, "kind"):
                    registry[value.kind] = value()


def of(definition: "Definition") -> Trigger | None:
    """What starts a flow; None while nothing does.

    Raises:
        LookupError: there is no such kind of trigger.
        msgspec.ValidationError: its settings are not finished.
    """
    if definition.trigger is None:
        return None
    name = definition.trigger.get("kind", PLAIN)
    kind = registry.get(name) if isinstance(name, str) else None
    if kind is None:
        raise LookupError(_("There is no trigger called “%s”.") % str(name)[:40])
    return Trigger(kind, kind.read(definition.trigger))


def problems(definition: "Definition") -> list[Problem]:
    """What keeps a flow's trigger from starting anybody, each with the setting's name."""
    if definition.trigger is None:
        return [Problem("", _("Choose what starts the flow."))]
    kind = registry.get(str(definition.trigger.get("kind", PLAIN)))
    if kind is None:
        return [Problem("kind", _("Choose what starts the flow."))]
    found = kind.problems(definition.trigger)
    if not found and definition.key is not None and not kind.keyed:
        found.append(Problem("", _("This trigger has no properties that could tell runs apart.")))
    return found


def summary(definition: "Definition") -> str:
    """What starts a flow, in words; empty while nothing does."""
    try:
        trigger = of(definition)
    except (LookupError, ValueError):
        return ""
    return trigger.kind.summary(trigger.config) if trigger else ""
