"""Whom a keeper of members has to ask about when nothing but time has passed: everybody whose answer differs."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from campaigns.models import Segment
from campaigns.segments import compiler, grammar
from crm.rules.sql import joined, sql
from tests.campaigns.segments import population as random
from tests.campaigns.segments.reference import Happening, Person, holds

pytestmark = pytest.mark.django_db
NOW = random.NOW
LENGTHS = [{"minutes": 30}, {"hours": 1}, {"hours": 13}, {"days": 1}, {"days": 7}]
TICK = timedelta(microseconds=1)

# What lies on, just before and just after the edges of the windows, now and some time ago.
edges = st.builds(
    lambda length, sign, ago, tick: NOW + sign * timedelta(**length) - ago + tick * TICK,
    st.sampled_from([{"days": 0}, *LENGTHS]),
    st.sampled_from([-1, -1, 1]),
    st.sampled_from([timedelta(0), timedelta(seconds=30), timedelta(hours=13)]),
    st.integers(-1, 1),
)
days = edges.map(lambda at: at.date())
texts = st.one_of(edges.map(lambda at: at.isoformat()), days.map(str), st.just("soon"))
spans = st.sampled_from(LENGTHS)
lapsing = st.fixed_dictionaries({"op": st.sampled_from(["within_last", "within_next"]), "value": spans})
coming_round = st.fixed_dictionaries(
    {"op": st.just("anniversary_within"), "value": st.sampled_from([0, 1, 7, 366])}
)
relative = st.one_of(lapsing, lapsing, coming_round)
whole_days = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["within_last", "within_next"]),
        "value": st.sampled_from([{"days": 1}, {"days": 7}]),
    }
)
numbers = st.one_of(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
            "value": st.sampled_from([0, 1, 6.5, 7]),
        }
    ),
    st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.just([1, 7])}),
    st.fixed_dictionaries({"op": st.just("between"), "value": st.sampled_from([[0, 1], [0.5, 6.5], [1, 7]])}),
)
where = st.lists(random.merged(st.just({"property": "joined"}), relative), min_size=1, max_size=2)
last = st.fixed_dictionaries({"last": spans})
rules = st.one_of(
    random.about("last_seen", relative),
    random.about("birthday", st.one_of(whole_days, coming_round)),
    random.about("attributes.joined", relative),
    random.about("computed.bought_at", relative),
    random.about("computed.quiet", numbers),
    st.fixed_dictionaries({"kind": st.just("event"), "name": st.just("visit"), "within": last}),
    st.fixed_dictionaries(
        {"kind": st.just("event"), "name": st.just("visit")},
        optional={
            "where": where,
            "within": last,
            "count": random.counts,
            "not_followed_by": st.fixed_dictionaries(
                {"name": st.just("cart")}, optional={"where": where, "within": spans}
            ),
        },
    ),
    st.fixed_dictionaries({"kind": st.just("message"), "did": st.just("opened"), "within": last}),
)
people = st.builds(
    Person,
    columns=st.fixed_dictionaries({"last_seen": edges, "birthday": days}),
    attributes=st.fixed_dictionaries({"joined": texts}),
    events=st.lists(
        st.builds(
            Happening,
            st.sampled_from(["visit", "visit", "cart", "message_opened"]),
            edges,
            st.fixed_dictionaries({"joined": texts}),
        ),
        max_size=3,
    ),
    computed=st.fixed_dictionaries({"bought_at": edges, "quiet": edges}),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    people=st.lists(people, min_size=6, max_size=8),
    rules=st.lists(rules, min_size=20, max_size=30),
    ago=st.sampled_from([TICK, timedelta(seconds=30), timedelta(hours=13)]),
)
def test_nobody_is_missed_when_time_passes(people, rules, ago):
    with transaction.atomic():
        ids = random.store(people)
        expected = [
            {
                pk
                for pk, person in zip(ids, people, strict=True)
                if holds(rule, person, NOW) != holds(rule, person, NOW - ago)
            }
            for rule in rules
        ]
        found = asked([grammar.parse(rule) for rule in rules], NOW, NOW - ago)
        for rule, wanted, got in zip(rules, expected, found, strict=True):
            note(random.shown(rule))
            assert wanted <= got
        random.forget()


def asked(rules, now, since):
    """For each rule, the people that it has to be asked about again; in one query."""
    statements = []
    for number, rule in enumerate(rules):
        selects, predicates = compiler.passed(rule, compiler.query(rule, now), since)
        if predicates:
            selects.append(sql("SELECT p.id FROM crm_profile p WHERE {}", joined(" OR ", predicates)))
        statements += [sql("SELECT {}::int, id FROM ({}) AS found", number, select) for select in selects]
    found = [set() for _ in rules]
    if statements:
        statement = joined(" UNION ALL ", statements)
        with connection.cursor() as cursor:
            cursor.execute(statement.text, list(statement.params))
            for number, pk in cursor.fetchall():
                found[number].add(pk)
    return found


def test_few_are_asked_about():
    """Only those at an edge, and nobody by rules that time does not change."""
    events = [Happening("visit", NOW - timedelta(days=days, seconds=1)) for days in range(1, 30)]
    crowd = [Person(columns={"last_seen": one.at}, events=[one]) for one in events]
    ids = random.store(crowd)
    visit = {"kind": "event", "name": "visit", "within": {"last": {"days": 7}}}
    rules = [
        visit,
        {"all": [{"not": visit}, {**visit, "count": {"op": "eq", "value": 0}}]},
        {"kind": "attribute", "field": "last_seen", "op": "within_last", "value": {"days": 7}},
        {"kind": "attribute", "field": "birthday", "op": "anniversary_within", "value": 7},
        {"kind": "event", "name": "visit", "within": {"from": "2024-02-20", "to": "2024-12-31"}},
        {"any": [{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}, {"all": []}]},
    ]
    found = asked([grammar.parse(rule) for rule in rules], NOW, NOW - timedelta(seconds=30))
    assert found == [{ids[6]}, {ids[6]}, {ids[6]}, set(), set(), set()]


def test_windows_of_hours_are_hours_where_clocks_are_put_forward():
    now = datetime(2024, 3, 31, 12, tzinfo=ZoneInfo("Europe/Warsaw"))  # ten hours after the jump
    start = datetime(2024, 3, 30, 10, tzinfo=UTC)
    inside, outside = random.store([Person(events=[Happening("visit", at)]) for at in (start, start - TICK)])
    for unit, number in (("hours", 24), ("days", 1), ("minutes", 1440)):
        rule = grammar.parse({"kind": "event", "name": "visit", "within": {"last": {unit: number}}})
        statement, params = compiler.compile(rule, now)
        with connection.cursor() as cursor:
            cursor.execute(statement, params)
            assert cursor.fetchall() == [(inside,)]
    assert outside != inside


def test_what_can_change_an_answer_is_told_with_what_segments_need():
    random.surroundings.make()
    Segment.objects.create(
        slug="outer",
        name="outer",
        rule={"any": [{"kind": "segment", "slug": "quiet"}, {"kind": "list", "slug": "guests"}]},
    )
    rule = {
        "all": [
            {"kind": "segment", "slug": "outer"},
            {"kind": "event", "name": "cart", "not_followed_by": {"name": "purchase"}},
            {"kind": "message", "did": "received"},
            {"kind": "reachable", "channel": "inapp"},
            {"kind": "near", "latitude": 1, "longitude": 2, "radius_km": 3},
            {"kind": "flow", "flow": "welcome", "state": "never"},
        ]
    }
    needs = compiler.needs(grammar.parse(rule))
    assert needs.events == {"visit", "cart", "purchase", "message_sent", "message_delivered"}
    assert needs.fields == {
        *("attributes", "lists", "consents", "suppressed", "identifiers"),
        *("latitude", "longitude", "enrollments"),
    }
    assert needs.segments == {"outer", "quiet", "strangers", "visitors", "staff", "guests"}
