"""Always-valid comparison: figures that may be looked at every day without being fooled more often for it.

A confidence sequence holds at all times together: the probability that the truth is ever outside of it is at most
alpha. So one may stop whenever it tells what one wanted to know. Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024,
"Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics 52(6), theorem 2.2); the
bound is the normal mixture of Robbins 1970, which Johari, Koomen, Pekelis & Walsh 2022, "Always valid inference"
(Operations Research 70(3)), use as mSPRT. It is asymptotic, so nothing is said before there is `enough`.

The functions that take numbers take arrays as well.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec
import numpy as np
import scipy

from analytics.experiments import cuped
from analytics.experiments.arms import Arm, Metric, Moments

TUNED_FOR = 10_000  # people of two arms, where nobody has planned
ENOUGH = 10  # people who should have done what is counted, in the smaller arm, before anything is said


class Verdict(StrEnum):
    """What may be said of an arm beside another."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"  # no difference beyond the smallest worth knowing
    OPEN = "open"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`arm` less `control`: the difference of one person's mean outcome, and where it lies at any time of looking.

    `low` and `high` are infinite until enough people did something. `p_value` is always valid too. `variance` is that
    of the difference, `people` the size of an evenly split pair that would know as much about it.
    """

    control: str
    arm: str
    difference: float
    low: float
    high: float
    p_value: float
    verdict: Verdict
    variance: float
    people: float


@lru_cache(maxsize=256)
def mixture(alpha: float) -> float:
    """The mixture's weight ρ²t at which the sequence is narrowest: the exact solution of the paper's equation."""
    return float(-scipy.special.lambertw(-(alpha**2) / np.e, -1).real - 1)


def widening(people, alpha: float, tuned_for: float):
    """How many standard errors to each side, when so many people of a pair are known."""
    ratio = mixture(alpha) * people / tuned_for
    return np.sqrt((1 + 1 / ratio) * np.log((1 + ratio) / alpha**2))


def surprise(z, people, alpha: float, tuned_for: float):
    """The always-valid p-value of a difference of z standard errors, in the sequence tuned for `alpha`.

    At most `alpha` just when the sequence of that level leaves out nought.
    """
    ratio = mixture(alpha) * people / tuned_for
    return np.minimum(1.0, np.sqrt(1 + ratio) * np.exp(-(z**2) / 2 * ratio / (1 + ratio)))


def pair_size(one, other):
    """The size of an evenly split pair that knows as much as these two arms."""
    return 4 * one * other / (one + other)


def enough(count, one, other):
    """How many of the smaller arm would have done it, were the arms alike: 10 at least before anything is said."""
    return count / (one + other) * np.minimum(one, other) >= ENOUGH


def steady(variance, other_variance, people, other_people):
    """The variances of two arms' values, neither taken to be less than that of all people together.

    A small arm in which nobody happened to spend much has a low mean and a low variance at once, and would be called
    worse far too often.
    """
    pooled = (people * variance + other_people * other_variance) / (people + other_people)
    return np.maximum(variance, pooled), np.maximum(other_variance, pooled)


def compare(
    control: Arm,
    arm: Arm,
    metric: Metric = Metric.CONVERSION,
    *,
    alpha: float = 0.05,
    comparisons: int = 1,
    tuned_for: float = TUNED_FOR,
    smallest: float | None = None,
) -> Comparison:
    """Where `arm` less `control` lies, and what may be said.

    `alpha` is shared by so many `comparisons` (Bonferroni). `smallest` is the smallest difference worth knowing, of
    one person's mean outcome (0.005 is half a percentage point): an interval inside of it is "the same". `tuned_for`
    is the number of people in both arms at which the sequence is narrowest, and must be fixed beforehand.
    """
    pair = (control, arm)
    adjusted = cuped.adjust(pair, metric).arms
    return _compare(pair, adjusted, metric, alpha, comparisons, tuned_for, smallest)


def against_control(
    arms: Sequence[Arm],
    metric: Metric = Metric.CONVERSION,
    *,
    alpha: float = 0.05,
    tuned_for: float = TUNED_FOR,
    smallest: float | None = None,
) -> list[Comparison]:
    """Every other arm beside the first. The probability that any of these is ever wrong is at most `alpha`."""
    adjusted = cuped.adjust(arms, metric).arms
    return [
        _compare((arms[0], arm), [adjusted[0], own], metric, alpha, len(arms) - 1, tuned_for, smallest)
        for arm, own in zip(arms[1:], adjusted[1:], strict=True)
    ]


def all_pairs(
    arms: Sequence[Arm],
    metric: Metric = Metric.CONVERSION,
    *,
    alpha: float = 0.05,
    tuned_for: float = TUNED_FOR,
    smallest: float | None = None,
) -> dict[tuple[str, str], Comparison]:
    """Every arm beside every other: `pairs[a, b]` is a less b.

    `alpha` is shared by one arm's comparisons, not by all pairs. That is enough for naming a winner: it is wrong only
    if some arm beats one that is as good as any, which has as many comparisons as there are other arms.
    """
    adjusted = cuped.adjust(arms, metric).arms
    return {
        (arm.key, other.key): _compare(
            (other, arm), [theirs, own], metric, alpha, len(arms) - 1, tuned_for, smallest
        )
        for arm, own in zip(arms, adjusted, strict=True)
        for other, theirs in zip(arms, adjusted, strict=True)
        if arm.key != other.key
    }


def people_needed(
    comparison: Comparison,
    smallest: float | None,
    *,
    alpha: float,
    comparisons: int = 1,
    tuned_for: float = TUNED_FOR,
) -> float:
    """The size of the pair at which something can be said, should the difference stay as it looks now.

    Either the interval has left out nought by then, or lies within `smallest`; what comes first. Infinite where
    nothing is known, or there is no difference to be seen.
    """
    gap = abs(comparison.difference)
    target = max(gap, (smallest or 0.0) - gap)
    if not comparison.people or target == 0:
        return np.inf
    spread = comparison.variance * comparison.people  # of the difference, when one person is known
    level = alpha / comparisons
    low, high = 1.0, 1e15
    for _ in range(60):
        middle = np.sqrt(low * high)
        if widening(middle, level, tuned_for) * np.sqrt(spread / middle) > target:
            low = middle
        else:
            high = middle
    return float(high)


def _compare(
    pair: tuple[Arm, Arm],
    adjusted: Sequence[Moments],
    metric: Metric,
    alpha: float,
    comparisons: int,
    tuned_for: float,
    smallest: float | None,
) -> Comparison:
    before, after = adjusted
    control, arm = pair
    difference = after.mean - before.mean
    low, high, p_value, variance, people = -np.inf, np.inf, 1.0, np.inf, 0.0
    count = control.people_with(metric) + arm.people_with(metric)
    if before.people and after.people:
        people = pair_size(before.people, after.people)
        spreads = (before.variance, after.variance)
        if metric is Metric.VALUE:
            spreads = steady(*spreads, before.people, after.people)
        variance = spreads[0] / before.people + spreads[1] / after.people
    if variance > 0 and people and enough(count, before.people, after.people):
        level = alpha / comparisons
        half = widening(people, level, tuned_for) * np.sqrt(variance)
        low, high = difference - half, difference + half
        z = difference / np.sqrt(variance)
        p_value = min(1.0, comparisons * float(surprise(z, people, level, tuned_for)))
    return Comparison(
        control=control.key,
        arm=arm.key,
        difference=float(difference),
        low=float(low),
        high=float(high),
        p_value=p_value,
        verdict=verdict(low, high, smallest),
        variance=float(variance),
        people=float(people),
    )


def verdict(low: float, high: float, smallest: float | None = None) -> Verdict:
    """What an interval for a difference lets one say."""
    if low > 0:
        return Verdict.BETTER
    if high < 0:
        return Verdict.WORSE
    if smallest is not None and -smallest <= low and high <= smallest:
        return Verdict.SAME
    return Verdict.OPEN
