"""Wait for: hold people until they do something or a rule holds for them, or until the time is up."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminSelectWidget

from campaigns.flows import event_words, waiting_words
from campaigns.flows.awaited import AwaitedEvent, Watch, first
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on, wait
from campaigns.flows.waiting_forms import LONGEST, UNITS, amount_field, check_length, unit_field
from campaigns.segments import compiler, evaluate, grammar, sentence
from crm.rules.errors import Problem, RuleError, join

if TYPE_CHECKING:
    from campaigns.flows.definition import Step

HAPPENED, TIMED_OUT = 0, 1  # the branches
LOOK_AGAIN = timedelta(minutes=5)  # at what no event tells
MOST_EVENTS = 10
CONTEXT = "awaited"


class Length(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A whole number of minutes, hours or days."""

    amount: int
    unit: str = "hours"


class WaitForConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Events, of which any will do, or a segment rule, and how long to wait at most.

    `since`: events count from when the person came to this step, or from when they entered the flow.
    """

    timeout: Length
    events: list[AwaitedEvent] = []
    rule: dict[str, Any] | None = None
    since: Literal["step", "entry"] = "step"


class WaitForForm(forms.Form):
    by = forms.ChoiceField(
        label=gettext_lazy("Wait until"),
        choices=[
            ("event", gettext_lazy("they do something")),
            ("rule", gettext_lazy("a rule holds for them")),
        ],
        initial="event",
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    amount = amount_field(gettext_lazy("At most for"))
    unit = unit_field()
    since = forms.ChoiceField(
        label=gettext_lazy("What counts"),
        choices=[
            ("step", gettext_lazy("what they do from here on")),
            ("entry", gettext_lazy("also what they did since they entered the flow")),
        ],
        initial="step",
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": "by=event"}),
    )

    def clean(self):
        data = super().clean() or {}
        check_length(self, data)
        return data


class WaitFor(StepKind):
    """Events count by when they happened: who is asked late, or twice, takes the same branch.

    A rule has no history: it is judged as things are, whenever one of its events comes, every few minutes if it asks
    for more than events, and once more when the time is up.
    """

    kind, label, icon, position = "wait_for", gettext_lazy("Wait for"), "hourglass_top", 25
    help = gettext_lazy("Hold people until they do something or a rule holds, or until the time is up.")
    branching, branches_by = True, "outcome"
    outcomes = (gettext_lazy("Happened"), gettext_lazy("Timed out"))
    rule_field, events_field = "rule", "events"
    show_rule_if, show_events_if = "by=rule", "by=event"
    Config, Form = WaitForConfig, WaitForForm
    keeps_state = True

    def run(self, step, people, now):
        config = self.config(step)
        spans = {person.enrollment_id: _span(config, person, now) for person in people}
        if config.rule is not None:
            return _by_rule(step, config.rule, people, spans, now)
        watches = [
            Watch(
                person.enrollment_id,
                person.profile_id,
                since,
                until,
                str((person.context.get("event") or {}).get("id") or ""),
            )
            for person in people
            for since, until in [spans[person.enrollment_id]]
        ]
        found = first(config.events, watches, now)
        return {
            person.enrollment_id: _decided(
                step, found.get(person.enrollment_id), *spans[person.enrollment_id], now
            )
            for person in people
        }

    def wakes(self, step):
        config = self.config(step)
        if config.rule is None:
            return frozenset(event.name for event in config.events)
        return compiler.needs(grammar.parse(config.rule)).events

    def stored(self, cleaned):
        length = {"amount": cleaned.get("amount"), "unit": cleaned.get("unit") or "hours"}
        since = cleaned.get("since") or "step"
        return {"timeout": length} | ({"since": since} if since != "step" else {})

    def initial(self, config):
        timeout = config.get("timeout")
        found = dict(timeout) if isinstance(timeout, Mapping) else {}
        return found | {
            "by": "rule" if config.get("rule") is not None else "event",
            "since": config.get("since") or "step",
        }

    def summary(self, step):
        timeout = step.config.get("timeout")
        length = (
            waiting_words.length(timeout.get("amount"), timeout.get("unit"))
            if isinstance(timeout, Mapping)
            else ""
        )
        what = _awaited(step.config)
        if not what:
            return _("Nothing chosen to wait for")
        return _("%(what)s, for %(length)s at most") % {"what": what, "length": length}

    def told(self, step, outcome: str, facts: dict[str, Any]) -> str:
        """One decision in words."""
        if outcome not in ("wait", "go_on"):
            return super().told(step, outcome, facts)
        if outcome == "wait":
            return _("They wait for it until %s at the latest.") % waiting_words.moment(facts.get("timeout"))
        if event := facts.get("event"):
            return _("“%(event)s” came on %(when)s.") % {
                "event": event_words.words(str(event)),
                "when": waiting_words.moment(facts.get("occurred_at")),
            }
        if facts.get("holds"):
            return _("The rule held for them on %s.") % waiting_words.moment(facts.get("asked_at"))
        return _("It had not happened by %s.") % waiting_words.moment(facts.get("timed_out_at"))

    def config_problems(self, step, config):
        found = []
        if config.timeout.unit not in UNITS:
            found.append(Problem("timeout.unit", _("Choose minutes, hours or days.")))
        elif not 0 < config.timeout.amount <= 5_256_000 or _length(config) > LONGEST:
            found.append(Problem("amount", _("Wait for a minute at least and two years at most.")))
        if len(step.branches) != 2:
            found.append(Problem("", _("It needs two branches: one if it happens, one if the time is up.")))
        if bool(config.events) is (config.rule is not None):
            found.append(
                Problem("events", _("Choose an event to wait for, or a rule."))
                if config.rule is None
                else Problem("rule", _("Wait either for events or for a rule."))
            )
        if len(config.events) > MOST_EVENTS:
            found.append(Problem("events", _("Wait for %d events at most.") % MOST_EVENTS))
        for index, event in enumerate(config.events):
            try:
                event.check()
            except RuleError as error:
                found += [
                    Problem(join(f"events[{index}]", path), message) for path, message in error.problems
                ]
        if config.rule is not None:
            try:
                compiler.references(grammar.parse(config.rule))
            except RuleError as error:
                found += error.under("rule").problems
        return found


def _length(config: WaitForConfig) -> timedelta:
    return timedelta(**{config.timeout.unit: config.timeout.amount})


def _span(config: WaitForConfig, person: Person, now: datetime) -> tuple[datetime, datetime]:
    """From when on events count, and when the time is up; told once, when the person arrives."""
    if "timeout" in person.state:
        since, timeout = (datetime.fromisoformat(person.state[name]) for name in ("since", "timeout"))
        return since, timeout
    # What happens while nobody looks counts as well, and so does that time.
    since = arrived = min(person.arrived_at or now, now)
    if config.since == "entry":
        started = (person.context.get("event") or {}).get("occurred_at")
        since = datetime.fromisoformat(started) if started else person.entered_at
    return since, arrived + _length(config)


def _decided(
    step: "Step", event: dict[str, Any] | None, since: datetime, until: datetime, now: datetime
) -> Outcome:
    if event is not None:
        happened = datetime.fromisoformat(event["occurred_at"])
        if happened > now:
            # Told by a clock that is ahead, or it came after this batch was begun; nobody wakes us once more for it.
            # What lies ahead of a moment that is played back has not happened yet, either.
            return _hold(since, until, happened)
        return go_on(
            HAPPENED,
            {CONTEXT: event},
            branch_name=step.branches[HAPPENED].name,
            event=event["name"],
            occurred_at=event["occurred_at"],
            event_id=event["id"],
        )
    if until <= now:
        return go_on(TIMED_OUT, branch_name=step.branches[TIMED_OUT].name, timed_out_at=until.isoformat())
    return _hold(since, until, until)


def _hold(since: datetime, until: datetime, look: datetime) -> Outcome:
    return wait(look, since=since.isoformat(), timeout=until.isoformat())


def _by_rule(
    step: "Step",
    data: dict[str, Any],
    people: Sequence[Person],
    spans: Mapping[int, tuple[datetime, datetime]],
    now: datetime,
) -> dict[int, Outcome]:
    rule = grammar.parse(data)
    holding = evaluate.matching(rule, sorted({person.profile_id for person in people}), now, live=True)
    look = now + LOOK_AGAIN if _must_look(rule, now) else datetime.max.replace(tzinfo=now.tzinfo)
    facts: dict[str, Any] = {
        "branch_name": step.branches[HAPPENED].name,
        "holds": True,
        "asked_at": now.isoformat(),
    }
    outcomes = {}
    for person in people:
        since, until = spans[person.enrollment_id]
        if person.profile_id in holding:
            outcomes[person.enrollment_id] = go_on(HAPPENED, **facts)
        elif until <= now:
            outcomes[person.enrollment_id] = _decided(step, None, since, until, now)
        else:
            outcomes[person.enrollment_id] = _hold(since, until, min(until, look))
    return outcomes


def _must_look(rule: grammar.Rule, now: datetime) -> bool:
    """Whether the answer may change without an event of the person."""
    rules = compiler.references(rule)
    if compiler.needs(rule, rules).fields:
        return True
    selects, predicates = compiler.passed(rule, compiler.query(rule, now), now - LOOK_AGAIN)
    return bool(selects or predicates)


def _awaited(config: Mapping[str, Any]) -> str:
    """What is waited for, in words; empty if nothing is chosen, or not rightly."""
    if isinstance(events := config.get("events"), list) and events:
        names = [
            event_words.words(str(event.get("name") or "?")) for event in events if isinstance(event, Mapping)
        ]
        return _(" or ").join(names)
    try:
        return sentence.clause(grammar.parse(config["rule"])) if config.get("rule") is not None else ""
    except RuleError:
        return _("a rule")
