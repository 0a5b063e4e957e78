"""Looking at the experiments that run: what came of them, and acting on the first answer that ends one."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
from django.core.cache import cache
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from analytics.experiments import bandit, gathering, results
from analytics.experiments.arms import Arm, Metric, together
from analytics.experiments.results import Result, Rules, State
from campaigns.experiments import life, shares
from campaigns.models import Experiment

logger = logging.getLogger(__name__)

Mode = Experiment.Mode
VERDICTS = (State.WINNER, State.SAME, State.HARMFUL)
WORTH_CHANGING = 0.01  # a share that moves by less is left as it is
FOREVER = timedelta(days=36_500)
BLINK = 0.2  # seconds
RESTS = 50  # times as long as counting took, what was counted is shown
LONGEST_KEPT = 600.0  # seconds


class Look(msgspec.Struct, frozen=True):
    """An experiment as it stands, for one that learns what that cost, and of one on audiences those who were addressed.

    The result of one on audiences is about all people of the arms, whom they address and whom they leave out.
    """

    result: Result
    regret: bandit.Regret | None
    addressed: list[Arm] | None = None


def rules(experiment: Experiment) -> Rules:
    """What was fixed before the start. Differences of rates are told in points of percent."""
    metric = Metric(experiment.metric)
    smallest = experiment.smallest
    if smallest is not None and metric is Metric.CONVERSION:
        smallest /= 100
    return Rules(
        metric=metric,
        smallest=smallest or None,
        tuned_for=experiment.tuned_for,
        fewest_people=experiment.fewest_people,
        shares=tuple(arm["percent"] for arm in experiment.arms),
        unsubscribed_margin=0.0 if experiment.guard_rails else 1.0,
        complained_margin=0.0 if experiment.guard_rails else 1.0,
        closed=tuple(experiment.closed),
    )


def look(experiment: Experiment, now: datetime | None = None) -> Look | None:
    """What came of an experiment so far; None before its start. One query."""
    now = now or timezone.now()
    if experiment.started_at is None or len(experiment.arms) < 2:
        return None
    ended = experiment.decided_at or experiment.stopped_at
    starts = [parse_datetime(each["since"]) for each in experiment.periods]
    metric = Metric(experiment.metric)
    # People are counted in a holdout once: those who were in it before are part of it.
    since = experiment.started_at
    keys = tuple(arm["key"] for arm in experiment.arms)
    if experiment.subject == Experiment.Subject.HOLDOUT:
        since -= FOREVER
        starts[0] = since
    audiences = experiment.subject == Experiment.Subject.AUDIENCE
    sides = [f"{key}{Experiment.LEFT_OUT}" for key in keys] if audiences else []
    counted = gathering.gather(
        gathering.Question(
            experiment=experiment.key,
            arms=(*keys, *sides),
            goal=experiment.goal_event,
            window=timedelta(hours=experiment.window_hours),
            value_property=experiment.value_property,
            metric=metric,
            since=since,
            until=ended or now + timedelta(seconds=1),
            now=now,
        ),
        [each for each in starts if each is not None],
    )
    addressed = counted.arms[: len(keys)] if audiences else None
    if audiences:
        counted = _with_those_left_out(counted, keys)
    result = results.assess(
        counted.arms,
        rules(experiment),
        days=((ended or now) - experiment.started_at).total_seconds() / 86400,
        periods=gathering.periods(counted, keys, [each["shares"] for each in experiment.periods]),
        alarmed=experiment.alarmed_at is not None,
    )
    learns = experiment.mode == Mode.BANDIT
    return Look(result, bandit.regret(counted.arms, metric) if learns else None, addressed)


def recent(experiment: Experiment) -> tuple[Look | None, datetime]:
    """What came of an experiment, and as of when: now, or a while ago where counting takes long.

    Each process keeps what took it more than a blink, for so many times as long, some minutes at most.
    """
    told = [experiment.pk, experiment.state, experiment.periods, experiment.arms, experiment.name]
    digest = sha256(msgspec.json.encode([*told, experiment.alarmed_at, experiment.stopped_at])).hexdigest()
    key, began = f"analytics.look.{digest[:32]}", time.monotonic()
    if (kept := cache.get(key)) is not None:
        return kept
    now = timezone.now()
    found = look(experiment, now), now
    took = time.monotonic() - began
    if took > BLINK:
        cache.set(key, found, min(LONGEST_KEPT, RESTS * took))
    return found


def _with_those_left_out(counted: gathering.Counted, keys: Sequence[str]) -> gathering.Counted:
    """Each arm with those whom its audience leaves out, as people were divided."""
    size = len(keys)
    return gathering.Counted(
        [
            together([own, others], own.key)
            for own, others in zip(counted.arms[:size], counted.arms[size:], strict=True)
        ],
        [
            [own + others for own, others in zip(row[:size], row[size:], strict=True)]
            for row in counted.periods
        ],
    )


def judge_all(now: datetime | None = None) -> int:
    """Look at every experiment that runs; one that can't be judged does not hold up the others. How many ended."""
    ended = 0
    for experiment in Experiment.objects.filter(state=Experiment.State.RUNNING).order_by("pk"):
        try:
            ended += judge(experiment, now)
        except Exception:
            logger.exception("The experiment %s can't be judged", experiment.slug)
    return ended


def judge(experiment: Experiment, now: datetime | None = None) -> bool:
    """Act on what came of a running experiment; whether that ended it. May run twice or late.

    The first answer that ends it stands; a bandit gives people by how likely each arm is the best instead.
    """
    now = now or timezone.now()
    if experiment.decision:
        # Also what a person chose; only what was to be used can wait.
        waits = "waits" in experiment.decision
        return waits and life.decide(
            experiment.pk, experiment.decision["state"], experiment.decision["choice"], now=now, apply=True
        )
    seen = look(experiment, now)
    if seen is None:
        return False
    result = seen.result
    if result.check.alarm:
        life.alarm(experiment.pk, now)
    if experiment.mode == Mode.BANDIT:
        _learn(experiment, result, now)
        return False
    if result.state not in VERDICTS or result.choice is None:
        return False
    apply = experiment.mode == Mode.WINNER and result.state is not State.HARMFUL
    return life.decide(experiment.pk, result.state, result.choice, now=now, apply=apply)


def _learn(experiment: Experiment, result: Result, now: datetime) -> None:
    """Give better arms more people. One that certainly drives people away gets nobody, as soon as that is certain."""
    if result.check.alarm:
        return
    harmful = {rail.arm: str(rail.metric) for rail in reversed(result.harmed)}
    closed, present = {**harmful, **experiment.closed}, experiment.shares
    new = closed.keys() - experiment.closed.keys()
    if result.state is State.EARLY:
        if not new:
            return
        percents = {key: share for key, share in present.items() if key not in closed}
        whole = sum(percents.values())
        percents = {key: 100 * percents.get(key, 0.0) / whole for key in present}
    else:
        given = bandit.shares(result.arms, Metric(experiment.metric), bandit.FLOOR, closed)
        percents = {key: 100 * share for key, share in given.items()}
    if not new and max(abs(percents[key] - present[key]) for key in percents) < 100 * WORTH_CHANGING:
        return
    try:
        life.reweigh(experiment.pk, percents, closed, now)
    except shares.SharesError as error:
        logger.warning("The shares of the experiment %s stay: %s", experiment.slug, error)
