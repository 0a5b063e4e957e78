"""Rules that nobody means well: whatever stands where, the answer says so."""

import copy
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RULE = {
    "all": [
        {"kind": "attribute", "field": "attributes.plan", "op": "in", "value": ["gold", 5]},
        {"kind": "attribute", "field": "birthday", "op": "anniversary_within", "value": {"days": 7}},
        {
            "kind": "event",
            "name": "bought",
            "where": [{"property": "a.b", "op": "gte", "value": 5}],
            "within": {"last": {"days": 30}},
            "count": {"op": "gte", "value": 1},
            "not_followed_by": {"name": "paid", "where": [], "within": {"hours": 2}},
        },
        {
            "kind": "event",
            "name": "bought",
            "within": {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
            "aggregate": {"fn": "sum", "property": "total", "op": "gt", "value": 10},
        },
        {
            "any": [
                {"kind": "message", "did": "clicked", "channel": "email", "within": {"last": {"hours": 5}}}
            ]
        },
        {"not": {"kind": "consent", "topic": "news", "state": "subscribed"}},
        {"kind": "reachable", "channel": "webpush"},
        {"kind": "near", "latitude": 52.2, "longitude": 21.0, "radius_km": 5},
        {"kind": "flow", "flow": "welcome", "state": "never"},
        {"kind": "random", "percent": [0, 10], "salt": "a"},
        {"not": {"all": []}},
    ]
}
HOSTILE = [
    *(None, True, "", "\0", "x" * 300, "'; DROP TABLE crm_profile; --", "%s", "{}", "2026-02-30", "أ\u202e"),
    *(-1, 2**31, 2**63, 10**40, -(10**300), 1e308, 1e-308, 0.1, [], {}, [[]], ["\0"], [None], [{}]),
    *({"days": 10**9}, {"days": -1}, {"last": {"days": 0}}, {"$": {"$": {"$": 1}}}, list(range(600))),
]


def places(node, path=()):
    """The paths of all parts of some JSON."""
    yield path
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def replaced(path, value, key=None):
    """The rule with another value, or name of a value, at a path."""
    rule = copy.deepcopy(RULE)
    *above, last = path
    node = rule
    for step in above:
        node = node[step]
    if key is not None and isinstance(node, dict):
        node[key] = node.pop(last)
    else:
        node[last] = value
    return rule


@settings(
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("HOSTILE_EXAMPLES", 40)),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_part_of_a_rule_can_break_the_answer(server, data):
    one = data.draw(st.integers(0, len(RULE["all"]) - 1))
    path = data.draw(
        st.sampled_from(sorted((place for place in places(RULE) if place[:2] == ("all", one)), key=repr))
    )
    value = data.draw(st.sampled_from(HOSTILE))
    key = data.draw(st.sampled_from([None, None, "", "\0", "x" * 200, "kind"]))
    rule = {"all": [replaced(path, value, key)["all"][one], {"all": []}]}
    answer = server.post("segments/preview/", {"rule": rule, "counts": True})
    assert answer.status_code in (200, 400), (path, value, key)
    if answer.status_code == 400:
        error = answer.json()["error"]
        assert error["code"] == "invalid_rule"
        assert all(problem["field"].startswith("rule") for problem in error["problems"])
