"""The form that a wait is edited by."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns.flows import dates, near_dates, waiting_words
from campaigns.segments.suggestions import Suggestions
from crm.rules import paths

UNITS = {"minutes": gettext_lazy("minutes"), "hours": gettext_lazy("hours"), "days": gettext_lazy("days")}
LONGEST = timedelta(days=730)
LENGTH = "length"  # what the form calls a wait that is not until something
PROPERTY = "property"


def amount_field(label: Any, **attrs: Any) -> forms.IntegerField:
    """A number of minutes, hours or days; it may be missing, see `check_length`."""
    widget = UnfoldAdminIntegerFieldWidget(attrs={"data-half": True, **attrs})
    return forms.IntegerField(label=label, min_value=1, max_value=5_256_000, required=False, widget=widget)


def unit_field(**attrs: Any) -> forms.ChoiceField:
    """What the number counts."""
    widget = UnfoldAdminSelectWidget(attrs={"data-half": True, **attrs})
    return forms.ChoiceField(
        label=gettext_lazy("Unit"),
        choices=list(UNITS.items()),
        initial="hours",
        required=False,
        widget=widget,
    )


def check_length(form: forms.Form, data: Mapping[str, Any], longest: timedelta = LONGEST) -> None:
    """Complain about an `amount` of `unit`s that is missing or too long."""
    if "amount" in form.errors:
        return
    if not data.get("amount"):
        form.add_error("amount", _("Fill this in."))
    elif timedelta(**{data.get("unit") or "hours": data["amount"]}) > longest:
        form.add_error("amount", _("Wait for two years at most."))


class WaitForm(forms.Form):
    """What is waited for, and the inputs that this needs."""

    until = forms.ChoiceField(
        label=gettext_lazy("Wait"),
        choices=[
            (LENGTH, gettext_lazy("For a while")),
            ("time", gettext_lazy("Until a time of their day or week")),
            ("date", gettext_lazy("Until a date of theirs")),
            ("best_hour", gettext_lazy("Until their best hour")),
        ],
        initial=LENGTH,
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    amount = amount_field(gettext_lazy("How long"), **{"data-show-if": f"until={LENGTH}"})
    unit = unit_field(**{"data-show-if": f"until={LENGTH}"})
    source = forms.ChoiceField(
        label=gettext_lazy("Date"),
        required=False,
        help_text=gettext_lazy("As it is when the person arrives here."),
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "until=date"}),
    )
    property = forms.CharField(
        label=gettext_lazy("Property of the event"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("Such as starts_at. It holds a day or a moment."),
        widget=UnfoldAdminTextInputWidget(
            attrs={
                "dir": "ltr",
                "autocomplete": "off",
                "data-show-if": f"until=date;source={PROPERTY}",
            }
        ),
    )
    side = forms.ChoiceField(
        label=gettext_lazy("How near"),
        choices=[
            ("on", gettext_lazy("On the date")),
            ("before", gettext_lazy("Before the date")),
            ("after", gettext_lazy("After the date")),
        ],
        initial="on",
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "until=date"}),
    )
    distance = amount_field(
        pgettext_lazy("a length of time", "By"), **{"data-show-if": "until=date;side=before,after"}
    )
    distance_unit = unit_field(**{"data-show-if": "until=date;side=before,after"})
    yearly = forms.BooleanField(
        label=gettext_lazy("Its next anniversary"),
        required=False,
        help_text=gettext_lazy("For birthdays and the like. 29 February is 28 February in other years."),
        widget=UnfoldBooleanSwitchWidget(attrs={"data-show-if": "until=date"}),
    )
    at = forms.CharField(
        label=gettext_lazy("At"),
        required=False,
        help_text=gettext_lazy("By the clock on the person's wall."),
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time", "data-show-if": "until=time,date"}),
    )
    days = forms.TypedMultipleChoiceField(
        label=gettext_lazy("On"),
        choices=[(number + 1, name) for number, name in WEEKDAYS.items()],
        coerce=int,
        required=False,
        help_text=gettext_lazy("None ticked: any day."),
        widget=forms.CheckboxSelectMultiple(attrs={"data-show-if": "until=time"}),
    )
    if_past = forms.ChoiceField(
        label=gettext_lazy("Who has no such date, or it is past"),
        choices=[("go_on", gettext_lazy("goes on at once")), ("leave", gettext_lazy("leaves the flow"))],
        initial="go_on",
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "until=date"}),
    )
    within_hours = forms.IntegerField(
        label=gettext_lazy("At most so many hours"),
        min_value=1,
        max_value=168,
        initial=24,
        required=False,
        help_text=gettext_lazy(
            "The hour of the day at which the person looks at messages and visits most, as far as their last 90 days "
            "tell; of those who have done little, the hour that is best for most people."
        ),
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-show-if": "until=best_hour"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        held = self.data.get(self.add_prefix("source")) if self.is_bound else self.initial.get("source")
        fields: dict[str, Any] = self.fields
        fields["source"].choices = date_choices(held)

    def clean(self):
        data = super().clean() or {}
        until = data.get("until") or LENGTH
        if until == LENGTH:
            check_length(self, data)
        elif until == "time" and not data.get("at") and not data.get("days"):
            self.add_error("at", _("Say at what time, or on which days."))
        elif until == "date":
            self._clean_date(data)
        elif until == "best_hour" and not data.get("within_hours") and "within_hours" not in self.errors:
            self.add_error("within_hours", _("Fill this in."))
        if until in ("time", "date") and data.get("at"):
            near_dates.attempt(self, "at", lambda: dates.clock(data["at"]))
        return data

    def _clean_date(self, data: dict[str, Any]) -> None:
        if not data.get("source"):
            self.add_error("source", _("Choose a date."))
        elif data["source"] == PROPERTY:
            near_dates.attempt(
                self, "property", lambda: paths.json_path(data.get("property", ""), "property")
            )
        near_dates.check(self, data)

    @staticmethod
    def config_of(cleaned: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that the form's cleaned data means."""
        until = cleaned.get("until") or LENGTH
        if until == LENGTH:
            return {"amount": cleaned.get("amount"), "unit": cleaned.get("unit") or "hours"}
        found: dict[str, Any] = {"until": until}
        if until == "best_hour":
            return found | {"within_hours": cleaned.get("within_hours")}
        if cleaned.get("at"):
            found["at"] = cleaned["at"][:5]
        if until == "time":
            return found | ({"days": sorted(cleaned["days"])} if cleaned.get("days") else {})
        source = cleaned.get("source")
        found |= {"property": cleaned.get("property")} if source == PROPERTY else {"field": source}
        found |= near_dates.stored(cleaned)
        if cleaned.get("yearly"):
            found["yearly"] = True
        return found | {"if_past": cleaned.get("if_past") or "go_on"}

    @staticmethod
    def initial_of(config: Mapping[str, Any]) -> dict[str, Any]:
        """What the form shows of settings, finished or not."""
        found = {name: value for name, value in config.items() if name in WaitForm.base_fields}
        found["until"] = config.get("until") or LENGTH
        if "property" in config:
            found["source"] = PROPERTY
        elif "field" in config:
            found["source"] = config["field"]
        return found | near_dates.initial(config)


def date_choices(held: Any = None) -> list[Any]:
    """The dates of profiles that there are, and of the event that started the run; `held` is offered in any case."""
    suggest = Suggestions()
    groups: list[tuple[str, list[tuple[str, str]]]] = [
        (label, [(name, text) for name, text in choices if suggest.type(name) in ("date", "datetime")])
        for label, choices in suggest.fields()
    ]
    names = {name for _label, choices in groups for name, _text in choices}
    if isinstance(held, str) and held and held != PROPERTY and held not in names:
        groups.append((_("Now chosen"), [(held, waiting_words.field_label(held))]))
    return [
        ("", _("Choose a date")),
        *[group for group in groups if group[1]],
        (PROPERTY, _("A property of the event that started it")),
    ]
