"""Less noise from what was known before: CUPED (controlled experiments using pre-experiment data).

Deng, Xu, Kohavi & Walker 2013, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data" (WSDM). What people did before they were exposed can't depend on the arm, so the part of the
outcome that it explains may be taken away: y − θ (x − x̄) has the same mean and the variance (1 − ρ²) var(y).
"""

from collections.abc import Sequence

import msgspec

from analytics.experiments.arms import GUARD_RAILS, Arm, Metric, Moments, moments


class Adjusted(msgspec.Struct, frozen=True):
    """Each arm's adjusted mean and variance. `saved` is the share of variance that history explained, 0 without."""

    arms: list[Moments]
    theta: float = 0.0
    saved: float = 0.0


def adjust(arms: Sequence[Arm], metric: Metric) -> Adjusted:
    """The arms' outcomes with what history explains taken away; as they are where an arm lacks history.

    θ = cov(x, y) / var(x) within the arms, one for all of them: arms with their own θ would be compared to different
    lines.
    """
    plain = [moments(arm, metric) for arm in arms]
    histories = [arm.history for arm in arms if arm.history is not None]
    if metric in GUARD_RAILS or len(histories) < len(arms) or any(arm.exposed < 2 for arm in arms):
        return Adjusted(plain)
    crosses = [one.with_value if metric is Metric.VALUE else one.with_converted for one in histories]
    own_mean = [one.total / arm.exposed for one, arm in zip(histories, arms, strict=True)]
    own_variance = [
        max(0.0, one.squares - arm.exposed * mean**2) / (arm.exposed - 1)
        for one, arm, mean in zip(histories, arms, own_mean, strict=True)
    ]
    covariance = [
        (cross - arm.exposed * mean * before.mean) / (arm.exposed - 1)
        for cross, arm, mean, before in zip(crosses, arms, own_mean, plain, strict=True)
    ]
    people = sum(arm.exposed for arm in arms)
    within = sum((arm.exposed - 1) * one for arm, one in zip(arms, own_variance, strict=True))
    if within <= 0:
        return Adjusted(plain)
    theta = sum((arm.exposed - 1) * one for arm, one in zip(arms, covariance, strict=True)) / within
    centre = sum(one.total for one in histories) / people
    adjusted = [
        Moments(
            before.people,
            before.mean - theta * (mean - centre),
            max(0.0, before.variance - 2 * theta * cov + theta**2 * var),
        )
        for before, mean, cov, var in zip(plain, own_mean, covariance, own_variance, strict=True)
    ]
    noise = sum(one.people * one.variance for one in plain)
    left = sum(one.people * one.variance for one in adjusted)
    return Adjusted(adjusted, theta, max(0.0, 1 - left / noise) if noise else 0.0)
