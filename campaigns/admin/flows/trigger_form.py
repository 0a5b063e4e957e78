"""The form of what is set for the whole flow: who may enter again, its goal, when messages go out, and its limits."""

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from campaigns.admin.flows import words

MOMENT = "%Y-%m-%dT%H:%M"


def _time() -> UnfoldAdminTextInputWidget:
    return UnfoldAdminTextInputWidget(attrs={"type": "time", "data-half": "", "data-show-if": "window=on"})


def _moment() -> forms.DateTimeInput:
    return forms.DateTimeInput(
        attrs={"type": "datetime-local", "class": "flow-input", "data-half": ""}, format=MOMENT
    )


class TriggerForm(forms.Form):
    """What is set for the whole flow. The trigger's own settings, events and rules have inputs of their own."""

    recheck_entry = forms.BooleanField(
        label=gettext_lazy("Ask again before each message"),
        required=False,
        help_text=gettext_lazy("Whoever does not meet the rule any more gets no further message."),
        widget=UnfoldBooleanSwitchWidget,
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("May somebody enter again?"),
        choices=[
            ("never", gettext_lazy("Never: once per person")),
            ("always", gettext_lazy("Yes, as soon as they are out")),
            ("after", gettext_lazy("Yes, after some days")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    days = forms.IntegerField(
        label=gettext_lazy("Days since they last entered"),
        required=False,
        min_value=1,
        max_value=3650,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-show-if": "mode=after"}),
    )
    key = forms.CharField(
        label=gettext_lazy("One run for each"),
        required=False,
        max_length=200,
        help_text=gettext_lazy(
            "An event property that tells runs apart, such as cart_id: two carts run side by side. "
            "Empty: one run at a time for each person."
        ),
        widget=UnfoldAdminTextInputWidget(
            attrs={"dir": "ltr", "autocomplete": "off", "list": "trigger-properties"}
        ),
    )
    goal_within = forms.IntegerField(
        label=gettext_lazy("Within how many days after entering"),
        min_value=1,
        max_value=365,
        initial=7,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"data-half": ""}),
    )
    goal_value = forms.CharField(
        label=gettext_lazy("Property that adds up"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("Such as total, for the revenue."),
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "autocomplete": "off", "data-half": ""}),
    )
    goal_exit = forms.BooleanField(
        label=gettext_lazy("Who reaches the goal leaves the flow"),
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
    )
    window = forms.BooleanField(
        label=gettext_lazy("Only at certain hours of the person's own time"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )
    window_from = forms.TimeField(label=gettext_lazy("From"), required=False, widget=_time())
    window_to = forms.TimeField(label=gettext_lazy("To"), required=False, widget=_time())
    window_days = forms.TypedMultipleChoiceField(
        label=gettext_lazy("On"),
        choices=words.WEEKDAYS,
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"data-show-if": "window=on"}),
    )
    when_limited = forms.ChoiceField(
        label=gettext_lazy("In quiet hours, or over a limit"),
        choices=[
            ("defer", gettext_lazy("Send it later, when it fits")),
            ("skip", gettext_lazy("Leave the message out")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    priority = forms.TypedChoiceField(
        label=gettext_lazy("Priority"),
        coerce=int,
        initial=3,
        choices=[
            (1, gettext_lazy("1: first of all")),
            (2, gettext_lazy("2: before most")),
            (3, gettext_lazy("3: as usual")),
            (4, gettext_lazy("4: after most")),
            (5, gettext_lazy("5: last")),
        ],
        help_text=gettext_lazy("Which message goes out when only some may."),
        widget=UnfoldAdminSelectWidget,
    )
    holdout_percent = forms.FloatField(
        label=gettext_lazy("Held out, in percent"),
        required=False,
        min_value=0,
        max_value=90,
        help_text=gettext_lazy(
            "A random share of those who would enter gets nothing, so that you see what the flow itself brings."
        ),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": 0, "max": 90}),
    )
    starts_at = forms.DateTimeField(
        label=gettext_lazy("Nobody enters before"), required=False, widget=_moment(), input_formats=[MOMENT]
    )
    ends_at = forms.DateTimeField(
        label=gettext_lazy("Nobody enters after"), required=False, widget=_moment(), input_formats=[MOMENT]
    )

    def clean_key(self):
        """The property's name, with or without “properties.” in front."""
        return self.cleaned_data["key"].strip().removeprefix("properties.")

    def clean(self):
        data = super().clean() or {}
        if data.get("mode") == "after" and not data.get("days") and "days" not in self.errors:
            self.add_error("days", _("Say after how many days somebody may enter again."))
        if data.get("window"):
            for name in ("window_from", "window_to"):
                if data.get(name) is None and name not in self.errors:
                    self.add_error(name, _("Give a time."))
            if data.get("window_from") and data.get("window_from") == data.get("window_to"):
                self.add_error("window_to", _("This leaves no time to send."))
            if not data.get("window_days"):
                self.add_error("window_days", _("Choose a day."))
        if data.get("starts_at") and data.get("ends_at") and data["ends_at"] <= data["starts_at"]:
            self.add_error("ends_at", _("The end has to come after the start."))
        return data


SECTIONS = {
    "entry": ["recheck_entry"],
    "often": ["mode", "days", "key"],
    "exit": [],
    "goal": ["goal_within", "goal_value", "goal_exit"],
    "sending": ["window", "window_from", "window_to", "window_days", "when_limited", "priority"],
    "limits": ["holdout_percent", "starts_at", "ends_at"],
}
