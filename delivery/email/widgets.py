"""The form field in which an email's blocks are edited."""

import json
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _


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
