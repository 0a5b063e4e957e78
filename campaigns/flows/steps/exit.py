"""Exit: end the run here."""

import msgspec
from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.flows.steps.base import StepKind, leave


class ExitConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Why people leave here, in the marketer's words."""

    reason: str = ""


class ExitForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=100,
        help_text=_("Shown in the person's timeline, such as “has ordered”."),
        widget=UnfoldAdminTextInputWidget,
    )


class Exit(StepKind):
    """Ends the run."""

    kind, label, icon, position, ends = "exit", _("Exit"), "logout", 90, True
    help = _("Take people out of the flow here.")
    Config, Form = ExitConfig, ExitForm

    def run(self, step, people, now):
        reason = self.config(step).reason
        return {person.enrollment_id: leave(reason=reason or "exit step") for person in people}

    def summary(self, step):
        return str(step.config.get("reason") or _("Leaves the flow"))
