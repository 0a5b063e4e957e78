"""Links in messages: short, signed, counted by delivery; the tiny picture that tells of an opened email."""

from delivery.links.rewriting import Rules, Tracker, current
from delivery.links.tokens import LENGTH, short_length

__all__ = ["LENGTH", "Rules", "Tracker", "current", "short_length"]
