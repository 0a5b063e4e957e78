"""Small worlds where the truth is known; `python -m benchmarks statistics` shows the large ones."""

import numpy as np
import pytest

from analytics.experiments import sequences, shares
from analytics.experiments.arms import Arm
from benchmarks import statistics_peeking as peeking
from benchmarks import statistics_worlds as worlds


@pytest.fixture
def rng():
    return np.random.default_rng(20_260_101)


@pytest.mark.parametrize(
    ("rate", "daily", "delay"), [(0.03, [200, 200], 0), (0.005, [950, 50], 0), (0.03, [900, 100], 3)]
)
def test_looking_daily_for_two_months_fools_nobody(rng, rate, daily, delay):
    ours, naive = peeking.peeking(rng, 3_000, rate, daily, delay)
    assert 0.005 < ours <= 0.05
    assert naive > 0.25


def test_nor_do_many_arms_or_revenue(rng):
    ours, naive = peeking.peeking_at_many(rng, 1_000)
    assert ours <= 0.05
    assert naive > 0.5
    for daily in ((200, 200), (900, 100)):
        ours, naive = peeking.peeking_at_value(rng, 500, daily=daily)
        assert ours <= 0.05
        assert naive > 0.2


def test_the_worlds_are_judged_as_the_product_does(rng):
    people, counts = peeking.growing_rates(rng, 30, [0.03, 0.036], [200, 100], looks=12)
    ever = peeking.ever_different(people, counts, tuned_for=2_000)
    for world in range(30):
        compared = [
            sequences.compare(*_pair(people[world, look], counts[world, look]), tuned_for=2_000)
            for look in range(12)
        ]
        found = [one.verdict is not sequences.Verdict.OPEN for one in compared]
        assert list(np.logical_or.accumulate(found)) == list(ever[world])


def _pair(people, counts):
    return (
        Arm(key=key, exposed=int(n), converted=int(k)) for key, n, k in zip("AB", people, counts, strict=True)
    )


def test_a_winner_is_the_best(rng):
    found = peeking.winners(rng, 8, (0.04, 0.04, 0.055), looks=20)
    assert found["wrong"] == 0
    assert found["right"] > 0.5


def test_intervals_hold_the_truth_as_often_as_they_say(rng):
    assert 0.935 <= worlds.rate_coverage(rng, 3_000) <= 0.965
    assert 0.935 <= worlds.value_coverage(rng, 3_000) <= 0.965
    assert peeking.sequence_coverage(rng, 2_000) >= 0.95


def test_the_plan_is_kept(rng):
    found = worlds.power(rng, 5_000)
    assert found["power"] == pytest.approx(0.8, abs=0.02)
    assert found["power once"] == pytest.approx(0.8, abs=0.02)
    assert found["people ratio"] == pytest.approx(found["people as planned"], rel=0.03)
    assert found["people ratio"] < found["price"]


def test_the_alarm_goes_off_when_it_should_and_only_then(rng):
    ours, chi2 = worlds.uneven(rng, 1_500, (0.5, 0.5), (0.5, 0.5))
    assert ours <= shares.ALPHA
    assert chi2 > 0.05
    assert worlds.uneven(rng, 300, (0.5, 0.5), (0.52, 0.48))[0] > 0.98


@pytest.mark.parametrize(("treated", "holdout", "widest"), [(9_000, 1_000, 0.965), (900, 100, 1)])
def test_lift_is_found_without_bias(rng, treated, holdout, widest):
    found = worlds.lifts(rng, 1_500, treated, holdout, (0.036, 0.03))
    for what in ("conversions", "value"):
        assert abs(found[f"{what} bias"]) < 3
        assert 0.935 <= found[f"{what} coverage"] <= widest
        assert found[f"{what} missed"] <= 0.05


def test_history_saves_what_it_explains(rng):
    found = worlds.with_history(rng, 1_000, people=200)
    assert found["saved"] == pytest.approx(found["truth"], abs=0.05)
    assert abs(found["bias"]) < 3
    assert 0.935 <= found["coverage"] <= 0.965


def test_the_bandit_loses_less_than_equal_shares(rng):
    found = worlds.bandits(rng, 10, (0.03, 0.036, 0.045), batches=10)
    assert found["bandit"] < 0.75 * found["equal"]
    assert found["estimated"] == pytest.approx(found["bandit"], rel=0.4)
    assert found["saved"] > 0
