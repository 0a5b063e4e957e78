"""The builder's tree: rules through the form and back, what its buttons do, and mistakes beside their inputs."""

from html.parser import HTMLParser

import pytest
from django.core.cache import cache
from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils import translation
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.segments import builder, grammar
from campaigns.segments.conditions import kinds
from campaigns.segments.suggestions import Suggestions
from crm.models import Place
from crm.rules.errors import RuleError
from tests.campaigns.segments import population, surroundings

pytestmark = pytest.mark.django_db

POLES = {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}
VISIT = {"kind": "event", "name": "visit", "count": {"op": "gte", "value": 1}}


@pytest.fixture(autouse=True)
def _fresh_suggestions():
    cache.clear()


def drawn(root: builder.Node) -> str:
    values = {"tree": builder.shown(root, Suggestions()), "kinds": [], "may_change": True, "edit_url": "/"}
    return render_to_string("admin/campaigns/segment/tree.html", values)


def through_the_form(root: builder.Node) -> builder.Node:
    return builder.read(Reader(drawn(root)).query)


class Reader(HTMLParser):
    """`query` holds what a browser would send for the inputs of some HTML, `wrong` the ids of inputs marked as wrong,
    `told` what is said about them by the input's id."""

    def __init__(self, html: str):
        super().__init__()
        self.query = QueryDict(mutable=True)
        self.wrong: list[str] = []
        self.told: dict[str, str] = {}
        self._select, self._options, self._about = "", [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "aria-invalid" in found:
            self.wrong.append(found["id"])
            assert found["aria-describedby"] == f"{found['id']}-wrong"
        if tag == "p" and found.get("id", "").endswith("-wrong"):
            self._about = found["id"].removesuffix("-wrong")
        if tag == "input" and found.get("name"):
            if found.get("type") not in ("radio", "checkbox") or "checked" in found:
                self.query.appendlist(found["name"], found.get("value") or "")
        elif tag == "select":
            self._select, self._options = found["name"], []
        elif tag == "option" and self._select:
            self._options.append((found.get("value", ""), "selected" in found))

    def handle_data(self, data):
        if self._about:
            self.told[self._about] = data

    def handle_endtag(self, tag):
        self._about = ""
        if tag == "select":
            chosen = [value for value, selected in self._options if selected] or [self._options[0][0]]
            self.query.appendlist(self._select, chosen[-1])
            self._select = ""


def meaning(node: builder.Node):
    """A tree without its ids; the two ways to write a number of days, and numbers of two types, made one."""
    if node.kind == "group":
        return node.mode, [meaning(child) for child in node.children]

    def plain(value, key=""):
        if isinstance(value, dict):
            return {
                name: plain(item, value.get("op", "") if name == "value" else "")
                for name, item in value.items()
                if name != "type" and item != []
            }
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"days": float(value)} if key == "anniversary_within" else float(value)
        return ("yes/no", value) if isinstance(value, bool) else value

    def once(value):
        """A list as its members."""
        if isinstance(value, list):
            return [once(item) for number, item in enumerate(value) if item not in value[:number]]
        return {name: once(item) for name, item in value.items()} if isinstance(value, dict) else value

    return once(plain(node.data))


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(population.groups(population.rules), st.sampled_from(["en", "pl", "ar"]))
def test_every_rule_survives_the_form(rule, language):
    """Shown in the form and read back, in any language, a rule means what it meant."""
    before = builder.from_rule(rule)
    with translation.override(language):
        after = through_the_form(before)
    assert meaning(after) == meaning(before)
    again = builder.from_rule(builder.to_rule(after)[0])
    assert meaning(again) == meaning(before)


def test_what_a_button_adds_survives_the_form_and_is_told_about(django_assert_max_num_queries):
    """Each new condition is either finished or has each mistake beside an input of its own."""
    surroundings.make()
    Place.objects.create(slug="shop", name="Shop", latitude=52.25, longitude=21.5)
    root = builder.from_rule({"all": []})
    for kind in kinds():
        builder.apply(root, f"add-{kind}", "n0", Suggestions())
    event = next(child for child in root.children if child.kind == "event")
    for part in ("where", "figure", "follow", "followwhere"):
        builder.apply(root, f"add-{part}", event.id, Suggestions())
    root = through_the_form(root)
    assert meaning(through_the_form(root)) == meaning(root)
    data, paths = builder.to_rule(root)
    with pytest.raises(RuleError) as error:
        grammar.parse(data)
    builder.mark(paths, error.value.problems)
    html = drawn(root)
    found = Reader(html)
    assert len(found.wrong) == len(error.value.problems) == html.count("sg-problem")
    assert set(found.told) == set(found.wrong)
    cache.clear()
    with django_assert_max_num_queries(30):
        drawn(root)


@pytest.mark.parametrize(
    ("condition", "element"),
    [
        ({**POLES, "value": None}, "value"),
        ({**POLES, "field": "birthday", "op": "between", "value": ["2024-05-01", "2024-04-01"]}, "high"),
        ({**POLES, "op": "in", "value": []}, "value"),
        ({**POLES, "field": "attributes."}, "field_other"),
        ({**VISIT, "name": "\x1f"}, "name_other"),
        (
            {**VISIT, "where": [{"property": "a", "op": "eq", "value": 1}, {"property": "b", "op": "gt"}]},
            "where1.value",
        ),
        ({**VISIT, "within": {"last": {"days": 0}}}, "span"),
        ({**VISIT, "within": {"from": "2024-05-01", "to": "2024-04-01"}}, "end"),
        ({**VISIT, "count": {"op": "gte", "value": -1}}, "times"),
        ({**VISIT, "aggregate": {"fn": "sum", "property": "x", "op": "gt", "value": None}}, "figure.value"),
        ({**VISIT, "not_followed_by": {"name": "x", "within": {"hours": 0}}}, "follow.span"),
        (
            {
                **VISIT,
                "not_followed_by": {"name": "x", "where": [{"property": "a", "op": "contains", "value": ""}]},
            },
            "follow.where0.value",
        ),
        ({"kind": "near", "latitude": 95, "longitude": 0, "radius_km": 5}, "latitude"),
        ({"kind": "random", "percent": [0, 101], "salt": "x"}, "percent"),
        ({"kind": "random", "percent": [30, 20], "salt": "x"}, "high"),
        ({"kind": "list", "slug": ""}, "slug"),
        ({"kind": "consent", "topic": "", "state": "none"}, "topic"),
    ],
)
def test_a_mistake_stands_beside_its_input(condition, element):
    root = builder.from_rule({"any": [POLES, {"not": {"all": [condition]}}]})
    data, paths = builder.to_rule(root)
    with pytest.raises(RuleError) as error:
        grammar.parse(data)
    builder.mark(paths, error.value.problems)
    found = Reader(drawn(root))
    assert found.wrong == [f"{root.children[1].children[0].id}.{element}"]
    assert found.told == {found.wrong[0]: error.value.message}


class TestButtons:
    """On n0 = all(n1 country, n2 = any(n3 visit), n4 country)."""

    @pytest.fixture
    def root(self):
        return builder.from_rule({"all": [POLES, {"any": [VISIT]}, POLES]})

    def press(self, root, operation, target):
        return builder.apply(root, operation, target, Suggestions())

    def test_down_and_up_go_through_groups_in_reading_order(self, root):
        seen = []
        for _step in range(4):
            assert self.press(root, "down", "n1").focus == "n1"
            seen.append(shape(root))
        assert seen[:3] == ["n2(n1 n3) n4", "n2(n3 n1) n4", "n2(n3) n1 n4"]
        assert seen[3] == "n2(n3) n4 n1"
        for _step in range(4):
            self.press(root, "up", "n1")
        assert shape(root) == "n1 n2(n3) n4"

    def test_a_folded_group_is_stepped_over_and_stays_folded(self, root):
        root.find("n2").folded = True
        root = through_the_form(root)
        assert root.find("n2").folded
        self.press(root, "down", "n1")
        assert shape(root) == "n2(n3) n1 n4"

    def test_duplicate_wrap_unwrap_remove(self, root):
        twin = self.press(root, "duplicate", "n2").focus
        assert shape(root) == "n1 n2(n3) n5(n6) n4"
        assert (twin, root.find("n6").data) == ("n5", VISIT)
        assert self.press(root, "wrap", "n1").focus == "n7"
        assert shape(root) == "n7(n1) n2(n3) n5(n6) n4"
        self.press(root, "unwrap", "n7")
        assert self.press(root, "remove", "n5").focus == "n4"
        assert shape(root) == "n1 n2(n3) n4"

    def test_nothing_nests_too_deep(self, root):
        group = "n0"
        for _level in range(grammar.DEEPEST + 2):
            group = self.press(root, "add-group", group).focus
        assert root.height == grammar.DEEPEST
        for operation, target in (("wrap", "n2"), ("up", "n4"), ("wrap", group)):
            self.press(root, operation, target)
        assert root.height <= grammar.DEEPEST

    def test_a_form_made_up_to_nest_without_end_is_drawn(self):
        form = QueryDict(mutable=True)
        form.setlist("node", [f"n{number}" for number in range(140)])
        for number in range(1, 140):
            form.update({f"n{number}.kind": "group", f"n{number}.parent": f"n{number - 1}"})
        root = builder.read(form)
        assert grammar.DEEPEST < root.height <= builder.MOST_LEVELS
        assert shape(through_the_form(root)) == shape(root)

    def test_a_dragged_condition_belongs_where_its_inputs_lie(self, root):
        post = Reader(drawn(root)).query
        post.setlist("node", ["n0", "n2", "n3", "n1", "n4"])
        post["n1.parent"] = "n2"
        assert shape(builder.read(post)) == "n2(n3 n1) n4"

    @pytest.mark.parametrize(
        "operation", ["remove", "up", "wrap", "unwrap", "add-os", "remove-where-9", "x", ""]
    )
    def test_what_cannot_be_done_changes_nothing(self, root, operation):
        for target in ("n0", "n99", ""):
            self.press(root, operation, target)
        assert shape(root) == "n1 n2(n3) n4"


def shape(root: builder.Node) -> str:
    """The children's ids, those of a group in brackets behind its own."""
    texts = []
    for child in root.children:
        texts.append(f"{child.id}({shape(child)})" if child.kind == "group" else child.id)
    return " ".join(texts)
