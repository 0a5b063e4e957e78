"""Recipes: complete flows with their messages, to begin with."""

from campaigns.recipes.installing import install, language_of
from campaigns.recipes.needing import Need, have, needs
from campaigns.recipes.options import OPTIONS, Option, proposed, proposed_plainly
from campaigns.recipes.shelf import PURPOSES, Recipe, everything

__all__ = [
    "OPTIONS",
    "PURPOSES",
    "Need",
    "Option",
    "Recipe",
    "all",
    "get",
    "have",
    "install",
    "language_of",
    "needs",
    "proposed",
    "proposed_plainly",
]


def all() -> list[Recipe]:  # noqa: A001 - read as recipes.all()
    """Every recipe, in the order of their purposes."""
    return list(everything().values())


def get(slug: str) -> Recipe:
    """The recipe of this name. Raises KeyError."""
    return everything()[slug]
