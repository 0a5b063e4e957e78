"""What a rule may look like, and where a mistake is reported."""

import pytest

from campaigns.models import Segment
from campaigns.segments import compiler, evaluate, grammar, sentence
from crm.models import Profile
from crm.rules.errors import RuleError

COUNTRY = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
VISIT = {"kind": "event", "name": "visit"}


def attribute(**changes):
    return {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "pro", **changes}


def nested(depth):
    rule = COUNTRY
    for _ in range(depth):
        rule = {"all": [rule]}
    return rule


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        ({"all": [], "any": []}, ""),
        ({"all": {}}, "all"),
        ({"all": [COUNTRY], "name": "x"}, "name"),
        ({"all": [COUNTRY, {"kind": "magic"}]}, "all[1].kind"),
        ({"all": [COUNTRY, {"not": {"any": [COUNTRY, 5]}}]}, "all[1].not.any[1]"),
        ({"kind": "attribute", "op": "eq", "value": 1}, "field"),
        (attribute(field="password"), "field"),
        (attribute(field="attributes."), "field"),
        (attribute(field="attributes.a..b"), "field"),
        (attribute(field=7), "field"),
        (attribute(op="like"), "op"),
        (attribute(extra=1), "extra"),
        ({"kind": "attribute", "field": "country", "op": "eq"}, "value"),
        ({"kind": "attribute", "field": "country", "op": "eq", "value": 5}, "value"),
        ({"kind": "attribute", "field": "country", "op": "before", "value": "2024-01-01"}, "op"),
        ({"kind": "attribute", "field": "country", "op": "is_set", "value": 1}, "value"),
        ({"kind": "attribute", "field": "birthday", "op": "before", "value": "2023-02-29"}, "value"),
        ({"kind": "attribute", "field": "birthday", "op": "within_last", "value": {"hours": 3}}, "value"),
        (
            {"kind": "attribute", "field": "birthday", "op": "anniversary_within", "value": {"days": 400}},
            "value.days",
        ),
        ({"kind": "attribute", "field": "latitude", "op": "between", "value": [2, 1]}, "value[1]"),
        (attribute(op="in", value=[]), "value"),
        (attribute(op="in", value=["a", {}]), "value[1]"),
        (attribute(op="gt", value=True), "value"),
        (attribute(value="a\x00b"), "value"),
        (attribute(value="\ud800"), "value"),
        (attribute(value=float("nan")), "value"),
        (attribute(value=10**400), "value"),
        (attribute(op="contains", value=""), "value"),
        (attribute(op="within_last", value={"days": 0}), "value.days"),
        (attribute(op="within_last", value={"days": 1, "hours": 1}), "value"),
        ({**VISIT, "name": ""}, "name"),
        ({**VISIT, "where": [{"property": "a", "op": "gt", "value": None}]}, "where[0].value"),
        ({"all": [COUNTRY, {**VISIT, "where": [{"property": "a", "op": "x"}]}]}, "all[1].where[0].op"),
        ({**VISIT, "within": {"last": {"days": "3"}}}, "within.last.days"),
        ({**VISIT, "within": {}}, "within"),
        ({**VISIT, "within": {"from": "2024-02-01", "to": "2024-01-01"}}, "within.to"),
        ({**VISIT, "count": {"op": "gte", "value": -1}}, "count.value"),
        ({**VISIT, "count": {"op": "about", "value": 1}}, "count.op"),
        ({**VISIT, "aggregate": {"fn": "median", "property": "a", "op": "gt", "value": 1}}, "aggregate.fn"),
        ({**VISIT, "not_followed_by": {"name": "b", "within": {"hours": 0}}}, "not_followed_by.within.hours"),
        ({"kind": "message", "did": "read"}, "did"),
        ({"kind": "message", "did": "opened", "topic": "\x00"}, "topic"),
        ({"kind": "consent", "channel": "webpush", "state": "maybe"}, "state"),
        ({"kind": "consent", "channel": "webpush", "topic": "news", "state": "none"}, "channel"),
        ({"kind": "consent", "state": "none"}, "channel"),
        ({"kind": "consent", "topic": "", "state": "none"}, "topic"),
        ({"any": [{"kind": "reachable", "channel": "pigeon"}]}, "any[0].channel"),
        ({"kind": "near", "latitude": 91, "longitude": 0, "radius_km": 1}, "latitude"),
        ({"kind": "near", "latitude": 0, "longitude": "21", "radius_km": 1}, "longitude"),
        ({"kind": "near", "latitude": 0, "longitude": 0, "radius_km": 0}, "radius_km"),
        ({"kind": "near", "latitude": 0, "longitude": 0, "radius_km": float("nan")}, "radius_km"),
        ({"kind": "random", "percent": [0]}, "percent"),
        ({"kind": "random", "percent": [0, 101]}, "percent[1]"),
        ({"kind": "random", "percent": [5, 5]}, "percent[1]"),
        ({"kind": "random", "percent": [0, None]}, "percent[1]"),
        ({"kind": "random", "percent": [0, 5], "salt": "\ud800"}, "salt"),
        ({"kind": "list", "slug": ""}, "slug"),
        ({"kind": "segment", "slug": "\x00"}, "slug"),
        (nested(5), "all[0].all[0].all[0].all[0]"),
    ],
)
def test_a_mistake_is_reported_at_its_node(rule, path):
    with pytest.raises(RuleError) as caught:
        grammar.parse(rule)
    assert caught.value.path == path
    assert caught.value.message.endswith(".") or "“" in caught.value.message


@pytest.mark.django_db
def test_a_flow_that_is_not_there_is_a_mistake():
    with pytest.raises(RuleError, match="no flow “gone”") as caught:
        grammar.parse({"not": {"kind": "flow", "flow": "gone", "state": "never"}})
    assert caught.value.path == "not.flow"


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(RuleError) as caught:
        grammar.parse({"all": [attribute(op="x"), COUNTRY, {"any": [{"kind": "event"}]}]})
    assert [problem.path for problem in caught.value.problems] == ["all[0].op", "all[2].any[0].name"]


def test_size_is_limited():
    grammar.parse(nested(4))
    grammar.parse({"all": [COUNTRY] * 99})
    with pytest.raises(RuleError):
        grammar.parse({"all": [COUNTRY] * 100})
    rule = COUNTRY
    for _ in range(5000):
        rule = {"not": rule}
    with pytest.raises(RuleError):
        grammar.parse(rule)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["'; DROP TABLE crm_profile; --", "%s", "%(x)s", "{}", '"', "\\", "') OR true --"]
)
def test_no_text_of_a_rule_becomes_sql(text):
    Profile.objects.create(country="PL", attributes={text.replace(".", ""): text})
    everywhere = {
        "any": [
            {"kind": "attribute", "field": "country", "op": "eq", "value": text},
            {"kind": "attribute", "field": "city", "op": "contains", "value": text},
            {"kind": "event", "name": text, "where": [{"property": text, "op": "in", "value": [text] * 12}]},
            {
                "kind": "message",
                "did": "opened",
                "message": text,
                "flow": text,
                "channel": text,
                "topic": text,
            },
            {
                "kind": "event",
                "name": "a",
                "aggregate": {"fn": "sum", "property": text, "op": "gt", "value": 1},
                "not_followed_by": {"name": text},
            },
        ]
    }
    rule = grammar.parse(everywhere)
    statement, params = compiler.compile(rule)
    assert text not in statement or text in ("{}", "%s", '"')
    assert text in params
    assert evaluate.members(rule) == []
    found = grammar.parse({"kind": "attribute", "field": f"attributes.{text}", "op": "eq", "value": text})
    assert len(evaluate.members(found)) == 1


@pytest.mark.django_db
class TestSegmentsInSegments:
    def make(self, slug, rule):
        return Segment.objects.create(slug=slug, name=slug, rule=rule)

    def test_the_other_segments_rule_is_asked_now(self):
        inside, outside = Profile.objects.create(country="PL"), Profile.objects.create(country="SA")
        self.make("poles", COUNTRY)
        rule = {"kind": "segment", "slug": "poles"}
        assert evaluate.members(grammar.parse(rule)) == [inside.pk]
        assert evaluate.members(grammar.parse({"not": rule})) == [outside.pk]
        assert evaluate.explain(grammar.parse({"all": [rule]}), outside.pk).holds is False

    def test_circles_and_missing_ones_are_refused(self):
        self.make("a", {"kind": "segment", "slug": "b"})
        self.make("b", {"all": [{"kind": "segment", "slug": "a"}]})
        with pytest.raises(RuleError, match="a → b → a") as caught:
            compiler.references(grammar.parse({"all": [COUNTRY, {"kind": "segment", "slug": "b"}]}), own="a")
        assert caught.value.path == "all[1].slug"
        with pytest.raises(RuleError, match="no segment “gone”"):
            compiler.references(grammar.parse({"kind": "segment", "slug": "gone"}))


def test_rules_read_as_sentences():
    rule = {"all": [COUNTRY, {"any": [VISIT, {"not": {"kind": "message", "did": "opened"}}]}]}
    assert sentence.describe(grammar.parse(rule)) == (
        "Everybody for whom: country is Poland and (did “visit” or not (opened a message))."
    )
    assert sentence.describe(grammar.parse({"all": []})) == "Everybody."
    never = {**VISIT, "count": {"op": "eq", "value": 0}, "within": {"last": {"days": 1}}}
    assert (
        sentence.describe(grammar.parse(never)) == "Everybody for whom: did not do “visit” in the last 1 day."
    )
