"""What would not have come without us: people who were treated beside the holdout that was not.

Estimates are plain differences of means, so they are right on average whatever the group sizes. Their intervals put
together those of the two groups: MOVER, Zou & Donner 2008, "Construction of confidence limits about effect measures"
(Statistics in Medicine 27); of rates with Wilson's limits it is Newcombe 1998, "Interval estimation for the difference
between independent proportions" (method 10), which keeps its level with a holdout that has no conversion at all. They
are for one look; what is shown, and looked at every day, is a confidence sequence around the same estimate.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import scipy

from analytics.experiments import sequences
from analytics.experiments.arms import Arm, Metric, moments
from analytics.experiments.posteriors import posteriors

LEVEL = 0.95
DAYS_OF_A_MONTH = 365.25 / 12


class Figure(msgspec.Struct, frozen=True):
    """An estimate with its interval."""

    estimate: float
    low: float
    high: float

    def times(self, factor: float) -> "Figure":
        """The same in another unit; `factor` is not negative."""
        return Figure(self.estimate * factor, self.low * factor, self.high * factor)

    @property
    def leaves_out_nought(self) -> bool:
        """Whether it is certain that there is something, more or less."""
        return self.low > 0 or self.high < 0


class Evidence(msgspec.Struct, frozen=True):
    """What makes an effect certain: the estimate's variance, and the size of an even pair that knows as much."""

    variance: float
    people: float
    enough: bool

    def always(self, once: Figure, alpha: float) -> Figure:
        """The estimate with an interval that may be looked at every day, and tells the same as what is said of it.

        The confidence sequence, widened where the interval for one look reaches beyond it: that is the surer one of few
        conversions. While nothing may be said yet, nought is within.
        """
        half = 0.0
        if self.variance > 0 and self.people > 0:
            half = float(sequences.widening(self.people, alpha, sequences.TUNED_FOR)) * self.variance**0.5
        low, high = min(once.estimate - half, once.low), max(once.estimate + half, once.high)
        if not self.enough:
            low, high = min(low, 0.0), max(high, 0.0)
        return Figure(once.estimate, low, high)


class Lift(msgspec.Struct, frozen=True, kw_only=True):
    """The extra conversions and value of all who were treated, over the whole time.

    The intervals of `conversions` and `value` hold however often one looks; there is an effect beyond doubt, of
    whichever sign, just when they leave out nought. Those of `conversions_once` and `value_once` are narrower, and hold
    for who looks a single time.
    """

    treated: int
    holdout: int
    messages: int
    days: float
    conversions_once: Figure
    value_once: Figure
    conversions_evidence: Evidence
    value_evidence: Evidence
    alpha: float

    @property
    def conversions(self) -> Figure:
        """The extra conversions, with an interval that holds at every time of looking."""
        return self.conversions_evidence.always(self.conversions_once, self.alpha)

    @property
    def value(self) -> Figure:
        """The extra value, with an interval that holds at every time of looking."""
        return self.value_evidence.always(self.value_once, self.alpha)

    @property
    def certain(self) -> bool:
        """Whether there are certainly extra (or fewer) conversions."""
        return self.conversions.leaves_out_nought

    @property
    def certain_value(self) -> bool:
        """Whether there is certainly extra (or less) value."""
        return self.value.leaves_out_nought

    @property
    def conversions_per_message(self) -> Figure | None:
        """Extra conversions for each message that was sent; None without messages."""
        return self.conversions.times(1 / self.messages) if self.messages else None

    @property
    def value_per_message(self) -> Figure | None:
        """Extra value for each message that was sent; None without messages."""
        return self.value.times(1 / self.messages) if self.messages else None

    @property
    def conversions_per_month(self) -> Figure | None:
        """Extra conversions in a month at this pace; None without days."""
        return self.conversions.times(DAYS_OF_A_MONTH / self.days) if self.days else None

    @property
    def value_per_month(self) -> Figure | None:
        """Extra value in a month at this pace; None without days."""
        return self.value.times(DAYS_OF_A_MONTH / self.days) if self.days else None


def lift(
    treated: Arm, holdout: Arm, *, messages: int = 0, days: float = 0.0, level: float = LEVEL
) -> Lift | None:
    """What the treated brought more than they would have; None while either group is empty.

    `messages` is how many were sent to the treated, `days` how long it took. Where nobody brought any value, the
    extra value is nought without an interval.
    """
    if not treated.exposed or not holdout.exposed:
        return None
    return Lift(
        treated=treated.exposed,
        holdout=holdout.exposed,
        messages=messages,
        days=days,
        conversions_once=_difference(treated, holdout, Metric.CONVERSION, level).times(treated.exposed),
        value_once=_difference(treated, holdout, Metric.VALUE, level).times(treated.exposed),
        conversions_evidence=_evidence(treated, holdout, Metric.CONVERSION),
        value_evidence=_evidence(treated, holdout, Metric.VALUE),
        alpha=1 - level,
    )


def total(lifts: Sequence[Lift]) -> Lift | None:
    """The lift of several flows, broadcasts or months together, whose groups are drawn independently; None of none.

    Estimates add up, and so do the squared distances to their limits (MOVER). The days are the longest of them.
    """
    if not lifts:
        return None
    return Lift(
        treated=sum(one.treated for one in lifts),
        holdout=sum(one.holdout for one in lifts),
        messages=sum(one.messages for one in lifts),
        days=max(one.days for one in lifts),
        conversions_once=_sum([one.conversions_once for one in lifts]),
        value_once=_sum([one.value_once for one in lifts]),
        conversions_evidence=_joined([one.conversions_evidence for one in lifts]),
        value_evidence=_joined([one.value_evidence for one in lifts]),
        alpha=max(one.alpha for one in lifts),
    )


def wilson(count, people, level: float = LEVEL):
    """The limits of a rate: Wilson 1927, "Probable inference" (JASA 22). Takes arrays."""
    z2 = scipy.special.ndtri((1 + level) / 2) ** 2
    centre = (count + z2 / 2) / (people + z2)
    half = np.sqrt(z2 * (count * (people - count) / people + z2 / 4)) / (people + z2)
    return np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def mover(one, one_limits, other, other_limits):
    """The limits of one less other, from the limits of each. Takes arrays."""
    low = one - other - np.sqrt((one - one_limits[0]) ** 2 + (other_limits[1] - other) ** 2)
    high = one - other + np.sqrt((one_limits[1] - one) ** 2 + (other - other_limits[0]) ** 2)
    return low, high


def _difference(treated: Arm, holdout: Arm, metric: Metric, level: float) -> Figure:
    means = [moments(arm, metric).mean for arm in (treated, holdout)]
    if metric is Metric.CONVERSION:
        limits = [wilson(arm.converted, arm.exposed, level) for arm in (treated, holdout)]
    else:
        found = posteriors([treated, holdout], metric)
        if found is None:
            return Figure(0.0, 0.0, 0.0)
        edges = np.array([(1 - level) / 2, (1 + level) / 2])
        limits = [one.ppf(edges) for one in found]
    low, high = mover(means[0], limits[0], means[1], limits[1])
    return Figure(means[0] - means[1], float(low), float(high))


def _evidence(treated: Arm, holdout: Arm, metric: Metric) -> Evidence:
    pair = [moments(arm, metric) for arm in (treated, holdout)]
    spreads = pair[0].variance, pair[1].variance
    if metric is Metric.VALUE:
        spreads = sequences.steady(*spreads, treated.exposed, holdout.exposed)
    return Evidence(
        variance=float(treated.exposed**2 * (spreads[0] / treated.exposed + spreads[1] / holdout.exposed)),
        people=sequences.pair_size(treated.exposed, holdout.exposed),
        enough=bool(
            sequences.enough(treated.converted + holdout.converted, treated.exposed, holdout.exposed)
        ),
    )


def _joined(evidence: Sequence[Evidence]) -> Evidence:
    return Evidence(
        variance=sum(one.variance for one in evidence),
        people=sum(one.people for one in evidence),
        enough=any(one.enough for one in evidence),
    )


def _sum(figures: Sequence[Figure]) -> Figure:
    estimate = sum(one.estimate for one in figures)
    down = sum((one.estimate - one.low) ** 2 for one in figures) ** 0.5
    up = sum((one.high - one.estimate) ** 2 for one in figures) ** 0.5
    return Figure(estimate, estimate - down, estimate + up)
