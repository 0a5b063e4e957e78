"""Form fields that the forms of steps and triggers share."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

MOST_PAIRS = 50
NAME, VALUE = gettext_lazy("Name"), gettext_lazy("Value")

Pairs = list[tuple[str, str]]


class PairsWidget(forms.Widget):
    """Rows of a name and a value, with buttons that add and remove rows."""

    template = "admin/campaigns/flow/parts/pairs.html"

    def __init__(self, attrs: dict[str, Any] | None = None, **words: Any) -> None:
        super().__init__(attrs)
        self.words = words
        self.names: Callable[[], Iterable[str]] = list

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Pairs:
        if not hasattr(data, "getlist"):
            return list(data.get(name) or [])
        names, values = data.getlist(f"{name}-name"), data.getlist(f"{name}-value")
        return list(zip(names, values, strict=False))

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return f"{name}-name" not in data

    def id_for_label(self, id_: str) -> str:
        return f"{id_}-0" if id_ else ""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        attrs = {**self.attrs, **(attrs or {})}
        return render_to_string(
            self.template,
            {
                "name": name,
                "id": attrs.get("id", name),
                "rows": [tuple(row) for row in value or []] or [("", "")],
                "names": list(self.names()),
                "attrs": attrs,
                **self.words,
            },
        )


class PairsField(forms.Field):
    """Names with values, such as the headers of a request: a list of (name, value), without empty rows.

    Args:
        name_label, value_label: what the two inputs of a row are called.
        names: gives names to suggest.
        name_dir: the direction of names, "ltr" for what is written the same everywhere.
        value_placeholder: an example of a value.

    Raises (in `clean`):
        ValidationError: a value without a name, a name twice, or too many rows.
    """

    def __init__(
        self,
        *,
        name_label: Any = NAME,
        value_label: Any = VALUE,
        names: Callable[[], Iterable[str]] | None = None,
        name_dir: str = "ltr",
        value_placeholder: Any = "",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("widget", PairsWidget())
        super().__init__(**kwargs)
        self.widget.words = {
            "name_label": name_label,
            "value_label": value_label,
            "name_dir": name_dir,
            "value_placeholder": value_placeholder,
        }
        if names is not None:
            self.widget.names = names

    def to_python(self, value: Any) -> Pairs:
        rows = [(str(name).strip()[:200], str(text).strip()[:10_000]) for name, text in value or []]
        return [row for row in rows if any(row)]

    def validate(self, value: Pairs) -> None:
        super().validate(value)
        names = [name for name, _text in value]
        if not all(names):
            raise ValidationError(gettext_lazy("Every value needs a name."))
        if len(set(names)) < len(names):
            raise ValidationError(gettext_lazy("A name is there twice."))
        if len(value) > MOST_PAIRS:
            raise ValidationError(gettext_lazy("There are too many rows."))
