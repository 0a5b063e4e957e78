"""A recipe with the answers filled in: plain data in the shape of the files that flows are exported to."""

import re
from collections.abc import Mapping
from typing import Any

from campaigns.recipes.shelf import LANGUAGES, Recipe, Text, common

_PLACE = re.compile(r"\$([a-z_]+)")
_LESS = re.compile(r"-\$([a-z_]+)")  # "-$hours" is so much before
_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
CHANNELS = ("webpush", "inapp")


def build(
    recipe: Recipe, answers: Mapping[str, Any], language: str, slugs: Mapping[str, str]
) -> dict[str, Any]:
    """What installing the recipe makes: {"segments", "computed", "messages", "flows"}, each by short name.

    Args:
        answers: option -> value, with "pool" the short name of the coupon pool.
        language: of the names, and of the messages for those whose language they are not written in.
        slugs: what "flow", "message_…", "segment_…" and "computed_…" are called here.
    """
    known = {**answers, **slugs}
    return {
        "segments": {
            slugs[f"segment_{key}"]: {
                "name": made["name"][language],
                "rule": filled(made["rule"], known, language),
            }
            for key, made in recipe.segments.items()
        },
        "computed": {
            slugs[f"computed_{key}"]: {
                "name": made["name"][language],
                "config": filled(made["config"], known, language),
            }
            for key, made in recipe.computed.items()
        },
        "messages": {
            slugs[f"message_{key}"]: {
                "name": _message_name(recipe, number, language),
                "important": text.important,
                "expires_after_hours": text.hours,
                "contents": contents(text, known, language),
            }
            for number, (key, text) in enumerate(recipe.messages.items(), 1)
        },
        "flows": {
            slugs["flow"]: {
                "name": recipe.name[language],
                "description": recipe.promise[language],
                **filled(recipe.flow, known, language),
            }
        },
    }


def contents(text: Text, known: Mapping[str, Any], language: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Channel -> locale -> content; the locale "default" is for whoever no other fits."""
    found: dict[str, dict[str, dict[str, Any]]] = {channel: {} for channel in CHANNELS}
    for each in (language, *(other for other in LANGUAGES if other != language)):
        locale = "default" if each == language else each
        title, body = (written(part, known, each) for part in text.of(each))
        url = filled(text.url, known, each)
        found["webpush"][locale] = {"title": title, "body": body, "url": url}
        button = common()["buttons"][text.button][each]
        found["inapp"][locale] = {"title": title, "text": body, "button": button, "url": url}
    return found


def written(text: str, known: Mapping[str, Any], language: str) -> str:
    """A text of a message: common words, then answers; numbers in Arabic texts with the digits of the language."""
    words = common()["words"]

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name in words:
            return _PLACE.sub(put, words[name][language])
        value = known[name]
        inside = text.count("{{", 0, match.start()) > text.count("}}", 0, match.start())
        if language == "ar" and isinstance(value, int | float) and not inside:
            return str(value).translate(_DIGITS)
        return str(value)

    return _PLACE.sub(put, text)


def filled(data: Any, known: Mapping[str, Any], language: str) -> Any:
    """The same data with its places filled in and the texts of one language."""
    if isinstance(data, dict):
        if set(data) == set(LANGUAGES):
            return filled(data[language], known, language)
        return {filled(key, known, language): filled(value, known, language) for key, value in data.items()}
    if isinstance(data, list):
        return [filled(item, known, language) for item in data]
    if not isinstance(data, str):
        return data
    if less := _LESS.fullmatch(data):
        return -known[less[1]]
    if whole := _PLACE.fullmatch(data):
        name = whole[1]
        return known[name] if name in known else common()["words"][name][language]
    return _PLACE.sub(lambda match: str(known[match[1]]), data)


def _message_name(recipe: Recipe, number: int, language: str) -> str:
    name = recipe.name[language]
    return f"{name} {number}" if len(recipe.messages) > 1 else name
