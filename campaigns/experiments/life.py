"""The life of an experiment: draft, running, decided or stopped. What was decided stands."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.experiments import ranges, shares
from campaigns.models import Experiment
from crm import alerts, audit

State, Mode, Subject = Experiment.State, Experiment.Mode, Experiment.Subject


class LifeError(ValueError):
    """That can't be done with the experiment as it is; the text says why."""


def start(experiment_id: int, user: Any = None, now: datetime | None = None) -> Experiment:
    """Count people from now on. Its arms and all that decides are fixed as they are.

    Raises:
        LifeError: it was started before, another one runs on the same thing, or there is nothing to compare.
    """
    now = now or timezone.now()
    try:
        with transaction.atomic():
            experiment = _held(experiment_id)
            if experiment.state != State.DRAFT:
                raise LifeError(_("It was started already."))
            problem = unfit(experiment)
            if problem:
                raise LifeError(problem)
            experiment.arms = shares.current(experiment)
            experiment.periods = [{"since": now.isoformat(), "shares": experiment.shares}]
            if experiment.mode == Mode.BANDIT:
                experiment.ranges = ranges.first(experiment.shares)
            experiment.state, experiment.started_at = State.RUNNING, now
            experiment.save()
            audit.record(user, "experiment.start", experiment)
    except shares.SharesError as error:
        raise LifeError(str(error)) from error
    except IntegrityError as error:
        raise LifeError(_("Another experiment runs on the same thing; stop it first.")) from error
    return experiment


def unfit(experiment: Experiment) -> str:
    """Why what is asked for does not go together; empty if it does."""
    subject, mode = experiment.subject, experiment.mode
    missing = {
        Subject.MESSAGE: experiment.message_id is None,
        Subject.STEP: experiment.flow_id is None or not experiment.step,
        Subject.BROADCAST: experiment.broadcast_id is None,
        Subject.AUDIENCE: experiment.broadcast_id is None,
    }
    if missing.get(Subject(subject)):
        return str(_("Choose what is tried out."))
    if mode == Mode.BANDIT and subject != Subject.MESSAGE:
        return str(_("Only a message that is sent again and again can learn while it is sent."))
    if mode == Mode.WINNER and subject not in (Subject.MESSAGE, Subject.STEP):
        return str(_("What is sent once, or held back, can only be measured."))
    if experiment.metric == Experiment.Metric.VALUE and not experiment.value_property:
        return str(_("Name the event property with the amount."))
    if subject == Subject.AUDIENCE and len({arm.get("segment", "") for arm in experiment.arms}) < 2:
        return str(_("Name two audiences at least, a line each."))
    channels = {arm["channel"] for arm in experiment.arms if arm.get("channel")}
    if subject == Subject.BROADCAST and experiment.broadcast and channels:
        written = set(experiment.broadcast.message.contents.values_list("channel", flat=True))
        if channels - written:
            return str(_("The message has no text for %s.") % ", ".join(sorted(channels - written)))
    return ""


@transaction.atomic
def stop(experiment_id: int, user: Any = None, now: datetime | None = None) -> Experiment:
    """Count nobody new and decide nothing more.

    Raises:
        LifeError: it does not run.
    """
    experiment = _held(experiment_id)
    if experiment.state != State.RUNNING:
        raise LifeError(_("It does not run."))
    experiment.state, experiment.stopped_at = State.STOPPED, now or timezone.now()
    experiment.save(update_fields=["state", "stopped_at"])
    audit.record(user, "experiment.stop", experiment)
    return experiment


@transaction.atomic
def alarm(experiment_id: int, now: datetime | None = None) -> bool:
    """Note that the arms' sizes can't be chance; whether that is new. It stays so."""
    experiment = _held(experiment_id)
    if experiment.state != State.RUNNING or experiment.alarmed_at:
        return False
    experiment.alarmed_at = now or timezone.now()
    experiment.save(update_fields=["alarmed_at"])
    alerts.raise_alert(
        alert_key(experiment),
        f"The experiment “{experiment.name}” can't be trusted",
        "Its arms have other sizes than they should. Look for what loses people of one arm before they are counted.",
    )
    return True


@transaction.atomic
def decide(
    experiment_id: int,
    verdict: str,
    choice: str,
    user: Any = None,
    now: datetime | None = None,
    apply: bool = False,
) -> bool:
    """Keep the first verdict that ends an experiment; whether it was the first.

    Args:
        verdict: "winner", "same" or "harmful", or "chosen" where a person decides.
        choice: the arm to go on with.
        apply: give it everybody from now on. Where that can't be done just now, the decision says why in "waits" and
            the experiment runs on; the same call, later, tries again.

    Raises:
        LifeError: there is no such arm.
    """
    now = now or timezone.now()
    experiment = _held(experiment_id)
    if experiment.state != State.RUNNING:
        return False
    if choice not in experiment.names:
        raise LifeError(_("There is no such arm."))
    was = experiment.decision
    if was is not None and verdict != "chosen" and "waits" not in was:
        return False
    experiment.decision = {"state": verdict, "choice": choice, "at": now.isoformat()}
    if was is not None and "waits" in was and verdict != "chosen":
        verdict, choice = was["state"], was["choice"]
        experiment.decision = {key: value for key, value in was.items() if key != "waits"}
    waits = _applied(experiment, choice, user) if apply else ""
    if waits:
        experiment.decision["waits"] = waits
        experiment.save(update_fields=["decision"])
        alerts.raise_alert(
            alert_key(experiment),
            f"The experiment “{experiment.name}” has a winner that can't be used yet",
            f"It is tried again every hour. The reason: {waits}",
        )
        return False
    if verdict != "harmful":
        experiment.state, experiment.decided_at = State.DECIDED, now
    experiment.save(update_fields=["decision", "state", "decided_at"])
    audit.record(user, "experiment.decide", experiment, verdict=verdict, choice=choice, applied=apply)
    name = experiment.names[choice]
    if verdict == "harmful":
        title = f"The experiment “{experiment.name}” waits for you: its best arm does harm"
    elif apply:
        title = f"The experiment “{experiment.name}” has ended: everybody gets “{name}” from now on"
    else:
        title = f"The experiment “{experiment.name}” has an answer: “{name}”"
    alerts.raise_alert(alert_key(experiment), title, "Its page tells what came of each arm.")
    return True


@transaction.atomic
def reweigh(
    experiment_id: int,
    percents: dict[str, float],
    closed: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> bool:
    """Give the arms of a bandit these shares from now on; whether it still runs.

    Args:
        closed: arms that do harm, with the guard-rail that told so. They get nobody any more, for good.

    Raises:
        SharesError: they can't be changed just now.
    """
    experiment = _held(experiment_id)
    if experiment.state != State.RUNNING or experiment.mode != Mode.BANDIT:
        return False
    now = now or timezone.now()
    new = {key: why for key, why in (closed or {}).items() if key not in experiment.closed}
    given = {key: 0.0 if key in {*experiment.closed, *new} else share for key, share in percents.items()}
    shares.change(experiment, given)
    experiment.ranges = ranges.moved(experiment.ranges or ranges.first(experiment.shares), given)
    for each in experiment.arms:
        each["percent"] = given[each["key"]]
        if each["key"] in new:
            each["closed"] = new[each["key"]]
    experiment.periods = [*experiment.periods, {"since": now.isoformat(), "shares": given}]
    experiment.save(update_fields=["arms", "periods", "ranges"])
    for key in new:
        audit.record(None, "experiment.close_arm", experiment, arm=key, because=new[key])
        alerts.raise_alert(
            f"{alert_key(experiment)}:closed:{key}",
            f"The experiment “{experiment.name}” has closed an arm: “{experiment.names[key]}” drives people away",
            "It gets nobody any more. Its page tells how many unsubscribe or complain.",
        )
    return True


def _applied(experiment: Experiment, choice: str, user: Any) -> str:
    """Give everybody the chosen arm; why that can't be done, empty if it is."""
    try:
        with transaction.atomic():
            shares.change(
                experiment, {key: 100.0 if key == choice else 0.0 for key in experiment.names}, user
            )
    except shares.SharesError as error:
        return str(error)
    return ""


def alert_key(experiment: Experiment) -> str:
    """What alerts about an experiment are kept under."""
    return f"experiment:{experiment.pk}"


def _held(experiment_id: int) -> Experiment:
    return (
        Experiment.objects.select_for_update(of=("self",))
        .select_related("message", "flow__live_version", "broadcast__message")
        .get(pk=experiment_id)
    )
