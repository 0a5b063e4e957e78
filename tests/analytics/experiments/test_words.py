"""Results as marketers read them."""

import pytest
from django.utils import translation

from analytics.experiments import bandit, lift, planner, results, words
from analytics.experiments.arms import Arm, Metric

NAMES = {"A": "Plain", "B": "Discount", "C": "Video"}


@pytest.fixture(autouse=True)
def english():
    with translation.override("en"):
        yield


def shop(key, exposed, converted, basket=20.0, **more):
    return Arm(
        key=key,
        exposed=exposed,
        converted=converted,
        value=converted * basket,
        value_squares=converted * basket**2 * 1.5,
        **more,
    )


def told(*arms, days=9, **rules):
    found = results.assess(arms, results.Rules(**{"smallest": 0.005, **rules}), days=days)
    said = words.sentence(found, NAMES, "EUR")
    assert said.count("“\u2068") == said.count("\u2069”") == said.count("“")
    return said.translate(dict.fromkeys(map(ord, "\u2068\u2069")))


def test_a_winner():
    assert told(shop("A", 50_000, 1_800), shop("B", 50_000, 2_100)) == (
        "“Discount” brings 4.2% of people to the goal, “Plain” 3.6%. "
        "“Discount” is better: between 0.2 and 1 more in 100 people. You may stop."
    )
    assert "is the best: between 0.2 and 1 more in 100 people than “Plain”." in told(
        shop("A", 50_000, 1_800), shop("B", 50_000, 2_100), shop("C", 50_000, 1_500)
    )


def test_a_control_that_wins_is_set_beside_the_best_of_the_others():
    said = told(shop("A", 50_000, 2_800), shop("B", 50_000, 1_500), shop("C", 50_000, 1_810))
    assert said.startswith("“Plain” brings 5.6% of people to the goal, “Video” 3.6%. “Plain” is the best:")


def test_in_money():
    said = told(shop("A", 50_000, 1_800), shop("B", 50_000, 2_400), metric=Metric.VALUE, smallest=0.1)
    assert said.startswith(
        "“Discount” brings €0.96 per person, “Plain” €0.72. “Discount” is better: between €0.1"
    )
    assert said.endswith(" more per person. You may stop.")


def test_rare_goals_are_told_of_a_larger_crowd():
    assert "more in 10,000 people" in told(shop("A", 900_000, 90), shop("B", 900_000, 300), smallest=0.0001)


def test_no_difference_worth_knowing():
    assert told(shop("A", 90_000, 3_600), shop("B", 90_000, 3_610)).endswith(
        "There is no difference worth knowing: less than 0.5 in 100 people. You may stop and keep “Plain”."
    )


NEVER = "At today's pace it would take more than a year: the difference is too small to see."


@pytest.mark.parametrize(
    ("counts", "days", "end"),
    [
        ((9_000, 360, 405), 6.5, "About 18 days more at today's pace."),
        ((50_000, 1_000, 2_000), 6, "About 1 day more at today's pace."),
        ((90, 4, 4), 30, NEVER),
    ],
)
def test_how_long_it_takes(counts, days, end):
    people, first, second = counts
    said = told(shop("A", people, first), shop("B", people, second), days=days)
    assert said.endswith(f" Nothing can be said yet. {end}")


def test_nobody_yet():
    assert told(shop("A", 0, 0), shop("B", 0, 0), days=0) == "Nothing can be said yet."


def test_one_is_behind_while_two_compete():
    said = told(shop("A", 50_000, 1_800), shop("B", 50_000, 1_300), shop("C", 50_000, 1_950))
    assert "The winner is still open, but “Discount” is behind. About " in said


def test_harm_is_told_with_its_rates():
    said = told(
        shop("A", 50_000, 1_800, unsubscribed=100, complained=10),
        shop("B", 50_000, 2_400, unsubscribed=300, complained=95),
    )
    assert "“Discount” would be the choice, but it does harm: decide yourself." in said
    assert "More people unsubscribe with “Discount”: 0.6%, and 0.2% with “Plain”." in said
    assert "More people complain about “Discount”: 0.19%, and 0.02% about “Plain”." in said
    assert "You may stop" not in said


def test_wrong_sizes_are_all_that_is_told():
    assert told(shop("A", 5_000, 100), shop("B", 4_500, 190)).startswith(
        "Do not trust these figures: “Plain” got 5,000 people where 4,750 were due, which can't be chance."
    )


def test_lift():
    sure = lift.lift(shop("t", 100_000, 4_100), shop("h", 10_000, 200))
    assert words.lift_sentence(sure, "EUR").startswith(
        "Without the messages there would have been about 2,100 fewer conversions (1,620 to 2,580). "
        "That is €42,000.00 of value, between €"
    )
    harm = lift.lift(shop("t", 100_000, 2_000), shop("h", 10_000, 410))
    assert "about 2,100 more conversions (1,4" in words.lift_sentence(harm)
    assert words.lift_sentence(lift.lift(shop("t", 100, 4), shop("h", 10, 0))).startswith(
        "It can't be said yet"
    )
    assert words.lift_sentence(None) == "There is nobody yet to compare with: the holdout is empty."


def test_a_plan():
    plan = planner.plan_rate(0.036, 0.005, daily=2_000)
    said = words.plan_sentence(plan)
    assert said.startswith("You need 80,056 people in all. At today's pace that is at most 41 days,")
    assert f"after {plan.typical_days} days" in said
    assert said.endswith(f"Looked at only once, at the end, it would take {plan.days_once} days.")
    assert words.plan_sentence(planner.plan_rate(0.036, 0.005)) == "You need 80,056 people in all."


def test_what_learning_cost():
    arms = [shop("A", 10**6, 30_000), shop("B", 3 * 10**6, 120_000)]
    assert words.regret_sentence(bandit.regret(arms), Metric.CONVERSION) == (
        "Trying things out cost about 10,000 conversions, and 10,000 conversions more came than with equal shares."
    )
    assert "fewer came than with equal shares" in words.regret_sentence(
        bandit.regret([shop("A", 3_000, 90), shop("B", 1_000, 60)], Metric.VALUE), Metric.VALUE, "EUR"
    )
