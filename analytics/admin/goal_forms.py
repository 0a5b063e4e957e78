"""Forms of goals and rates: conditions in words, with what real events have as suggestions."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from analytics.goals import rates, rules
from analytics.models import ExchangeRate, Goal
from analytics.models.goals import LONGEST_WINDOW, SEEN_CHANNELS
from campaigns.admin.flows.happenings import event_names
from campaigns.segments.suggestions import Suggestions
from crm.rules.operators import EXISTENCE
from crm.rules.words import OPERATORS

NUMERIC = ("gt", "gte", "lt", "lte")
ROWS = 4  # filters in the form
OFFERED = ("eq", "ne", "gt", "gte", "lt", "lte", "contains", "not_contains", "starts_with", "in", *EXISTENCE)
FILTERS = [(f"property{row}", f"op{row}", f"value{row}") for row in range(ROWS)]
VIEWS = [tuple(f"seen_{channel}" for channel in SEEN_CHANNELS[first : first + 2]) for first in (0, 2, 4)]
_CHANNELS = {
    "webpush": gettext_lazy("Hours after a web push was shown"),
    "inapp": gettext_lazy("Hours after an in-app message was shown"),
    "push": gettext_lazy("Hours after an app push was shown"),
    "email": gettext_lazy("Hours after an email was opened, without a click"),
    "sms": gettext_lazy("Hours after a text message arrived"),
    "whatsapp": gettext_lazy("Hours after a WhatsApp message was read"),
}


class SuggestingInput(UnfoldAdminTextInputWidget):
    """A text that may be one of those suggested."""

    suggested: Iterable[str] = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The input with its list."""
        number = f"{name}-suggested"
        attrs = {**(attrs or {}), "list": number, "dir": "ltr", "autocomplete": "off"}
        options = format_html_join("", '<option value="{}"></option>', ((text,) for text in self.suggested))
        shown = super().render(name, value, attrs, renderer)
        return format_html('{}<datalist id="{}">{}</datalist>', shown, number, options)


def _filter_fields() -> dict[str, forms.Field]:
    found: dict[str, forms.Field] = {}
    for number, (name, op, value) in enumerate(FILTERS):
        found[name] = forms.CharField(
            label=gettext_lazy("and only where") if number else gettext_lazy("only where"),
            required=False,
            max_length=200,
            widget=SuggestingInput(),
            help_text="" if number else gettext_lazy("A property of the event; empty: any."),
        )
        found[op] = forms.ChoiceField(
            label="",
            choices=[(each, OPERATORS[each]) for each in OFFERED],
            required=False,
            widget=UnfoldAdminSelectWidget(attrs={"aria-label": gettext_lazy("how it is compared")}),
        )
        found[value] = forms.CharField(
            label="",
            required=False,
            max_length=2000,
            widget=UnfoldAdminTextInputWidget(attrs={"dir": "auto", "aria-label": gettext_lazy("value")}),
        )
    for channel in SEEN_CHANNELS:
        found[f"seen_{channel}"] = forms.IntegerField(
            label=_CHANNELS[channel],
            required=False,
            min_value=1,
            max_value=LONGEST_WINDOW,
            widget=UnfoldAdminIntegerFieldWidget,
        )
    return found


class _GoalFields(forms.ModelForm):
    class Meta:
        model = Goal
        fields = [
            *(
                "name",
                "slug",
                "active",
                "event",
                "counting",
                "value_property",
                "currency_property",
                "currency",
            ),
            *("default_model", "click_hours", "open_hours"),
        ]
        widgets = {
            "event": SuggestingInput(),
            "value_property": SuggestingInput(),
            "currency_property": SuggestingInput(),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        goal = self.instance
        suggest = Suggestions()
        self.known = suggest.properties(goal.event or "purchase")
        numbers = [name for name, (kind, _values) in self.known.items() if kind == "number"]
        offered = {"event": event_names(suggest), "value_property": numbers, "currency_property": self.known}
        offered |= {name: self.known for name, _op, _value in FILTERS}
        for name, texts in offered.items():
            if name in self.fields:
                self.fields[name].widget.suggested = sorted(texts)
        for (name, op, value), item in zip(FILTERS, self._mine(), strict=False):
            self.initial |= {name: item["property"], op: item["op"], value: _text(item.get("value"))}
        self.initial |= {f"seen_{channel}": hours for channel, hours in (goal.view_hours or {}).items()}

    def _mine(self) -> list[dict[str, Any]]:
        """Those of the stored filters that the form shows."""
        return [item for item in self.instance.where or [] if item.get("op") in OFFERED][:ROWS]

    def clean(self) -> dict[str, Any]:
        """Filters and windows as the goal keeps them, and all of it checked as it will be asked."""
        data = super().clean() or {}
        mine = self._mine()
        where = []
        for name, op, value in FILTERS:
            if data.get(value) and not data.get(name):
                self.add_error(name, gettext_lazy("Say which property this is compared with."))
            if data.get(op) in NUMERIC and data.get(name) and not _orders(data.get(value, "")):
                self.add_error(value, gettext_lazy("Write a number, or a day as in 2026-01-31."))
            elif data.get(name):
                where.append(self._filter(data[name], data.get(op) or "eq", data.get(value, "")))
        goal = self.instance
        goal.where = [*where, *(item for item in goal.where or [] if item not in mine)]
        hours = {channel: data.get(f"seen_{channel}") for channel in SEEN_CHANNELS}
        goal.view_hours = {channel: number for channel, number in hours.items() if number}
        return data

    def _filter(self, name: str, op: str, text: str) -> dict[str, Any]:
        if op in EXISTENCE:
            return {"property": name, "op": op}
        kind = self.known.get(name, ("", []))[0]
        value = (
            [_scalar(part.strip(), kind) for part in text.split(",")] if op == "in" else _scalar(text, kind)
        )
        return {"property": name, "op": op, "value": value}

    def _post_clean(self) -> None:
        super()._post_clean()
        self.instance.currency = (self.instance.currency or "").upper()
        for field, why in rules.problems(self.instance).items():
            name = {"where": FILTERS[0][0], "view_hours": f"seen_{SEEN_CHANNELS[0]}"}.get(field, field)
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, why)


GoalForm = type("GoalForm", (_GoalFields,), {"__module__": __name__, **_filter_fields()})


class RateForm(forms.ModelForm):
    """One rate."""

    class Meta:
        model = ExchangeRate
        fields = ["day", "currency", "rate"]
        widgets = {"rate": UnfoldAdminDecimalFieldWidget(attrs={"step": "any"})}

    def clean(self) -> dict[str, Any]:
        """As a pasted line is checked."""
        data = super().clean() or {}
        if not self.errors:
            line = f"{data['day']},{data['currency']},{data['rate']}"
            try:
                [rate] = rates.read(line)
            except rates.BadRates as error:
                raise ValidationError(error.problems) from error
            data["currency"] = rate.currency
        return data


class RatesForm(forms.Form):
    """Many rates as CSV."""

    pasted = forms.CharField(
        label=gettext_lazy("Rates, one a line"),
        help_text=gettext_lazy("Day, currency, and what one unit of it is worth in the account's currency."),
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 12, "dir": "ltr", "placeholder": "2026-03-02,USD,0.92", "spellcheck": "false"}
        ),
    )

    def clean_pasted(self) -> list[rates.Rate]:
        """The rates, all or none."""
        try:
            return rates.read(self.cleaned_data["pasted"])
        except rates.BadRates as error:
            raise ValidationError(error.problems[:20]) from error


def _scalar(text: str, kind: str) -> Any:
    if not text:
        return None
    if kind != "text":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            number = int(text) if text.lstrip("-").isdecimal() else float(text)
        except ValueError:
            return text
        if math.isfinite(number):
            return number
    return text


def _orders(text: str) -> bool:
    """Whether something can be more or less than this."""
    if isinstance(_scalar(text, ""), int | float):
        return True
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
