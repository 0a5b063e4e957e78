"""What people type into a step's fields, and what it means for one run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.flows import steps, values

PLAIN = st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.text() | st.lists(st.integers())
NUMBERS = st.integers(-(10**14), 10**14) | st.floats(-1e6, 1e6).map(lambda number: round(number, 4) or 0.5)
PATHS = st.from_regex(r"[a-z][a-z_.]{0,20}[a-z]", fullmatch=True)
SETTINGS = PLAIN | NUMBERS | PATHS.map(lambda path: {"from": path}) | NUMBERS.map(lambda n: {"add": n})


@given(SETTINGS)
def test_what_is_shown_means_what_is_stored(setting):
    assert values.read(values.show(setting, adding=True), adding=True) == setting
    assert not values.problem(setting, adding=True) or "{" in setting or "}" in setting


@pytest.mark.parametrize(
    "text", ["{{ event.properties.plan", "{{ }}", "Hello {{ profile.first_name }}", "a }} b"]
)
def test_what_only_looks_like_a_reference_is_refused(text):
    assert "as it stands" in values.problem(values.read(text, adding=True), adding=True)
    form = steps.registry["update"].Form({"set": [("attributes.plan", text)]})
    assert "as it stands" in str(form.errors.get("set"))


@pytest.mark.parametrize(
    ("text", "adding", "setting"),
    [
        ("gold", True, "gold"),
        (" 12 ", True, 12),
        ('"12"', True, "12"),
        ("007", True, "007"),
        ("-2", False, -2),
        ("-2", True, {"add": -2}),
        ("=-2", True, -2),
        ("+0.5", True, {"add": 0.5}),
        ("+48 601 234 567", True, "+48 601 234 567"),
        ("{{event.properties.plan}}", False, {"from": "event.properties.plan"}),
        ("Hello {{ profile.first_name }}", False, "Hello {{ profile.first_name }}"),
        ("", True, None),
        ('{"from": "x"}', False, '{"from": "x"}'),
    ],
)
def test_words(text, adding, setting):
    assert values.read(text, adding) == setting
    assert type(values.read(text, adding)) is type(setting)


def test_paths_lead_through_keys_with_points_and_to_nothing():
    known = {"event": {"properties": {"a.b": {"c": 1}, "a": {"d": None}}}}
    assert values.look_up("event.properties.a.b.c", known) == 1
    assert values.look_up("event.properties.a.d", known) is None
    assert values.look_up("event.properties.a.x", known) is values.MISSING
    assert values.look_up("event.properties.a.d.x", known) is values.MISSING
