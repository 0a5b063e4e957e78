"""What is believed of arms, and how a bandit shares people out, against scipy's and other ways of computing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from analytics.experiments import bandit, bayes, posteriors
from analytics.experiments.arms import Arm, History, Metric, moments, together
from tests.analytics.experiments.drawing import FEW, rate, scaled, some_arms


class TestArms:
    def test_mean_and_variance_are_those_of_the_people(self):
        values = np.random.default_rng(1).gamma(2, 3, 50)
        arm = Arm(key="A", exposed=50, converted=50, value=values.sum(), value_squares=(values**2).sum())
        found = moments(arm, Metric.VALUE)
        assert (found.mean, found.variance) == pytest.approx((values.mean(), values.var(ddof=1)))

    @pytest.mark.parametrize(
        "wrong", [{"converted": 11}, {"complained": -1}, {"value": 10.0, "value_squares": 5.0}]
    )
    def test_what_can_not_be_is_refused(self, wrong):
        with pytest.raises(ValueError, match="A"):
            Arm(key="A", exposed=10, **wrong)

    def test_arms_add_up(self):
        past = History(total=1, squares=2, with_value=3)
        whole = together([rate("A", 10, 2, history=past), rate("B", 20, 5, history=past)])
        assert (whole.exposed, whole.converted, whole.history.with_value) == (30, 7, 6)
        assert together([rate("A", 10, 2, history=past), rate("B", 20, 5)]).history is None


class TestBeliefs:
    def test_two_rates_as_by_numerical_integration(self):
        a, b = stats.beta(20.5, 400.5), stats.beta(31.5, 380.5)
        first, second = bayes.beliefs([rate("A", 420, 20), rate("B", 411, 31)])
        better = integrate.quad(lambda x: b.pdf(x) * a.cdf(x), 0, 1, points=[0.05, 0.08])[0]
        loss = integrate.quad(lambda x: a.cdf(x) * b.sf(x), 0, 1, points=[0.05, 0.08])[0]
        assert second.probability_best == pytest.approx(better, abs=5e-5)
        assert first.expected_loss == pytest.approx(loss, rel=1e-3)
        assert (first.low, first.high) == pytest.approx(a.interval(0.95))
        assert first.expected_loss - second.expected_loss == pytest.approx(b.mean() - a.mean(), rel=1e-3)

    def test_the_probability_to_be_best_of_four_as_by_drawing(self):
        arms = [rate("A", 500, 20), rate("B", 5_000, 260), rate("C", 60, 3), rate("D", 40_000, 1_900)]
        drawn = np.random.default_rng(2).beta(
            [arm.converted + 0.5 for arm in arms],
            [arm.exposed - arm.converted + 0.5 for arm in arms],
            (200_000, 4),
        )
        found = bayes.beliefs(arms)
        best = np.bincount(drawn.argmax(1), minlength=4) / len(drawn)
        assert [one.probability_best for one in found] == pytest.approx(best, abs=0.005)
        assert [one.expected_loss for one in found] == pytest.approx(
            (drawn.max(1, keepdims=True) - drawn).mean(0), rel=0.01
        )

    @FEW
    @given(some_arms(), st.sampled_from([Metric.CONVERSION, Metric.VALUE]), st.randoms())
    def test_the_order_of_arms_and_the_currency_do_not_matter(self, arms, metric, random):
        found = {one.key: one for one in bayes.beliefs(arms, metric)}
        assert sum(one.probability_best for one in found.values()) == pytest.approx(1)
        shuffled = random.sample([scaled(arm, 7.0) for arm in arms], len(arms))
        factor = 7.0 if metric is Metric.VALUE else 1.0
        for other in bayes.beliefs(shuffled, metric):
            one = found[other.key]
            assert other.probability_best == pytest.approx(one.probability_best, abs=1e-9)
            assert other.expected_loss == pytest.approx(one.expected_loss * factor, rel=1e-6, abs=1e-12)
            assert other.low == pytest.approx(one.low * factor, rel=1e-6)

    @FEW
    @given(some_arms(biggest=2_000))
    def test_one_more_conversion_never_makes_an_arm_look_worse(self, arms):
        first = arms[0]
        more = rate(first.key, first.exposed + 1, first.converted + 1)
        before, after = (bayes.beliefs([one, *arms[1:]])[0] for one in (first, more))
        assert after.probability_best >= before.probability_best - 1e-6
        assert after.expected_loss <= before.expected_loss + 1e-9

    def test_rare_purchases_have_a_skewed_range_that_begins_above_nought(self):
        found = bayes.beliefs(
            [Arm(key="A", exposed=1_000, converted=4, value=200.0, value_squares=12_000.0)], Metric.VALUE
        )[0]
        assert 0 < found.low < found.mean < found.high
        assert found.high - found.mean > found.mean - found.low

    def test_an_arm_without_buyers_may_still_be_the_best(self):
        arms = [Arm(key="A", exposed=100, converted=3, value=90.0, value_squares=3_000.0), rate("B", 20, 0)]
        found = bayes.beliefs(arms, Metric.VALUE)[1]
        assert found.low < 0.01
        assert found.high > 0.9
        assert 0.05 < found.probability_best < 0.5

    def test_nothing_spent_at_all_tells_nothing(self):
        found = bayes.beliefs([rate("A", 100, 0), rate("B", 20, 0)], Metric.VALUE)
        assert [one.probability_best for one in found] == [0.5, 0.5]
        assert bayes.difference(rate("A", 100, 0), rate("B", 20, 0), Metric.VALUE) is None

    def test_refunds_beyond_sales_are_normal(self):
        arms = [
            Arm(key="A", exposed=400, converted=80, value=-100.0, value_squares=4_000.0),
            Arm(key="B", exposed=400, converted=80, value=60.0, value_squares=4_000.0),
        ]
        found = bayes.beliefs(arms, Metric.VALUE)
        spread = math.sqrt(sum(moments(arm, Metric.VALUE).variance / 400 for arm in arms))
        assert found[1].probability_best == pytest.approx(stats.norm.cdf(0.4 / spread), abs=1e-3)

    def test_the_difference_as_the_normal_says_where_there_is_plenty(self):
        found = bayes.difference(rate("A", 50_000, 2_000), rate("B", 40_000, 1_700))
        spread = math.sqrt(0.04 * 0.96 / 50_000 + 0.0425 * 0.9575 / 40_000)
        assert (found.low, found.median, found.high) == pytest.approx(
            (0.0025 - 1.96 * spread, 0.0025, 0.0025 + 1.96 * spread), abs=5e-5
        )
        relative = bayes.difference(rate("A", 50_000, 2_000), rate("B", 40_000, 1_700), relative=True)
        assert relative.median == pytest.approx(0.0625, abs=1e-3)

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (posteriors.Gamma(2.0, 0.5), stats.gamma(8, scale=0.25)),
            (posteriors.Normal(-1.0, 4.0), stats.norm(-1, 2)),
            (posteriors.Beta(3.5, 9.5), stats.beta(3.5, 9.5)),
        ],
    )
    def test_distributions_are_scipys(self, ours, theirs):
        points = theirs.ppf([0.01, 0.4, 0.99])
        assert ours.cdf(points) == pytest.approx([0.01, 0.4, 0.99])
        assert ours.ppf(np.array([0.01, 0.4, 0.99])) == pytest.approx(points)
        assert ours.mean == pytest.approx(theirs.mean())


class TestBandit:
    @FEW
    @given(some_arms(least=1), st.floats(0, 0.5))
    def test_shares_sum_to_one_above_the_floor_and_follow_the_best(self, arms, floor):
        found = bandit.shares(arms, floor=floor)
        assert sum(found.values()) == pytest.approx(1)
        assert min(found.values()) >= min(floor, 1 / len(arms)) - 1e-12
        assert found == bandit.shares(arms, floor=floor)
        best = max(bayes.beliefs(arms), key=lambda one: one.probability_best)
        assert found[best.key] == pytest.approx(max(found.values()))

    def test_without_data_shares_are_equal(self):
        for metric in (Metric.CONVERSION, Metric.VALUE):
            assert list(bandit.shares([rate(key, 0, 0) for key in "ABCD"], metric).values()) == pytest.approx(
                [0.25] * 4
            )

    def test_regret_of_what_is_known_for_sure(self):
        arms = [rate("A", 10**6, 30_000), rate("B", 3 * 10**6, 120_000)]
        found = bandit.regret(arms)
        assert found.against_best == pytest.approx(10_000, rel=0.001)
        assert found.against_equal == pytest.approx(150_000 - 4 * 10**6 * 0.035)
        assert bandit.regret([rate("A", 0, 0), rate("B", 0, 0)]).against_equal == 0
