"""Why somebody is, was or is not in a flow: what was decided, what came of it, what holds now and what happens next.

What happened is told from the decisions and deliveries; why somebody is not inside is asked anew, by the same code
that lets people in. Times in sentences are in the person's own zone. Readers who may see no contact data get
outlines, and no answers to rules that would tell some.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows import comparing, reasons, shares, triggers
from campaigns.flows.definition import Definition, Step
from campaigns.flows.reasons import moment
from campaigns.models import Decision, Enrollment, Flow
from campaigns.segments import evaluate, grammar, telling
from campaigns.segments.limits import TooSlow
from crm import geography, log
from crm.models import Profile
from crm.rules.errors import RuleError
from delivery.models import Delivery

RUNS = 20
DECISIONS = 300  # of a run
TRIGGERS = 20  # latest events that may have started somebody


class Fact(msgspec.Struct):
    """One part of a rule for this person: whether it holds, in words, with the fact that decided."""

    text: str
    holds: bool
    fact: str = ""
    children: "list[Fact]" = []


class Check(msgspec.Struct):
    """One thing that entering depends on. `holds`: whether it lets them in; None: it can't be told."""

    about: str
    holds: bool | None
    text: str
    facts: list[Fact] = []


class Sent(msgspec.Struct):
    """One message that a run asked for, and what became of it."""

    id: int
    message: str
    channel: str
    state: str
    state_words: str
    reason: str
    why: str
    queued_at: datetime
    due_at: datetime | None = None
    expires_at: datetime | None = None
    sent_at: datetime | None = None


class Happened(msgspec.Struct):
    """One decision: what it says, at which step, with its facts and the messages that it asked for."""

    at: datetime
    kind: str
    step: str
    about: str
    text: str
    facts: dict[str, Any] = {}
    sent: list[Sent] = []


class Next(msgspec.Struct):
    """What happens next. `at` is None when nothing will by itself."""

    text: str
    step: str = ""
    about: str = ""
    at: datetime | None = None
    their_time: str = ""
    account_time: str = ""


class RunTold(msgspec.Struct):
    """One run through the flow."""

    id: int
    version: int
    state: str
    run_key: str
    holdout: bool
    entered_at: datetime
    ended_at: datetime | None
    ended: str
    story: list[Happened]
    next: Next | None = None
    watched: list[Check] = []


class Why(msgspec.Struct):
    """The whole answer. `checks`: whether the person would be let in now, one by one."""

    profile_id: int
    flow: str
    name: str
    state: str
    zone: str
    as_of: datetime
    inside: bool
    entered: bool
    summary: str
    runs: list[RunTold]
    checks: list[Check]
    refused: list[Happened]


def explain(profile_id: int, flow_id: int, now: datetime | None = None) -> Why:
    """Everything about one person and one flow; the number of queries depends on the flow's rules only.

    Raises:
        Profile.DoesNotExist, Flow.DoesNotExist: there is no such person or flow.
    """
    now = now or timezone.now()
    profile = Profile.objects.get(pk=profile_id)
    flow = Flow.objects.select_related("live_version").get(pk=flow_id)
    zone = geography.zone_for(vars(profile))
    with timezone.override(zone):
        runs = _runs(profile, flow, now)
        checks = _checks(profile, flow, runs, now)
        inside = any(run.state == Enrollment.State.ACTIVE for run in runs)
        return Why(
            *(profile.pk, flow.slug, flow.name, flow.state, zone.key, now, inside, bool(runs)),
            summary=_summary(runs, checks),
            runs=runs,
            checks=checks,
            refused=_refused(profile, flow),
        )


def _summary(runs: Sequence[RunTold], checks: Sequence[Check]) -> str:
    if runs and runs[0].state == Enrollment.State.ACTIVE:
        return _("They are inside since %s.") % moment(runs[0].entered_at)
    if runs and runs[0].holdout:
        return _("They were held out on %s: they get nothing, so that the flow's effect can be measured.") % (
            moment(runs[0].entered_at)
        )
    if runs:
        return _("They were inside from %(start)s to %(end)s.") % {
            "start": moment(runs[0].entered_at),
            "end": moment(runs[0].ended_at),
        }
    against = [f"{check.about}: {check.text}" for check in checks if check.holds is False]
    if against:
        return _("They have not entered.") + " " + against[0]
    return _("They have not entered, and nothing speaks against it: they will when the trigger comes.")


# --- What happened ------------------------------------------------------------------------------------------


def _runs(profile: Profile, flow: Flow, now: datetime) -> list[RunTold]:
    found = list(
        Enrollment.objects.filter(profile=profile, flow=flow)
        .select_related("version")
        .order_by("-entered_at", "-pk")[:RUNS]
    )
    ids = [run.pk for run in found]
    decisions: dict[int, list[Decision]] = defaultdict(list)
    if ids:
        for decision in Decision.objects.filter(profile=profile, flow=flow, enrollment_id__in=ids).order_by(
            "pk"
        ):
            decisions[decision.enrollment_id or 0].append(decision)
    deliveries = _deliveries(profile, flow) if ids else {}
    versions: dict[int, tuple[Definition, _Steps]] = {}
    return [
        _run(run, flow, decisions[run.pk][-DECISIONS:], deliveries.get(run.pk, []), versions, now)
        for run in found
    ]


def _run(
    run: Enrollment,
    flow: Flow,
    decisions: Sequence[Decision],
    deliveries: Sequence[Delivery],
    versions: "dict[int, tuple[Definition, _Steps]]",
    now: datetime,
) -> RunTold:
    if run.version_id not in versions:
        definition = comparing.read(run.version.definition)
        versions[run.version_id] = definition, _Steps(definition)
    definition, known = versions[run.version_id]
    story = [_happened(decision, known) for decision in decisions]
    _attach(story, deliveries)
    active = run.state == Enrollment.State.ACTIVE
    return RunTold(
        *(run.pk, run.version.number, run.state, run.run_key, bool(getattr(run, "holdout", False))),
        *(run.entered_at, run.ended_at),
        ended="" if active else reasons.ended_words(run.state, run.reason),
        story=story,
        next=_next(run, flow, known, deliveries, now),
        watched=_watched(definition, run, now) if active else [],
    )


class _Steps(dict[str, Step]):
    """The steps of a version by key. `words` are asked for once a step, as they may need a query."""

    def __init__(self, definition: Definition):
        super().__init__({step.key: step for step in comparing.in_order(definition)})
        self._words: dict[str, str] = {}

    def words(self, key: str) -> str:
        if key not in self._words:
            step = self.get(key)
            self._words[key] = comparing.words(step) if step else key
        return self._words[key]


def _happened(decision: Decision, known: _Steps) -> Happened:
    return Happened(
        decision.at,
        decision.kind,
        decision.step,
        known.words(decision.step),
        reasons.decided(decision, known),
        decision.detail,
    )


def _attach(story: list[Happened], deliveries: Sequence[Delivery]) -> None:
    """Tell each message below the last decision of its step that is not later; else by itself."""
    for delivery in deliveries:
        sent = _sent(delivery)
        asked = [each for each in story if each.step == delivery.origin_step and ":" in each.kind]
        in_time = [each for each in asked if each.at <= delivery.queued_at] or asked[:1]
        if in_time:
            in_time[-1].sent.append(sent)
        else:
            step = delivery.origin_step
            story.append(Happened(delivery.queued_at, "message", step, step, "", {}, [sent]))


def _deliveries(profile: Profile, flow: Flow) -> dict[int, list[Delivery]]:
    found: dict[int, list[Delivery]] = defaultdict(list)
    asked = Delivery.objects.filter(
        profile=profile, origin_type=Delivery.Origin.FLOW, origin_id=flow.pk
    ).select_related("message")
    for delivery in asked.order_by("queued_at", "pk"):
        number = delivery.cause.split(":")[1]
        if number.isdecimal():
            found[int(number)].append(delivery)
    return found


def _sent(delivery: Delivery) -> Sent:
    waiting = delivery.state in Delivery.WAITING
    return Sent(
        *(delivery.pk, delivery.message.name, delivery.channel, delivery.state),
        str(delivery.get_state_display()),
        delivery.reason,
        reasons.sent_words(delivery.reason) if delivery.reason else "",
        delivery.queued_at,
        delivery.due_at if waiting else None,
        delivery.expires_at if waiting else None,
        delivery.sent_at,
    )


def _next(
    run: Enrollment, flow: Flow, known: _Steps, deliveries: Sequence[Delivery], now: datetime
) -> Next | None:
    waiting = [delivery for delivery in deliveries if delivery.state in Delivery.WAITING]
    if run.state != Enrollment.State.ACTIVE:
        if not waiting:
            return None
        first = min(waiting, key=lambda delivery: delivery.due_at)
        return _at(
            first.due_at,
            now,
            _("The message “%s” waits to be sent.") % first.message.name,
            step=first.origin_step,
        )
    about = known.words(run.step)
    if flow.state == Flow.State.PAUSED:
        text = _("The flow is paused; they hold their place at “%s” until it goes on.") % about
        return Next(text, run.step, about)
    if flow.state == Flow.State.STOPPED:
        return Next(_("The flow is stopped; they are being taken out."), run.step, about)
    if run.step_state.get("error"):
        text = _("The step “%s” failed for them and is tried again.") % about
    elif run.due_at is not None and run.due_at <= now:
        text = _("The step “%s” is due now.") % about
    elif not run.step_state:
        text = _("They are held before the step “%s”.") % about
    else:
        text = _("They wait at “%s”.") % about
    return _at(run.due_at, now, text, step=run.step, about=about)


def _at(at: datetime | None, now: datetime, text: str, step: str = "", about: str = "") -> Next:
    if at is None or at <= now:
        return Next(text, step, about, at and now)
    theirs = moment(at)
    with timezone.override(geography.account_zone()):
        return Next(text, step, about, at, theirs, moment(at))


def _watched(definition: Definition, run: Enrollment, now: datetime) -> list[Check]:
    """What would end the run early. `holds` tells whether it is so already."""
    found = [
        Check(_("Exit event"), False, _("They leave when this happens: %s") % trigger.name)
        for trigger in definition.exit_on
    ]
    if definition.exit_rule is not None:
        found.append(_rule_check(_("Exit rule"), definition.exit_rule, run.profile_id, now))
    if (goal := definition.goal) is not None:
        until = run.entered_at + timedelta(days=goal.within_days)
        text = _("Counts as reached when “%(event)s” happens by %(until)s.") % {
            "event": goal.name,
            "until": moment(until),
        }
        reached = getattr(run, "converted_at", None)
        found.append(Check(_("Goal"), reached is not None, text))
    return found


def _refused(profile: Profile, flow: Flow) -> list[Happened]:
    found = Decision.objects.filter(profile=profile, flow=flow, enrollment=None).order_by("-at", "-pk")[:RUNS]
    return [_happened(decision, _Steps(Definition())) for decision in found]


# --- What holds now -----------------------------------------------------------------------------------------


def _checks(profile: Profile, flow: Flow, runs: Sequence[RunTold], now: datetime) -> list[Check]:
    source = flow.live_version.definition if flow.live_version else flow.draft
    definition = comparing.read(source)
    checks = [_state_check(flow), *_date_checks(definition, now)]
    checks += _trigger_check(definition, profile, flow, now)
    if definition.entry is not None:
        checks.append(_rule_check(_("Entry rule"), definition.entry, profile.pk, now))
    checks += _again_check(definition, runs, now)
    checks += _holdout_check(definition, profile, flow)
    return checks


def _state_check(flow: Flow) -> Check:
    if flow.state == Flow.State.LIVE:
        return Check(
            _("State"), True, _("The flow is live and listens since %s.") % moment(flow.listening_since)
        )
    texts = {
        Flow.State.DRAFT: _("The flow was never published, so nobody enters."),
        Flow.State.PAUSED: _("The flow is paused: nobody enters."),
        Flow.State.FINISHING: _("The flow only lets people finish: nobody enters."),
        Flow.State.STOPPED: _("The flow is stopped: nobody enters."),
    }
    return Check(_("State"), False, texts[Flow.State(flow.state)])


def _date_checks(definition: Definition, now: datetime) -> list[Check]:
    found = []
    for about, text, passed, sentence in (
        (
            _("First day"),
            definition.starts_at,
            lambda at: at <= now,
            _("Nobody enters before %s."),
        ),
        (_("Last day"), definition.ends_at, lambda at: now <= at, _("Nobody enters after %s.")),
    ):
        if text:
            try:
                at = datetime.fromisoformat(text)
            except ValueError:
                continue
            at = at if at.tzinfo else timezone.make_aware(at)
            found.append(Check(about, passed(at), sentence % moment(at)))
    return found


def _trigger_check(definition: Definition, profile: Profile, flow: Flow, now: datetime) -> list[Check]:
    about = _("Trigger")
    try:
        trigger = triggers.of(definition)
    except (LookupError, ValueError):
        return [Check(about, None, _("What starts the flow can't be read."))]
    if trigger is None:
        return [Check(about, False, _("Nothing starts the flow yet."))]
    said = trigger.kind.summary(trigger.config)
    names = trigger.kind.names(trigger.config)
    if not names:
        return [Check(about, None, _("%s. Whom it starts is asked when it is time.") % said)]
    seen = _events(profile.pk, names, now)
    if not seen:
        return [Check(about, False, _("%s: that has not happened.") % said)]
    hits = {event.id for event in trigger.kind.starting(trigger.config, seen, now)}
    facts = [
        Fact(_told(event, event.id in hits, flow), event.id in hits and _listened(event, flow))
        for event in reversed(seen)
    ]
    if any(fact.holds for fact in facts):
        return [Check(about, True, _("%s: that has happened.") % said, facts)]
    if hits:
        return [Check(about, False, _("%s: that has happened only before the flow listened.") % said, facts)]
    return [Check(about, False, _("%s: what has happened does not fit.") % said, facts)]


def _events(profile_id: int, names: frozenset[str], now: datetime) -> list[log.LoggedEvent]:
    """The person's latest events of these names, as they stand in the log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, seq, txid, profile_id, name, occurred_at, received_at, properties::text, source, clock"
            " FROM crm_event WHERE profile_id = %s AND name = ANY(%s) AND occurred_at <= %s"
            " ORDER BY occurred_at DESC LIMIT %s",
            [profile_id, sorted(names), now, TRIGGERS],
        )
        rows = cursor.fetchall()
    found = []
    for id_, seq, txid, profile, name, occurred_at, received_at, facts, source, clock in rows:
        properties = msgspec.json.decode(facts)
        found.append(
            log.LoggedEvent(
                id_, seq, txid, profile, name, occurred_at, received_at, properties, source, clock
            )
        )
    return sorted(found, key=lambda event: (event.txid, event.seq))


def _listened(event: log.LoggedEvent, flow: Flow) -> bool:
    return flow.listening_since is not None and event.occurred_at >= flow.listening_since


def _told(event: log.LoggedEvent, hit: bool, flow: Flow) -> str:
    words = {"event": event.name, "when": moment(event.occurred_at)}
    if not hit:
        return _("“%(event)s” on %(when)s: it does not fit what starts the flow.") % words
    if not _listened(event, flow):
        return _("“%(event)s” on %(when)s: that was before the flow listened.") % words
    return _("“%(event)s” on %(when)s.") % words


def _rule_check(about: str, rule: dict[str, Any], profile_id: int, now: datetime) -> Check:
    try:
        if telling.tells(rule):
            return Check(about, None, _("It compares with contact data, which you may not see."))
        answer = evaluate.explain(grammar.parse(rule), profile_id, now)
    except TooSlow:
        return Check(about, None, _("Asking took too long. Please try again."))
    except RuleError as error:
        return Check(about, None, _("The rule can't be asked: %s") % error)
    text = _("They meet it.") if answer.holds else _("They do not meet it.")
    return Check(about, answer.holds, text, [_fact(answer)])


def _fact(answer: evaluate.Explanation) -> Fact:
    return Fact(answer.text, answer.holds, answer.fact, [_fact(child) for child in answer.children])


def _again_check(definition: Definition, runs: Sequence[RunTold], now: datetime) -> list[Check]:
    about = _("Entering again")
    if not runs:
        return []
    if definition.key:
        name = definition.key.removeprefix("properties.")
        return [Check(about, True, _("Each %s has a run of its own, and each has one only.") % name)]
    if any(run.state == Enrollment.State.ACTIVE for run in runs):
        return [Check(about, False, _("They are inside; nobody is inside twice."))]
    if definition.reentry.mode == "never":
        return [Check(about, False, _("They were inside already, and people enter once only."))]
    if definition.reentry.mode == "after":
        free = max(run.entered_at for run in runs) + timedelta(days=definition.reentry.days or 0)
        return [Check(about, free < now, _("They may enter again from %s on.") % moment(free))]
    return [Check(about, True, _("They are out and may enter again."))]


def _holdout_check(definition: Definition, profile: Profile, flow: Flow) -> list[Check]:
    if not definition.holdout_percent:
        return []
    out = shares.place(profile.pk, flow.slug, "holdout") < definition.holdout_percent
    text = (
        _("They belong to the share that gets nothing.")
        if out
        else _("They do not belong to the share that gets nothing.")
    )
    return [Check(_("Held out"), not out, text)]
