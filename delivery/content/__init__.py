"""Turning what a marketer wrote into what one person gets."""

from delivery.content.compiled import Compiled, ContentError, Link, problems
from delivery.content.locales import best as best_locale
from delivery.content.people import computed_for, data

__all__ = ["Compiled", "ContentError", "Link", "best_locale", "computed_for", "data", "problems"]
