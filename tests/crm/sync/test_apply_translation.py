"""The compiled way from a record to a patch gives what the plain rules say, for any values."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from crm import normalise
from crm.connectors.base import Record
from crm.normalise import Rejection
from crm.patches import FIELDS, validate
from crm.sync.mapping import ATTRIBUTE, Translator, fingerprints, parse

AT = datetime(2026, 11, 1, tzinfo=UTC)
FORGIVEN = {"phone": "invalid_phone", "language": "unknown_language", "country": "unknown_country"}
MAPPING = parse({"fields": {f"crm_{name}": name for name in (*FIELDS, "attributes.plan", "attributes.tags")}})


def plain(fields, known_empty):
    """The rules said one after the other: normalise each value, forgive, leave out what is empty."""
    sources = {target: name for name, target in MAPPING.fields.items()}
    data, attributes = {}, {}
    country = lenient("country", fields.get(sources["country"]), None)
    for target, name in sources.items():
        value = fields.get(name)
        if target.startswith(ATTRIBUTE):
            attributes[target.removeprefix(ATTRIBUTE)] = value
        elif target == "country":
            data[target] = country
        elif target == "timezone":
            data[target] = normalise.timezone(value, country)
        elif target in FORGIVEN:
            data[target] = lenient(target, value, country)
        else:
            data[target] = as_text(value)
    patch = validate({**data, "attributes": attributes})
    empty = [target for target in data if getattr(patch, target) is None]
    empty += [ATTRIBUTE + name for name, value in attributes.items() if value is None]
    for target in empty:
        if known_empty is None or target in known_empty:
            if target.startswith(ATTRIBUTE):
                del patch.attributes[target.removeprefix(ATTRIBUTE)]
            else:
                setattr(patch, target, UNSET)
    return patch, set(empty)


def lenient(target, value, country):
    try:
        match target:
            case "phone":
                return normalise.phone(as_text(value), country)
            case "language":
                return normalise.language(as_text(value))
        return normalise.country(as_text(value))
    except Rejection as error:
        if error.code == FORGIVEN[target]:
            return None
        raise


def as_text(value):
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


USUAL = {
    "email": ["Ann@X.com", "a@b", "ann@x.com "],
    "phone": ["+48600100200", "600 100 200", "0048600100200", "ask Bob", 48600100200],
    "country": ["PL", "Poland", "Narnia", "brasil"],
    "language": ["pl", "PT_br", "German", "??"],
    "timezone": ["Europe/Rome", "europe_slash_warsaw", "Mars/Olympus"],
    "birthday": [
        "1990-05-01",
        "1990-05-01T10:00:00Z",
        "31/02/1990",
        "1990-02-31",
        641520000000,
        "2999-01-01",
    ],
    "latitude": ["50.1", 91, 50],
    "longitude": ["x", -180.0],
}
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "  ", "x" * 200, "x" * 1_001, "x" * 17_000, "a\x00", "\ud800", "ö" * 9_000, 10**400, 1, True]
    ),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
)
VALUES = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.sampled_from(USUAL[target]), ANYTHING) if target in USUAL else ANYTHING
        for name, target in MAPPING.fields.items()
    },
)
EMPTY = st.one_of(st.none(), st.sets(st.sampled_from(sorted(MAPPING.fields.values()))))


@settings(max_examples=400, deadline=None)
@given(fields=VALUES, known_empty=EMPTY)
@example(fields={"crm_first_name": 1}, known_empty=None)
@example(fields={"crm_first_name": True}, known_empty=None)  # equal to 1, but no text
def test_a_compiled_translation_is_the_plain_one(fields, known_empty):
    try:
        expected = plain(fields, known_empty)
    except Rejection as error:
        codes = {error.code}
        with pytest.raises(Rejection) as caught:
            Translator(MAPPING)(Record("1", AT, fields), known_empty)
        # Of several broken values either may be named; the field is always the CRM's.
        assert caught.value.field.startswith("crm_") or caught.value.field == "attributes"
        assert caught.value.code in codes or broken(fields) > 1
        return
    translation = Translator(MAPPING)(Record("1", AT, fields), known_empty)
    assert (translation.patch, set(translation.empty)) == expected


def broken(fields):
    """How many of the values would be rejected by themselves."""
    count = 0
    for name, value in fields.items():
        try:
            plain({name: value}, None)
        except Rejection:
            count += 1
    return count


@given(fields=VALUES, other=VALUES)
def test_a_fingerprint_tells_different_values_apart(fields, other):
    names = MAPPING.names()
    one, two = ([repr(found.get(name)) for name in names] for found in (fields, other))
    prints = fingerprints([Record("1", AT, fields), Record("2", AT, other)], MAPPING)
    assert all(len(content) == 16 for content in prints)
    if one == two:
        assert prints[0] == prints[1]
    elif not any(isinstance(value, float) for value in (*fields.values(), *other.values())):
        assert prints[0] != prints[1]
