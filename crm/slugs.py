"""Short names for new rows."""

from typing import Any

from django.db import models
from django.utils.text import slugify

LONGEST = 40  # characters before the number


def of_name(model: type[models.Model], name: str, otherwise: str, longest: int = LONGEST) -> str:
    """A short name for `name` that no row of `model` has yet; `otherwise` begins it if no Latin letter is in the name.

    Args:
        longest: characters, to which the number that tells it from others may add some.
    """
    return free(model, slugify(name)[:longest].strip("-") or otherwise)


def free(model: type[models.Model], base: str, between: str = "-") -> str:
    """`base`, or if a row of `model` has it already, `base` with the first number that is free behind it."""
    rows: models.Manager[Any] = model._default_manager
    taken = set(rows.filter(slug__startswith=base).values_list("slug", flat=True))
    number, slug = 1, base
    while slug in taken:
        number += 1
        slug = f"{base}{between}{number}"
    return slug
