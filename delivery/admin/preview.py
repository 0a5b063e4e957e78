"""Showing a message that is still being written."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from delivery import channels
from delivery.admin import people
from delivery.admin.contents import USUAL
from delivery.content import ContentError

_PREFIX = re.compile(r"contents-([a-z]+)-\d+")


def context(post: Mapping[str, str]) -> dict[str, Any]:
    """Return what the preview's template shows for a posted form of the message page.

    The form whose prefix is `preview_form` is shown; without one, the first that is not being deleted.
    """
    prefix = post.get("preview_form") or _first(post)
    found = _PREFIX.fullmatch(prefix)
    channel = channels.everything().get(found[1] if found else USUAL, channels.get(USUAL))
    fields = {
        name: post[f"{prefix}-{name}"]
        for name in channel.Form.base_fields
        if post.get(f"{prefix}-{name}") is not None
    }
    form = channel.Form(fields)
    profile = people.find(post.get("preview_as", ""))
    if profile is None:
        suggested = people.suggestions()
        profile = people.find(suggested[0][0]) if suggested else None
    shown: dict[str, Any] = {"person": profile, "dark": post.get("preview_dark") == "on"}
    shown["template"] = channel.preview
    if not form.is_valid():
        return shown | {
            "errors": [
                _label(form, field, error) for field, errors in form.errors.items() for error in errors
            ]
        }
    missing: list[str] = []
    try:
        filled = channel.compile(form.content()).render(people.data_for(profile) if profile else {}, missing)
    except ContentError as error:
        return shown | {"errors": [_label(form, error.field, error.message)]}
    return shown | {"content": msgspec.to_builtins(filled), "missing": list(dict.fromkeys(missing))}


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
