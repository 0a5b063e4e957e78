"""Computed values equal the plain reference: at first, after whatever happens, and when nothing but time passes."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from crm import computed, identity, log
from crm.computed import backfill, keeping
from crm.models import ComputedAttribute, ComputedValue, LogCursor, Profile
from tests.crm.computed import worlds
from tests.crm.computed.reference import value
from tests.crm.computed.worlds import NOW, define, fill, keep_up, person, record

pytestmark = pytest.mark.django_db
relaxed = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
people_with_events = st.lists(
    st.tuples(st.sampled_from(worlds.ZONES), st.lists(worlds.happenings, max_size=5)), min_size=1, max_size=4
)
definitions = st.lists(worlds.configs, min_size=4, max_size=10)


@pytest.fixture(autouse=True)
def _log_in_one_transaction(monkeypatch):
    """The log hides what the present transaction wrote, which here is everything: order it by its number alone."""
    real = log._next_rows

    def of_old(*args, **kwargs):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE crm_event SET txid = 1 WHERE txid > 1")
        return real(*args, **kwargs)

    monkeypatch.setattr(log, "_next_rows", of_old)


@contextmanager
def world():
    """A database of its own for one example."""
    with transaction.atomic():
        LogCursor.objects.create(name=keeping.CURSOR, txid=1)
        yield
        transaction.set_rollback(True)


def expect(people: dict, configs: list[dict], now) -> None:
    found = computed.values(list(people), now=now)
    for profile_id, (zone, events) in people.items():
        for number, config in enumerate(configs):
            wanted = value(config, events, zone, now)
            note(f"{config} of {events} in {zone} at {now}")
            got = found[profile_id][f"a{number}"]
            assert got == (pytest.approx(wanted, rel=1e-12) if isinstance(wanted, float) else wanted)
            assert type(got) is type(wanted)


def populate(people) -> dict:
    order = count()
    found = {
        person(zone): (zone, [replace(event, seq=next(order)) for event in events]) for zone, events in people
    }
    record([(pk, event) for pk, (_zone, events) in found.items() for event in events])
    return found


@relaxed
@given(people=people_with_events, configs=definitions)
def test_everybody_is_computed_as_the_reference_says(people, configs):
    with world():
        known = populate(people)
        for number, config in enumerate(configs):
            define(f"a{number}", config)
        fill()
        expect(known, configs, NOW)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.integers(0, 3), worlds.happenings),
        st.tuples(st.just("pass"), st.sampled_from([1, 2, 23, 24, 49, 24 * 8]), st.integers(0, 1)),
        st.tuples(st.just("move"), st.integers(0, 3), st.sampled_from(worlds.ZONES)),
        st.tuples(st.just("merge"), st.integers(0, 3), st.integers(0, 3)),
    ),
    min_size=1,
    max_size=6,
)


@relaxed
@given(people=people_with_events, configs=definitions, changes=steps)
def test_values_follow_events_time_moves_and_merges(people, configs, changes):
    """After each change what is kept equals the reference, and at the end also what is computed anew."""
    with world():
        known = populate(people)
        for number, config in enumerate(configs):
            define(f"a{number}", config)
        fill()
        now = NOW
        for seq, (what, which, detail) in enumerate(changes, start=100):
            ids = sorted(known)
            chosen = ids[which % len(ids)] if what != "pass" else 0
            if what == "event":
                event = replace(detail, seq=seq)
                known[chosen][1].append(event)
                record([(chosen, event)])
            elif what == "pass":
                now += timedelta(hours=which, microseconds=detail)
            elif what == "move":
                Profile.objects.filter(pk=chosen).update(timezone=detail, updated_at=now)
                known[chosen] = (detail, known[chosen][1])
            elif (loser := ids[detail % len(ids)]) != chosen:
                identity.merge([(loser, chosen)], "test", now)
                known[chosen][1].extend(known.pop(loser)[1])
            keep_up(now)
            expect(known, configs, now)
        kept = set(ComputedValue.objects.values_list())
        ComputedValue.objects.all().delete()
        for attribute in ComputedAttribute.objects.all():
            backfill.start(attribute)
        fill(now)
        assert {row for row in kept if row[0] in known} == set(ComputedValue.objects.values_list())
        assert not kept - set(ComputedValue.objects.values_list())
