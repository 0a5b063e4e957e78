"""The shape of a flow step kind. Adding a kind is adding a file to this folder."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _

from crm.rules import shapes
from crm.rules.errors import Problem

if TYPE_CHECKING:
    from campaigns.flows.definition import Step


class Person(msgspec.Struct, frozen=True, gc=False):
    """One run that has arrived at a step. `state` is what the step left there when it last held the run.

    `flow` is the flow's slug, which stays the same where flows are copied from one installation to another;
    `priority` and `when_limited` are the flow's settings for what it sends. `arrived_at` is when the run should have
    been asked, which is before now where the worker is late.
    """

    enrollment_id: int
    profile_id: int
    flow_id: int
    entered_at: datetime
    context: dict[str, Any]
    state: dict[str, Any]
    flow: str = ""
    priority: int = 3
    when_limited: str = "defer"
    arrived_at: datetime | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a step decided for one run: go on, wait until a time, leave, or skip this step.

    `branch` is the index of the branch to take, None for the next step. `facts` say why, in the words of the
    decision log. `context` is what the steps and messages after this one get to know: it is laid over the run's own.
    """

    kind: str
    facts: dict[str, Any] = {}
    branch: int | None = None
    until: datetime | None = None
    context: dict[str, Any] = {}


def go_on(branch: int | None = None, context: dict[str, Any] | None = None, **facts: Any) -> Outcome:
    """Take the next step, or the branch with this index."""
    return Outcome("go_on", facts, branch=branch, context=context or {})


def wait(until: datetime, **facts: Any) -> Outcome:
    """Stay at this step and be asked again at `until`, with the facts as the person's `state`."""
    return Outcome("wait", {"until": until.isoformat(), **facts}, until=until)


def leave(**facts: Any) -> Outcome:
    """End the run here."""
    return Outcome("leave", facts)


def skip(reason: str, **facts: Any) -> Outcome:
    """Leave out this step, with its branches, and go on after it."""
    return Outcome("skipped", {"reason": reason, **facts})


class StepKind:
    """One kind of step: what it is called, what can be set, and what it does to a batch of people."""

    kind: ClassVar[str]
    label: ClassVar[Any]
    icon: ClassVar[str]
    help: ClassVar[Any] = ""
    position: ClassVar[int] = 50  # where it is offered among the kinds
    branching: ClassVar[bool] = False
    pure: ClassVar[bool] = True  # changes nothing but where people are: may be run to see what would happen
    ends: ClassVar[bool] = False
    keeps_state: ClassVar[bool] = False  # who is held stays held as before when they move to other settings
    branches_by: ClassVar[Literal["rule", "percent", "outcome"]] = "rule"  # what tells its branches apart
    outcomes: ClassVar[
        Sequence[Any]
    ] = ()  # of branches by outcome: their names, in the order of `go_on(branch)`
    rule_field: ClassVar[str] = ""  # a setting that holds a segment rule, edited as such below the form
    events_field: ClassVar[str] = ""  # a setting that holds a list of events ({"name", "where"}), likewise
    Config: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[forms.Form]]

    def run(self, step: "Step", people: Sequence[Person], now: datetime) -> Mapping[int, Outcome]:
        """Decide for everybody in `people`, keyed by enrollment id, in a constant number of queries."""
        raise NotImplementedError(self.kind)

    def rehearse(self, step: "Step", people: Sequence[Person], now: datetime) -> Mapping[int, Outcome]:
        """What `run` would decide, without changing anything. Kinds that change something have their own.

        Enrollment ids may be of nobody who is stored. `facts` tell what would be done, as those of `run` do.
        """
        if not self.pure:
            raise NotImplementedError(self.kind)
        return self.run(step, people, now)

    def wakes(self, step: "Step") -> frozenset[str]:
        """The events that may end this step's wait early: who is held here is asked again when one comes."""
        return frozenset()

    def told(self, step: "Step", outcome: str, facts: dict[str, Any]) -> str:
        """One decision in words, for those who ask why: `outcome` as `Outcome.kind`, `facts` as they were recorded."""
        if outcome == "wait":
            return _("They wait here.")
        if outcome == "leave":
            return _("They leave the flow here.")
        if outcome == "skipped":
            return _("This step is left out for them.")
        if facts.get("branch_name"):
            return _("They take the branch “%s”.") % facts["branch_name"]
        return _("They go on.")

    def stored(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """The step's settings as its form tells them (`cleaned_data`; rules and events come on top)."""
        return {name: value for name, value in cleaned.items() if value not in (None, "")}

    def initial(self, config: dict[str, Any]) -> dict[str, Any]:
        """What the form begins with, from the settings as they are stored, finished or not."""
        return dict(config)

    def summary(self, step: "Step") -> str:
        """The step in a few words, for its card."""
        return str(self.label)

    def config(self, step: "Step") -> Any:
        """The step's settings. Raises msgspec.ValidationError."""
        return msgspec.convert(step.config, self.Config)

    def problems(self, step: "Step") -> list[Problem]:
        """What keeps this step from running, each with the setting's name."""
        found = []
        try:
            config = self.config(step)
        except msgspec.ValidationError as error:
            problem = shapes.problem(error, "")
            missing = "missing required field" in str(error)
            return [problem._replace(message=_("Fill this in."))] if missing else [problem]
        if step.branches and not self.branching:
            found.append(Problem("", _("Only a split has branches.")))
        return found + self.config_problems(step, config)

    def config_problems(self, step: "Step", config: Any) -> list[Problem]:
        """Problems that the shape of the settings does not show."""
        return []
