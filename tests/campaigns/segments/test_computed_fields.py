"""Computed attributes as fields of rules: what the builder offers, what is refused, what is fresh enough."""

import uuid

import pytest
from django.core.cache import cache
from django.utils import timezone

from campaigns.segments import evaluate, grammar, sentence
from campaigns.segments.conditions.attribute import Attribute
from campaigns.segments.suggestions import Suggestions
from crm import log
from crm.models import ComputedAttribute, ComputedValue, Profile
from crm.rules.errors import RuleError

pytestmark = pytest.mark.django_db
RULE = {"kind": "attribute", "field": "computed.orders", "op": "gte", "value": 2}


@pytest.fixture
def orders():
    cache.clear()
    config = {"kind": "count", "event": "order"}
    return ComputedAttribute.objects.create(
        slug="orders", name="Orders", kind="count", config=config, served=True
    )


def test_an_event_counts_for_the_rule_that_it_makes_a_flow_ask(orders):
    ann, bob = Profile.objects.create(), Profile.objects.create()
    ComputedValue.objects.create(profile=ann, attribute=orders, number=1.0)
    now = timezone.now()
    log.append([log.NewEvent(uuid.uuid4(), ann.pk, "order", now, {}, "test") for _ in range(2)])
    rule, people = grammar.parse(RULE), [ann.pk, bob.pk]
    assert evaluate.matching(rule, people) == set()
    assert evaluate.matching(rule, people, live=True) == {ann.pk}
    never = grammar.parse({**RULE, "op": "eq", "value": 0})
    assert evaluate.matching(never, people, live=True) == {bob.pk}


def test_the_builder_offers_them_with_inputs_of_their_type(orders):
    suggest = Suggestions()
    assert ("Computed from events", [("computed.orders", "Orders")]) in suggest.fields()
    row = Attribute.row(RULE, suggest)
    assert (row["type"], row["input"], row["typed"]) == ("number", "number", False)
    assert "Orders is at least 2" in sentence.describe(grammar.parse(RULE))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"field": "computed.nothing"}, "There is no computed attribute"),
        ({"field": "computed.a\x00"}, "There is no computed attribute"),
        ({"op": "contains", "value": "x"}, "does not go with this field"),
        ({"value": "2"}, "Give a number"),
    ],
)
def test_what_makes_no_sense_is_refused(orders, change, complaint):
    with pytest.raises(RuleError, match=complaint):
        grammar.parse({**RULE, **change})


def test_an_attribute_that_is_not_complete_is_refused_rather_than_taken_for_nothing(orders):
    ComputedAttribute.objects.update(served=False)
    with pytest.raises(RuleError, match="not computed for everybody yet"):
        grammar.parse(RULE)
