"""Let a recurring message learn while it is sent: batched Thompson sampling with a floor for exploration.

Thompson 1933; Chapelle & Li 2011, "An empirical evaluation of Thompson sampling"; Scott 2010, "A modern Bayesian look
at the multi-armed bandit", whose probability matching is used for a batch: each arm gets the share of people that its
probability to be best is. That is what Thompson's draws come to on average, without their noise, so the shares follow
from the data alone.
"""

from collections.abc import Collection, Sequence

import msgspec

from analytics.experiments import bayes
from analytics.experiments.arms import Arm, Metric, moments

FLOOR = 0.05


class Regret(msgspec.Struct, frozen=True, kw_only=True):
    """What learning cost and brought so far, in conversions or in value, over all people.

    `against_best` is what would have come on top had everybody got the best arm, had one known it: an expectation,
    never below nought. `against_equal` is what came on top of equal shares: it may be negative.
    """

    people: int
    against_best: float
    against_equal: float


def shares(
    arms: Sequence[Arm],
    metric: Metric = Metric.CONVERSION,
    floor: float = FLOOR,
    closed: Collection[str] = (),
) -> dict[str, float]:
    """The share of the next batch's people that each arm gets, by key; they sum to one and none is below `floor`.

    Without data the shares are equal. A floor that would take up more than all is lowered to equal shares. Arms that
    are `closed` get nobody and compete with none; raises ValueError where all are.
    """
    left = [arm for arm in arms if arm.key not in closed]
    if not left:
        raise ValueError("Some arm must be left.")
    floor = min(floor, 1 / len(left))
    free = 1 - floor * len(left)
    given = {belief.key: floor + free * belief.probability_best for belief in bayes.beliefs(left, metric)}
    return {arm.key: given.get(arm.key, 0.0) for arm in arms}


def regret(arms: Sequence[Arm], metric: Metric = Metric.CONVERSION) -> Regret:
    """What the shares given so far cost against the best arm, and what they brought on top of equal shares.

    Arms that began badly get few people to make up for it, so their means are a little too low (Nie, Tian, Taylor &
    Zou 2018, "Why adaptively collected data have negative bias and how to correct for it"), and the gain is told
    about a tenth too high.
    """
    people = sum(arm.exposed for arm in arms)
    lost = sum(one.people * one.expected_loss for one in bayes.beliefs(arms, metric))
    means = [moments(arm, metric).mean for arm in arms if arm.exposed]
    got = sum(arm.exposed * moments(arm, metric).mean for arm in arms)
    equal = people * sum(means) / len(means) if means else 0.0
    return Regret(people=people, against_best=lost, against_equal=got - equal)
