"""What messages said before: each save is kept, can be compared with another and brought back."""

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.core.exceptions import FieldDoesNotExist
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from delivery import authoring, channels
from delivery.models import Message, MessageVariant, MessageVersion

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")
MOST_PIECES = 4_000  # words of a text that are compared one by one; longer ones by line


class Change(msgspec.Struct, frozen=True):
    """One thing that differs: where, and what was and is there; None where it was or is not."""

    place: str
    field: str
    before: str | None
    after: str | None

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The text in pieces: ("same" | "gone" | "new", text)."""
        return compared(self.before or "", self.after or "")


def state_of(message: Message) -> dict[str, Any]:
    """Return a saved message with all its words, in two queries."""
    words = message.contents.order_by("channel", "variant", "locale")
    return {
        "fields": {name: getattr(message, name) for name in authoring.EDITED},
        "variants": [
            {"key": each.key, "name": each.name, "weight": each.weight}
            for each in MessageVariant.objects.filter(message=message).order_by("key")
        ],
        "words": [
            {"channel": each.channel, "variant": each.variant, "locale": each.locale, "content": each.content}
            for each in words
        ],
    }


@transaction.atomic
def keep(
    message: Message, by: Any = None, now: datetime | None = None, restored_from: int | None = None
) -> MessageVersion | None:
    """Take a message down as it is now; None if nothing changed since the last version.

    Args:
        by: the user who saved it, if it was one.
    """
    message.version = Message.objects.select_for_update().values_list("version", flat=True).get(pk=message.pk)
    state = state_of(message)
    last = MessageVersion.objects.filter(message=message, number=message.version).first()
    if last is not None and _meant(last.state) == _meant(state):
        return None
    message.version += 1
    Message.objects.filter(pk=message.pk).update(version=message.version)
    return MessageVersion.objects.create(
        message=message,
        number=message.version,
        state=state,
        restored_from=restored_from,
        saved_at=now or timezone.now(),
        saved_by=by if getattr(by, "pk", None) else None,
    )


@transaction.atomic
def restore(
    message_id: int, number: int, by: Any = None, now: datetime | None = None
) -> MessageVersion | None:
    """Make a message what it was in a version; the version made by that, or None if it is so already.

    What became part of messages only after that version stays as it is.

    Raises:
        MessageVersion.DoesNotExist: there is no such version.
        authoring.Refused: it can't be sent as it was any more, e.g. because a snippet is gone.
    """
    message = Message.objects.select_for_update().get(pk=message_id)
    keep(message)
    state = MessageVersion.objects.get(message=message, number=number).state
    fields = {name: getattr(message, name) for name in authoring.EDITED}
    fields |= {name: value for name, value in state["fields"].items() if name in fields}
    authoring.write(
        message,
        fields,
        [authoring.Words(**words) for words in state["words"]],
        [authoring.Variant(**each) for each in state["variants"]],
    )
    return keep(message, by, now, restored_from=number)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what differs between two versions' states, in the order of the page."""
    return [
        Change(place, field, None if was is None else _text(was), None if now is None else _text(now))
        for place, field, was, now in _differing(before, after)
    ]


def compared(before: str, after: str) -> list[tuple[str, str]]:
    """Return a text and its successor as pieces: ("same" | "gone" | "new", text), word by word where it is short."""
    ways = [_PIECES.findall(text) for text in (before, after)]
    if max(len(each) for each in ways) > MOST_PIECES:
        ways = [text.splitlines(keepends=True) for text in (before, after)]
    old, new = ways
    found: list[tuple[str, str]] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            found.append(("same", "".join(old[i:j])))
            continue
        if j > i:
            found.append(("gone", "".join(old[i:j])))
        if m > k:
            found.append(("new", "".join(new[k:m])))
    return found


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    here = str(_("Message"))
    for name in dict.fromkeys([*before["fields"], *after["fields"]]):
        was, now = before["fields"].get(name), after["fields"].get(name)
        if was != now:
            yield here, _field_label(name), was, now
    was, now = (
        ", ".join(f"{v['name'] or v['key'].upper()}: {v['weight']}" for v in state["variants"]) or None
        for state in (before, after)
    )
    if was != now:
        yield here, str(_("Variants")), was, now
    old, new = (
        {_key(words): words["content"] for words in _meant(state)["words"]} for state in (before, after)
    )
    for key in sorted(old.keys() | new.keys()):
        place = _place(*key)
        was_content, now_content = old.get(key, {}), new.get(key, {})
        for name in dict.fromkeys([*was_content, *now_content]):
            if was_content.get(name) != now_content.get(name):
                yield place, _content_label(key[0], name), was_content.get(name), now_content.get(name)


def _meant(state: Mapping[str, Any]) -> dict[str, Any]:
    """A version's state without what says the same as saying nothing, which forms write down and programs leave out."""
    known = channels.everything()
    words = [
        {**each, "content": _without_defaults(known[each["channel"]].Config, each["content"])}
        if each["channel"] in known
        else each
        for each in state["words"]
    ]
    return {**state, "words": words}


def _without_defaults(config: type[msgspec.Struct], content: Mapping[str, Any]) -> dict[str, Any]:
    usual = {field.name: field.default for field in msgspec.structs.fields(config)}
    return {
        name: value
        for name, value in content.items()
        if value not in ("", None, [], {}) and (name not in usual or value != usual[name])
    }


def _key(words: Mapping[str, Any]) -> tuple[str, str, str]:
    return words["channel"], words["variant"], words["locale"]


def _place(channel: str, variant: str, locale: str) -> str:
    known = channels.everything().get(channel)
    parts = [str(known.label) if known else channel, locale or str(_("everybody"))]
    if variant != "a":
        parts.insert(1, _("variant %s") % variant.upper())
    return " · ".join(parts)


def _field_label(name: str) -> str:
    try:
        return str(Message._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
    except FieldDoesNotExist:  # of an older version
        return name


def _content_label(channel: str, name: str) -> str:
    known = channels.everything().get(channel)
    field = known.Form.base_fields.get(name) if known else None
    return str(field.label) if field is not None and field.label else name


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(_("yes")) if value else str(_("no"))
    return (
        msgspec.json.format(msgspec.json.encode(value)).decode()
        if isinstance(value, dict | list)
        else str(value)
    )
