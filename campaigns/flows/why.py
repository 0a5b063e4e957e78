"""Why somebody is, was or is not in a flow: what was decided, what came of it, what holds now and what happens next.

What happened is told from the decisions and deliveries. Times in sentences are by the account's clock, as everywhere in
the admin; what comes next is told by the person's, too. Readers who may see no contact data get outlines.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows import comparing, reasons, why_checks
from campaigns.flows.definition import Definition, Step
from campaigns.flows.waiting_words import moment
from campaigns.flows.why_shapes import Check, Happened, Next, RunTold, Sent, Why
from campaigns.models import Decision, Enrollment, Flow
from crm import geography, masking
from crm.models import Profile
from delivery.models import Delivery

RUNS = 20
DECISIONS = 300  # of a run


def explain(profile_id: int, flow_id: int, now: datetime | None = None) -> Why:
    """Everything about one person and one flow; the number of queries depends on the flow's rules only.

    Raises:
        Profile.DoesNotExist, Flow.DoesNotExist: there is no such person or flow.
    """
    now = now or timezone.now()
    profile = Profile.objects.get(pk=profile_id)
    flow = Flow.objects.select_related("live_version").get(pk=flow_id)
    zone = geography.zone_for(vars(profile))
    with timezone.override(geography.account_zone()):
        runs = _runs(profile, flow, zone, now)
        checks = why_checks.would_enter(profile, flow, runs, now)
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


def _runs(profile: Profile, flow: Flow, zone: ZoneInfo, now: datetime) -> list[RunTold]:
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
        _run(run, flow, decisions[run.pk][-DECISIONS:], deliveries.get(run.pk, []), versions, zone, now)
        for run in found
    ]


def _run(
    run: Enrollment,
    flow: Flow,
    decisions: Sequence[Decision],
    deliveries: Sequence[Delivery],
    versions: "dict[int, tuple[Definition, _Steps]]",
    zone: ZoneInfo,
    now: datetime,
) -> RunTold:
    if run.version_id not in versions:
        definition = comparing.read(run.version.definition)
        versions[run.version_id] = definition, _Steps(definition)
    definition, known = versions[run.version_id]
    by = "" if masking.hidden() else str(run.context.get("by") or "")
    story = [_happened(decision, known, by) for decision in decisions]
    _attach(story, deliveries)
    active = run.state == Enrollment.State.ACTIVE
    return RunTold(
        *(run.pk, run.version.number, run.state, run.run_key, bool(getattr(run, "holdout", False))),
        *(run.entered_at, run.ended_at),
        ended="" if active else reasons.ended_words(run.state, run.reason),
        story=story,
        next=_next(run, flow, known, deliveries, zone, now),
        watched=why_checks.would_end(definition, run, now) if active else [],
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


def _happened(decision: Decision, known: _Steps, by: str = "") -> Happened:
    return Happened(
        decision.at,
        decision.kind,
        decision.step,
        known.words(decision.step),
        reasons.decided(decision, known, by),
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
    run: Enrollment,
    flow: Flow,
    known: _Steps,
    deliveries: Sequence[Delivery],
    zone: ZoneInfo,
    now: datetime,
) -> Next | None:
    waiting = [delivery for delivery in deliveries if delivery.state in Delivery.WAITING]
    if run.state != Enrollment.State.ACTIVE:
        if not waiting:
            return None
        first = min(waiting, key=lambda delivery: delivery.due_at)
        return _at(
            first.due_at,
            now,
            zone,
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
    return _at(run.due_at, now, zone, text, step=run.step, about=about)


def _at(
    at: datetime | None, now: datetime, zone: ZoneInfo, text: str, step: str = "", about: str = ""
) -> Next:
    if at is None or at <= now:
        return Next(text, step, about, at and now)
    ours = moment(at)
    with timezone.override(zone):
        return Next(text, step, about, at, moment(at), ours)


def _refused(profile: Profile, flow: Flow) -> list[Happened]:
    found = Decision.objects.filter(profile=profile, flow=flow, enrollment=None).order_by("-at", "-pk")[:RUNS]
    return [_happened(decision, _Steps(Definition())) for decision in found]
