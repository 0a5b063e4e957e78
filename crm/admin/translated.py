"""Forms for texts in several languages, which a model keeps as one JSON object by language."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from django import forms
from django.utils.functional import Promise, lazy
from django.utils.translation import get_language_info
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget


class Part(NamedTuple):
    """One of the texts. `label` has a %s for the language; `long` ones are written in several lines."""

    label: str | Promise
    max_length: int
    long: bool = True


class TranslatedForm(forms.ModelForm):
    """A form with a field `<part>_<language>` for each text; languages that it has no fields for stay as they are."""

    store: ClassVar[str]  # the model's field
    parts: ClassVar[Mapping[str, Part]]
    languages: ClassVar[Sequence[str]]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        texts = getattr(self.instance, self.store)
        for language in self.languages:
            for part in self.parts:
                if (name := f"{part}_{language}") in self.fields:
                    self.fields[name].initial = texts.get(language, {}).get(part, "")

    def clean(self) -> dict[str, Any]:
        """Put the texts together."""
        cleaned = super().clean() or self.cleaned_data
        texts = dict(getattr(self.instance, self.store))
        for language in self.languages:
            words = {part: cleaned.get(f"{part}_{language}", "") for part in self.parts}
            texts[language] = {part: text for part, text in words.items() if text}
        setattr(self.instance, self.store, {language: words for language, words in texts.items() if words})
        return cleaned


def with_fields(form: type[TranslatedForm]) -> type[TranslatedForm]:
    """The form with its fields for each language; a class decorator, as Django wants fields when a class is made."""
    fields = {
        f"{name}_{language}": _field(language, part)
        for language in form.languages
        for name, part in form.parts.items()
    }
    return type(form.__name__, (form,), fields)


def _filled(label: str | Promise, language: str) -> str:
    return str(label) % language


_labelled = lazy(_filled, str)  # in the reader's language, which is not known yet


def _field(language: str, part: Part) -> forms.CharField:
    widget = UnfoldAdminTextareaWidget if part.long else UnfoldAdminTextInputWidget
    attrs = {"lang": language, "dir": "auto", **({"rows": 2} if part.long else {})}
    return forms.CharField(
        label=_labelled(part.label, get_language_info(language)["name_local"]),
        required=False,
        max_length=part.max_length,
        widget=widget(attrs=attrs),
    )
