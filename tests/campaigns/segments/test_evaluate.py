"""Previews: exact and estimated sizes, what each part holds for and leaves, and what counting will cost."""

import random
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.models import Segment
from campaigns.segments import evaluate, grammar, limits, plans, sampling, tally
from campaigns.segments.evaluate import Step
from crm import partitions
from crm.models import Event, Profile
from tests.campaigns.segments import population
from tests.campaigns.segments.reference import holds

pytestmark = pytest.mark.django_db


def country(code):
    return {"kind": "attribute", "field": "country", "op": "eq", "value": code}


def bought(days=30, **more):
    return {"kind": "event", "name": "purchased", "within": {"last": {"days": days}}, **more}


NEVER = {"count": {"op": "eq", "value": 0}}


@pytest.fixture
def people():
    """1,200 people, every third in PL, every fifth bought something yesterday."""
    now = timezone.now()
    partitions.ensure([now - timedelta(days=1)])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO crm_profile (country, attributes)"
            " SELECT CASE WHEN n % 3 = 0 THEN 'PL' ELSE 'DE' END, jsonb_build_object('n', n)"
            " FROM generate_series(0, 1199) AS n"
        )
        cursor.execute(
            "INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)"
            " SELECT gen_random_uuid(), id, 'purchased', %s, '{}', 'test' FROM crm_profile"
            " WHERE (attributes ->> 'n')::int %% 5 = 0",
            [now - timedelta(days=1)],
        )


RULE = {"all": [country("PL"), bought(), {"not": {"any": [bought(**NEVER), country("DE")]}}]}


def test_counts_and_funnel_from_two_statements(people):
    rule = grammar.parse(RULE)
    with CaptureQueriesContext(connection) as queries:
        found = evaluate.preview(rule, with_counts=True)
    counted = [query["sql"] for query in queries if "crm_event" in query["sql"]]
    assert len(counted) == 2
    assert (found.size, found.low, found.high, found.estimated, found.counts_estimated) == (
        80,
        80,
        80,
        False,
        False,
    )
    assert found.funnel == (Step("all[0]", 400), Step("all[1]", 80), Step("all[2]", 80))
    assert found.counts == {
        "": 80,
        "all[0]": 400,
        "all[1]": 240,
        "all[2]": 240 - 160,
        "all[2].not": 1200 - 80,
        "all[2].not.any[0]": 960,
        "all[2].not.any[1]": 800,
    }
    assert len(found.sample) == 10
    assert found.as_of is not None


@pytest.mark.parametrize("quick", [True, False])
def test_no_conditions_at_all(people, quick):
    for data, size in (({"all": []}, 1200), ({"any": []}, 0), ({"not": {"all": []}}, 0)):
        found = evaluate.preview(grammar.parse(data), with_counts=True, quick=quick)
        assert (found.size, found.estimated, found.counts[""]) == (size, False, size)


def test_an_estimate_knows_its_bounds(people, monkeypatch):
    monkeypatch.setattr(sampling, "PEOPLE", 300)
    monkeypatch.setattr(evaluate, "CHEAP", 0)
    found = evaluate.preview(grammar.parse(RULE), quick=True, with_counts=True)
    assert found.estimated
    assert found.counts_estimated
    assert found.low <= 80 <= found.high
    assert found.low < found.size < found.high
    assert found.funnel[-1].kept == found.size == found.counts[""]
    assert [step.kept for step in found.funnel] == sorted((step.kept for step in found.funnel), reverse=True)
    in_poland = set(Profile.objects.filter(country="PL").values_list("pk", flat=True))
    assert {person["id"] for person in found.sample} <= in_poland
    assert found.size == evaluate.preview(grammar.parse(RULE), quick=True).size  # figures do not flicker
    nobody = evaluate.preview(grammar.parse(country("XX")), quick=True)
    assert (nobody.size, nobody.low) == (0, 0)
    assert 0 < nobody.high < 60


def test_what_is_cheap_is_exact_at_once(people, monkeypatch):
    monkeypatch.setattr(sampling, "PEOPLE", 300)
    found = evaluate.preview(grammar.parse(RULE), quick=True, with_counts=True)
    assert (found.size, found.estimated, found.counts_estimated) == (80, False, True)
    assert found.funnel[-1] == Step("all[2]", 80)


def test_too_slow_to_count_is_estimated(people, monkeypatch):
    real = evaluate.fetch

    def slow(statement, timeout_ms):
        if "MATERIALIZED" in statement.text:
            raise limits.TooSlow
        return real(statement, timeout_ms)

    monkeypatch.setattr(evaluate, "fetch", slow)
    monkeypatch.setattr(sampling, "PEOPLE", 400)
    found = evaluate.preview(grammar.parse(RULE))
    assert found.estimated
    assert found.low <= 80 <= found.high

    def slower(*args):
        raise limits.TooSlow

    monkeypatch.setattr(tally, "fetch", slower)
    guessed = evaluate.preview(grammar.parse(RULE))
    assert guessed.estimated
    assert (guessed.low, guessed.high) == (0, 1200)


def test_what_took_long_is_kept_for_this_very_question_only(people, monkeypatch):
    cache.clear()
    monkeypatch.setattr(evaluate, "KEPT_FROM_S", 0)
    monkeypatch.setattr(evaluate, "KEPT_FOR", 1000)
    Segment.objects.create(slug="poles", name="Poles", rule=country("PL"))
    rule = grammar.parse({"kind": "segment", "slug": "poles"})
    first = evaluate.preview(rule)
    Profile.objects.filter(pk=Profile.objects.filter(country="DE")[0].pk).update(country="PL")
    again = evaluate.preview(rule)
    assert (first.size, again.size, again.as_of) == (400, 400, first.as_of)
    Segment.objects.update(rule=country("DE"))
    assert evaluate.preview(rule).size == 799
    cache.clear()


@given(st.integers(1, 400), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_bounds_hold_the_estimate(looked_at, share, seed):
    everybody = looked_at * 7
    hits = round(looked_at * share)
    size, low, high = sampling.bounds(hits, looked_at, everybody)
    assert 0 <= low <= size <= high <= everybody
    assert hits <= low or low == size


def test_bounds_hold_the_truth_nearly_always():
    chance, everybody, wrong = random.Random(3), 100_000, 0
    for _trial in range(500):
        truth = int(everybody * chance.choice([0.0002, 0.01, 0.2, 0.7, 0.999]))
        hits = sum(chance.random() < truth / everybody for _person in range(300))
        _size, low, high = sampling.bounds(hits, 300, everybody)
        wrong += not low <= truth <= high
    assert wrong / 500 < 0.08


def test_a_sample_is_of_everybody_alike():
    first = 10**9
    with connection.cursor() as cursor:  # ids with growing gaps
        cursor.execute(
            "INSERT INTO crm_profile (id) SELECT %s + n * n FROM generate_series(1, 2000) AS n", [first]
        )
    found = sampling.people(2000, 1000, 500)
    assert found == sampling.people(2000, 1000, 500)
    assert 350 < len(found) < 650
    assert 0.4 < sum(pk < first + 1000**2 for pk in found) / len(found) < 0.6
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM crm_profile WHERE id BETWEEN %s AND %s", [first + 30**2, first + 1999**2])
    assert len(sampling.people(30, 1000, 500)) == 30  # too sparse to guess


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    st.lists(population.people, min_size=1, max_size=8), st.lists(population.rules, min_size=3, max_size=6)
)
def test_counts_agree_with_the_reference(some, rules):
    with transaction.atomic():
        population.store(some)
        for data in rules:
            found = evaluate.preview(grammar.parse(data), population.NOW, with_counts=True)
            expected = [holds(data, person, population.NOW) for person in some]
            assert found.counts.get("") == found.size == sum(expected)
            parts = data.get("all", [])
            kept = [
                sum(all(holds(part, person, population.NOW) for part in parts[:number]) for person in some)
                for number in range(1, len(parts) + 1)
            ]
            assert [step.kept for step in found.funnel] == kept
        population.forget()


def test_plans_say_what_is_slow_and_why(people, monkeypatch):
    assert plans.read({}).words == ""
    quick = plans.plan(grammar.parse(RULE))
    assert (quick.slow, quick.reasons) == (False, ())
    assert quick.words
    monkeypatch.setattr(plans, "COST_PER_MS", 0.001)
    monkeypatch.setattr(plans, "DEAR_SHARE", 0.0)
    data = {
        "all": [
            {"kind": "event", "name": "purchased"},
            bought(where=[{"property": "a", "op": "eq", "value": 1}]),
            bought(),
            {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "gold"},
            {"kind": "attribute", "field": "attributes.plan", "op": "contains", "value": "gold"},
            country("PL"),
        ]
    }
    slow = plans.plan(grammar.parse(data))
    assert slow.slow
    assert [(reason.path, reason.code) for reason in slow.reasons] == [
        ("all[0]", "no_window"),
        ("all[1]", "properties"),
        ("all[2]", "events"),
        ("all[3]", "not_indexed"),
        ("all[4]", "every_profile"),
        ("all[5]", "every_profile"),
    ]
    assert plans.read(slow.data()) == slow
    assert all(reason.text and reason.advice for reason in slow.reasons)
    assert "purchased" in slow.reasons[0].text
    assert [reason.code for reason in slow.reasons if reason.url] == ["not_indexed"]
    with translation.override("pl"):
        assert slow.words


def test_asking_for_a_plan_reads_no_rows(people):
    with CaptureQueriesContext(connection) as queries:
        plans.plan(grammar.parse(RULE))
    asked = [query["sql"] for query in queries if "crm_event" in query["sql"]]
    assert asked
    assert all(text.startswith("EXPLAIN") for text in asked)
    assert Event.objects.filter(name="purchased").exists()
