"""The recipes as they are written: one YAML file each, read once."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

LANGUAGES = ("en", "ar", "pl")
FOLDER = Path(__file__).parent / "flows"
COMMON = Path(__file__).parent / "common.yaml"
PURPOSES: dict[str, Promise] = {
    "welcome": _("Welcome"),
    "sell": _("Sell"),
    "keep": _("Keep"),
    "win_back": _("Win back"),
    "remind": _("Remind"),
    "service": _("Serve"),
}

Words = dict[str, str]  # language -> text


class Text(msgspec.Struct, forbid_unknown_fields=True):
    """One message: its title and body by language, where it leads, and the word on its button."""

    en: tuple[str, str]
    ar: tuple[str, str]
    pl: tuple[str, str]
    button: str  # of common.yaml
    url: str = "$link"
    hours: int = 24  # until it is too late to send it
    important: bool = False

    def of(self, language: str) -> tuple[str, str]:
        """Title and body."""
        found: tuple[str, str] = getattr(self, language)
        return found


class Needs(msgspec.Struct, forbid_unknown_fields=True):
    """What a recipe lives on: events (by option) with properties, fields of people, and what else must be there."""

    events: dict[str, list[str]] = {}
    fields: list[str] = []
    products: bool = False
    places: bool = False


class Recipe(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A flow that only has to be told about this shop.

    Args:
        options: what is asked beforehand (see options.OPTIONS) -> what is proposed, None for the usual.
        segments: key -> {"name": Words, "rule": …}.
        computed: key -> {"name": Words, "config": …}, computed attributes.
        flow: a definition, in which $name stands for an option, $message_…, $segment_… and $computed_… for what the
            recipe brings along, and a map of the languages for one of its texts.
    """

    slug: str = ""
    purpose: str
    icon: str
    name: Words
    promise: Words
    options: dict[str, Any] = {}
    needs: Needs = msgspec.field(default_factory=Needs)
    messages: dict[str, Text]
    segments: dict[str, dict[str, Any]] = {}
    computed: dict[str, dict[str, Any]] = {}
    flow: dict[str, Any]

    @property
    def coupon(self) -> bool:
        """Whether it gives a code."""
        return "pool" in self.options


@cache
def everything() -> dict[str, Recipe]:
    """All recipes by their slug, in the order of their purposes."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        found[path.stem] = msgspec.convert({**data, "slug": path.stem}, Recipe)
    order = list(PURPOSES)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].purpose), item[0])))


@cache
def common() -> dict[str, dict[str, Words]]:
    """Words that many recipes use: "buttons" and "words", name -> language -> text."""
    return msgspec.convert(yaml.safe_load(COMMON.read_text("utf-8")), dict[str, dict[str, Words]])
