"""Several workers at once identify, track, import, merge, part and erase the same few people.

The model is simple: a bag of what was accepted. Whatever the order was, each accepted event is there once, with
somebody; a name is one person's; what a profile shows as its name is its name. Where nothing parts people, an event
belongs to who has the names it was told with.

INTERLEAVINGS=2000 runs that many examples instead of a few.
"""

import contextlib
import itertools
import json
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.db import connection, connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crm import identity, ingest, merging, privacy, profiles, unmerging
from crm.models import Event, Identifier, Profile, ProfileMerge
from crm.unmerging import NotUndoable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
WORKERS = 3
EXAMPLES = int(os.environ.get("INTERLEAVINGS", "12"))
RECORD = "one:contacts"
PARTING = {"undo", "erase", "upsert"}  # after which a name may be another's, and an event may not
_round = itertools.count()

names = st.fixed_dictionaries(
    {},
    optional={
        "external_id": st.sampled_from("AB"),
        "email": st.sampled_from(["a@x.com", "b@x.com"]),
        "anonymous_id": st.sampled_from("12"),
    },
).filter(bool)
step = st.one_of(
    st.tuples(
        st.sampled_from(["track", "identify"]),
        st.sampled_from(["sdk", "api"]),
        st.lists(names, min_size=1, max_size=3),
    ),
    st.tuples(
        st.just("upsert"),
        st.sampled_from("xy"),
        st.fixed_dictionaries(
            {"city": st.sampled_from(["Oslo", "Rome"])},
            optional={
                "external_id": st.sampled_from("AB"),
                "email": st.sampled_from(["a@x.com", "b@x.com", None]),
            },
        ),
    ),
    st.tuples(st.just("merge"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("undo"), st.integers(0, 3), st.none()),
    st.tuples(st.just("erase"), st.integers(0, 3), st.none()),
)
peaceful = step.filter(lambda one: one[0] not in PARTING)
work = st.lists(st.lists(step, min_size=1, max_size=6), min_size=WORKERS, max_size=WORKERS) | st.lists(
    st.lists(peaceful, min_size=1, max_size=6), min_size=WORKERS, max_size=WORKERS
)


class World:
    """The people of one example, under names of its own; and what was accepted about them."""

    def __init__(self):
        self.mark = f"r{next(_round)}"
        self.accepted: dict[uuid.UUID, dict[str, str]] = {}

    def own(self, kind, value):
        """A name of the pool as this example's."""
        return f"{self.mark}-{value}" if value else value

    def people(self):
        named = Identifier.objects.filter(value__startswith=f"{self.mark}-")
        return sorted(set(named.values_list("profile_id", flat=True)))

    def do(self, ready, steps):
        """One worker's steps, on a connection of its own."""
        ready.wait(30)
        for kind, one, other in steps:
            getattr(self, kind)(one, other)

    def track(self, source, told, name="looked"):
        events, mine = [], {}
        for reference in told:
            number = uuid.uuid4()
            mine[number] = reference = {kind: self.own(kind, value) for kind, value in reference.items()}
            traits = {"traits": {"city": "Rome"}} if name == "identified" else {}
            events.append({"id": str(number), "name": name, "profile": reference, "properties": traits})
        body = json.dumps({"events": events}).encode()
        result = ingest.ingest(body, source, NOW)
        assert result.duplicates == 0
        assert {row.code for row in result.rejected} <= {"erased"}
        refused = {row.index for row in result.rejected}
        kept = {
            number: reference
            for place, (number, reference) in enumerate(mine.items())
            if place not in refused
        }
        assert result.accepted == len(kept)
        self.accepted |= kept
        again = ingest.ingest(body, source, NOW)
        assert again.accepted <= len(refused)  # who was erased may have come back in between

    def identify(self, source, told):
        self.track(source, told, "identified")

    def upsert(self, record, fields):
        fields = {kind: value if kind == "city" else self.own(kind, value) for kind, value in fields.items()}
        row = profiles.Row(RECORD, f"{self.mark}-{record}", profiles.validate(fields))
        [outcome] = profiles.upsert([row], "test", NOW).outcomes
        assert outcome.code in (
            "",
            "email_taken",
            "external_id_taken",
            "duplicate_email",
            "duplicate_external_id",
            "erased",
        )

    def merge(self, one, other):
        people = self.people()
        if one != other and max(one, other) < len(people):
            merging.merge([(people[one], people[other])], "test", NOW)

    def undo(self, place, _):
        people = self.people()
        last = unmerging.last(people[place]) if place < len(people) else None
        if last is not None:
            with contextlib.suppress(NotUndoable):  # somebody was faster
                unmerging.undo(last.pk, NOW + timedelta(minutes=1))

    def erase(self, place, _):
        people = self.people()
        if place < len(people):
            privacy.erase([people[place]], "test", NOW)

    def check(self, parted):
        events = list(Event.objects.filter(pk__in=self.accepted).values_list("pk", "profile_id"))
        assert sorted(pk for pk, _ in events) == sorted(self.accepted), "lost or stored twice"
        owners = {person for _, person in events}
        assert set(Profile.objects.filter(pk__in=owners).values_list("pk", flat=True)) == owners, (
            "with nobody"
        )
        held = {}
        for kind, value, person in Identifier.objects.values_list("kind", "value", "profile_id"):
            if value.startswith(f"{self.mark}-"):
                assert (kind, value) not in held, "one name, two people"
                held[kind, value] = person
        for kind in ("external_id", "email"):
            shown = Profile.objects.filter(**{f"{kind}__startswith": f"{self.mark}-"}).values_list(kind, "pk")
            for value, person in shown:
                assert held.get((kind, value)) == person, "shows a name that is not its own"
            bearers = {person for (of, _), person in held.items() if of == kind}
            assert bearers == {person for _, person in shown}, "has a name that it does not show"
        merged = ProfileMerge.objects.filter(winner_id__in={*owners, *held.values()})
        gone = set(merged.values_list("loser_id", flat=True))
        assert not Profile.objects.filter(pk__in=gone).exists(), "merged, and still there"
        assert identity.existing_ids(sorted(gone)) == gone
        if not parted:
            for pk, person in events:
                assert person in {held.get(name) for name in self.accepted[pk].items()}, "somebody else's"

    def part(self):
        """Undo all that can be undone, the last first."""
        people = set(self.people())
        while people:
            last = unmerging.last(person := people.pop())
            if last is not None:
                undone = unmerging.undo(last.pk, NOW + timedelta(minutes=2))
                assert Profile.objects.filter(pk=undone.merge.loser_id).exists()
                people |= {person, undone.merge.loser_id}


@pytest.fixture
def workers(transactional_db):
    with ThreadPoolExecutor(WORKERS) as pool:
        yield pool
        ready = Barrier(WORKERS)

        def close():
            ready.wait(30)
            connections.close_all()

        for done in [pool.submit(close) for _ in range(WORKERS)]:
            done.result()


@given(everybody=work)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nothing_is_lost_doubled_or_left_with_nobody(workers, everybody):
    world, ready = World(), Barrier(WORKERS)
    for done in [workers.submit(world.do, ready, steps) for steps in everybody]:
        done.result(60)
    parted = any(kind in PARTING for steps in everybody for kind, *_ in steps)
    world.check(parted)
    world.part()
    world.check(parted=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM crm_profilemerge WHERE moved IS NULL")
        assert cursor.fetchone() == (0,)
