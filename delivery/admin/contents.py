"""Editing the words of a message: one inline per channel, one form per variant and language."""

import re
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from delivery import channels, variants
from delivery.channels.base import Channel
from delivery.models import MessageContent, MessageVariant

USUAL = "webpush"
_VARIANT = re.compile(r"[a-z0-9]{1,20}")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_WIDGETS: dict[type[forms.Widget], type[forms.Widget]] = {
    forms.TextInput: UnfoldAdminTextInputWidget,
    forms.Textarea: UnfoldAdminTextareaWidget,
    forms.NumberInput: UnfoldAdminIntegerFieldWidget,
    forms.Select: UnfoldAdminSelectWidget,
    forms.CheckboxInput: UnfoldBooleanSwitchWidget,
}
_WRITTEN = (forms.TextInput, forms.Textarea)


class LocaleField(forms.CharField):
    """A language tag such as ar or pt-BR; empty for everybody without a better match."""

    widget = UnfoldAdminTextInputWidget

    def clean(self, value: Any) -> str:
        """Return the tag with its usual case."""
        text = super().clean(value).strip().replace("_", "-")
        if text and not _LOCALE.fullmatch(text):
            raise forms.ValidationError(_("Write a language such as ar, pl or pt-BR."))
        first, *rest = text.split("-")
        return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part.title() for part in rest)])


class VariantField(forms.CharField):
    """A variant's letter; the first one's if nobody asked for another."""

    def __init__(self, **kwargs: Any):
        super().__init__(required=False, initial=variants.FIRST, widget=forms.HiddenInput, **kwargs)

    def clean(self, value: Any) -> str:
        """Return the letter."""
        letter = super().clean(value).strip() or variants.FIRST
        if not _VARIANT.fullmatch(letter):
            raise forms.ValidationError(_("A variant is named by small letters and digits."))
        return letter

    def has_changed(self, initial: Any, data: Any) -> bool:
        """A form that was not filled in has no variant of its own."""
        return bool(data) and super().has_changed(initial or variants.FIRST, data)


class ContentForm(forms.ModelForm):
    """One language's content. The channel's own form holds the fields and finds the mistakes."""

    channel: Channel
    locale = LocaleField(
        label=_("Language"), required=False, help_text=_("Empty: for everybody without a better match.")
    )

    variant = VariantField()

    class Meta:
        model = MessageContent
        fields = ["locale", "variant"]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._authored = self.instance.content if self.instance.pk else {}
        self.initial |= self.channel.Form(initial=self._authored).initial

    def clean(self) -> dict[str, Any]:
        """Check the content as the channel does."""
        cleaned = super().clean() or self.cleaned_data
        part = {name: self.data.get(self.add_prefix(name)) for name in self.channel.Form.base_fields}
        form = self.channel.Form({k: v for k, v in part.items() if v is not None}, initial=self._authored)
        if form.is_valid():
            self.instance.content = form.content()
        for field, errors in form.errors.items():
            for error in errors:
                if field not in self.errors:  # its own check has told
                    self.add_error(field if field in self.fields else None, error)
        self.instance.channel = self.channel.kind
        return cleaned


def none_as_empty(data: Any, prefix: str) -> Any:
    """A posted page that has no part of this name, as if the part were there and empty."""
    if data is None or f"{prefix}-TOTAL_FORMS" in data:
        return data
    changed = data.copy()
    changed.update({f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"})
    return changed


class ContentFormSet(BaseInlineFormSet):
    channel: Channel

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any):
        super().__init__(none_as_empty(data, kwargs.get("prefix", "")), *args, **kwargs)
        if self.is_bound:
            self.data = self._with_gone_as_new(self.data)

    @classmethod
    def get_default_prefix(cls) -> str:
        """The channel's own: a page has a formset for each, whichever else there are."""
        return f"contents-{cls.channel.kind}"

    def clean(self) -> None:
        """One content per variant and language."""
        super().clean()
        seen: set[tuple[str, str]] = set()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            key = (form.cleaned_data.get("variant", variants.FIRST), form.cleaned_data.get("locale", ""))
            if key in seen and (form.has_changed() or form.instance.pk):
                form.add_error("locale", _("There is a text for this language already."))
            seen.add(key)

    def _with_gone_as_new(self, data: Any) -> Any:
        """The posted form with texts that somebody else removed meanwhile as new ones, so that none is lost."""
        initial = str(data.get(f"{self.prefix}-INITIAL_FORMS", ""))
        total = str(data.get(f"{self.prefix}-TOTAL_FORMS", ""))
        if not (initial.isdigit() and total.isdigit() and 0 < int(initial) <= int(total) <= 200):
            return data
        present = {str(pk) for pk in self.get_queryset().values_list("pk", flat=True)}
        numbers = [str(number) for number in range(int(total))]
        old = [n for n in numbers[: int(initial)] if data.get(f"{self.prefix}-{n}-id") in present]
        if len(old) == int(initial):
            return data
        renumbered = {
            old_number: str(new)
            for new, old_number in enumerate([*old, *(n for n in numbers if n not in old)])
        }
        changed = data.copy()
        for name in list(changed):
            match = re.fullmatch(rf"{re.escape(self.prefix)}-(\d+)-(.+)", name)
            if match:
                del changed[name]
        for name in data:
            match = re.fullmatch(rf"{re.escape(self.prefix)}-(\d+)-(.+)", name)
            if match and match[1] in renumbered and not (match[2] == "id" and match[1] not in old):
                changed[f"{self.prefix}-{renumbered[match[1]]}-{match[2]}"] = data[name]
        changed[f"{self.prefix}-INITIAL_FORMS"] = str(len(old))
        return changed


class ContentInline(StackedInline):
    model = MessageContent
    extra = 0
    channel: Channel

    def get_min_num(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        """A message needs words for some channel; where nothing is written yet, for the usual one."""
        if self.channel.kind != USUAL:
            return 0
        others = [kind for kind in channels.everything() if kind != USUAL]
        if request.method == "POST":
            return int(all(request.POST.get(f"contents-{kind}-TOTAL_FORMS", "0") == "0" for kind in others))
        return int(obj is None or not obj.contents.filter(channel__in=others).exists())

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """This channel's texts, of the first variant the one for everybody first."""
        return super().get_queryset(request).filter(channel=self.channel.kind).order_by("variant", "locale")


class VariantForm(forms.ModelForm):
    """A variant: its letter, name and part."""

    class Meta:
        model = MessageVariant
        fields = ["key", "name", "weight"]
        widgets = {
            "key": forms.HiddenInput,
            "name": UnfoldAdminTextInputWidget,
            "weight": UnfoldAdminIntegerFieldWidget,
        }


class VariantFormSet(BaseInlineFormSet):
    """The variants of a message; posted pages without them have none."""

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any):
        super().__init__(none_as_empty(data, kwargs.get("prefix", "")), *args, **kwargs)

    @classmethod
    def get_default_prefix(cls) -> str:
        """A short one."""
        return "variants"

    def clean(self) -> None:
        """Somebody must get one of them."""
        super().clean()
        kept = [
            form for form in self.forms if form not in self.deleted_forms and hasattr(form, "cleaned_data")
        ]
        weights = [form.cleaned_data.get("weight") for form in kept]
        if kept and not any(weights):
            raise forms.ValidationError(_("One of the variants must be sent to somebody."))


class VariantInline(StackedInline):
    model = MessageVariant
    form = VariantForm
    formset = VariantFormSet
    extra = 0
    ordering = ("key",)


def inlines() -> list[type[admin.options.InlineModelAdmin]]:
    """Return an inline for each channel that marketers may use."""
    return [_inline(channel) for channel in channels.everything().values() if channel.listed]


def _inline(channel: Channel) -> type[admin.options.InlineModelAdmin]:
    fields: dict[str, Any] = {}
    for name, field in channel.Form().fields.items():
        themed = _WIDGETS.get(type(field.widget))
        if themed:
            attrs = {
                key: value for key, value in field.widget.attrs.items() if key not in ("cols", "maxlength")
            }
            if type(field.widget) in _WRITTEN:
                attrs.setdefault("dir", "auto")  # what is written may be of another direction than the page
            widget = themed(attrs=attrs)
            if isinstance(field, forms.ChoiceField):
                widget.choices = field.choices
            field.widget = widget
        fields[name] = field
    form = type(f"{channel.kind.title()}ContentForm", (ContentForm,), {"channel": channel, **fields})
    return type(
        f"{channel.kind.title()}Inline",
        (ContentInline,),
        {
            "channel": channel,
            "form": form,
            "formset": type(f"{channel.kind.title()}ContentFormSet", (ContentFormSet,), {"channel": channel}),
            "fieldsets": [
                (None, {"fields": ["locale", "variant", *channel.Form.main]}),
                *(
                    [(_("More"), {"fields": channel.Form.more, "classes": ["collapse"]})]
                    if channel.Form.more
                    else []
                ),
            ],
            "verbose_name": _("language"),
            "verbose_name_plural": channel.label,
        },
    )
