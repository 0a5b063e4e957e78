"""Writing messages as data: a message with all its words, as files and programs tell it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from crm.models import Topic
from delivery import channels
from delivery.models import Message, MessageContent, MessageVariant

_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_VARIANT = re.compile(r"[a-z0-9]{1,20}")
MOST_WEIGHT = 10_000
MOST_HOURS = 366 * 24  # that a message waits or its goal counts: beyond, a moment may be none that can be
LONGEST_NAME = 200  # characters


class Words(msgspec.Struct, frozen=True):
    """What a message says by one channel, in one variant and language ("": for everybody without a better match)."""

    channel: str
    variant: str
    locale: str
    content: dict[str, Any]


class Variant(msgspec.Struct, frozen=True):
    """One of several ways to say a message; people are divided among them by their weights."""

    key: str
    name: str = ""
    weight: int = 50


class Refused(ValueError):
    """It can't be sent; `problems` are (the words by their place or None, field, sentence)."""

    def __init__(self, problems: Sequence[tuple[int | None, str, str]]):
        self.problems = problems
        super().__init__(str(problems))


@transaction.atomic
def save(
    slug: str,
    fields: Mapping[str, Any],
    words: Sequence[Words],
    variants: Sequence[Variant] | None = None,
    by: Any = None,
) -> tuple[Message, bool]:
    """Make a message, or change it into this: fields and words that are left out are those of a new one, or gone.

    Args:
        variants: how people are divided among the variants; without it, evenly among those that have words.
        by: the user whose version this is, if it is one's.

    Returns:
        The message, and whether it is new.

    Raises:
        Refused: a field or some words can't be taken; with every mistake.
    """
    from delivery import versions

    found = Message.objects.select_for_update().filter(slug=slug).first()
    if found is not None:
        versions.keep(found)
    message, usual = found or Message(slug=slug), Message()
    wanted = {name: fields.get(name, getattr(usual, name)) for name in EDITED}
    write(message, wanted, words, _even(words) if variants is None else variants)
    versions.keep(message, by)
    return message, found is None


def write(
    message: Message, fields: Mapping[str, Any], words: Sequence[Words], variants: Sequence[Variant]
) -> None:
    """Store a message with exactly these words and variants; in the caller's transaction, which holds its row.

    Raises:
        Refused: a field or some words can't be taken; with every mistake.
    """
    for name, value in fields.items():
        setattr(message, name, value)
    problems = _fields(message) + [(None, "variants", sentence) for sentence in _shares(variants)]
    for place, each in enumerate(words):
        problems += [(place, field, sentence) for field, sentence in _problems(each)]
    if problems:
        raise Refused(problems)
    message.save()
    kept = {
        (content.channel, content.variant, content.locale): content
        for content in message.contents.select_for_update()
    }
    for each in words:
        content = kept.pop((each.channel, each.variant, each.locale), None)
        if content is None:
            MessageContent.objects.create(message=message, **msgspec.structs.asdict(each))
        elif content.content != each.content:
            content.content = each.content
            content.save(update_fields=["content"])
    for content in kept.values():
        content.delete()
    divide(message, variants)


def divide(message: Message, variants: Sequence[Variant]) -> None:
    """Make these the variants of a message."""
    MessageVariant.objects.filter(message=message).exclude(key__in=[each.key for each in variants]).delete()
    MessageVariant.objects.bulk_create(
        [MessageVariant(message=message, **msgspec.structs.asdict(each)) for each in variants],
        update_conflicts=True,
        unique_fields=["message", "key"],
        update_fields=["name", "weight"],
    )


def _even(words: Sequence[Words]) -> list[Variant]:
    keys = sorted({each.variant for each in words})
    return [Variant(key) for key in keys] if len(keys) > 1 else []


def _shares(variants: Sequence[Variant]) -> list[str]:
    """What is wrong with how people are divided."""
    found = [
        _("A variant is named by small letters and digits.")
        for each in variants
        if not _VARIANT.fullmatch(each.key)
    ]
    if len({each.key for each in variants}) < len(variants):
        found.append(_("Two variants have the same letter."))
    if any(not 0 <= each.weight <= MOST_WEIGHT for each in variants):
        found.append(_("The part of a variant is from 0 to %d.") % MOST_WEIGHT)
    elif variants and not any(each.weight for each in variants):
        found.append(_("One of the variants must be sent to somebody."))
    return found


EDITED = (
    *("name", "topic", "important", "confirms", "goal_event", "goal_window_hours", "goal_value_property"),
    *("expires_after_hours", "adults_only", "content_group", "tracking", "holdout_percent"),
)


def _fields(message: Message) -> list[tuple[int | None, str, str]]:
    others = {field.name for field in Message._meta.fields} - set(EDITED)
    problems: list[tuple[int | None, str, str]] = []
    try:
        message.clean_fields(exclude=others)
    except ValidationError as error:
        problems = [(None, field, texts[0]) for field, texts in error.message_dict.items()]
    problems += [(None, field, sentence) for field, sentence in wrong_numbers(message)]
    if message.topic and not problems and not Topic.objects.filter(slug=message.topic).exists():
        problems.append((None, "topic", _("There is no topic “%s”.") % message.topic))
    return problems


def wrong_numbers(message: Message) -> list[tuple[str, str]]:
    """What is too much or too little in a message's own fields, as (field, sentence)."""
    found = [
        (field, _("Between 1 and %d hours.") % MOST_HOURS)
        for field in ("expires_after_hours", "goal_window_hours")
        if not 1 <= (getattr(message, field) or 0) <= MOST_HOURS
    ]
    if len(message.name) > LONGEST_NAME:
        found.append(("name", _("A name has %d characters at most.") % LONGEST_NAME))
    return found


def _problems(words: Words) -> list[tuple[str, str]]:
    if not _VARIANT.fullmatch(words.variant):
        return [("", _("A variant is named by small letters and digits."))]
    if words.locale and not _LOCALE.fullmatch(words.locale):
        return [("", _("Write a language such as ar, pl or pt-BR."))]
    try:
        channel = channels.get(words.channel)
    except channels.UnknownChannel:
        return [("", _("There is no channel “%s”.") % words.channel[:40])]
    unknown = [name for name in words.content if name not in channel.Config.__struct_fields__]
    if unknown:
        return [(name, _("This does not belong here.")) for name in unknown]
    return [(problem.field, problem.message) for problem in channel.problems(words.content)]
