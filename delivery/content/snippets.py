"""Texts that messages share: finding them, and what uses them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from crm.computed.usage import Use
from delivery.content.compiled import ContentError
from delivery.content.liquid import SNIPPETS, Snippets
from delivery.content.locales import best
from delivery.content.people import texts
from delivery.models import MessageContent, SnippetText

_NAMED = re.compile(
    r"""snippets\s*(?:\.\s*|\[\s*["'])([a-z][a-z0-9_]*)|\{%-?\s*render\s+["']([a-z][a-z0-9_]*)["']"""
)

Sources = Mapping[str, Mapping[str, str]]


def named(contents: Iterable[Any]) -> set[str]:
    """Return the short names of the snippets that authored contents ask for."""
    return {
        one or other for content in contents for text in texts(content) for one, other in _NAMED.findall(text)
    }


def sources(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return {short name: {locale: text}} of those that there are; no query for no names."""
    wanted, found = set(names), dict[str, dict[str, str]]()
    if wanted:
        rows = SnippetText.objects.filter(snippet__slug__in=wanted).values_list(
            "snippet__slug", "locale", "text"
        )
        for slug, locale, text in rows:
            found.setdefault(slug, {})[locale] = text
    return found


def everything() -> dict[str, dict[str, str]]:
    """Return all of them, as `sources` does."""
    found: dict[str, dict[str, str]] = {}
    for slug, locale, text in SnippetText.objects.values_list("snippet__slug", "locale", "text"):
        found.setdefault(slug, {})[locale] = text
    return found


def within(found: Sources, language: str) -> Snippets:
    """Return what a text in `language` sees as `snippets`; one without a fitting text is in any it has."""
    chosen = {slug: best(by_locale, language) for slug, by_locale in found.items()}
    return Snippets(
        {slug: found[slug][min(found[slug]) if locale is None else locale] for slug, locale in chosen.items()}
    )


def problems(content: Mapping[str, Any]) -> list[ContentError]:
    """Return the snippets that authored content names and that there are not; one query if it names any."""
    by_field = {field: named([value]) for field, value in content.items()}
    known = sources(set().union(*by_field.values())) if by_field else {}
    return [
        ContentError(field, _("There is no snippet “%s”.") % name)
        for field, names in by_field.items()
        for name in sorted(names - known.keys())
    ]


def uses() -> dict[str, list[Use]]:
    """The messages that use each snippet, by its short name; one query however many there are."""
    found: dict[str, dict[int, Use]] = {}
    rows = MessageContent.objects.filter(content__iregex=rf"{SNIPPETS}|render ").select_related("message")
    for row in rows:
        use = Use(
            _("the message “%s”") % row.message.name,
            reverse("admin:delivery_message_change", args=[row.message_id]),
        )
        for slug in named([row.content]):
            found.setdefault(slug, {})[row.message_id] = use
    return {slug: list(by_message.values()) for slug, by_message in found.items()}
