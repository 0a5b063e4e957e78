"""Split: send people different ways by a segment rule."""

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.flows.steps.base import StepKind, go_on
from campaigns.segments import evaluate, grammar
from crm.rules.errors import Problem, RuleError, join


class SplitConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the question is called; the answers are the branches."""

    name: str = ""


class SplitForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("Question"),
        required=False,
        max_length=100,
        help_text=gettext_lazy("Such as “Has bought already?”"),
        widget=UnfoldAdminTextInputWidget,
    )


class Split(StepKind):
    """Everybody takes the first branch whose rule holds; the branch without a rule takes the others."""

    kind, label, icon, position, branching = "split", gettext_lazy("Split"), "call_split", 30, True
    help = gettext_lazy("Send people different ways by what they are or did.")
    Config, Form = SplitConfig, SplitForm

    def run(self, step, people, now):
        undecided = {person.enrollment_id: person.profile_id for person in people}
        outcomes = {}
        for index, branch in enumerate(step.branches):
            if not undecided:
                break
            if branch.rule is None:
                taken = dict(undecided)
            else:
                ids = sorted(set(undecided.values()))
                matching = evaluate.matching(grammar.parse(branch.rule), ids, now, live=True)
                taken = {run: profile for run, profile in undecided.items() if profile in matching}
            for run in taken:
                outcomes[run] = go_on(branch=index, branch_name=branch.name)
                del undecided[run]
        return outcomes | {run: go_on(branch_name="") for run in undecided}

    def summary(self, step):
        return str(step.config.get("name") or " / ".join(branch.name for branch in step.branches))

    def config_problems(self, step, config):
        if len(step.branches) < 2:
            return [Problem("", _("A split needs two branches at least."))]
        found = []
        for index, branch in enumerate(step.branches):
            place = f"branches[{index}]"
            if not branch.name.strip():
                found.append(Problem(f"{place}.name", _("Name the branch.")))
            if branch.rule is None and index < len(step.branches) - 1:
                found.append(Problem(f"{place}.rule", _("Only the last branch may take everybody else.")))
            if branch.rule is not None:
                try:
                    grammar.parse(branch.rule)
                except RuleError as error:
                    found += [Problem(join(f"{place}.rule", path), text) for path, text in error.problems]
        return found
