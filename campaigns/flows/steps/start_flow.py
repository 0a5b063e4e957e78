"""Start flow: let people into another flow."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows import contention, definition
from campaigns.flows.profile_writing import DONE
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on
from campaigns.models import Flow
from crm.rules.errors import Problem

STARTED_BY = "started_by"  # in the context of the run that is started: {"flow", "run", "depth"}
DEEPEST = 5  # flows that start each other in a row
TOO_DEEP, ALREADY, NO_FLOW = "too many flows started each other", "started already", "there is no such flow"


class StartFlowConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which flow, by its short name."""

    flow: str


class StartFlowForm(forms.Form):
    flow = forms.ChoiceField(
        label=gettext_lazy("Flow"),
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Its own rules say who gets in; its messages know what started this run."),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["flow"].choices = [("", _("Choose a flow")), *Flow.objects.values_list("slug", "name")]


class StartFlow(StepKind):
    """Lets people into another live flow if its rules do, with what this run knows; this run goes on in any case."""

    kind, label, icon, position, pure = "start_flow", gettext_lazy("Start flow"), "account_tree", 70, False
    help = gettext_lazy("Let people into another flow, and go on with this one.")
    Config, Form = StartFlowConfig, StartFlowForm

    def run(self, step, people, now):
        return contention.without_waiting(people, now, lambda some: self._start(step, some, now))

    def _start(self, step: Any, people: Sequence[Person], now: datetime) -> dict[int, Outcome]:
        from campaigns.flows import enrolling, entries

        slug = self.config(step).flow
        outcomes = {person.enrollment_id: _refusal(step, person, slug) for person in people}
        starting: dict[int, Person] = {}
        for person in people:
            if outcomes[person.enrollment_id] is None:
                starting.setdefault(person.profile_id, person)
        flow_id = Flow.objects.filter(slug=slug).values_list("pk", flat=True).first()
        if flow_id is None:
            return {run: outcome or go_on(flow=slug, refused=NO_FLOW) for run, outcome in outcomes.items()}
        try:
            entered = enrolling.enroll(
                flow_id,
                list(starting),
                by=f"flow:{people[0].flow}",
                now=now,
                contexts={profile_id: _context(person) for profile_id, person in starting.items()},
                keys={
                    profile_id: f"run:{person.enrollment_id}:{step.key}"
                    for profile_id, person in starting.items()
                },
                wait=False,
            )
        except entries.Busy:
            return {person.enrollment_id: contention.again(person, now) for person in people}
        for person in people:
            if outcomes[person.enrollment_id] is None:
                facts = {"flow": slug}
                if reason := entered.refused.get(person.profile_id):
                    facts["refused"] = str(reason)
                done = [*person.context.get(DONE, []), step.key]
                outcomes[person.enrollment_id] = go_on(context={DONE: done}, **facts)
        return {run: outcome for run, outcome in outcomes.items() if outcome is not None}

    def rehearse(self, step, people, now):
        """As if the other flow let everybody in."""
        slug = self.config(step).flow
        return {person.enrollment_id: _refusal(step, person, slug) or go_on(flow=slug) for person in people}

    def told(self, step, outcome, facts):
        if outcome != "go_on":
            return super().told(step, outcome, facts)
        if facts.get("refused"):
            return _("The flow “%(flow)s” did not let them in: %(reason)s.") % {
                "flow": facts.get("flow", ""),
                "reason": facts["refused"],
            }
        return _("They entered the flow “%s”.") % facts.get("flow", "")

    def summary(self, step):
        name = Flow.objects.filter(slug=step.config.get("flow", "")).values_list("name", flat=True).first()
        return name or str(_("No flow chosen"))

    def config_problems(self, step, config):
        flow = Flow.objects.filter(slug=config.flow).only("state").first()
        if flow is None:
            return [Problem("flow", _("There is no such flow any more; choose another."))]
        if flow.state != Flow.State.LIVE:
            return [Problem("flow", _("This flow is not live; publish it first."))]
        return []


def loops(slug: str, draft: definition.Definition) -> list[Problem]:
    """Why a flow must not be published so: its steps would start it again, by themselves or by way of live flows.

    Args:
        slug: the flow's own.
    """
    live = {
        name: _live_starts(data)
        for name, data in Flow.objects.filter(state=Flow.State.LIVE, live_version__isnull=False).values_list(
            "slug", "live_version__definition"
        )
        if "start_flow" in str(data)
    }
    problems = []
    for key, target in _starts(draft).items():
        reached, waiting = set(), [target]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += live.get(name, {}).values() if name != slug else []
        if slug in reached:
            problems.append(Problem(f"{key}.flow", _("The flows would start each other again and again.")))
    return problems


def _live_starts(data: Any) -> dict[str, str]:
    """As `_starts` of what is live; a version that can't be read any more starts nobody."""
    try:
        return _starts(definition.parse(data))
    except definition.DefinitionError:
        return {}


def _starts(found: definition.Definition) -> dict[str, str]:
    """The flows that a definition's steps start, by step key."""
    return {
        step.key: str(step.config.get("flow", ""))
        for step, _depth in definition.walk(found.steps)
        if step.kind == StartFlow.kind
    }


def _depth(person: Person) -> int:
    depth = (person.context.get(STARTED_BY) or {}).get("depth", 0)
    return depth if isinstance(depth, int) else 0


def _refusal(step: Any, person: Person, slug: str) -> Outcome | None:
    """The outcome for whom nothing is started."""
    if step.key in person.context.get(DONE, ()):
        return go_on(flow=slug, refused=ALREADY)
    if _depth(person) >= DEEPEST:
        return go_on(flow=slug, refused=TOO_DEEP)
    return None


def _context(person: Person) -> dict[str, Any]:
    """What the other run gets to know: what this one does, and where it comes from."""
    known = {name: value for name, value in person.context.items() if name != DONE}
    by = {"flow": person.flow, "run": person.enrollment_id, "depth": _depth(person) + 1}
    return {"event": {}, **known, STARTED_BY: by}
