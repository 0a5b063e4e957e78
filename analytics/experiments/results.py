"""What came of an experiment so far, and whether a winner may be named."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import numpy as np

from analytics.experiments import bayes, cuped, sequences, shares
from analytics.experiments.arms import GUARD_RAILS, Arm, Metric, together
from analytics.experiments.planner import FEWEST_DAYS
from analytics.experiments.sequences import Comparison, Verdict


class State(StrEnum):
    """Where an experiment stands. Only WINNER and SAME end it."""

    UNEVEN = "uneven"  # the arms' sizes are wrong, so nothing may be believed
    EARLY = "early"  # too few people or days, whatever it looks like
    OPEN = "open"
    HARMFUL = "harmful"  # the best arm does harm: a person must decide
    SAME = "same"
    WINNER = "winner"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """When a winner may be named. All of it is fixed before the start.

    `smallest` is the smallest difference of one person's mean outcome worth knowing, in the metric's unit; without it
    arms are never the same. `tuned_for` and `fewest_people` (of each arm) come from the plan. A guard-rail's rate may
    exceed the control's by its margin (0.001 is one person in a thousand). Arms that are `closed` get nobody any more,
    so they can't win, nor hold up what is said of the others.
    """

    metric: Metric = Metric.CONVERSION
    smallest: float | None = None
    alpha: float = 0.05
    tuned_for: float = sequences.TUNED_FOR
    shares: tuple[float, ...] = ()  # equal
    fewest_people: int = 100
    fewest_days: float = FEWEST_DAYS
    unsubscribed_margin: float = 0.0
    complained_margin: float = 0.0
    closed: tuple[str, ...] = ()


class GuardRail(msgspec.Struct, frozen=True, kw_only=True):
    """An arm that certainly does more harm than the control, by more than the margin."""

    metric: Metric
    arm: str
    rate: float
    control_rate: float
    comparison: Comparison


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to be shown. The first arm is the control.

    `leaders` are the arms that no other has beaten, but for those that are closed; `choice` is the arm to go on with,
    where the state ends the experiment (the control among equals). `pairs[a, b]` is a less b. `days_left` is None where
    it can't be told, and infinite where it takes for ever. `saved` is the share of noise that the time before has
    explained (CUPED).
    """

    state: State
    rules: Rules
    arms: list[Arm]
    beliefs: list[bayes.Belief]
    pairs: dict[tuple[str, str], Comparison]
    check: shares.Check
    harmed: list[GuardRail]
    leaders: list[str]
    choice: str | None
    days_left: float | None
    saved: float

    def arm(self, key: str) -> Arm:
        """The arm of that key."""
        return next(arm for arm in self.arms if arm.key == key)

    @property
    def comparisons(self) -> list[Comparison]:
        """Every other arm beside the control."""
        return [self.pairs[arm.key, self.arms[0].key] for arm in self.arms[1:]]


def assess(
    arms: Sequence[Arm],
    rules: Rules,
    *,
    days: float,
    periods: Sequence[shares.Period] | None = None,
    alarmed: bool = False,
) -> Result:
    """Where the experiment stands after so many `days`; may be asked as often as one likes.

    The 5 % are about obeying the first answer that ends the experiment: a later look may be less sure again, so the
    caller keeps the answer.

    `periods` tell the counts for each time that the shares were others; without them the rules' shares hold from the
    start. `alarmed`: the sample-ratio alarm has gone off at an earlier look, so it stays on. Raises ValueError for
    fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError("An experiment has two arms at least.")
    pairs = sequences.all_pairs(
        arms, rules.metric, alpha=rules.alpha, tuned_for=rules.tuned_for, smallest=rules.smallest
    )
    if periods is None:
        periods = [shares.Period([arm.exposed for arm in arms], rules.shares or [1] * len(arms))]
    check = shares.check(periods)
    harmed = guard_rails(arms, rules)
    left = [arm for arm in arms if arm.key not in rules.closed]
    leaders = [
        arm.key
        for arm in left
        if not any(pairs[arm.key, other.key].verdict is Verdict.WORSE for other in left if other is not arm)
    ]
    state, choice = _state(arms, rules, days, check.alarm or alarmed, pairs, leaders, harmed)
    return Result(
        state=state,
        rules=rules,
        arms=list(arms),
        beliefs=bayes.beliefs(arms, rules.metric),
        pairs=pairs,
        check=check,
        harmed=harmed,
        leaders=leaders,
        choice=choice,
        days_left=_days_left(arms, rules, days, pairs, leaders, state),
        saved=cuped.adjust(arms, rules.metric).saved,
    )


def guard_rails(arms: Sequence[Arm], rules: Rules) -> list[GuardRail]:
    """The arms that certainly make more people unsubscribe or complain than the control does."""
    found = []
    for metric, margin in zip(GUARD_RAILS, (rules.unsubscribed_margin, rules.complained_margin), strict=True):
        for arm, comparison in zip(
            arms[1:],
            sequences.against_control(arms, metric, alpha=rules.alpha, tuned_for=rules.tuned_for),
            strict=True,
        ):
            if np.isfinite(comparison.low) and comparison.low > margin:
                rate, control_rate = (one.people_with(metric) / one.exposed for one in (arm, arms[0]))
                found.append(
                    GuardRail(
                        metric=metric,
                        arm=arm.key,
                        rate=rate,
                        control_rate=control_rate,
                        comparison=comparison,
                    )
                )
    return found


def _state(
    arms: Sequence[Arm],
    rules: Rules,
    days: float,
    alarm: bool,
    pairs: dict[tuple[str, str], Comparison],
    leaders: Sequence[str],
    harmed: Sequence[GuardRail],
) -> tuple[State, str | None]:
    if alarm:
        return State.UNEVEN, None
    fewest = min(arm.exposed for arm in arms if arm.key not in rules.closed)
    if days < rules.fewest_days or fewest < rules.fewest_people:
        return State.EARLY, None
    control = arms[0].key
    if len(arms) - len(rules.closed) < 2:  # nobody has won against those that were closed
        return State.OPEN, None
    if len(leaders) == 1:
        state, choice = State.WINNER, leaders[0]
    elif len(leaders) > 1 and all(
        pairs[one, other].verdict is Verdict.SAME for one in leaders for other in leaders if one != other
    ):
        unharmed = [key for key in leaders if key not in {rail.arm for rail in harmed}] or list(leaders)
        state, choice = State.SAME, control if control in leaders else _best(unharmed, pairs)
    else:
        return State.OPEN, None
    if any(rail.arm == choice for rail in harmed):
        return State.HARMFUL, choice
    return state, choice


def _best(keys: Sequence[str], pairs: dict[tuple[str, str], Comparison]) -> str:
    first = keys[0]
    return max(keys, key=lambda key: pairs[key, first].difference if key != first else 0.0)


def _days_left(
    arms: Sequence[Arm],
    rules: Rules,
    days: float,
    pairs: dict[tuple[str, str], Comparison],
    leaders: Sequence[str],
    state: State,
) -> float | None:
    """Until something can be said at the pace so far, should the leader stay ahead as it is."""
    people = together(arms).exposed
    if state not in (State.EARLY, State.OPEN) or not leaders or days <= 0 or not people:
        return None
    if len(arms) - len(rules.closed) < 2:
        return None
    longest = max(days, rules.fewest_days)
    smallest_arm = min(arm.exposed for arm in arms if arm.key not in rules.closed)
    longest = max(longest, days * rules.fewest_people / smallest_arm if smallest_arm else np.inf)
    best = _best(leaders, pairs)
    for other in leaders:
        if other != best and pairs[best, other].verdict is Verdict.OPEN:
            needed = sequences.people_needed(
                pairs[best, other],
                rules.smallest,
                alpha=rules.alpha,
                comparisons=len(arms) - 1,
                tuned_for=rules.tuned_for,
            )
            longest = max(
                longest, days * needed / pairs[best, other].people if np.isfinite(needed) else np.inf
            )
    return float(longest - days)
