"""Whatever JSON comes in, it is refused at a node of it, or it is a rule that the database answers."""

import copy
import re

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from campaigns.segments import compiler, grammar, sentence
from crm.rules import inputs
from crm.rules.errors import RuleError
from crm.rules.sql import joined, sql
from tests.campaigns.segments import population as random
from tests.campaigns.segments import surroundings

pytestmark = pytest.mark.django_db

NASTY = [
    *(
        "",
        "\x00",
        "a\x00b",
        "\ud800",
        "'; DROP TABLE crm_profile; --",
        "%s %(a)s {} {0}",
        "9999-12-31",
        "0001-01-01T00:00+14:00",
    ),
    *("x" * 3000, "a." * 9, "$.a", "\\", '"', "2024-02-30", "NaN", "Infinity", "１２"),
    *(None, True, False, [], {}, [[]], {"": {}}, {"days": 10**9}, {"days": -1}, {"minutes": 2**63}),
    *(0, -1, 0.1, 2**31, 2**63, -(2**63) - 1, 10**18, 10**308, 10**400, 1e308, -1e308, 5e-324, 1e-200),
    *(float("nan"), float("inf"), -float("inf"), -0.0, 180.0000001, 366, 1_000_001),
]
anything = st.recursive(
    st.sampled_from(NASTY) | st.text(max_size=5) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["all", "any", "not", "kind", "op", "value", "field", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def places(data, path=()):
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def spoilt(draw):
    """A good rule with something else in one or two places, something left out or something added."""
    rule = copy.deepcopy(draw(random.rules))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(rule))))
        value = copy.deepcopy(draw(anything))
        if not path:
            rule = draw(st.sampled_from([rule, value])) or {"all": [rule]}
            continue
        holder = rule
        for key in path[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.booleans()):
            change = draw(st.sampled_from(["drop", "add"]))
            if change == "drop":
                del holder[path[-1]]
            else:
                holder[draw(st.sampled_from(["extra", "value", "within", "\ud800", "all"]))] = value
        else:
            holder[path[-1]] = value
    return rule


def known(data, path):
    """Whether a path of a mistake leads to a node that is there, or to one that is missing from one that is there."""
    for step in re.findall(r"\[\d+\]|[^.\[\]]+", path):
        if step.startswith("["):
            if not isinstance(data, list):
                return False
            data = data[int(step[1:-1])] if int(step[1:-1]) < len(data) else None
        elif isinstance(data, dict):
            data = data.get(step)
        else:
            return data is None or isinstance(data, str | int | float | list)
    return True


@settings(
    max_examples=35,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(spoilt() | anything, min_size=5, max_size=25))
def test_every_json_is_refused_at_a_node_or_answered(candidates):
    note(repr(candidates))
    surroundings.make()
    random.make_computed()
    statements, mistakes = [], []
    for data in candidates:
        try:
            rule = grammar.parse(data)
            query = compiler.query(rule, random.NOW)
        except RuleError as error:
            mistakes += [(data, problem) for problem in error.problems]
            continue
        sentence.describe(rule)
        statements += [compiler.ids(rule, query), compiler.ids(rule, query._replace(scope=[1, 2]))]
        selects, predicates = compiler.passed(rule, query, random.NOW)
        statements += [*selects, *(query.everybody(one) for one in predicates)]
    for data, problem in mistakes:
        assert problem.message.encode(), problem
        assert known(data, problem.path), problem
    if statements:
        with transaction.atomic(), connection.cursor() as cursor:
            whole = sql("SELECT count(*) FROM ({}) AS found", joined(" UNION ", statements))
            cursor.execute(whole.text, list(whole.params))


def test_what_is_typed_as_json_is_a_value_that_can_be_shown_again():
    assert inputs.decoded('{"a": [1, "é"]}') == {"a": [1, "é"]}
    for text in ("", "{", "[" * 100_000, '"\\ud800"', '{"a": "\\udfff"}'):
        assert inputs.decoded(text) is None
