"""Making a flow out of a recipe: a draft, with its messages, segments, computed attributes and coupon pool."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import get_language

from campaigns.flows import copying
from campaigns.flows.definition import parse
from campaigns.models import Flow, Segment
from campaigns.recipes import building
from campaigns.recipes.options import proposed
from campaigns.recipes.shelf import LANGUAGES, Recipe, everything
from campaigns.segments import editing
from crm import slugs
from crm.computed import definitions
from crm.models import ComputedAttribute
from delivery.models import CouponPool, Message, MessageContent

LONGEST = 40  # characters of a short name


def language_of(wanted: str | None = None) -> str:
    """The language of the recipes that fits best: the one asked for, else that of the page; English at last."""
    code = (wanted or get_language() or "").lower().split("-")[0]
    return code if code in LANGUAGES else LANGUAGES[0]


@transaction.atomic
def install(slug: str, by: str = "", options: Mapping[str, Any] | None = None, language: str = "") -> Flow:
    """Make a draft of the recipe called `slug`; nothing goes live and nobody is written to.

    Segments, messages and the flow get short names of their own each time. A computed attribute that computes the same
    already is used as it is.

    Args:
        by: who does it, such as a user's name.
        options: answers to the recipe's questions; what is missing is as proposed. `pool` is the short name of a
            coupon pool; without one a new pool gives the code of `code` to everybody.
        language: of names, and of the messages for those whose language they are not written in.

    Raises:
        KeyError: there is no such recipe.
        RuleError: an answer can't be used in a segment's rule or a computed attribute.
    """
    recipe = everything()[slug]
    language = language_of(language)
    answers = {**proposed(recipe), **(options or {})}
    slugs = _slugs(recipe, answers, language)
    if recipe.coupon and not answers.get("pool"):
        answers["pool"] = _pool(recipe, answers, language).slug
    made = building.build(recipe, answers, language, slugs)
    for name, attribute in made["computed"].items():
        if not ComputedAttribute.objects.filter(slug=name).exists():
            definitions.create(attribute["name"], name, attribute["config"])
    for name, segment in made["segments"].items():
        editing.save(Segment(slug=name, name=segment["name"]), segment["rule"], by=by)
    for name, message in made["messages"].items():
        _message(name, message)
    (name, flow), *_others = made["flows"].items()
    draft = {part: value for part, value in flow.items() if part not in ("name", "description")}
    parse(draft)
    return Flow.objects.create(slug=name, name=flow["name"], description=flow["description"], draft=draft)


def _message(slug: str, made: dict[str, Any]) -> None:
    message = Message.objects.create(
        slug=slug,
        name=made["name"],
        important=made["important"],
        expires_after_hours=made["expires_after_hours"],
    )
    MessageContent.objects.bulk_create(
        MessageContent(
            message=message,
            channel=channel,
            locale="" if locale == "default" else locale,
            content=content,
        )
        for channel, by_locale in made["contents"].items()
        for locale, content in by_locale.items()
    )


def _pool(recipe: Recipe, answers: Mapping[str, Any], language: str) -> CouponPool:
    """The pool with this one code for everybody, new unless there is one."""
    code = str(answers["code"])
    pool = CouponPool.objects.filter(kind=CouponPool.Kind.FIXED, code=code, expires_at=None).first()
    return pool or CouponPool.objects.create(
        slug=slugs.free(CouponPool, slugify(code)[:LONGEST] or recipe.slug),
        name=f"{recipe.name[language]} ({code})",
        kind=CouponPool.Kind.FIXED,
        code=code,
    )


def _slugs(recipe: Recipe, answers: Mapping[str, Any], language: str) -> dict[str, str]:
    found = {"flow": copying.free_slug(recipe.slug)}
    for key in recipe.messages:
        found[f"message_{key}"] = slugs.free(Message, f"{found['flow']}-{key.replace('_', '-')}")
    for key in recipe.segments:
        found[f"segment_{key}"] = slugs.free(Segment, f"{found['flow']}-{key.replace('_', '-')}")
    for key, made in recipe.computed.items():
        config = building.filled(made["config"], answers, language)
        same = ComputedAttribute.objects.filter(config=config).values_list("slug", flat=True).first()
        base = f"{recipe.slug}_{key}".replace("-", "_")
        found[f"computed_{key}"] = same or slugs.free(ComputedAttribute, base, "_")
    return found
