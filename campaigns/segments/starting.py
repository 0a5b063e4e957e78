"""What the builder begins with when another page hands over a rule; nothing is stored before somebody saves."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.http import QueryDict
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns.models import Segment
from campaigns.segments import gallery, roles

MOST_NAMED = 4


class Start(NamedTuple):
    """A new segment as it is suggested."""

    name: str = ""
    slug: str = ""
    description: str = ""
    rule: Mapping[str, Any] = {"all": []}


def point(asked: QueryDict) -> Start:
    """The suggestion that an address asks for: `ready=<slug>` of the gallery with the events chosen there, or
    `all=<slug>` (repeated), `any=<slug>` and `none=<slug>` of segments; an empty rule where it asks for nothing known.
    """
    ready = gallery.get(asked.get("ready", ""))
    if ready is not None:
        chosen = {name: asked.get(name, "") for name in roles.Roles._fields}
        rule = gallery.card(ready, roles.find(chosen)).rule
        if rule is not None:
            return Start(str(ready.name), free(ready.slug), str(ready.help), rule)
    return _combined(asked.getlist("all"), asked.getlist("any"), asked.getlist("none"))


def _combined(everything: list[str], anything: list[str], nothing: list[str]) -> Start:
    wanted = (everything + anything + nothing)[:MOST_NAMED]
    names = dict(Segment.objects.filter(slug__in=wanted).values_list("slug", "name"))

    def known(slugs: list[str]) -> list[dict[str, Any]]:
        return [{"kind": "segment", "slug": slug} for slug in slugs if slug in names]

    rules: list[dict[str, Any]] = known(everything)
    if known(anything):
        rules.append({"any": known(anything)})
    rules += [{"not": rule} for rule in known(nothing)]
    if not rules:
        return Start()
    name = _(" and ").join(names[slug] for slug in everything if slug in names)
    either = _(" or ").join(names[slug] for slug in anything if slug in names)
    name = _(" and ").join(part for part in (name, either) if part)
    without = _(" or ").join(names[slug] for slug in nothing if slug in names)
    if without:
        name = _("%(these)s without %(those)s") % {"these": name or _("Everybody"), "those": without}
    return Start(name, free(slugify(name)[:50]), "", {"all": rules})


def free(slug: str) -> str:
    """The short name, with a number behind it if a segment has it already."""
    taken = set(Segment.objects.filter(slug__startswith=slug).values_list("slug", flat=True))
    numbered = (f"{slug}-{number}" for number in range(2, len(taken) + 3))
    return slug if slug not in taken else next(each for each in numbered if each not in taken)
