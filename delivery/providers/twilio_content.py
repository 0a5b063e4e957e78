"""Twilio's Content templates in the shape of Meta's (https://www.twilio.com/docs/content/content-types-overview).

At Twilio all places of a template, in its words, pictures and buttons, are filled in from one set of variables.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from delivery.whatsapp import templates

# What stands above and below the words, by the names that the types have for it.
_ABOVE, _BELOW, _SMALL = ("header_text", "title"), ("subtitle",), "footer"
_PLAIN = "twilio/text"
_BUTTONS = {"QUICK_REPLY": "QUICK_REPLY", "URL": "URL", "PHONE_NUMBER": "PHONE_NUMBER"}


def components(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a content: its words with places, the names of all places, and the words on its buttons.

    A content may hold several types of itself, of which WhatsApp shows the richest.
    """
    kinds = row.get("types")
    kinds = (
        {name: kind for name, kind in kinds.items() if isinstance(kind, dict)}
        if isinstance(kinds, dict)
        else {}
    )
    name = max(kinds, key=lambda each: (each.startswith("whatsapp/"), each != _PLAIN), default="")
    shown = kinds.get(name, {})
    words = [shown.get(part) for part in (*_ABOVE, "body", *_BELOW)]
    given = row.get("variables")
    places = [place for text in _texts(shown) for place in templates.variables(text)]
    places += [str(place) for place in given] if isinstance(given, dict) else []
    found: list[dict[str, Any]] = [
        {"type": "BODY", "text": "\n".join(text for text in words if isinstance(text, str) and text)},
        {"type": templates.PLACES, "names": list(dict.fromkeys(places))},
    ]
    if isinstance(shown.get(_SMALL), str) and shown[_SMALL]:
        found.append({"type": "FOOTER", "text": shown[_SMALL]})
    if buttons := list(_buttons(shown, name)):
        found.append({"type": "BUTTONS", "buttons": buttons})
    return found


def _buttons(shown: Mapping[str, Any], name: str) -> Iterator[dict[str, str]]:
    actions = shown.get("actions")
    for action in actions if isinstance(actions, list) else []:
        title = (action.get("title") or action.get("copy_code_text")) if isinstance(action, dict) else None
        if isinstance(title, str):
            usual = "QUICK_REPLY" if name == "twilio/quick-reply" else "OTHER"
            yield {"type": _BUTTONS.get(str(action.get("type", "")).upper(), usual), "text": title}


def _texts(held: Any) -> Iterator[str]:
    """All texts, in order."""
    if isinstance(held, str):
        yield held
    elif isinstance(held, dict | list):
        for each in held.values() if isinstance(held, dict) else held:
            yield from _texts(each)
