"""Attributes with columns of their own: the same answers as without, through all that writes profiles."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.segments import compiler, evaluate, grammar
from crm import indexed_attributes, indexed_columns, merging, unmerging
from crm.models import IndexedAttribute, Profile, ProfileMerge
from crm.rules.errors import RuleError

pytestmark = pytest.mark.django_db(transaction=True)
LATER = timedelta(minutes=3)
NAME = 'it\'s "$$" %s'  # nobody's key becomes SQL


@pytest.fixture
def indexed():
    """Makes indexes, and removes them with their columns at the end."""

    def make(*paths):
        made = [indexed_attributes.create(path) for path in paths]
        while indexed_attributes.work(60):
            pass
        for attribute in made:
            attribute.refresh_from_db()
            assert (attribute.state, attribute.error) == ("ready", "")
        return made

    yield make
    for attribute in IndexedAttribute.objects.all():
        indexed_attributes.remove(attribute)
    indexed_attributes.work(now=datetime.now(UTC) + LATER)
    assert stored_columns() == []


def stored_columns():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'crm_profile'"
            " AND column_name LIKE 'indexed%'"
        )
        return [name for (name,) in cursor.fetchall()]


def column(attribute, profile):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {attribute.column} FROM crm_profile WHERE id = %s", [profile.pk])
        [found] = cursor.fetchone()
        return None if found is None else json.loads(found)


def rule(path, op, value):
    return grammar.parse({"kind": "attribute", "field": f"attributes.{path}", "op": op, "value": value})


def test_it_is_filled_kept_used_and_removed(indexed):
    old = Profile.objects.create(attributes={"plan": "gold", NAME: {"b": 1}})
    plan, nested = indexed("plan", f"{NAME}.b")
    new = Profile.objects.create(attributes={"plan": "free", NAME: {"b": 2}})
    assert [column(plan, old), column(plan, new)] == ["gold", "free"]
    assert [column(nested, old), column(nested, new)] == [1, 2]
    Profile.objects.filter(pk=old.pk).update(attributes={"plan": "basic"})
    assert column(plan, old) == "basic"
    assert column(nested, old) is None
    wanted = rule("plan", "in", ["basic", "gold"])
    assert plan.column in compiler.compile(wanted)[0]
    assert evaluate.members(wanted) == [old.pk]
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        text, params = compiler.compile(wanted)
        cursor.execute(f"EXPLAIN {text}", params)
        assert f"Index Only Scan using {plan.index}" in "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("SET enable_seqscan = on")
    indexed_attributes.remove(plan)
    assert plan.column not in compiler.compile(wanted)[0]
    indexed_attributes.work()
    assert len(stored_columns()) == 2  # a statement made a moment ago may still need it
    indexed_attributes.work(now=datetime.now(UTC) + LATER)
    assert stored_columns() == [nested.column]
    assert evaluate.members(wanted) == [old.pk]


def test_merging_and_parting_keep_it(indexed):
    [plan] = indexed("plan")
    winner = Profile.objects.create(external_id="a", attributes={"plan": "gold"})
    loser = Profile.objects.create(email="b@example.com", attributes={"plan": "free"})
    merging.merge([(loser.pk, winner.pk)], "test")
    assert column(plan, winner) == "gold"
    unmerging.undo(ProfileMerge.objects.get(loser_id=loser.pk).pk)
    assert [column(plan, winner), column(plan, loser)] == ["gold", "free"]


def test_building_goes_on_where_it_was(indexed, monkeypatch):
    monkeypatch.setattr(indexed_attributes, "CHUNK", 2)
    people = Profile.objects.bulk_create(Profile(attributes={"n": number}) for number in range(5))
    made = indexed_attributes.create("n")
    assert indexed_attributes.work(budget_seconds=0)
    made.refresh_from_db()
    assert (made.state, made.progress) == ("filling", 0)
    assert made.column not in compiler.compile(rule("n", "gte", 3))[0]
    with connection.cursor() as cursor:  # as an index that was ended half-way is left behind
        cursor.execute(f"CREATE INDEX {made.index} ON crm_profile ({made.column}, country) INCLUDE (id)")
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [made.index]
        )
    indexed_attributes.work()
    made.refresh_from_db()
    assert (made.state, made.progress) == ("ready", 1)
    assert [column(made, person) for person in people] == [0, 1, 2, 3, 4]
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [made.index])
        assert cursor.fetchone() == (True,)


def test_what_fails_says_so_and_can_be_tried_again(indexed, monkeypatch):
    made = indexed_attributes.create("plan")
    monkeypatch.setattr(IndexedAttribute, "index", "no index, 'surely'")
    indexed_attributes.work()
    made.refresh_from_db()
    assert made.state == "failed"
    assert made.error
    monkeypatch.undo()
    indexed_attributes.retry(made)
    indexed_attributes.work()
    made.refresh_from_db()
    assert (made.state, made.error) == ("ready", "")


def test_a_table_in_use_is_waited_for_another_time(indexed, monkeypatch):
    monkeypatch.setattr(indexed_columns, "PATIENCE_MS", 50)
    made = indexed_attributes.create("plan")
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN; SELECT FROM crm_profile")
        assert not indexed_attributes.work()
        made.refresh_from_db()
        assert (made.state, made.error, stored_columns()) == ("adding", "", [])
    finally:
        other.close()
    indexed_attributes.work()
    made.refresh_from_db()
    assert made.state == "ready"


def test_what_cannot_be_indexed_is_refused(indexed, monkeypatch):
    indexed_attributes.create("plan")
    with pytest.raises(indexed_attributes.Refused):
        indexed_attributes.create("plan")
    for path in ("", "a..b", "\x00"):
        with pytest.raises(RuleError):
            indexed_attributes.create(path)
    monkeypatch.setattr(indexed_attributes, "MOST", 1)
    with pytest.raises(indexed_attributes.Refused):
        indexed_attributes.create("other")


numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1.0, 0.5, 10**308, -(10**308), 5e-324]),
)
texts = st.sampled_from(
    ["", "a", "A", "b", "1", "true", "x" * 599, "x" * 600, "x" * 601, "é" * 300, "é" * 301]
)
values = st.one_of(
    numbers,
    texts,
    st.booleans(),
    st.none(),
    st.lists(texts, max_size=2),
    st.dictionaries(st.sampled_from(["v", "w"]), numbers, max_size=1),
    st.sampled_from(
        ["1e400", "-1e400", "1" + "0" * 307 + ".5", "1." + "0" * 450 + "1", "0." + "0" * 500 + "1"]
    ).map(lambda text: ("raw", text)),
)
comparisons = st.one_of(
    st.tuples(st.sampled_from(["eq", "ne"]), st.one_of(numbers, texts, st.booleans())),
    st.tuples(
        st.sampled_from(["in", "not_in"]), st.lists(st.one_of(numbers, texts), min_size=1, max_size=12)
    ),
    st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), st.one_of(numbers, texts)),
    st.tuples(st.just("between"), st.tuples(numbers, numbers).map(sorted)),
    st.tuples(st.sampled_from(["contains", "starts_with"]), st.sampled_from(["a", "x"])),
)


def test_answers_are_the_same_with_and_without(indexed):
    indexed("v", "o.v")

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(
        st.lists(values, min_size=1, max_size=12),
        st.lists(st.tuples(st.sampled_from(["v", "o.v"]), comparisons), min_size=1, max_size=8),
    )
    def agree(stored, asked):
        with transaction.atomic():
            with connection.cursor() as cursor:
                for value in stored:
                    one = value[1] if isinstance(value, tuple) else json.dumps(value)
                    cursor.execute(
                        "INSERT INTO crm_profile (attributes) VALUES (%s::jsonb)",
                        [f'{{"v": {one}, "o": {{"v": {one}}}}}'],
                    )
            for path, (op, value) in asked:
                parsed = rule(path, op, value)
                query = compiler.query(parsed)
                assert query.columns
                with connection.cursor() as cursor:
                    found = []
                    for one in (query, query._replace(columns={})):
                        statement = compiler.ids(parsed, one)
                        cursor.execute(statement.text, list(statement.params))
                        found.append(sorted(cursor.fetchall()))
                assert found[0] == found[1]
            transaction.set_rollback(True)

    agree()
