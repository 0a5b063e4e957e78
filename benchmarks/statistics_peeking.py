"""Arms that are looked at every day: how often is something said that is not so? Seeded, vectorised."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from analytics.experiments import results, sequences
from analytics.experiments.arms import Arm, History, Metric, rate_variance

LOOKS = 60
Z = float(special.ndtri(0.975))
BASKET = float(np.exp(3.5))  # the mean of `baskets`


def baskets(rng, size) -> np.ndarray:
    """What buyers spend: log-normal, so that one in a hundred spends ten times the median."""
    return rng.lognormal(3.0, 1.0, size)


def growing_rates(
    rng, experiments: int, rates: Sequence[float], daily: Sequence[int], looks: int = LOOKS, delay=0.0
):
    """People and conversions so far, of shape (experiments, looks, arms).

    With a `delay` each conversion comes that many days after the person on average (geometric), so that the people of
    the last days have not converted yet.
    """
    people = np.broadcast_to(
        np.arange(1, looks + 1)[:, None] * np.array(daily), (experiments, looks, len(rates))
    )
    came = rng.binomial(daily, rates, (experiments, looks, len(rates)))
    if delay:
        late = np.zeros_like(came)
        waiting = np.zeros_like(came[:, 0])
        for look in range(looks):
            waiting = waiting + came[:, look]
            late[:, look] = rng.binomial(waiting, 1 / (1 + delay))
            waiting = waiting - late[:, look]
        came = late
    return people, came.cumsum(1)


def ever_different(people, counts, alpha=0.05, comparisons=1, tuned_for=sequences.TUNED_FOR):
    """By look, whether the always-valid sequence of arms (…, 2) has left out nought by then."""
    means = counts / people
    variance = (rate_variance(counts, people) / people).sum(-1)
    half = sequences.widening(
        sequences.pair_size(people[..., 0], people[..., 1]), alpha / comparisons, tuned_for
    ) * np.sqrt(variance)
    known = sequences.enough(counts.sum(-1), people[..., 0], people[..., 1])
    out = (np.abs(means[..., 1] - means[..., 0]) > half) & known
    return np.logical_or.accumulate(out, axis=1)


def ever_naive(people, counts):
    """By look, whether a two-proportion z-test at 5 %, done at each, has found a difference by then."""
    means, pooled = counts / people, counts.sum(-1) / people.sum(-1)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / people).sum(-1))
    gap = np.abs(means[..., 1] - means[..., 0])
    return np.logical_or.accumulate(gap > Z * np.maximum(spread, 1e-12), axis=1)


def peeking(
    rng, experiments: int, rate: float, daily: Sequence[int], delay: float = 0.0
) -> tuple[float, float]:
    """False positives of arms that are alike, looked at daily: ours, and the naive test's."""
    people, counts = growing_rates(rng, experiments, [rate] * 2, daily, delay=delay)
    return ever_different(people, counts)[:, -1].mean(), ever_naive(people, counts)[:, -1].mean()


def peeking_at_many(rng, experiments: int, arms: int = 5) -> tuple[float, float]:
    """How often some arm of many that are alike is ever said to beat the first, or to be beaten by it."""
    people, counts = growing_rates(rng, experiments, [0.04] * arms, [300] * arms)
    ours, naive = np.zeros(experiments, bool), np.zeros(experiments, bool)
    for other in range(1, arms):
        pair = [0, other]
        ours |= ever_different(people[..., pair], counts[..., pair], comparisons=arms - 1)[:, -1]
        naive |= ever_naive(people[..., pair], counts[..., pair])[:, -1]
    return ours.mean(), naive.mean()


def peeking_at_value(
    rng, experiments: int, rate: float = 0.03, daily: Sequence[int] = (200, 200)
) -> tuple[float, float]:
    """False positives in revenue per person, most of whom buy nothing: ours, and a daily Welch test's."""
    buyers = rng.binomial(daily, rate, (experiments, LOOKS, 2))
    spent = baskets(rng, buyers.sum())
    ends = buyers.cumsum()
    sums = [
        np.diff(np.concatenate([[0.0], values.cumsum()])[np.concatenate([[0], ends])])
        for values in (spent, spent**2)
    ]
    value, squares = (one.reshape(buyers.shape).cumsum(1) for one in sums)
    people = (np.arange(1, LOOKS + 1)[:, None] * np.array(daily))[None]
    mean = value / people
    own = (squares - people * mean**2) / (people - 1)
    spreads = sequences.steady(own[..., 0], own[..., 1], people[..., 0], people[..., 1])
    variance = (np.stack(spreads, -1) / people).sum(-1)
    gap = np.abs(mean[..., 1] - mean[..., 0])
    known = sequences.enough(buyers.cumsum(1).sum(-1), people[..., 0], people[..., 1])
    pair = sequences.pair_size(people[..., 0], people[..., 1])
    half = sequences.widening(pair, 0.05, sequences.TUNED_FOR) * np.sqrt(variance)
    naive = gap > Z * np.sqrt(np.maximum((own / people).sum(-1), 1e-12))
    return ((gap > half) & known).any(1).mean(), naive.any(1).mean()


def peeking_with_history(rng, experiments: int, looks: int = 30, daily: int = 40) -> tuple[float, float]:
    """False positives of adjusted values of arms that are alike, looked at daily: ours, and a z-test's of the same."""
    ours = naive = 0
    for _ in range(experiments):
        before = rng.gamma(2, 5, (2, looks * daily))
        value = before / 2 + rng.gamma(2, 3, (2, looks * daily))
        seen = range(daily, looks * daily + 1, daily)
        sums = [
            one.cumsum(1)[:, daily - 1 :: daily]
            for one in (value, value**2, before, before**2, before * value)
        ]
        found = [
            sequences.compare(
                *(_summed(key, people, *(one[arm, look] for one in sums)) for arm, key in enumerate("AB")),
                Metric.VALUE,
            )
            for look, people in enumerate(seen)
        ]
        ours += any(one.low > 0 or one.high < 0 for one in found)
        naive += any(abs(one.difference) > Z * one.variance**0.5 for one in found)
    return ours / experiments, naive / experiments


def _summed(key: str, people: int, value, squares, before, before_squares, cross) -> Arm:
    history = History(total=before, squares=before_squares, with_value=cross)
    return Arm(key=key, exposed=people, converted=people, value=value, value_squares=squares, history=history)


def sequence_coverage(
    rng, experiments: int, rates: Sequence[float] = (0.03, 0.036), daily: int = 200
) -> float:
    """How often the sequence holds the true difference at every look."""
    people, counts = growing_rates(rng, experiments, rates, [daily] * 2)
    gap = counts[..., 1] / people[..., 1] - counts[..., 0] / people[..., 0] - (rates[1] - rates[0])
    half = sequences.widening(2 * people[..., 0], 0.05, sequences.TUNED_FOR)
    half = half * np.sqrt((rate_variance(counts, people) / people).sum(-1))
    return (
        ((np.abs(gap) <= half) | ~sequences.enough(counts.sum(-1), people[..., 0], people[..., 1]))
        .all(1)
        .mean()
    )


def winners(
    rng: np.random.Generator, experiments: int, rates: tuple[float, ...], looks: int = 40
) -> dict[str, float]:
    """How often `assess`, asked daily and obeyed at once, names an arm that is not the one best arm; or that."""
    wrong = right = 0
    rules = results.Rules(smallest=0.01)
    for _ in range(experiments):
        people, counts = growing_rates(rng, 1, rates, [400] * len(rates), looks)
        for look in range(looks):
            arms = [
                Arm(key=str(i), exposed=int(people[0, look, i]), converted=int(counts[0, look, i]))
                for i in range(len(rates))
            ]
            found = results.assess(arms, rules, days=look + 1)
            if found.state is results.State.WINNER:
                best = [index for index, rate in enumerate(rates) if rate == max(rates)]
                wrong += [int(found.choice or 0)] != best
                right += [int(found.choice or 0)] == best
            if found.state in (results.State.WINNER, results.State.SAME):
                break
    return {"wrong": wrong / experiments, "right": right / experiments}
