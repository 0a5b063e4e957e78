"""Wait: hold people for a while."""

from datetime import datetime, timedelta

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from campaigns.flows.steps.base import StepKind, go_on, wait
from crm.rules.errors import Problem

UNITS = {"minutes": gettext_lazy("minutes"), "hours": gettext_lazy("hours"), "days": gettext_lazy("days")}
LONGEST = timedelta(days=730)


class WaitConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How long to wait: a whole number of minutes, hours or days."""

    amount: int
    unit: str = "hours"

    @property
    def length(self) -> timedelta:
        return timedelta(**{self.unit: self.amount})


class WaitForm(forms.Form):
    amount = forms.IntegerField(
        label=gettext_lazy("Wait"), min_value=1, max_value=100_000, widget=UnfoldAdminIntegerFieldWidget
    )
    unit = forms.ChoiceField(
        label=gettext_lazy("Unit"), choices=list(UNITS.items()), widget=UnfoldAdminSelectWidget
    )

    def clean(self):
        data = super().clean() or {}
        if "amount" in data and "unit" in data and WaitConfig(data["amount"], data["unit"]).length > LONGEST:
            self.add_error("amount", _("Wait for two years at most."))
        return data


class Wait(StepKind):
    """Holds people for a set time from when they arrive."""

    kind, label, icon, position = "wait", gettext_lazy("Wait"), "schedule", 20
    help = gettext_lazy("Hold people for some minutes, hours or days.")
    Config, Form = WaitConfig, WaitForm

    def run(self, step, people, now):
        length = self.config(step).length
        outcomes = {}
        for person in people:
            until = person.state.get("until")
            if until is None:
                outcomes[person.enrollment_id] = wait(now + length)
            elif datetime.fromisoformat(until) <= now:
                outcomes[person.enrollment_id] = go_on(waited_until=until)
            else:
                outcomes[person.enrollment_id] = wait(datetime.fromisoformat(until))
        return outcomes

    def summary(self, step):
        amount, unit = step.config.get("amount", 0), step.config.get("unit", "hours")
        words = {
            "minutes": ngettext("%d minute", "%d minutes", amount),
            "hours": ngettext("%d hour", "%d hours", amount),
            "days": ngettext("%d day", "%d days", amount),
        }
        return words.get(unit, "%d") % amount

    def config_problems(self, step, config):
        if config.unit not in UNITS:
            return [Problem("unit", _("Choose minutes, hours or days."))]
        if not 0 < config.amount <= 100_000 or config.length > LONGEST:
            return [Problem("amount", _("Wait for a minute at least and two years at most."))]
        return []
