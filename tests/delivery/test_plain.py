"""Texts of words and names, filled in without Liquid, read as if Liquid had done it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.content import liquid
from delivery.content.plain import LONG, PlainText

NAMES = ("profile.first_name", "profile.attributes.tier", "profile.id", "event.name", "size", "nobody.knows")
VALUES = st.one_of(st.text(max_size=20), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
DATA = st.fixed_dictionaries(
    {"profile": st.fixed_dictionaries({"first_name": VALUES, "id": st.integers()})},
    optional={"event": st.one_of(st.text(), st.fixed_dictionaries({"name": VALUES}))},
)
WORDS = st.text(alphabet="ab {}%<&é\n", max_size=6).filter(lambda text: "{{" not in text and "{%" not in text)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(WORDS, st.sampled_from(NAMES)), max_size=4), WORDS, DATA)
def test_it_says_what_liquid_says_or_leaves_it_to_liquid(pieces, end, data):
    source = "".join(f"{word} {{{{ {name} }}}}" for word, name in pieces) + " " + end
    plain = PlainText.of(source)
    said = plain.render(data) if plain else None
    if said is not None:
        assert said == liquid.render(liquid.parse(source), data)


def test_plain_values_take_no_liquid():
    plain = PlainText.of("Hi {{ profile.first_name }}, {{profile.id}}!")
    assert plain.render({"profile": {"first_name": "Zoë", "id": 7}}) == "Hi Zoë, 7!"


@pytest.mark.parametrize(
    "source", ["{{ name | upcase }}", "{% if name %}x{% endif %}", "{{ names[0] }}", "{{- name }}"]
)
def test_the_rest_is_left_to_liquid(source):
    assert PlainText.of(source) is None


@pytest.mark.parametrize("value", ["x" * (LONG + 1), True, None, 1.5, ["a"], {"a": 1}])
def test_odd_values_are_left_to_liquid(value):
    assert PlainText.of("{{ name }}").render({"name": value}) is None
