"""What to believe of each arm: its likely range, the probability that it is best, and the loss if it isn't.

Figures to look at, not a rule to stop by: stopping when the probability to be best is high is fooled more often the
more often one looks. `sequences` holds at every look.

The integrals are taken over one grid of all arms' quantiles, so they are the same each time; Stucchio 2015,
"Bayesian A/B testing at VWO", for the expected loss.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from analytics.experiments.arms import Arm, Metric, moments
from analytics.experiments.posteriors import Posterior, posteriors

LEVEL = 0.95
QUANTILES = 120  # of each arm on the grid


def _grid() -> np.ndarray:
    """Probabilities, dense at both ends: a small chance to be best is decided in the tails."""
    middle = np.linspace(0, 1, QUANTILES - 12)[1:-1]
    tails = np.geomspace(1e-10, middle[0], 8)[:-1]
    return np.concatenate([tails, middle, 1 - tails[::-1]])


GRID = _grid()
MIDDLES = (np.arange(256) + 0.5) / 256


class Belief(msgspec.Struct, frozen=True, kw_only=True):
    """One arm. `mean` is what was measured, `low` and `high` where the truth lies with 95 % probability.

    `expected_loss` is what one gives up on average for each person when one chooses this arm, as some other may be
    better.
    """

    key: str
    people: int
    mean: float
    low: float
    high: float
    probability_best: float
    expected_loss: float


class Range(msgspec.Struct, frozen=True):
    """A credible interval and its middle."""

    median: float
    low: float
    high: float


def beliefs(arms: Sequence[Arm], metric: Metric = Metric.CONVERSION, level: float = LEVEL) -> list[Belief]:
    """What to believe of each arm, in their order.

    Where nobody brought any value yet, the arms are equally likely to be best, and their range is nought to infinity.
    """
    found = posteriors(arms, metric)
    if found is None:
        alike = 1 / max(len(arms), 1)
        return [
            Belief(
                key=arm.key,
                people=arm.exposed,
                mean=0.0,
                low=0.0,
                high=float("inf"),
                probability_best=alike,
                expected_loss=0.0,
            )
            for arm in arms
        ]
    best, losses = best_and_loss(found)
    edges = np.array([(1 - level) / 2, (1 + level) / 2])
    ranges = [one.ppf(edges) for one in found]
    return [
        Belief(
            key=arm.key,
            people=arm.exposed,
            mean=moments(arm, metric).mean,
            low=float(low),
            high=float(high),
            probability_best=float(chance),
            expected_loss=float(loss),
        )
        for arm, (low, high), chance, loss in zip(arms, ranges, best, losses, strict=True)
    ]


def best_and_loss(found: Sequence[Posterior]) -> tuple[np.ndarray, np.ndarray]:
    """Of each arm the probability to be the best, and the expected loss of choosing it.

    P(i is best) = ∫ ∏ F_j dF_i and E[max θ_j − θ_i] = ∫ F_i (1 − ∏ F_j) dx, the products over the others: both are
    positive whatever the rounding.
    """
    if len(found) == 1:
        return np.ones(1), np.zeros(1)
    points = np.unique(np.concatenate([one.ppf(GRID) for one in found]))
    points = points[np.isfinite(points)]
    below = np.array([one.cdf(points) for one in found])
    steps = np.diff(points)
    best, losses = np.empty(len(found)), np.empty(len(found))
    for index, own in enumerate(below):
        others = np.delete(below, index, axis=0).prod(axis=0)
        best[index] = (np.diff(own) * (others[1:] + others[:-1]) / 2).sum()
        missed = own * (1 - others)
        losses[index] = (steps * (missed[1:] + missed[:-1]) / 2).sum()
    return best / best.sum(), losses


def difference(
    control: Arm,
    arm: Arm,
    metric: Metric = Metric.CONVERSION,
    level: float = LEVEL,
    *,
    relative: bool = False,
) -> Range | None:
    """The credible interval of `arm` less `control`, or of their ratio less one; None where nothing is known."""
    found = posteriors([control, arm], metric)
    if found is None:
        return None
    before, after = (one.ppf(MIDDLES) for one in found)
    grid = after[:, None] / np.maximum(before, 1e-300) - 1 if relative else after[:, None] - before
    low, median, high = np.quantile(grid, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return Range(float(median), float(low), float(high))
