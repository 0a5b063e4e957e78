"""Topics as data: read from JSON, made and changed."""

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from crm import normalise
from crm.models import LegalBasis, Topic
from crm.normalise import Rejection

MAX_NAME = 100  # characters
MAX_DESCRIPTION = 500
MAX_POSITION = 10_000
MAX_LANGUAGES = 50
_SLUG = re.compile(r"[-a-zA-Z0-9_]{1,50}")
_FLAGS = ("shown", "needs_yes", "double_opt_in")
FIELDS = ("slug", "name", "description", "translations", "position", *_FLAGS, "legal_basis")


def validate(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a topic that `data` tells, checked.

    Raises:
        Rejection: a field is unknown, or its value can't be taken.
    """
    checked: dict[str, Any] = {}
    for name, value in data.items():
        if name not in FIELDS:
            shown = normalise.shortened(name)
            raise Rejection("unknown_field", shown, _("There is no field “%s”.") % shown)
        checked[name] = _field(name, value)
    return checked


def create(data: Mapping[str, Any]) -> Topic:
    """A new topic.

    Raises:
        Rejection: as `validate`; the slug or name is missing; or there is one with this slug (`duplicate_slug`).
    """
    fields = validate(data)
    for name in ("slug", "name"):
        if name not in fields:
            raise Rejection("missing_field", name, _("%(field)s is missing.") % {"field": name})
    try:
        with transaction.atomic():
            return Topic.objects.create(**fields)
    except IntegrityError as error:
        raise Rejection("duplicate_slug", "slug", _("There is a topic of this short name.")) from error


@transaction.atomic
def change(topic: Topic, data: Mapping[str, Any]) -> Topic:
    """Change what `data` tells; its short name stays, since messages and answers refer to it.

    Raises:
        Rejection: as `validate`, or the slug is another.
    """
    fields = validate(data)
    if fields.pop("slug", topic.slug) != topic.slug:
        raise Rejection("invalid_value", "slug", _("A topic keeps its short name."))
    for name, value in fields.items():
        setattr(topic, name, value)
    topic.save()
    return topic


def _field(name: str, value: Any) -> Any:
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise Rejection("invalid_type", name, _("Write true or false."))
        return value
    if name == "position":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_POSITION:
            raise Rejection("invalid_value", name, _("Write a number from 0 to %d.") % MAX_POSITION)
        return value
    if name == "translations":
        return _translations(value)
    if name == "legal_basis":
        if value not in LegalBasis.values:
            raise Rejection("invalid_value", name, _("Choose one of %s.") % ", ".join(LegalBasis.values))
        return value
    if not isinstance(value, str):
        raise Rejection("invalid_type", name, _("Write a text."))
    text = normalise.text(value, name, MAX_DESCRIPTION if name == "description" else MAX_NAME) or ""
    if name == "slug" and not _SLUG.fullmatch(text):
        raise Rejection("invalid_value", name, _("Use letters, digits, hyphens and underscores, at most 50."))
    if name == "name" and not text:
        raise Rejection("missing_field", name, _("%(field)s is missing.") % {"field": name})
    return text


def _translations(value: Any) -> dict[str, dict[str, str]]:
    if not isinstance(value, Mapping) or len(value) > MAX_LANGUAGES:
        raise Rejection("invalid_type", "translations", _("Write an object with a language for each name."))
    found: dict[str, dict[str, str]] = {}
    for tag, words in value.items():
        field = f"translations.{normalise.shortened(str(tag))}"
        language = normalise.language(tag, field)
        if not language or not isinstance(words, Mapping) or words.keys() - {"name", "description"}:
            raise Rejection(
                "invalid_value", field, _("Write a name and a description for a language such as ar.")
            )
        texts = {part: _field(part, text) for part, text in words.items() if text not in (None, "")}
        if texts:
            found[language] = texts
    return found
