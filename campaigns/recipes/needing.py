"""What a recipe lives on, and how much of it this installation has."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db.models import Q
from django.utils.translation import gettext as _

from campaigns.recipes import building
from campaigns.recipes.options import OPTIONS, proposed
from campaigns.recipes.shelf import Recipe
from crm.models import Device, Place, Product, Profile
from crm.rules import seen

COLUMNS = ("birthday", "first_seen", "last_seen", "created_at")


class Need(NamedTuple):
    """One thing in a marketer's words, and whether it is there; `kind` is event, property, field, channel, …"""

    kind: str
    text: str
    met: bool


class Have(NamedTuple):
    """What this installation has, looked up once for all recipes."""

    events: frozenset[str]
    push: bool
    products: bool
    places: bool


def have() -> Have:
    """Look once."""
    return Have(
        frozenset(seen.event_names()),
        Device.objects.filter(kind="webpush", state=Device.State.ACTIVE).exists(),
        Product.objects.exists(),
        Place.objects.filter(active=True).exists(),
    )


def needs(
    recipe: Recipe, answers: Mapping[str, Any] | None = None, known: Have | None = None, deep: bool = True
) -> list[Need]:
    """What the recipe needs with these answers (default: those proposed).

    Args:
        deep: look also into the properties of events and the fields of people; otherwise only at what `known` tells.
    """
    known = known or have()
    answers = {**proposed(recipe), **(answers or {})}
    found = []
    for option, properties in recipe.needs.events.items():
        name = str(answers.get(option) or OPTIONS[option].usual)
        label = str(OPTIONS[option].label)
        found.append(Need("event", f"{label}: {name}", name in known.events))
        if deep:
            there = seen.properties(name) if name in known.events else {}
            wanted = [str(building.filled(path, answers, "en")) for path in properties]
            found += [
                Need(
                    "property",
                    _("Property “%(property)s” of “%(event)s”") % {"property": path, "event": name},
                    path in there,
                )
                for path in wanted
            ]
    for each in recipe.needs.fields if deep else []:
        field = str(building.filled(each, answers, "en"))
        found.append(Need("field", _("People's field “%s”") % field, _filled_in(field)))
    if recipe.needs.products:
        found.append(Need("products", _("Products in the catalogue"), known.products))
    if recipe.needs.places:
        found.append(Need("places", _("Places, such as your stores"), known.places))
    if recipe.coupon:
        found.append(Need("coupon", _("A coupon code that your shop knows"), bool(answers.get("pool"))))
    found.append(Need("channel", _("People who allow push messages"), known.push))
    return found


def _filled_in(field: str) -> bool:
    """Whether anybody has it."""
    if field in COLUMNS:
        return Profile.objects.filter(~Q(**{field: None})).exists()
    name, *_rest = field.removeprefix("attributes.").split(".")
    return Profile.objects.filter(attributes__has_key=name).exists()
