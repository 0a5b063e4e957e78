"""Worlds where the truth is known, in which the statistics of experiments are tried. Seeded, vectorised."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from analytics.experiments import bandit, bayes, cuped, lift, planner, shares
from analytics.experiments.arms import Arm, History, Metric
from benchmarks import statistics_peeking as peeking


def rate_coverage(rng, experiments: int) -> float:
    """How often the credible interval of a rate holds the rate that made the data, of many sizes and rates."""
    people, truth = rng.integers(500, 5_000, experiments), rng.uniform(0.005, 0.2, experiments)
    did = rng.binomial(people, truth)
    found = [
        bayes.posteriors([Arm(key="A", exposed=int(n), converted=int(k))], Metric.CONVERSION)[0]
        for n, k in zip(people, did, strict=True)
    ]
    edges = np.array([one.ppf(np.array([0.025, 0.975])) for one in found])
    return ((edges[:, 0] <= truth) & (truth <= edges[:, 1])).mean()


def shop(rng, key: str, people: int, rate: float) -> Arm:
    """An arm of people who buy at that rate."""
    spent = peeking.baskets(rng, rng.binomial(people, rate))
    return Arm(
        key=key,
        exposed=people,
        converted=len(spent),
        value=float(spent.sum()),
        value_squares=float((spent**2).sum()),
    )


def value_coverage(rng, experiments: int, people: int = 10_000, rate: float = 0.03) -> float:
    """How often the credible interval of the value per person holds the true one."""
    found = [bayes.beliefs([shop(rng, "A", people, rate)], Metric.VALUE)[0] for _ in range(experiments)]
    return np.mean([one.low <= rate * peeking.BASKET <= one.high for one in found])


def lifts(rng, experiments: int, treated: int, holdout: int, rates: tuple[float, float]) -> dict[str, float]:
    """Bias (in standard errors of the mean) and coverage of extra conversions and value; rates with and without.

    The coverage is that of the intervals for one look, and how often the one for every look leaves out the truth.
    """
    found = [
        lift.lift(shop(rng, "t", treated, rates[0]), shop(rng, "h", holdout, rates[1]))
        for _ in range(experiments)
    ]
    told = {}
    for name, truth in (
        ("conversions", (rates[0] - rates[1]) * treated),
        ("value", (rates[0] - rates[1]) * treated * peeking.BASKET),
    ):
        figures = [getattr(one, f"{name}_once") for one in found]
        estimates = np.array([one.estimate for one in figures])
        told[f"{name} bias"] = (estimates.mean() - truth) / (estimates.std() / np.sqrt(experiments))
        told[f"{name} estimate"], told[f"{name} truth"] = estimates.mean(), truth
        told[f"{name} coverage"] = np.mean([one.low <= truth <= one.high for one in figures])
        shown = [getattr(one, name) for one in found]
        told[f"{name} missed"] = np.mean([not one.low <= truth <= one.high for one in shown])
    return told


def power(rng, experiments: int, rate: float = 0.036, smallest: float = 0.005) -> dict[str, float]:
    """What the planner promises and what comes of it, with the effect it was made for."""
    plan = planner.plan_rate(rate, smallest)
    looks = planner.LOOKS
    daily = int(np.ceil(plan.people[0] / looks))
    people, counts = peeking.growing_rates(rng, experiments, [rate, rate + smallest], [daily] * 2, looks)
    known = peeking.ever_different(people, counts, tuned_for=plan.tuned_for)
    stops = np.where(known[:, -1], known.argmax(1) + 1, looks)
    once_people = np.array([plan.people_once])[:, None]
    once = rng.binomial(plan.people_once, [rate, rate + smallest], (experiments, 1, 2))
    return {
        "power": known[:, -1].mean(),
        "power once": peeking.ever_naive(np.broadcast_to(once_people, once.shape), once)[:, -1].mean(),
        "people ratio": stops.mean() * daily * 2 / sum(plan.people_once),
        "people as planned": plan.typical / sum(plan.people_once),
        "price": plan.price,
    }


def uneven(
    rng, experiments: int, intended: Sequence[float], actual: Sequence[float], daily: int = 500
) -> tuple[float, float]:
    """How often the sample-ratio alarm goes off within the looks, and a chi-squared test at the same level at each."""
    counts = rng.multinomial(daily, actual, (experiments, peeking.LOOKS)).cumsum(1)
    due = counts.sum(-1, keepdims=True) * np.array(intended)
    ours = shares.evidence(counts, intended) >= -np.log(shares.ALPHA)
    chi2 = special.chdtrc(len(intended) - 1, ((counts - due) ** 2 / due).sum(-1)) < shares.ALPHA
    return ours.any(1).mean(), chi2.any(1).mean()


def arm_with_history(key: str, before, value) -> Arm:
    """An arm of these people's figures."""
    return Arm(
        key=key,
        exposed=len(before),
        value=float(value.sum()),
        value_squares=float((value**2).sum()),
        history=History(
            total=float(before.sum()),
            squares=float((before**2).sum()),
            with_value=float((before * value).sum()),
        ),
    )


def with_history(
    rng, experiments: int, correlation: float = 0.7, people: int = 500, effect: float = 0.1
) -> dict[str, float]:
    """What CUPED saves, and whether its differences are unbiased and their variance is told rightly."""
    plain, adjusted, told = np.empty(experiments), np.empty(experiments), np.empty(experiments)
    for index in range(experiments):
        before = rng.normal(10, 1, (2, people))
        noise = rng.normal(0, 1, (2, people)) * np.sqrt(1 - correlation**2)
        value = 5 + correlation * (before - 10) + noise + np.array([[0.0], [effect]])
        arms = [arm_with_history(key, x, y) for key, x, y in zip("AB", before, value, strict=True)]
        found = cuped.adjust(arms, Metric.VALUE).arms
        plain[index] = value[1].mean() - value[0].mean()
        adjusted[index] = found[1].mean - found[0].mean
        told[index] = sum(one.variance / one.people for one in found)
    return {
        "saved": 1 - adjusted.var() / plain.var(),
        "bias": (adjusted.mean() - effect) / (adjusted.std() / np.sqrt(experiments)),
        "coverage": (np.abs(adjusted - effect) <= peeking.Z * np.sqrt(told)).mean(),
        "truth": correlation**2,
    }


def bandits(
    rng,
    experiments: int,
    rates: Sequence[float] = (0.03, 0.033, 0.036, 0.045),
    batches: int = 20,
    batch: int = 1_000,
) -> dict[str, float]:
    """Conversions lost to an oracle that knows the best arm: by our bandit, by equal shares, and as estimated."""
    truth = np.array(rates)
    lost, told, saved, gained = (
        np.zeros(experiments),
        np.zeros(experiments),
        np.zeros(experiments),
        np.zeros(experiments),
    )
    for index in range(experiments):
        people, counts = np.zeros(len(rates), int), np.zeros(len(rates), int)
        for _ in range(batches):
            given = bandit.shares(_arms(people, counts))
            sent = rng.multinomial(batch, list(given.values()))
            people, counts = people + sent, counts + rng.binomial(sent, truth)
        found = bandit.regret(_arms(people, counts))
        lost[index] = (people * (truth.max() - truth)).sum()
        told[index], gained[index] = found.against_best, found.against_equal
        saved[index] = (people * truth).sum() - people.sum() * truth.mean()
    return {
        "bandit": lost.mean(),
        "equal": batches * batch * (truth.max() - truth.mean()),
        "estimated": told.mean(),
        "saved": saved.mean(),
        "saved estimated": gained.mean(),
    }


def _arms(people, counts) -> list[Arm]:
    return [
        Arm(key=str(i), exposed=int(n), converted=int(k))
        for i, (n, k) in enumerate(zip(people, counts, strict=True))
    ]
