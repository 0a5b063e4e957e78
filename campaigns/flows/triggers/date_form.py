"""The form that a date trigger is edited by."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from campaigns.flows import dates, near_dates
from campaigns.flows.waiting_forms import amount_field, unit_field
from campaigns.segments.suggestions import Suggestions
from crm.rules import paths

FIELD, EVENT = "field", "event"
COLUMNS = ("birthday", "first_seen", "created_at")
OTHERS = ("attributes.", "computed.")


class DateForm(forms.Form):
    """Whose date, how long before or after it, and at what time."""

    source = forms.ChoiceField(
        label=gettext_lazy("The date stands"),
        choices=[
            (FIELD, gettext_lazy("in the person's profile")),
            (EVENT, gettext_lazy("in an event, such as a booking")),
        ],
        initial=FIELD,
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    field = forms.ChoiceField(
        label=gettext_lazy("Date"),
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": f"source={FIELD}"}),
    )
    property = forms.CharField(
        label=gettext_lazy("Property of the event"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("Such as starts_at. It holds a day or a moment."),
        widget=UnfoldAdminTextInputWidget(
            attrs={"dir": "ltr", "autocomplete": "off", "data-show-if": f"source={EVENT}"}
        ),
    )
    side = forms.ChoiceField(
        label=gettext_lazy("Start"),
        choices=[
            ("on", gettext_lazy("on the date")),
            ("before", gettext_lazy("before the date")),
            ("after", gettext_lazy("after the date")),
        ],
        initial="on",
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    distance = amount_field(pgettext_lazy("a length of time", "By"), **{"data-show-if": "side=before,after"})
    distance_unit = unit_field(**{"data-show-if": "side=before,after"})
    at = forms.CharField(
        label=gettext_lazy("At"),
        required=False,
        help_text=gettext_lazy(
            "By the clock on the person's wall. Where the clocks are put forward over this time, it is "
            "right after that. Empty: the time that the date has itself."
        ),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    yearly = forms.BooleanField(
        label=gettext_lazy("Every year"),
        required=False,
        help_text=gettext_lazy(
            "For birthdays and the like, from the first anniversary on; 29 February is 28 February in other years. "
            "Let people enter again, so that it starts them every year."
        ),
        widget=UnfoldBooleanSwitchWidget(attrs={"data-show-if": f"source={FIELD}"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        held = self.data.get(self.add_prefix("field")) if self.is_bound else self.initial.get("field")
        own: dict[str, Any] = self.fields
        own["field"].choices = _choices(held)

    def clean(self):
        data = super().clean() or {}
        if (data.get("source") or FIELD) == FIELD:
            if not data.get("field") and "field" not in self.errors:
                self.add_error("field", _("Choose a date."))
            if not data.get("at") and data.get("field") == "birthday":
                self.add_error("at", _("Say at what time."))
        else:
            near_dates.attempt(
                self, "property", lambda: paths.json_path(data.get("property", ""), "property")
            )
        if data.get("at"):
            near_dates.attempt(self, "at", lambda: dates.clock(data["at"]))
        near_dates.check(self, data)
        return data


def config_of(cleaned: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the form's cleaned data means, but for the event and its conditions."""
    found: dict[str, Any] = {}
    if (cleaned.get("source") or FIELD) == FIELD:
        found["field"] = cleaned.get("field", "")
        if cleaned.get("yearly"):
            found["yearly"] = True
    else:
        found["property"] = cleaned.get("property", "")
    found |= near_dates.stored(cleaned)
    if cleaned.get("at"):
        found["at"] = cleaned["at"][:5]
    return found


def initial_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the form shows of settings, finished or not."""
    found = {name: value for name, value in config.items() if name in DateForm.base_fields}
    found["source"] = EVENT if config.get("event") or config.get("property") else FIELD
    return found | near_dates.initial(config)


def _choices(held: Any) -> list[Any]:
    suggest = Suggestions()
    groups = [
        (
            label,
            [
                (name, text)
                for name, text in choices
                if name in COLUMNS or (name.startswith(OTHERS) and suggest.type(name) in ("date", "datetime"))
            ],
        )
        for label, choices in suggest.fields()
    ]
    names = {name for _label, choices in groups for name, _text in choices}
    if isinstance(held, str) and held.startswith(OTHERS) and held not in names:
        groups.append((_("Now chosen"), [(held, held.partition(".")[2])]))
    return [("", _("Choose a date")), *[group for group in groups if group[1]]]
