"""Always-valid comparison and the sample-ratio alarm, against their papers, and what is concluded from them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from analytics.experiments import results, sequences, shares
from analytics.experiments.arms import Metric
from tests.analytics.experiments.drawing import FEW, rate, some_arms


class TestSequences:
    def test_the_margin_is_the_papers(self):
        """Theorem 2.2 with σ = 1: sqrt(2 (tρ² + 1) / (t²ρ²) · log(sqrt(tρ² + 1) / α)) for a mean of t people."""
        people, alpha, squared = 730.0, 0.03, sequences.mixture(0.03) / 5_000
        margin = math.sqrt(
            2
            * (people * squared + 1)
            / (people**2 * squared)
            * math.log(math.sqrt(people * squared + 1) / alpha)
        )
        assert sequences.widening(people, alpha, 5_000) / math.sqrt(people) == pytest.approx(margin)

    @pytest.mark.parametrize("alpha", [0.05, 0.01, 0.0125])
    def test_the_mixture_is_narrowest_where_it_was_tuned_for(self, alpha):
        weights = sequences.mixture(alpha) * np.array([0.98, 1, 1.02])
        widths = np.sqrt((1 + 1 / weights) * np.log((1 + weights) / alpha**2))
        assert widths.argmin() == 1

    @FEW
    @given(st.integers(50, 10**6), st.floats(0.001, 0.2), st.floats(100, 10**6))
    def test_the_p_value_is_alpha_just_where_the_interval_ends(self, people, alpha, tuned_for):
        z = sequences.widening(people, alpha, tuned_for)
        assert sequences.surprise(z, people, alpha, tuned_for) == pytest.approx(alpha)
        assert z > stats.norm.ppf(1 - alpha / 2)

    @FEW
    @given(some_arms(), st.sampled_from([Metric.CONVERSION, Metric.VALUE, Metric.UNSUBSCRIBED]))
    def test_a_less_b_is_the_opposite_of_b_less_a(self, arms, metric):
        pairs = sequences.all_pairs(arms, metric)
        opposite = {
            sequences.Verdict.BETTER: sequences.Verdict.WORSE,
            sequences.Verdict.WORSE: sequences.Verdict.BETTER,
        }
        for (one, other), found in pairs.items():
            back = pairs[other, one]
            assert (back.difference, back.low, back.high) == pytest.approx(
                (-found.difference, -found.high, -found.low)
            )
            assert back.verdict is opposite.get(found.verdict, found.verdict)
            assert back.p_value == pytest.approx(found.p_value)
            if found.p_value < 0.05 * 0.999:
                assert found.verdict in opposite

    def test_verdicts(self):
        control = rate("A", 50_000, 2_000)
        many, same = rate("B", 50_000, 2_600), rate("B", 50_000, 2_010)
        assert sequences.compare(control, many).verdict is sequences.Verdict.BETTER
        assert sequences.compare(many, control).verdict is sequences.Verdict.WORSE
        assert sequences.compare(control, same).verdict is sequences.Verdict.OPEN
        assert sequences.compare(control, same, smallest=0.01).verdict is sequences.Verdict.SAME
        assert sequences.compare(control, same, smallest=0.001).verdict is sequences.Verdict.OPEN

    def test_an_interval_is_the_same_only_if_both_ends_are_near(self):
        assert sequences.verdict(-0.02, 0.001, 0.005) is sequences.Verdict.OPEN
        assert sequences.verdict(-0.001, 0.02, 0.005) is sequences.Verdict.OPEN
        assert sequences.verdict(-0.005, 0.005, 0.005) is sequences.Verdict.SAME

    def test_arms_share_the_error_of_what_is_said_of_one_of_them(self):
        arms = [rate("A", 9_000, 300), rate("B", 9_000, 330), rate("C", 9_000, 350)]
        expected = sequences.compare(arms[0], arms[2], comparisons=2)
        assert sequences.against_control(arms)[1] == expected
        assert sequences.all_pairs(arms)["C", "A"] == expected

    def test_more_comparisons_make_it_harder(self):
        one, four = (
            sequences.compare(rate("A", 9_000, 300), rate("B", 9_000, 400), comparisons=count)
            for count in (1, 4)
        )
        assert four.high - four.low > one.high - one.low
        assert four.p_value > one.p_value

    @pytest.mark.parametrize("comparisons", [1, 4])
    def test_the_p_value_is_small_just_when_the_interval_leaves_out_nought(self, comparisons):
        found = [
            sequences.compare(rate("A", 9_000, 300), rate("B", 9_000, count), comparisons=comparisons)
            for count in range(300, 500, 4)
        ]
        assert [one.p_value < 0.05 for one in found] == [one.low > 0 for one in found]
        assert 0.1 < np.mean([one.low > 0 for one in found]) < 0.9

    def test_nothing_is_said_of_a_handful(self):
        found = sequences.compare(rate("A", 40, 0), rate("B", 40, 19))
        assert (found.low, found.high, found.p_value) == (-math.inf, math.inf, 1.0)
        assert math.isfinite(sequences.compare(rate("A", 40, 0), rate("B", 40, 20)).low)
        assert sequences.compare(rate("A", 0, 0), rate("B", 40, 20)).verdict is sequences.Verdict.OPEN

    def test_the_people_needed_are_just_enough(self):
        found = sequences.compare(rate("A", 4_000, 160), rate("B", 4_000, 190))
        needed = sequences.people_needed(found, None, alpha=0.05)
        for people, verdict in ((needed * 1.01, "better"), (needed * 0.99, "open")):
            each = round(people / 2)
            grown = sequences.compare(
                rate("A", each, round(each * 0.04)), rate("B", each, round(each * 0.0475))
            )
            assert grown.verdict == verdict
        assert sequences.people_needed(found, 0.1, alpha=0.05) < needed
        alike = sequences.compare(rate("A", 4_000, 160), rate("B", 4_000, 160))
        assert sequences.people_needed(alike, None, alpha=0.05) == math.inf


class TestShares:
    def test_the_evidence_is_the_probability_of_the_sequence_under_a_mixture(self):
        """∫ ∏ θ_i^n_i dDirichlet(θ) ÷ ∏ share_i^n_i, for two arms by quadrature."""
        prior = stats.beta(30, 70)
        mixture = integrate.quad(lambda x: x**14 * (1 - x) ** 9 * prior.pdf(x), 0, 1)[0]
        assert shares.evidence([14, 9], [0.3, 0.7], 100) == pytest.approx(
            math.log(mixture / (0.3**14 * 0.7**9))
        )

    def test_shares_need_no_common_sum_and_periods_add_up(self):
        whole = shares.check([shares.Period([5_100, 4_900], [1, 1])])
        assert shares.check([shares.Period([5_100, 4_900], [0.5, 0.5])]) == whole
        two = shares.check([shares.Period([900, 100], [9, 1]), shares.Period([500, 500], [1, 1])])
        assert not two.alarm
        assert two.expected == pytest.approx([1_400, 600])
        assert shares.check([shares.Period([1_400, 600], [1, 1])]).alarm
        for wrong in ([1, -1], [0, 0]):
            with pytest.raises(ValueError, match="nought"):
                shares.check([shares.Period([1, 2], wrong)])

    def test_an_arm_that_was_closed_is_no_evidence_then(self):
        before = shares.Period([500, 480, 510], [1, 1, 1])
        late = shares.check([before, shares.Period([700, 690, 25], [1, 1, 0])])
        assert late.p_value == shares.check([before, shares.Period([700, 690, 0], [1, 1, 0])]).p_value
        assert not late.alarm
        assert late.expected[2] == pytest.approx(1_490 / 3 + 25)
        assert shares.check([before, shares.Period([700, 400, 0], [1, 1, 0])]).alarm
        assert shares.check([]).p_value == 1


class TestResults:
    def rules(self, **more):
        return results.Rules(smallest=0.005, **more)

    @FEW
    @given(some_arms(), st.integers(0, 31))
    def test_a_winner_has_beaten_every_arm_that_is_left_and_none_that_was_closed_counts(self, arms, which):
        closed = tuple(arm.key for number, arm in enumerate(arms[1:]) if which >> number & 1)
        left = [arm.key for arm in arms if arm.key not in closed]
        found = results.assess(arms, self.rules(closed=closed, fewest_people=1), days=30, periods=[])
        assert set(found.leaders) <= set(left)
        if found.state is results.State.WINNER:
            for key in set(left) - {found.choice}:
                assert any(found.pairs[key, by].high < 0 for by in left if by != key)
        assert found.choice not in closed
        if len(left) == 1:
            assert (found.state, found.choice) == (results.State.OPEN, None)
            assert found.days_left is None

    def test_a_winner_beats_every_other(self):
        arms = [rate("A", 50_000, 1_800), rate("B", 50_000, 2_500), rate("C", 50_000, 1_900)]
        found = results.assess(arms, self.rules(), days=9)
        assert (found.state, found.choice, found.leaders, found.days_left) == (
            results.State.WINNER,
            "B",
            ["B"],
            None,
        )
        second = results.assess([*arms, rate("D", 50_000, 2_450)], self.rules(), days=9)
        assert (second.state, second.leaders) == (results.State.OPEN, ["B", "D"])
        assert second.days_left > 0

    def test_among_equals_the_control_stays(self):
        arms = [rate("A", 90_000, 3_600), rate("B", 90_000, 3_650), rate("C", 90_000, 2_000)]
        found = results.assess(arms, self.rules(), days=9)
        assert (found.state, found.choice, found.leaders) == (results.State.SAME, "A", ["A", "B"])
        equals = [arms[2], arms[1], rate("D", 90_000, 3_700)]
        assert results.assess(equals, self.rules(), days=9).choice == "D"

    def test_too_early_however_it_looks(self):
        arms = [rate("A", 50_000, 1_800), rate("B", 50_000, 2_500)]
        found = results.assess(arms, self.rules(), days=4)
        assert (found.state, found.days_left) == (results.State.EARLY, 3)
        few = results.assess(arms, self.rules(fewest_people=75_000), days=10)
        assert (few.state, few.days_left) == (results.State.EARLY, pytest.approx(5))
        assert results.assess([rate("A", 0, 0), rate("B", 0, 0)], self.rules(), days=0).days_left is None

    def test_a_winner_that_does_harm_is_left_to_a_person(self):
        arms = [rate("A", 50_000, 1_800, complained=40), rate("B", 50_000, 2_500, complained=160)]
        found = results.assess(arms, self.rules(), days=9)
        assert (found.state, found.choice) == (results.State.HARMFUL, "B")
        assert [(rail.metric, rail.arm) for rail in found.harmed] == [(Metric.COMPLAINED, "B")]
        tolerant = results.assess(arms, self.rules(complained_margin=0.01), days=9)
        assert (tolerant.state, tolerant.harmed) == (results.State.WINNER, [])

    def test_wrong_sizes_forbid_any_conclusion(self):
        arms = [rate("A", 50_000, 1_800), rate("B", 47_000, 2_500)]
        assert results.assess(arms, self.rules(), days=9).state is results.State.UNEVEN
        assert results.assess(arms, self.rules(shares=(50, 47)), days=9).state is results.State.WINNER
        again = [rate("A", 50_000, 1_800), rate("B", 50_000, 2_500)]
        assert results.assess(again, self.rules(), days=9, alarmed=True).state is results.State.UNEVEN

    def test_one_arm_is_no_experiment(self):
        with pytest.raises(ValueError, match="two"):
            results.assess([rate("A", 1, 0)], self.rules(), days=1)
