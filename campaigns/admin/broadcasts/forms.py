"""What is asked about a broadcast: its settings, before the launch, and for a test."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminSingleTimeWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns.admin.broadcasts import live
from campaigns.broadcasts import preflight, routes, timing
from campaigns.models import Broadcast
from crm import geography
from delivery import channels
from delivery.admin import people

TEMPLATES = "admin/campaigns/broadcast"
_USUAL = ("when", "priority", "when_limited", "holdout_percent")  # what is left out is as for a new broadcast


class BroadcastForm(forms.ModelForm):
    """What to send to whom, by which channel and when."""

    channel = forms.ChoiceField(label=gettext_lazy("Channel"), widget=UnfoldAdminSelectWidget)
    weekdays = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Weekdays"),
        coerce=int,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = Broadcast
        fields = [
            *(
                "name",
                "message",
                "channel",
                "segment",
                "exclusions",
                "when",
                "day",
                "time",
                "repeat",
                "weekdays",
            ),
            *("last_day", "per_minute", "priority", "when_limited", "holdout_percent"),
        ]
        widgets = {
            "name": UnfoldAdminTextInputWidget,
            "message": UnfoldAdminSelectWidget,
            "segment": UnfoldAdminSelectWidget,
            "exclusions": UnfoldAdminSelectMultipleWidget,
            "day": UnfoldAdminSingleDateWidget,
            "last_day": UnfoldAdminSingleDateWidget,
            "time": UnfoldAdminSingleTimeWidget,
        }
        labels = {"per_minute": gettext_lazy("At most so many a minute")}
        help_texts = {
            "per_minute": gettext_lazy("Empty: as fast as possible."),
            "segment": gettext_lazy("Whoever is in it when the broadcast begins."),
            "exclusions": gettext_lazy("Whoever is in one of these gets nothing."),
            "name": gettext_lazy("Only you and your colleagues see it."),
            "when": gettext_lazy("By people's own clocks: whose shows a later time already gets it at once."),
            "last_day": gettext_lazy("Empty: until it is cancelled."),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name, choices in (
            ("channel", _channels()),
            ("weekdays", list(zip(range(1, 8), timing.weekday_names(range(1, 8)), strict=True))),
        ):
            if name in self.fields:
                self.fields[name].choices = choices
        if "time" in self.fields:
            self.fields["time"].help_text = _("By the clocks of %s, or by each person's own.") % (
                geography.account_zone().key
            )
        for name in _USUAL:
            if name in self.fields:
                self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        """Show what is wrong with the time at its field; what is left out is as for a new broadcast."""
        cleaned = super().clean() or self.cleaned_data
        for name in _USUAL:
            if name in self.fields and not cleaned.get(name):
                cleaned[name] = Broadcast._meta.get_field(name).get_default()
        if cleaned.get("repeat") != Broadcast.Repeat.WEEKLY:
            cleaned["weekdays"] = []
        names = ("when", "day", "time", "repeat", "weekdays", "last_day")
        if not self.errors:
            try:
                timing.check(Broadcast(**{name: cleaned.get(name) for name in names}))
            except timing.TimeError as error:
                self.add_error(error.field, str(error))
        return cleaned


def _channels() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [
        (channel.kind, channel.label) for channel in channels.everything().values() if channel.listed
    ]
    return [*found, *Broadcast.Route.choices]


class LaunchForm(BaseDialogForm):
    """Shows how many people it is about, what they get and what may be wrong; many want their number typed."""

    form_before_template = f"{TEMPLATES}/launch.html"

    confirm = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "inputmode": "numeric"}),
    )

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        super().__init__(request, object_id, *args, **kwargs)
        found = Broadcast.objects.select_related("message", "segment").filter(pk=object_id)
        self.broadcast = found.first()
        if self.broadcast is None:
            raise PermissionDenied
        self.check = preflight.check(self.broadcast)
        if self.check.typed:
            counted = self.check.reach is not None
            self.fields["confirm"].label = (
                _("Type the number of people to confirm")
                if counted
                else _("Type the broadcast's name to confirm")
            )
        else:
            del self.fields["confirm"]

    def get_before_template_context(self, request, object_id=None):
        return {
            "broadcast": self.broadcast,
            "check": self.check,
            "kinds": routes.written(self.broadcast),
            "duration": live.span(self.check.duration.total_seconds() / 60) if self.check.duration else "",
            "repeats": self.broadcast.get_repeat_display(),
        }

    def clean_confirm(self):
        """The number, however it is written; the name where nobody could count."""
        typed = self.cleaned_data["confirm"].strip()
        if self.check.reach is None:
            if typed != self.broadcast.name.strip():
                raise forms.ValidationError(
                    _("This is not the broadcast's name: “%s”.") % self.broadcast.name
                )
        elif (
            "".join(filter(str.isdecimal, typed)) not in {"", None}
            and int("".join(filter(str.isdecimal, typed))[:12]) == self.check.reach.size
        ):
            return typed
        else:
            raise forms.ValidationError(_("This is not the number of people in the audience."))
        return typed

    def clean(self):
        if self.check.problem:
            raise forms.ValidationError(self.check.problem)
        return super().clean()


class CopyForm(BaseDialogForm):
    """What the copy is called."""

    name = forms.CharField(label=gettext_lazy("Name"), widget=UnfoldAdminTextInputWidget)

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        super().__init__(request, object_id, *args, **kwargs)
        self.broadcast = Broadcast.objects.filter(pk=object_id).first()
        if self.broadcast is None:
            raise PermissionDenied
        self.fields["name"].initial = _("%s (copy)") % self.broadcast.name


class TestForm(BaseDialogForm):
    """Who is to get a test, and by which channel."""

    __test__ = False  # for pytest, which takes it for one by its name
    form_before_template = "admin/delivery/sandbox/before_dialog.html"

    person = forms.CharField(
        label=gettext_lazy("Person"),
        help_text=gettext_lazy("Email, phone or number of somebody who looks at it for you."),
        widget=UnfoldAdminTextInputWidget,
    )
    channel = forms.ChoiceField(label=gettext_lazy("Channel"), widget=UnfoldAdminSelectWidget)

    def __init__(self, request: HttpRequest, object_id: int | str | None = None, *args: Any, **kwargs: Any):
        super().__init__(request, object_id, *args, **kwargs)
        self.broadcast = Broadcast.objects.select_related("message").filter(pk=object_id).first()
        if self.broadcast is None:
            raise PermissionDenied
        known = channels.everything()
        self.fields["channel"].choices = [
            (kind, known[kind].label) for kind in routes.written(self.broadcast)
        ]

    def get_before_template_context(self, request, object_id=None):
        return {"kinds": [kind for kind, _label in self.fields["channel"].choices]}

    def clean_person(self):
        """The profile."""
        found = people.find(self.cleaned_data["person"])
        if found is None:
            raise forms.ValidationError(_("Nobody has this email, phone or number."))
        return found
