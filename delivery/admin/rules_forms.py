"""The forms that rules of sending are edited by."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from crm.models import Profile
from delivery import channels
from delivery.admin import people
from delivery.models import FrequencyCap, Message, SendingHours, SendingRules
from delivery.models.policies import EVERY_DAY
from delivery.policies import emergency, wording
from delivery.policies.clock import Span, allowed, next_allowed

_UTC = ZoneInfo("UTC")


def listed() -> list[tuple[str, Any]]:
    """The channels that are offered."""
    return [(kind, channel.label) for kind, channel in channels.everything().items() if channel.listed]


class ChannelChoice(forms.ChoiceField):
    """A channel, or all of them; one that is not installed any more stays where it is chosen."""

    def __init__(self, **kwargs: Any):
        super().__init__(
            **{
                "label": gettext_lazy("By"),
                "required": False,
                "widget": UnfoldAdminSelectWidget,
                **kwargs,
            }
        )

    def offer(self, chosen: str = "") -> None:
        """Fill the choices."""
        known = listed()
        gone = [(chosen, chosen)] if chosen and chosen not in dict(known) else []
        self.choices = [("", _("every channel")), *known, *gone]


class HoursForm(forms.ModelForm):
    """Hours of some weekdays."""

    days = forms.TypedMultipleChoiceField(
        label=gettext_lazy("On"),
        coerce=int,
        choices=[(number, WEEKDAYS_ABBR[number - 1]) for number in EVERY_DAY],
        widget=forms.CheckboxSelectMultiple(attrs={"class": "rules-days"}),
        initial=list(EVERY_DAY),
    )
    channel = ChannelChoice()

    class Meta:
        model = SendingHours
        fields = ("kind", "start", "end", "days", "channel")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "channel" in self.fields:
            self.fields["channel"].offer(self.instance.channel)


class HoursFormSet(BaseInlineFormSet):
    """The hours of one level."""

    def clean(self) -> None:
        """Refuse hours in which nothing could ever go out: every message would wait until it expires."""
        super().clean()
        kept = [
            form.cleaned_data
            for form in self.forms
            if form not in self.deleted_forms and (getattr(form, "cleaned_data", None) or {}).get("days")
        ]
        for channel in dict.fromkeys(each["channel"] for each in kept):
            spans: dict[str, list[Span]] = {kind: [] for kind in SendingHours.Kind.values}
            for each in kept:
                if each["channel"] in ("", channel) and each.get("start") and each.get("end"):
                    spans[each["kind"]].append(Span(each["start"], each["end"], tuple(each["days"])))
            if spans["quiet"] and never(spans["quiet"], spans["window"]):
                raise forms.ValidationError(
                    _("These hours leave no time of the week in which anything could go out%(by)s.")
                    % {"by": wording.by(channel)}
                )


def never(quiet: Sequence[Span], windows: Sequence[Span]) -> bool:
    """Whether no moment of a week is outside of quiet hours and inside of windows."""
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    return not allowed(quiet, windows, _UTC, monday) and next_allowed(quiet, windows, _UTC, monday) is None


class CapForm(forms.ModelForm):
    """So many messages in a period."""

    channel = ChannelChoice()

    class Meta:
        model = FrequencyCap
        fields = ("number", "period", "rolling", "channel", "counts", "spares")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "channel" in self.fields:
            self.fields["channel"].offer(self.instance.channel)


class PartOfRules:
    """An inline that may be changed by whoever may change the rules."""

    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the rules."""
        return request.user.has_perm("delivery.view_sendingrules") or self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the rules."""
        return request.user.has_perm("delivery.change_sendingrules")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the rules."""
        return self.has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the rules."""
        return self.has_change_permission(request, obj)


class HoursInline(PartOfRules, TabularInline):
    model, hide_title = SendingHours, True
    form, formset = HoursForm, HoursFormSet
    verbose_name_plural = gettext_lazy("Quiet hours and send windows, by the clock where each person is")


class CapInline(PartOfRules, TabularInline):
    model, hide_title = FrequencyCap, True
    form = CapForm
    verbose_name_plural = gettext_lazy("Limits")

    def get_fields(self, request: HttpRequest, obj: SendingRules | None = None) -> list[str]:
        """What a limit counts is only the account's to choose."""
        names = list(CapForm.Meta.fields)
        return (
            names if obj is None or obj.level == "account" else [name for name in names if name != "counts"]
        )


class RulesForm(forms.ModelForm):
    """What is not a list. The account's rules have no wider ones to refer to."""

    class Meta:
        model = SendingRules
        fields = (
            *("own_quiet", "own_windows", "only_own_caps", "when_capped"),
            *("collision", "collision_hours", "adults_only", "adult_age", "skip_unknown_age"),
            "global_holdout_percent",
        )

    usual = {"when_capped": SendingRules.WhenCapped.DEFER, "collision": SendingRules.Collision.OFF}

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "global_holdout_percent" in self.fields:
            self.fields["global_holdout_percent"].required = False
        if self.instance.level != "account":
            return
        for name, usual in self.usual.items():
            if name in self.fields:
                field = self.fields[name]
                field.choices = [choice for choice in field.choices if choice[0]]
                self.initial[name] = self.initial.get(name) or usual
                field.required = True

    def clean_global_holdout_percent(self) -> int:
        """Empty is nobody."""
        return self.cleaned_data["global_holdout_percent"] or 0


class PersonForm(forms.Form):
    """Whom, what and by which channel to ask about."""

    class Meta:  # mypy's plugin for Django waits for one
        pass

    person = forms.CharField(
        label=gettext_lazy("Person"),
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Email, phone or customer number."),
    )
    message = forms.ModelChoiceField(
        Message.objects.order_by("name"),
        label=gettext_lazy("Message"),
        empty_label=gettext_lazy("Choose a message"),
        widget=UnfoldAdminSelectWidget,
    )
    channel = forms.ChoiceField(label=gettext_lazy("By"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["channel"].choices = listed()

    def clean_person(self) -> Profile:
        """The profile."""
        found = people.find(self.cleaned_data["person"])
        if found is None:
            raise forms.ValidationError(_("Nobody is known by this."))
        return found


class StopForm(forms.Form):
    """What to stop, and why."""

    class Meta:
        pass

    channel = forms.ChoiceField(label=gettext_lazy("What"), required=False, widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(
        label=gettext_lazy("Why"),
        required=False,
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("For your colleagues."),
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        stopped = emergency.stopped()
        offered = [(kind, label) for kind, label in listed() if kind not in stopped]
        self.fields["channel"].choices = [("", _("everything")), *offered]


def may_stop(user: Any) -> bool:
    """Whether this person may press the switch."""
    return user.has_perm("delivery.stop_sending")
