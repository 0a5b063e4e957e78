"""One person led through a draft in fast-forward: what would happen to them, when and why. Nothing is changed.

The walk begins now and goes into the future, so rules are judged by what is known today, with the clock put forward;
what an event wait leads to, and which way a split takes, may be chosen.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from campaigns.flows import deciding, exits, hindsight, program, steps
from campaigns.flows.definition import Definition
from campaigns.flows.simulate import prepare
from campaigns.flows.simulated_sending import Letter, Post
from campaigns.flows.steps.base import Outcome, Person
from campaigns.segments import evaluate, grammar
from campaigns.segments.evaluate import Explanation
from crm import masking
from crm.models import Event, Profile
from crm.rules.errors import RuleError
from delivery import channels, content
from delivery.content import ContentError
from delivery.models import Message, MessageContent
from delivery.policies import Verdict
from delivery.preferences import links

MOST_STOPS = 300
MOST_ASKINGS = 1000  # of one step that holds the person again and again
RUN = -1  # the number of a run that nobody has


class Asked(msgspec.Struct):
    """A rule, what it is asked for, and why it holds for the person or does not."""

    what: str
    holds: bool
    why: Explanation


class Sent(msgspec.Struct):
    """A message as the person would get it, and what would become of it by today's consent, address and wishes."""

    message: str
    channel: str
    preview: str = ""
    content: Any = None
    problem: str = ""
    missing: list[str] = []
    name: str = ""
    verdict: Verdict | None = None


class Way(msgspec.Struct):
    """A way out of a step that can be chosen."""

    value: str
    name: str
    taken: bool = False


class Stop(msgspec.Struct):
    """One step of the walk. `arrives` and `leaves` are when; `leaves` is None where the walk ends."""

    number: int
    key: str
    label: str
    icon: str
    summary: str
    arrives: datetime
    leaves: datetime | None = None
    told: str = ""
    asked: list[Asked] = []
    sent: list[Sent] = []
    ways: list[Way] = []
    problem: str = ""

    @property
    def name(self) -> str:
        """What a choice at this stop is called: another step in its place has another name."""
        return f"{self.number}-{self.key}"


class Walk(msgspec.Struct):
    """The whole way: whether the person may enter, the stops, and how it ends."""

    enters: list[Asked]
    stops: list[Stop]
    ending: str
    ends: datetime


def last_event(definition: Definition, profile_id: int, name: str) -> dict[str, Any] | None:
    """The person's latest event of this name as a run knows it: {"name", "occurred_at", "properties", "id"}."""
    found = Event.objects.filter(profile_id=profile_id, name=name).order_by("-occurred_at").first()
    if found is None:
        return None
    facts = msgspec.to_builtins(found.properties)
    return {
        "id": str(found.pk),
        "name": found.name,
        "occurred_at": found.occurred_at.isoformat(),
        "properties": masking.data(facts) if masking.hidden() else facts,
    }


def walk(
    flow_id: int,
    slug: str,
    definition: Definition,
    profile: Profile,
    event: Mapping[str, Any] | None,
    now: datetime,
    choices: Mapping[str, str] | None = None,
) -> Walk:
    """Lead `profile` through the definition, beginning `now`. For readers who may know what its rules ask.

    Args:
        event: what starts the run: {"name", "properties"}, with the id of a real one; None if the trigger has none.
        choices: by `Stop.name`, the index of the branch to take there; without one the step decides.
    """
    prepare(definition)
    with hindsight.at(now):
        return _Walking(flow_id, slug, definition, profile, event, now, choices or {}).walk()


class _Walking:
    def __init__(
        self,
        flow_id: int,
        slug: str,
        definition: Definition,
        profile: Profile,
        event: Mapping[str, Any] | None,
        now: datetime,
        choices: Mapping[str, str],
    ):
        self.flow_id, self.slug, self.definition, self.profile = flow_id, slug, definition, profile
        self.program, self.post, self.choices = program.link(definition), Post(definition), choices
        self.context: dict[str, Any] = {"event": {"occurred_at": now.isoformat(), **event}} if event else {}
        self.entered, self.now = now, now
        self.stops: list[Stop] = []
        self.ending = ""

    def walk(self) -> Walk:
        """Go step by step to the end."""
        enters = [self._asked(_("May enter"), self.definition.entry)] if self.definition.entry else []
        key = self.program.first
        while key is not None and not self.ending:
            if len(self.stops) >= MOST_STOPS:
                self.ending = _("The walk is too long to be shown.")
            else:
                key = self._stop(self.program.nodes[key])
        return Walk(enters, self.stops, self.ending or _("The end of the flow."), self.now)

    def _stop(self, node: program.Node) -> str | None:
        """Pass one step; return the key of the next."""
        kind = steps.registry[node.step.kind]
        stop = Stop(
            len(self.stops) + 1,
            node.step.key,
            str(kind.label),
            kind.icon,
            str(kind.summary(node.step)),
            self.now,
        )
        self.stops.append(stop)
        if self.definition.exit_rule is not None and self._left_by_rule(stop):
            return None
        if node.step.condition is not None:
            stop.asked.append(self._asked(_("Condition of this step"), node.step.condition))
        for branch in node.step.branches:
            if branch.rule is not None:
                stop.asked.append(self._asked(_("Branch “%s”") % branch.name, branch.rule))
        chosen = self.choices.get(stop.name, "")
        try:
            with transaction.atomic():
                outcome = self._pass(node, stop, bool(chosen))
        except Exception as error:
            stop.problem = str(error) or type(error).__name__
            self.ending = _("This step can't be passed; the walk ends here.")
            return None
        if outcome.kind == "leave":
            self.ending = _("They leave the flow here.")
            return None
        taken = outcome.branch
        if chosen.isdecimal() and int(chosen) < len(node.branches) and outcome.kind != "skipped":
            taken = int(chosen)
        stop.leaves = self.now
        stop.told = kind.told(node.step, outcome.kind, outcome.facts)
        if node.branches and outcome.kind != "skipped":
            stop.ways = [
                Way(str(index), branch.name or _("Branch %d") % (index + 1), index == taken)
                for index, branch in enumerate(node.step.branches)
            ]
            if taken != outcome.branch and taken is not None:
                stop.told = _("You chose the branch “%s”.") % stop.ways[taken].name
        return node.next if taken is None or outcome.kind == "skipped" else node.branches[taken]

    def _pass(self, node: program.Node, stop: Stop, chosen: bool) -> Outcome:
        """Ask the step until it lets the person go, with the clock put forward to each time it names.

        Whoever is sent on by choice does not wait until a time-out.
        """
        state: dict[str, Any] = {}
        first = self.now
        for _number in range(MOST_ASKINGS):
            person = Person(
                RUN,
                self.profile.pk,
                self.flow_id,
                self.entered,
                self.context,
                state,
                self.slug,
                self.definition.priority,
                self.definition.when_limited,
            )
            outcome = deciding.decide(node, [person], self.now, rehearse=True)[RUN]
            self.context = {**self.context, **outcome.context}
            self._message(node, stop, outcome)
            if outcome.kind != "wait" or outcome.until is None:
                return outcome
            state = outcome.facts
            if chosen and steps.registry[node.step.kind].branches_by == "outcome" and self._happens(stop):
                self.now = first
                return Outcome("go_on", {}, branch=0)
            self.now = max(outcome.until, self.now + timedelta(seconds=1))
        raise TimeoutError(_("They would be held here again and again."))

    def _happens(self, stop: Stop) -> bool:
        return self.choices.get(stop.name) == "0"

    def _left_by_rule(self, stop: Stop) -> bool:
        asked = self._asked(_("Exit rule"), self.definition.exit_rule or {})
        stop.asked.append(asked)
        if self.profile.pk in exits.by_rule(self.definition, {self.profile.pk}, self.now):
            self.ending = _("They meet the exit rule and leave the flow.")
            return True
        return False

    def _asked(self, what: str, rule: Mapping[str, Any]) -> Asked:
        """Whether and why a rule holds."""
        try:
            why = evaluate.explain(grammar.parse(dict(rule)), self.profile.pk, self.now)
        except (RuleError, evaluate.TooSlow) as error:
            return Asked(what, False, Explanation("", str(error), False))
        return Asked(what, why.holds, why)

    def _message(self, node: program.Node, stop: Stop, outcome: Outcome) -> None:
        slug, channel = outcome.facts.get("message"), outcome.facts.get("channel")
        if node.step.kind != "message" or not slug or not channel:
            return
        letter = Letter(
            RUN,
            None,
            self.profile.pk,
            node.step.key,
            slug,
            channel,
            self.now + self.post.lasts(slug),
            self.now,
        )
        sent = filled(slug, channel, self.profile, self.context)
        sent.verdict = self.post.judge([letter], self.now).get(RUN)
        stop.sent.append(sent)


def filled(slug: str, channel: str, profile: Profile, context: Mapping[str, Any]) -> Sent:
    """A message as it would be written to `profile`, for a reader who may see what they may see."""
    known = channels.everything().get(channel)
    name = Message.objects.filter(slug=slug).values_list("name", flat=True).first()
    sent = Sent(slug, channel, name=name or slug)
    authored = dict(
        MessageContent.objects.filter(message__slug=slug, channel=channel, variant="a").values_list(
            "locale", "content"
        )
    )
    locale = content.best_locale(authored, profile.language)
    if known is None or locale is None:
        sent.problem = _("Nothing is written for this channel and language.")
        return sent
    sent.preview = known.preview
    computed = content.computed_for([profile.pk], authored.values())[profile.pk]
    wanted = content.Sample(profile.pk, dict(context))
    data = {
        **context,
        **links.example(),
        **content.gather([wanted], authored.values()).data(wanted, locale),
        "profile": Profile.outline(content.data([profile.pk]).get(profile.pk, {})),
        "computed": masking.data(computed) if masking.hidden() else computed,
    }
    try:
        rendered = known.compile(authored[locale]).render(data, sent.missing, locale=locale)
    except ContentError as error:
        sent.problem = str(error)
        return sent
    sent.content, sent.missing = msgspec.to_builtins(rendered), list(dict.fromkeys(sent.missing))
    return sent


def messages(walk_: Walk) -> Sequence[tuple[str, str]]:
    """The messages on the way, each with its channel, without repeats."""
    return list(dict.fromkeys((sent.message, sent.channel) for stop in walk_.stops for sent in stop.sent))
