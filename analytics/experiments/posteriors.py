"""What the data let one believe about one person's mean outcome in an arm, as a distribution."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import scipy

from analytics.experiments.arms import Arm, Metric, moments, together

PRIOR = 0.5  # Jeffreys' prior: half a person who did, half a person who didn't
UNSEEN = 5  # k · var(Σ y²) / (E Σ y²)² of k purchases, were they exponential: how little few of them tell of the spread


class Posterior(Protocol):
    """A distribution on the line. `cdf` and `ppf` take arrays."""

    @property
    def mean(self) -> float:
        """The expectation."""

    def cdf(self, x):
        """The probability of at most x."""

    def ppf(self, p):
        """The x that is not exceeded with probability p."""


class Beta(msgspec.Struct, frozen=True):
    """A rate, of `did` people who did and `did_not` who didn't, prior included.

    Jeffreys' prior covers best at small counts: Brown, Cai & DasGupta 2001, "Interval estimation for a binomial
    proportion" (Statistical Science 16).
    """

    did: float
    did_not: float

    @property
    def mean(self) -> float:
        """The expectation."""
        return self.did / (self.did + self.did_not)

    def cdf(self, x):
        """The probability of at most x."""
        return scipy.special.betainc(self.did, self.did_not, np.clip(x, 0, 1))

    def ppf(self, p):
        """The x that is not exceeded with probability p."""
        return scipy.special.betaincinv(self.did, self.did_not, p)


class Gamma(msgspec.Struct, frozen=True):
    """A mean value per person that can't be negative: most bring nothing, few bring much.

    The gamma distribution with the mean and variance of the estimate, as Fay & Feuer 1997, "Confidence intervals for
    directly standardized rates" (Statistics in Medicine 16), use for sums of weighted counts: skewed when few
    people have bought, normal when many have.
    """

    mean: float
    variance: float

    def cdf(self, x):
        """The probability of at most x."""
        return scipy.special.gammainc(
            self.mean**2 / self.variance, np.maximum(x, 0) * self.mean / self.variance
        )

    def ppf(self, p):
        """The x that is not exceeded with probability p."""
        return scipy.special.gammaincinv(self.mean**2 / self.variance, p) * self.variance / self.mean


class Normal(msgspec.Struct, frozen=True):
    """A mean value per person that may be negative, as where refunds exceed sales."""

    mean: float
    variance: float

    def cdf(self, x):
        """The probability of at most x."""
        return scipy.special.ndtr((np.asarray(x) - self.mean) / np.sqrt(self.variance))

    def ppf(self, p):
        """The x that is not exceeded with probability p."""
        return self.mean + np.sqrt(self.variance) * scipy.special.ndtri(p)


def posteriors(arms: Sequence[Arm], metric: Metric) -> list[Posterior] | None:
    """One distribution for each arm; None where no value is known at all, so that nothing can be believed of it.

    For a value, each arm is given half a buyer, who spends what the average unit of money in all arms was spent with
    (Σ value² / Σ value; Fay & Feuer give a whole one to the upper limit): an arm without buyers is not taken to be
    worthless. Its variance is raised for the large purchases that few buyers have not shown yet.
    """
    if metric is not Metric.VALUE:
        return [
            Beta(arm.people_with(metric) + PRIOR, arm.exposed - arm.people_with(metric) + PRIOR)
            for arm in arms
        ]
    everyone = together(arms)
    if not everyone.value_squares or not everyone.converted:
        return None
    if min(arm.value for arm in arms) < 0 or everyone.value <= 0:
        spread = moments(everyone, metric).variance
        return [_normal(arm, spread) for arm in arms]
    return [_gamma(arm, everyone.value_squares / everyone.value) for arm in arms]


def _gamma(arm: Arm, spent: float) -> Gamma:
    people = arm.exposed + 2 * PRIOR
    mean = (arm.value + PRIOR * spent) / people
    variance = ((arm.value_squares + PRIOR * spent**2) / people - mean**2) / people
    return Gamma(mean, variance * (1 + UNSEEN / (arm.converted + UNSEEN)))


def _normal(arm: Arm, spread: float) -> Normal:
    own = moments(arm, Metric.VALUE)
    people = max(own.people, 1)
    return Normal(own.mean, max(own.variance, spread / people) / people)
