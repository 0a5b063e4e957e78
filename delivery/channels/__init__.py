"""The channels. Each is a module of this package that registers itself; adding one touches no other file."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from delivery.channels.base import Channel

C = TypeVar("C", bound=type[Channel])
_registry: dict[str, Channel] = {}


class UnknownChannel(LookupError):
    """No channel of this name is installed."""


def register(channel: C) -> C:
    """Class decorator: make the channel known under its `kind`."""
    if channel.kind in _registry:
        raise ValueError(f"There are two channels of kind {channel.kind}.")
    _registry[channel.kind] = channel()
    return channel


def get(kind: str) -> Channel:
    """Return the channel called `kind`; UnknownChannel when there is none."""
    try:
        return everything()[kind]
    except KeyError:
        raise UnknownChannel(f"There is no channel “{kind}”.") from None


@cache
def everything() -> dict[str, Channel]:
    """Return all channels by kind, those first that people choose first."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return dict(sorted(_registry.items(), key=lambda item: (item[1].position, item[0])))
