"""The kinds of flow steps. Every module of this folder that holds a StepKind is found by itself."""

import importlib
import pkgutil

from campaigns.flows.steps.base import StepKind

registry: dict[str, StepKind] = {}


def load() -> None:
    """Find all kinds; called when Django is ready."""
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
                if isinstance(value, type) and issubclass(value, StepKind) and value is not StepKind:
                    registry[value.kind] = value()
