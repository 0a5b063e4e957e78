"""The form field in which an email's blocks are edited."""

import json
from typing import Any

from django import forms
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _


def kinds() -> list[dict[str, Any]]:
    """What the editor must know of each kind of block: its name, its sign, its fields and what a new one says.

    A field's `type` is that of an input, or "area", "align", "select" or "image".
    """
    align = {"name": "align", "label": _("Alignment"), "type": "align"}
    return [
        _kind(
            "text",
            _("Text"),
            "notes",
            {
                "name": "text",
                "label": _("Text"),
                "type": "area",
                "help": _("**bold**, *italic*, [words](https://…), - list"),
            },
            align,
        ),
        _kind(
            "heading",
            _("Heading"),
            "title",
            {"name": "text", "label": _("Text"), "type": "text"},
            {
                "name": "level",
                "label": _("Size"),
                "type": "select",
                "number": True,
                "options": [[1, _("large")], [2, _("middle")], [3, _("small")]],
            },
            align,
        ),
        _kind(
            "image",
            _("Picture"),
            "image",
            {"name": "src", "label": _("Address of the picture"), "type": "image"},
            {
                "name": "alt",
                "label": _("Description"),
                "type": "text",
                "help": _("For those who do not see the picture."),
            },
            {"name": "href", "label": _("Opens"), "type": "text", "help": "https://…"},
            {
                "name": "width",
                "label": _("Width in pixels"),
                "type": "number",
                "max": 1200,
                "help": _("0: as wide as there is room."),
            },
            align,
        ),
        _kind(
            "button",
            _("Button"),
            "smart_button",
            {"name": "label", "label": _("Words"), "type": "text"},
            {"name": "href", "label": _("Opens"), "type": "text", "help": "https://…"},
            {"name": "wide", "label": _("As wide as the text"), "type": "checkbox"},
            align,
        ),
        _kind(
            "products",
            _("Products"),
            "shopping_bag",
            {
                "name": "items",
                "label": _("List of products"),
                "type": "text",
                "help": _(
                    "What the event is about: event.products. What suits the person: recommended. Or any list."
                ),
            },
            {"name": "limit", "label": _("At most"), "type": "number", "min": 1, "max": 12},
            {"name": "label", "label": _("Words of the link"), "type": "text"},
            {"name": "price", "label": _("With prices"), "type": "checkbox"},
        ),
        _kind(
            "columns",
            _("Two columns"),
            "view_column_2",
            {
                "name": "first",
                "label": _("Width of the first in percent"),
                "type": "number",
                "min": 20,
                "max": 80,
            },
        ),
        _kind("divider", _("Line"), "horizontal_rule"),
        _kind(
            "spacer",
            _("Space"),
            "height",
            {"name": "height", "label": _("Height in pixels"), "type": "number", "min": 1, "max": 400},
        ),
        _kind("logo", _("Logo"), "verified", align),
        _kind("social", _("Social networks"), "share", align),
        _kind("html", _("HTML"), "code", {"name": "html", "label": _("HTML"), "type": "area", "code": True}),
        _kind(
            "footer",
            _("Footer"),
            "call_to_action",
            {"name": "text", "label": _("Text above the address"), "type": "area"},
        ),
    ]


_NEW: dict[str, dict[str, Any]] = {
    "heading": {"text": "", "level": 1},
    "products": {"items": "event.products", "limit": 3, "price": True},
    "columns": {"left": [], "right": [], "first": 50},
    "spacer": {"height": 24},
}


def _kind(kind: str, label: Any, icon: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "label": label,
        "icon": icon,
        "fields": fields,
        "new": {"kind": kind, **_NEW.get(kind, {})},
    }


def words() -> dict[str, Any]:
    """What the editor says."""
    return {
        "add": _("Add a block"),
        "add_here": _("Add a block here"),
        "up": _("Move up"),
        "down": _("Move down"),
        "copy": _("Duplicate"),
        "remove": _("Delete"),
        "undo": _("Undo"),
        "redo": _("Redo"),
        "blocks": _("Blocks"),
        "left": _("First column"),
        "right": _("Second column"),
        "empty": _("The email has no body. Add a block."),
        "choose": _("Choose a picture"),
        "close": _("Close"),
        "upload": _("Upload"),
        "file": _("File"),
        "alt": _("Description"),
        "none": _("There are no pictures yet."),
        "failed": _("That did not work. Try again."),
        "start": _("at the start"),
        "center": _("in the middle"),
        "end": _("at the end"),
        "align": _("Alignment"),
        "way": _("How the body is written"),
        "block": _("Block"),
    }


class BlocksWidget(forms.Textarea):
    """A text area with JSON, which the script turns into the block editor; without scripts it stays what it is."""

    template_name = "admin/delivery/email/blocks.html"

    class Media:
        css = {"all": ["nudge/admin/email.css"]}
        js = ["nudge/admin/email.js"]

    def format_value(self, value: Any) -> str:
        """Return the JSON; a value that could not be read stays as it was typed."""
        if value in (None, "", []):
            return "[]"
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Return the widget; the usual renderer would not find the template among those of the project."""
        return render_to_string(self.template_name, self.get_context(name, value, attrs))

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Add where pictures come from, and what the editor says."""
        context = super().get_context(name, value, attrs)
        try:
            context["images_url"] = reverse("admin:delivery_emailimage_pick")
            context["convert_url"] = reverse("admin:delivery_emailimage_mjml")
        except NoReverseMatch:  # outside of the admin
            pass
        told = {"kinds": kinds(), "words": words()}
        context["editor"] = json.dumps(told, cls=DjangoJSONEncoder, ensure_ascii=False)
        context["widget"]["attrs"]["data-email-blocks"] = ""
        return context


class BlocksField(forms.JSONField):
    """A list of blocks as JSON."""

    widget = BlocksWidget
    default_error_messages = {"invalid": _("This is not a list of blocks.")}

    def __init__(self, **kwargs: Any):
        kwargs.setdefault("initial", list)
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Leave it to the widget."""
        return value

    def to_python(self, value: Any) -> Any:
        """Return the list."""
        found = super().to_python(value)
        if found in (None, ""):
            return []
        if not isinstance(found, list):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what the JSON says, not how it is written."""
        try:
            return (initial or []) != self.to_python(data)
        except forms.ValidationError:
            return True
