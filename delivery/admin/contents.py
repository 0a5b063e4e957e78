"""Editing the words of a message: one inline per channel, one form per language."""

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
)

from delivery import channels
from delivery.channels.base import Channel
from delivery.models import MessageContent

USUAL = "webpush"
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_WIDGETS: dict[type[forms.Widget], type[forms.Widget]] = {
    forms.TextInput: UnfoldAdminTextInputWidget,
    forms.Textarea: UnfoldAdminTextareaWidget,
    forms.NumberInput: UnfoldAdminIntegerFieldWidget,
    forms.Select: UnfoldAdminSelectWidget,
}


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


class ContentForm(forms.ModelForm):
    """One language's content. The channel's own form holds the fields and finds the mistakes."""

    channel: Channel
    locale = LocaleField(
        label=_("Language"), required=False, help_text=_("Empty: for everybody without a better match.")
    )

    class Meta:
        model = MessageContent
        fields = ["locale"]

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


class ContentFormSet(BaseInlineFormSet):
    channel: Channel

    @classmethod
    def get_default_prefix(cls) -> str:
        """The channel's own: a page has a formset for each, whichever else there are."""
        return f"contents-{cls.channel.kind}"

    def clean(self) -> None:
        """One content per language."""
        super().clean()
        seen: set[str] = set()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            locale = form.cleaned_data.get("locale", "")
            if locale in seen and (form.has_changed() or form.instance.pk):
                form.add_error("locale", _("There is a text for this language already."))
            seen.add(locale)


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
        """This channel's texts, the one for everybody first."""
        return super().get_queryset(request).filter(channel=self.channel.kind, variant="a").order_by("locale")


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
                (None, {"fields": ["locale", *channel.Form.main]}),
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
