"""Places, chance, lists and flows: what the random tests meet too rarely."""

from itertools import product

import pytest
from django.db import connection
from django.utils import timezone

from campaigns.models import Segment
from campaigns.segments import evaluate, grammar, sentence
from campaigns.segments.conditions.base import Query
from crm import masking
from crm.rules.errors import RuleError
from crm.rules.sql import sql
from tests.campaigns.segments import reference_kinds, surroundings
from tests.campaigns.segments.population import store
from tests.campaigns.segments.reference import Person

pytestmark = pytest.mark.django_db

WARSAW = {"kind": "near", "latitude": 52.2297, "longitude": 21.0122, "radius_km": 5}
CENTRES = [(52.2297, 21.0122), (-17.7, 180), (-17.7, -180), (89.99, -60), (-90, 10), (0, 0), (-3, 1e-200)]
RADII = [0.001, 0.9, 1.2, 12, 13.5, 700, 9_000, 20_038]


def holding(rules):
    """For each profile the numbers of the rules, all about its own row, that hold for it; in one query."""
    predicates = [grammar.parse(rule).predicate(Query(timezone.now())) for rule in rules]
    listed = sql(
        "SELECT p.id, array_remove(ARRAY[" + ", ".join("{}" for _ in rules) + "], NULL) FROM crm_profile p",
        *(sql("CASE WHEN {} THEN {}::int END", one, number) for number, one in enumerate(predicates)),
    )
    with connection.cursor() as cursor:
        cursor.execute(listed.text, list(listed.params))
        return {pk: set(numbers) for pk, numbers in cursor.fetchall()}


def test_distances_are_those_on_a_sphere_across_the_date_line_and_at_the_poles():
    people = [
        Person(columns={"latitude": latitude, "longitude": longitude})
        for latitude, longitude in [*surroundings.PLACES, *CENTRES, (0.0, 180.0), (1e-310, -1e-310)]
    ]
    store(people)
    rules = [
        {"kind": "near", "latitude": latitude, "longitude": longitude, "radius_km": radius}
        for (latitude, longitude), radius in product(CENTRES, RADII)
    ]
    found = holding(rules)
    for person in people:
        expected = {number for number, rule in enumerate(rules) if reference_kinds.near(rule, person)}
        assert found[person.pk] == expected, person.columns


def test_how_far_somebody_is_is_told_to_those_who_may_know_where_they_live():
    [near, unknown] = store([Person(columns={"latitude": 52.3, "longitude": 21.0122}), Person()])
    rule = grammar.parse(WARSAW)
    assert evaluate.explain(rule, near).fact == "7.8 km away"
    assert evaluate.explain(rule, unknown).fact == "It is not known where they are"
    with masking.hiding():
        assert evaluate.explain(rule, near).fact == ""


def test_chance_is_fair_steady_and_independent_between_salts():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO crm_profile (city) SELECT '' FROM generate_series(1, 4000) RETURNING id")
        ids = [row[0] for row in cursor.fetchall()]
    tenths = [
        {"kind": "random", "percent": [10 * part, 10 * part + 10], "salt": salt}
        for salt in ("a", "b")
        for part in range(10)
    ]
    found = holding([*tenths, {"kind": "random", "percent": [0, 0.5], "salt": "a"}])
    people = [Person(pk=pk) for pk in ids[:200]]
    for person in people:
        expected = {number for number, rule in enumerate(tenths) if reference_kinds.random(rule, person)}
        assert found[person.pk] - {20} == expected
    # Each person is in exactly one tenth of each salt; the cells of both are about evenly filled.
    cells = dict.fromkeys(product(range(10), range(10)), 0)
    for pk in ids:
        first, second = sorted(found[pk] - {20})
        cells[first, second - 10] += 1
    chi_squared = sum((count - 40) ** 2 / 40 for count in cells.values())
    assert chi_squared < 172  # 99 degrees of freedom: more than this once in 100,000 times
    assert all(min(found[pk]) == 0 for pk in ids if 20 in found[pk])
    assert 2 <= sum(20 in found[pk] for pk in ids) <= 50


def test_lists_are_their_members_and_only_lists_are_lists():
    surroundings.make()
    [guest, other] = store([Person(lists={"guests"}), Person()])
    for kind in ("list", "segment"):
        rule = grammar.parse({"kind": kind, "slug": "guests"})
        assert evaluate.members(rule) == [guest]
        assert evaluate.members(grammar.parse({"not": {"kind": kind, "slug": "guests"}})) == [other]
        assert evaluate.explain(rule, other).holds is False
    with pytest.raises(RuleError, match="is no list") as caught:
        evaluate.members(grammar.parse({"any": [{"not": {"kind": "list", "slug": "poles"}}]}))
    assert caught.value.path == "any[0].not.slug"


def test_segments_of_segments_are_limited_in_all():
    rule = {"all": [{"kind": "random", "percent": [0, 50]}] * 50}
    for level in range(3):
        Segment.objects.create(slug=f"level-{level}", name="x", rule=rule)
        rule = {"all": [{"kind": "segment", "slug": f"level-{level}"}] * 50}
    assert evaluate.members(grammar.parse({"kind": "segment", "slug": "level-0"})) == []
    with pytest.raises(RuleError, match="more than 500 conditions"):
        evaluate.members(grammar.parse(rule))


def test_a_thicket_of_segments_is_walked_once():
    """Two ways at each of 45 levels: 2 to the power of 45 from the first to the last."""
    rules = {"s0a": {"any": []}, "s0b": {"any": []}}
    for level in range(1, 45):
        below = [{"kind": "segment", "slug": f"s{level - 1}{side}"} for side in "ab"]
        rules |= {f"s{level}{side}": {"any": below} for side in "ab"}
    rules |= {f"c{level}": {"kind": "segment", "slug": f"c{level + 1}"} for level in range(110)}
    Segment.objects.bulk_create(Segment(slug=slug, name="x", rule=rule) for slug, rule in rules.items())
    with pytest.raises(RuleError, match="more than 500 conditions") as caught:
        evaluate.members(grammar.parse({"all": [{"kind": "segment", "slug": "s44a"}]}))
    assert caught.value.path == "all[0].slug"
    Segment.objects.filter(slug="s0a").update(rule={"kind": "segment", "slug": "s44b"})
    with pytest.raises(RuleError, match="circle"):
        evaluate.members(grammar.parse({"kind": "segment", "slug": "s44a"}))
    with pytest.raises(RuleError, match="at most 100 segments"):
        evaluate.members(grammar.parse({"kind": "segment", "slug": "c0"}))


def test_they_read_as_sentences():
    surroundings.make()
    rule = {
        "all": [
            {"kind": "consent", "channel": "webpush", "state": "pending"},
            {"kind": "consent", "topic": "news", "state": "none"},
            {"kind": "reachable", "channel": "inapp"},
            WARSAW,
            {"kind": "flow", "flow": "welcome", "state": "never"},
            {"kind": "random", "percent": [0, 12.5], "salt": "x"},
            {"kind": "list", "slug": "guests"},
            {"kind": "message", "did": "opened", "topic": "news", "channel": "inapp", "flow": "welcome"},
        ]
    }
    assert sentence.describe(grammar.parse(rule)) == (
        "Everybody for whom: consent to the channel “webpush” is: not confirmed yet and"
        " consent to the topic “news” is: never asked and can be reached by In-app and"
        " is within 5 km of 52.2297, 21.0122 and was never in the flow “welcome” and"
        " is in the random share from 0 to 12.5 % and on the list “guests” and"
        " opened a message of the flow “welcome” on the topic “news” by inapp."
    )
