"""A recipe as drawn: its steps from its own definition, and its messages in every language."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from campaigns import recipes
from campaigns.flows import steps as kinds
from campaigns.flows import triggers
from campaigns.flows.definition import Definition, Step, parse, walk
from campaigns.recipes import building
from campaigns.recipes.shelf import LANGUAGES
from delivery import channels

EXAMPLE = {"coupon": {"code": "K7M2-PQ"}, "event": {"properties": {}}, "profile": {}, "computed": {}}


class Line(NamedTuple):
    """One step, or the name of a branch (without an icon); `depth` counts from 0."""

    icon: str
    text: str
    detail: str = ""
    depth: int = 0


def icons(recipe: recipes.Recipe) -> list[str]:
    """The recipe in small: what starts it and its steps, in reading order."""
    definition = _definition(recipe, recipes.proposed_plainly(recipe), "en")
    found = [triggers.registry[str((definition.trigger or {})["kind"])].icon]
    return found + [kinds.registry[step.kind].icon for step, _depth in walk(definition.steps)]


def steps(recipe: recipes.Recipe, answers: Mapping[str, Any], language: str) -> list[Line]:
    """The recipe in words."""
    definition = _definition(recipe, answers, language)
    kind = triggers.registry[str((definition.trigger or {})["kind"])]
    begin = Line(kind.icon, triggers.summary(definition) or str(kind.label))
    known = {**answers, **_slugs(recipe, language)}
    titles = {}
    for key, text in recipe.messages.items():
        content = building.contents(text, known, language)["webpush"]["default"]
        titles[key] = _shown(content)["title"]
    return [begin, *_lines(definition.steps, titles, 0)]


def messages(recipe: recipes.Recipe, answers: Mapping[str, Any]) -> list[tuple[str, list[dict[str, str]]]]:
    """By language: title, body and button of each message, as somebody of whom nothing is known gets it."""
    known = {**answers, **_slugs(recipe, "en")}
    return [
        (
            language,
            [
                _shown(building.contents(text, known, language)["inapp"]["default"], "inapp")
                for text in recipe.messages.values()
            ],
        )
        for language in LANGUAGES
    ]


def _shown(content: dict[str, Any], channel: str = "webpush") -> dict[str, str]:
    filled = channels.get(channel).compile({**content, "url": ""}).render(EXAMPLE)
    return {
        "title": filled.title,
        "text": getattr(filled, "text", "") or getattr(filled, "body", ""),
        "button": getattr(filled, "button", ""),
    }


def _lines(sequence: list[Step], titles: Mapping[str, str], depth: int) -> Iterator[Line]:
    for step in sequence:
        kind = kinds.registry[step.kind]
        if step.kind == "message":
            yield Line(kind.icon, str(kind.label), titles.get(step.config["message"], ""), depth)
        elif step.kind == "coupon":
            yield Line(kind.icon, str(kind.label), "", depth)
        else:
            summary = str(kind.summary(step))
            yield Line(kind.icon, str(kind.label), "" if summary == str(kind.label) else summary, depth)
        for branch in step.branches:
            yield Line("", branch.name, "", depth + 1)
            yield from _lines(branch.steps, titles, depth + 1)


def _definition(recipe: recipes.Recipe, answers: Mapping[str, Any], language: str) -> Definition:
    known = {**answers, **_slugs(recipe, language)}
    return parse(building.filled(recipe.flow, {"pool": "", **known}, language))


def _slugs(recipe: recipes.Recipe, language: str) -> dict[str, str]:
    """Names in place of the short names that are made when the recipe is used."""
    found = {f"message_{key}": key for key in recipe.messages}
    found |= {f"segment_{key}": made["name"][language] for key, made in recipe.segments.items()}
    return found | {f"computed_{key}": key for key in recipe.computed}
