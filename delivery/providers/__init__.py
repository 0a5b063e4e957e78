"""The services that carry messages. Each is a module of this package that registers itself."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from delivery.providers.base import Provider

P = TypeVar("P", bound=type[Provider])
_registry: dict[tuple[str, str], Provider] = {}


class UnknownProvider(LookupError):
    """No provider of this name is installed for the channel."""


def register(provider: P) -> P:
    """Class decorator: make the provider known for each of its channels."""
    for channel in provider.channels:
        if (channel, provider.kind) in _registry:
            raise ValueError(f"There are two providers of kind {provider.kind} for {channel}.")
        _registry[channel, provider.kind] = provider()
    return provider


def get(channel: str, kind: str) -> Provider:
    """Return the provider called `kind` for `channel`; UnknownProvider when there is none."""
    try:
        return everything()[channel, kind]
    except KeyError:
        raise UnknownProvider(f"{channel}: {kind}") from None


@cache
def everything() -> dict[tuple[str, str], Provider]:
    """Return every installed provider by (channel, kind), those that marketers choose first at the front."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items(), key=lambda item: (item[0][0], item[1].position, item[0][1])))


def of(channel: str) -> dict[str, Provider]:
    """Return the providers of one channel by kind."""
    return {kind: provider for (name, kind), provider in everything().items() if name == channel}
