"""Random split: send set shares of people different ways."""

import math

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.flows import shares
from campaigns.flows.steps.base import StepKind, go_on
from crm.rules.errors import Problem


class RandomConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is tried out; the ways are the branches."""

    name: str = ""


class RandomForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("What you try out"),
        required=False,
        max_length=100,
        help_text=gettext_lazy("Such as “Short or long text?”"),
        widget=UnfoldAdminTextInputWidget,
    )


class Random(StepKind):
    """Everybody takes the branch in whose share they fall, the same one whenever they come to this step."""

    kind, label, icon, position, branching = "random", gettext_lazy("Random split"), "shuffle", 35, True
    help = gettext_lazy("Send set shares of people different ways, such as an A/B test or a holdout.")
    branches_by = "percent"
    Config, Form = RandomConfig, RandomForm

    def run(self, step, people, now):
        outcomes = {}
        for person in people:
            place = shares.place(person.profile_id, person.flow, step.key)
            index = _branch([branch.percent or 0 for branch in step.branches], place)
            outcomes[person.enrollment_id] = go_on(
                branch=index, branch_name=step.branches[index].name, bucket=round(place, 2)
            )
        return outcomes

    def summary(self, step):
        shares = " / ".join(f"{branch.name} {branch.percent or 0:g} %" for branch in step.branches)
        return str(step.config.get("name") or shares)

    def config_problems(self, step, config):
        if len(step.branches) < 2:
            return [Problem("branches", _("A random split needs two branches at least."))]
        found = []
        for index, branch in enumerate(step.branches):
            if not branch.name.strip():
                found.append(Problem(f"branches[{index}].name", _("Name the branch.")))
            if branch.percent is None or not 0 <= branch.percent <= 100:
                found.append(Problem(f"branches[{index}].percent", _("Give a share from 0 to 100 percent.")))
            if branch.rule is not None:
                found.append(
                    Problem(
                        f"branches[{index}].rule", _("People come here by chance; use a split for a rule.")
                    )
                )
        total = sum(branch.percent or 0 for branch in step.branches)
        if not found and not math.isclose(total, 100, abs_tol=0.001):
            found.append(
                Problem("branches", _("The shares add up to %(total)g %%; make it 100.") % {"total": total})
            )
        return found


def _branch(percents: list[float], place: float) -> int:
    """The branch in whose share `place` (from 0 to 100) falls; the last one with a share takes what rounding leaves."""
    end = 0.0
    for index, percent in enumerate(percents):
        end += percent
        if place < end:
            return index
    return max(index for index, percent in enumerate(percents) if percent)
