"""The compiled SQL gives the same answers as the plain reference, for everybody and for some people."""

from datetime import timedelta, timezone

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from campaigns.segments import compiler, evaluate, grammar, scopes
from campaigns.segments.conditions import base
from tests.campaigns.segments import population as random
from tests.campaigns.segments.reference import holds

pytestmark = pytest.mark.django_db


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking this many rules and people takes minutes; a failure is told by its rule anyway.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    people=st.lists(random.people, min_size=1, max_size=8),
    rules=st.lists(random.rules, min_size=4, max_size=12),
    zone=st.sampled_from([0, 4, -11]),
    data=st.data(),
)
def test_compiled_rules_agree_with_the_reference(monkeypatch, people, rules, zone, data):
    now = random.NOW.astimezone(timezone(timedelta(hours=zone)))
    with transaction.atomic():
        ids = random.store(people)
        scope = data.draw(st.lists(st.sampled_from(ids), unique=True))
        monkeypatch.setattr(base, "MOST_LISTED", data.draw(st.sampled_from([200, 0])))
        for rule in rules:
            note(random.shown(rule))
            expected = {pk for pk, person in zip(ids, people, strict=True) if holds(rule, person, now)}
            parsed = grammar.parse(rule)
            found = evaluate.members(parsed, now)
            assert len(found) == len(set(found))
            assert set(found) == expected
            assert evaluate.matching(parsed, scope, now) == expected & set(scope)
        with scopes.stored(scope) as table:
            for rule in rules[:3]:
                parsed = grammar.parse(rule)
                expected = {pk for pk, person in zip(ids, people, strict=True) if holds(rule, person, now)}
                assert evaluate.count(parsed, now) == (len(expected), False)
                answer = {pk for pk in ids[:2] if evaluate.explain(parsed, pk, now).holds}
                assert answer == expected & set(ids[:2])
                statement = compiler.ids(parsed, compiler.query(parsed, now, scope, table=table))
                with connection.cursor() as cursor:
                    cursor.execute(statement.text, list(statement.params))
                    assert {row[0] for row in cursor.fetchall()} == expected & set(scope)
        random.forget()
