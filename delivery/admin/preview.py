"""Showing a message that is still being written, with what its author should know about it."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from crm.models import Profile
from delivery import channels, content, walking
from delivery.admin import people, printing
from delivery.admin.contents import USUAL
from delivery.channels.base import Channel
from delivery.content import ContentError, advice

_PREFIX = re.compile(r"contents-([a-z]+)-\d+")


def context(post: Mapping[str, str]) -> dict[str, Any]:
    """Return what the preview's template shows for a posted form of the message page.

    The form whose prefix is `preview_form` is shown; without one, the first that is not being deleted. `notes` are
    (name of the form's field, sentence).
    """
    prefix = post.get("preview_form") or _first(post)
    found = _PREFIX.fullmatch(prefix)
    channel = channels.everything().get(found[1] if found else USUAL, channels.get(USUAL))
    locale = post.get(f"{prefix}-locale", "").strip()[:40]
    fields = {
        name: post[f"{prefix}-{name}"]
        for name in channel.Form.base_fields
        if post.get(f"{prefix}-{name}") is not None
    }
    form = channel.Form(fields)
    profile = _person(post)
    shown: dict[str, Any] = {
        "person": profile,
        "reference": people.reference(profile) if profile else "",
        "moved": "preview_move" in post,
        "dark": post.get("preview_dark") == "on",
        "desktop": post.get("preview_desktop") == "on",
        "channel": channel,
        "template": channel.preview,
        "locale": locale,
        "prefix": prefix,
    }
    if not form.is_valid():
        return shown | {
            "errors": [
                _label(form, field, error) for field, errors in form.errors.items() for error in errors
            ],
            "notes": [
                (field if field in form.fields else "", error, True)
                for field, errors in form.errors.items()
                for error in errors
                if post.get(f"{prefix}-{field}")
            ],
        }
    authored = form.content()
    missing: list[str] = []
    try:
        compiled = channel.compile(authored)
        data = people.data_for(profile, [authored], locale) if profile else {}
        filled = compiled.render(data, missing, locale)
    except ContentError as error:
        return shown | {
            "errors": [_label(form, error.field, error.message)],
            "notes": [(error.field, error.message, True)],
        }
    return shown | {
        "content": msgspec.to_builtins(filled),
        "printed": printing.offers(channel, filled, post.get("slug", "")[:100]),
        "missing": list(dict.fromkeys(missing)),
        "notes": [(note.field, note.message, False) for note in _notes(channel, form, authored, locale)],
        "lacking": advice.summary(advice.lacking(compiled, authored, locale, content.gather([], [authored]))),
    }


def _person(post: Mapping[str, str]) -> Profile | None:
    profile = people.find(post.get("preview_as", ""))
    step = {"next": 1, "previous": -1}.get(post.get("preview_move", ""))
    if step:
        return walking.beside(post.get("preview_group", ""), profile.pk if profile else 0, step)
    if profile is None:
        suggested = people.suggestions()
        profile = people.find(suggested[0][0]) if suggested else None
    return profile


def _notes(channel: Channel, form: Any, authored: dict[str, Any], locale: str) -> list[ContentError]:
    lengths = {
        name: int(count)
        for name, field in form.fields.items()
        if (count := str(field.widget.attrs.get("data-count", ""))).isdigit()
    }
    return [*advice.notes(authored, channel.Config, locale, lengths), *channel.advice(authored)]


def _first(post: Mapping[str, str]) -> str:
    for kind in sorted(channels.everything(), key=lambda kind: kind != USUAL):
        inline = f"contents-{kind}"
        total = post.get(f"{inline}-TOTAL_FORMS", "0")
        for number in range(min(int(total), 100) if total.isdigit() else 0):
            if post.get(f"{inline}-{number}-DELETE") != "on":
                return f"{inline}-{number}"
    return f"contents-{USUAL}-0"


def _label(form: Any, field: str, error: str) -> str:
    label = form.fields[field].label if field in form.fields else ""
    return _("%(field)s: %(error)s") % {"field": label, "error": error} if label else str(error)
