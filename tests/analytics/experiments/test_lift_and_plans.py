"""Lift, CUPED and the planner, against textbooks, regression and simulated paths."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analytics.experiments import cuped, lift, planner, sequences, words
from analytics.experiments.arms import Arm, History, Metric, moments
from tests.analytics.experiments.drawing import FEW, rate, with_history


class TestCuped:
    def test_it_is_the_regression_on_what_was_before(self):
        """The adjusted difference is the arm's coefficient in y ~ arm + x, with its residual variance."""
        rng = np.random.default_rng(5)
        before = rng.gamma(2, 2, (2, 400))
        value = 3 + 0.8 * before + rng.normal(0, 1, (2, 400)) + np.array([[0.0], [0.4]])
        found = cuped.adjust(
            [with_history(*pair) for pair in zip("AB", before, value, strict=True)], Metric.VALUE
        )
        design = np.column_stack([np.ones(800), np.repeat([0, 1], 400), before.ravel()])
        coefficients, rest, *_ = np.linalg.lstsq(design, value.ravel(), rcond=None)
        assert found.theta == pytest.approx(coefficients[2])
        assert found.arms[1].mean - found.arms[0].mean == pytest.approx(coefficients[1])
        assert np.mean([one.variance for one in found.arms]) == pytest.approx(rest[0] / 797, rel=0.003)

    def test_of_conversions_too_and_the_mean_of_all_stays(self):
        rng = np.random.default_rng(7)
        before = rng.uniform(0, 1, (2, 600))
        did = rng.uniform(0, 1, (2, 600)) < 0.5 * before + np.array([[0.0], [0.1]])
        arms = [
            rate(
                key,
                600,
                int(yes.sum()),
                history=History(
                    total=x.sum(), squares=(x**2).sum(), with_converted=(x * yes).sum(), with_value=99.0
                ),
            )
            for key, x, yes in zip("AB", before, did, strict=True)
        ]
        found = cuped.adjust(arms, Metric.CONVERSION)
        design = np.column_stack([np.ones(1_200), np.repeat([0, 1], 600), before.ravel()])
        coefficients = np.linalg.lstsq(design, did.ravel().astype(float), rcond=None)[0]
        assert found.arms[1].mean - found.arms[0].mean == pytest.approx(coefficients[1])
        assert np.mean([one.mean for one in found.arms]) == pytest.approx(did.mean())
        assert 0.05 < found.saved < 0.2

    def test_the_comparison_gains_from_it(self):
        rng = np.random.default_rng(6)
        before = rng.normal(20, 5, (2, 300))
        value = before + rng.normal(0, 1, (2, 300)) + np.array([[0.0], [1.5]])
        arms = [with_history(*pair) for pair in zip("AB", before, value, strict=True)]
        without = [
            Arm(key=arm.key, exposed=300, converted=300, value=arm.value, value_squares=arm.value_squares)
            for arm in arms
        ]
        ours, plain = sequences.compare(*arms, Metric.VALUE), sequences.compare(*without, Metric.VALUE)
        assert ours.high - ours.low < 0.3 * (plain.high - plain.low)
        assert ours.low < 1.5 < ours.high

    def test_without_history_or_with_one_that_is_flat_nothing_changes(self):
        flat = History(total=0, squares=0)
        plain = [moments(rate("A", 50, 5), Metric.CONVERSION), moments(rate("B", 50, 9), Metric.CONVERSION)]
        for one, other in ((None, flat), (flat, flat)):
            found = cuped.adjust(
                [rate("A", 50, 5, history=one), rate("B", 50, 9, history=other)], Metric.CONVERSION
            )
            assert (found.arms, found.saved) == (plain, 0)


class TestLift:
    def test_the_limits_are_newcombes(self):
        """Newcombe 1998, table II: 56/70 and 48/80 with method 10 give 0.0524 to 0.3339."""
        found = lift.lift(rate("t", 70, 56), rate("h", 80, 48)).conversions_once.times(1 / 70)
        assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)

    def test_wilsons_limits_are_scipys(self):
        theirs = stats.binomtest(7, 90).proportion_ci(0.95, "wilson")
        assert lift.wilson(7, 90) == pytest.approx((theirs.low, theirs.high))

    def test_a_holdout_without_conversions_has_limits(self):
        treated = Arm(key="t", exposed=1_000, converted=20, value=400.0, value_squares=9_000.0)
        found = lift.lift(treated, rate("h", 100, 0), messages=4_000, days=365.25 / 6)
        assert found.conversions.estimate == 20
        assert found.conversions.low < 0 < found.conversions.high
        assert found.value.low < 0 < found.value.estimate == 400 < found.value.high
        assert not found.certain
        assert found.conversions_per_message.estimate == pytest.approx(20 / 4_000)
        assert found.value_per_month.estimate == pytest.approx(200)

    def test_empty_groups_have_no_lift_and_no_messages_no_share(self):
        assert lift.lift(rate("t", 10, 1), rate("h", 0, 0)) is None
        assert lift.total([]) is None
        found = lift.lift(rate("t", 10, 1), rate("h", 10, 0))
        assert (found.conversions_per_message, found.value_per_month) == (None, None)
        assert found.value == lift.Figure(0, 0, 0)

    @FEW
    @given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1), st.integers(1, 4))
    def test_what_is_said_and_the_range_beside_it_tell_the_same(self, treated, held, one, other, flows):
        found = lift.lift(rate("t", treated, int(treated * one)), rate("h", held, int(held * other)))
        for told in (found, lift.total([found] * flows)):
            shown, once = told.conversions, told.conversions_once
            assert shown.low <= once.low <= shown.estimate == once.estimate <= once.high <= shown.high
            assert told.certain == (not shown.low <= 0 <= shown.high)
            assert told.certain != words.lift_sentence(told).startswith("It can't be said yet")
            evidence = told.conversions_evidence
            surprise = sequences.surprise(
                shown.estimate / max(evidence.variance, 1e-300) ** 0.5, evidence.people, 0.05, 10_000
            )
            assert surprise < 0.05 or not told.certain

    def test_together_they_are_surer_than_apart(self):
        """Four flows, each of them just not certain, with intervals as wide as of the sum of independent figures."""
        one = lift.lift(rate("t", 9_000, 315), rate("h", 1_000, 25), messages=9_000, days=30)
        whole = lift.total([one] * 4)
        assert whole.conversions.estimate == pytest.approx(4 * one.conversions.estimate)
        assert whole.conversions_once.high - whole.conversions_once.estimate == pytest.approx(
            2 * (one.conversions_once.high - one.conversions_once.estimate)
        )
        assert (one.certain, whole.certain) == (False, True)
        assert whole.value_evidence.people == pytest.approx(4 * one.value_evidence.people)
        assert (whole.messages, whole.days) == (36_000, 30)


class TestPlanner:
    def test_people_for_one_look_as_in_the_textbook(self):
        """n = (z₁₋α/₂ + z_power)² (p₁q₁ + p₂q₂) / δ²."""
        found = planner.plan_rate(0.1, 0.02, power=0.9)
        z = stats.norm.ppf(0.975) + stats.norm.ppf(0.9)
        assert found.people_once[0] == math.ceil(z**2 * (0.1 * 0.9 + 0.12 * 0.88) / 0.02**2)

    def test_crossings_are_those_of_simulated_paths(self):
        rng, looks, drift = np.random.default_rng(8), 8, 3.5
        paths = (rng.normal(size=(40_000, looks)) / math.sqrt(looks) + drift / looks).cumsum(1)
        times = np.arange(1, looks + 1) / looks
        beyond = np.abs(paths) > sequences.widening(times, 0.05, 1.0) * np.sqrt(times)
        first = np.bincount(np.where(beyond.any(1), beyond.argmax(1), looks), minlength=looks + 1)[
            :looks
        ] / len(paths)
        assert planner.crossings(drift, 0.05, looks) == pytest.approx(first, abs=0.008)
        assert planner.crossings(0.0, 0.05).sum() < 0.05

    @FEW
    @given(st.floats(0.01, 0.5), st.floats(0.05, 0.5), st.integers(2, 4))
    def test_what_costs_more_people(self, usual, share_of_it, arms):
        found = planner.plan_rate(usual, usual * share_of_it, shares=[1] * arms)
        assert found.total >= sum(found.people_once)
        assert 1.3 < found.price < 2
        assert planner.plan_rate(usual, usual * share_of_it / 2, shares=[1] * arms).total > found.total
        assert planner.plan_rate(usual, usual * share_of_it, shares=[1] * arms, power=0.9).total > found.total
        assert (
            planner.plan_rate(usual, usual * share_of_it, shares=[1] * (arms + 1)).people[0] > found.people[0]
        )
        assert (
            planner.plan_rate(usual, usual * share_of_it, shares=[9] + [1] * (arms - 1)).total > found.total
        )

    def test_days_follow_the_pace_and_are_a_week_at_least(self):
        found = planner.plan_rate(0.03, 0.006, daily=1_000, window=3)
        assert found.days == math.ceil(found.total / 1_000 + 3) or found.days == math.ceil(
            (found.total - 2) / 1_000 + 3
        )
        assert found.days_once < found.days
        assert found.typical_days < found.days
        assert planner.plan_rate(0.03, 0.006, daily=10**9).days == 7
        assert planner.plan_rate(0.03, 0.006).days is None
        assert found.fewest == 334

    def test_a_value_takes_as_many_as_a_rate_of_that_deviation(self):
        found = planner.plan_value(4.0, 0.5, rate=0.04)
        assert found.people_once[0] == math.ceil(
            (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * 32 / 0.25
        )

    @pytest.mark.parametrize("wrong", [(0.9, 0.2), (0.0, 0.1), (0.1, 0.0), (0.1, -0.1)])
    def test_impossible_rates_are_refused(self, wrong):
        with pytest.raises(ValueError, match="rate"):
            planner.plan_rate(*wrong)
