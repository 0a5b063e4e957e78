"""Update: write fields and attributes of people's profiles."""

from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from campaigns.flows import contention, profile_writing, values
from campaigns.flows.fields import PairsField
from campaigns.flows.profile_writing import ATTRIBUTE, DONE
from campaigns.flows.steps.base import StepKind, go_on
from crm.rules.errors import Problem

MOST = 20


class UpdateConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What to write, by field or "attributes.<name>": a value, {"from": path}, {"add": number}, or null to clear."""

    set: dict[str, Any] = {}


class UpdateForm(forms.Form):
    set = PairsField(
        label=gettext_lazy("Write"),
        name_label=gettext_lazy("Field"),
        names=profile_writing.names,
        value_placeholder="{{ event.properties.plan }}",
        help_text=values.HELP,
    )

    def clean_set(self):
        """The pairs; what looks like a reference but is none would be written to people as it stands."""
        pairs = self.cleaned_data["set"]
        for name, text in pairs or []:
            if wrong := values.problem(values.read(text, adding=True), adding=True):
                raise forms.ValidationError(f"{name}: {wrong}")
        return pairs


class Update(StepKind):
    """Writes values where the run goes by; what a profile can't take is noted and left as it was."""

    kind, label, icon, position, pure = "update", gettext_lazy("Update profile"), "edit", 50, False
    help = gettext_lazy(
        "Write fields and attributes: a value, one of the event's, a number to add, or nothing."
    )
    Config, Form = UpdateConfig, UpdateForm

    def run(self, step, people, now):
        settings = self.config(step).set
        added = profile_writing.adds(settings)

        def written(free):
            facts = profile_writing.write(settings, free, step.key, now)
            return {
                person.enrollment_id: go_on(
                    context={DONE: [*person.context.get(DONE, []), step.key]} if added else None,
                    **facts[person.enrollment_id],
                )
                for person in free
            }

        return contention.with_free(people, now, written)

    def rehearse(self, step, people, now):
        changes = profile_writing.changes(self.config(step).set, people, step.key)
        return {run: go_on(**change.facts) for run, change in changes.items()}

    def stored(self, cleaned):
        return {"set": {name: values.read(text, adding=True) for name, text in cleaned.get("set") or []}}

    def initial(self, config):
        return {"set": [(name, values.show(value, adding=True)) for name, value in _pairs(config.get("set"))]}

    def told(self, step, outcome, facts):
        if outcome != "go_on":
            return super().told(step, outcome, facts)
        told = [f"{_short(name)} = {values.show(value)}" for name, value in _pairs(facts.get("set"))]
        words = _("Written: %s.") % ", ".join(told) if told else _("Nothing was written.")
        refused = [f"{_short(name)}: {why}" for name, why in _pairs(facts.get("refused"))]
        return " ".join([words, *refused])

    def summary(self, step):
        written = _pairs(step.config.get("set"))
        if not written:
            return str(_("Nothing chosen"))
        name, value = written[0]
        more = len(written) - 1
        if value is None:
            words = _("Clear %s") % _short(name)
        else:
            sign = "" if values.amount(value) is not None else "= "
            words = f"{_short(name)} {sign}{values.show(value, adding=True)}"
        return words + (" " + ngettext("and %d more", "and %d more", more) % more if more else "")

    def config_problems(self, step, config):
        if not config.set:
            return [Problem("set", _("Say what to write."))]
        found = []
        if len(config.set) > MOST:
            found.append(Problem("set", _("Write %d fields at most.") % MOST))
        for name, setting in config.set.items():
            if wrong := profile_writing.problem(name, setting):
                found.append(Problem(f"set.{name}", f"{name}: {wrong}"))
        return found


def _pairs(written: Any) -> list[tuple[str, Any]]:
    return list(written.items()) if isinstance(written, dict) else []


def _short(name: str) -> str:
    return name.removeprefix(ATTRIBUTE)
