"""What holds now for one person and one flow: whether they would be let in, and what would end their run early.

It is asked anew each time, by the same code that lets people in and out. Readers who may see no contact data get no
answers to rules that would tell some.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows import comparing, shares, triggers
from campaigns.flows.definition import Definition
from campaigns.flows.waiting_words import moment
from campaigns.flows.why_shapes import Check, Fact, RunTold
from campaigns.models import Enrollment, Flow
from campaigns.segments import evaluate, grammar, telling
from campaigns.segments.limits import TooSlow
from crm import log
from crm.models import Profile
from crm.rules.errors import RuleError

TRIGGERS = 20  # latest events that may have started somebody


def would_enter(profile: Profile, flow: Flow, runs: Sequence[RunTold], now: datetime) -> list[Check]:
    """What entering depends on, one by one, asked for this person now."""
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


def would_end(definition: Definition, run: Enrollment, now: datetime) -> list[Check]:
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
