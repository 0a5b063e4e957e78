"""Storing many records at once means the same as storing one after the other, for any history of theirs."""

import gc
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import consent
from crm.connectors.base import Page, Record
from crm.models import (
    Connection,
    Consent,
    ConsentChange,
    Identifier,
    Profile,
    SourceRecord,
    SyncReject,
    SyncRun,
)
from crm.sync import mapping as mappings
from crm.sync.apply import apply

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = mappings.parse(
    {
        "fields": {
            "number": "external_id",
            "email": "email",
            "phone": "phone",
            "town": "city",
            "country": "country",
            "zone": "timezone",
            "plan": "attributes.plan",
            "tags": "attributes.tags",
        },
        "consent": {
            "push": {"kind": "channel", "key": "webpush"},
            "no_push": {"kind": "channel", "key": "webpush", "inverted": True},
        },
        "ours": ["city", "attributes.plan"],
    }
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "number": st.sampled_from([None, "A", "B", 7]),
        "email": st.sampled_from([None, "", "a@x.com", "B@x.com", "c@x.com", "nobody"]),
        "phone": st.sampled_from([None, "+48600100200", "600 100 200", "ask Bob"]),
        "town": st.sampled_from([None, "Rome", "Oslo", "tab\tnew\nline \\N \\."]),
        "country": st.sampled_from([None, "PL", "Poland", "Narnia"]),
        "zone": st.sampled_from([None, "Mars/Olympus", "europe_slash_rome"]),
        "plan": st.sampled_from([None, "free", "vip", 1, True, 10**30, "\x00"]),
        "tags": st.sampled_from([None, [], ['a"b', "{c}", "\\"], {"d": None}]),
        "push": st.sampled_from([None, True, False, "maybe"]),
        "no_push": st.sampled_from([None, True, False]),
    },
)
RECORDS = st.builds(
    lambda number, minutes, deleted, fields: Record(
        str(number), NOW + timedelta(minutes=minutes), {} if deleted else fields, deleted
    ),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from([False, False, False, True]),
    FIELDS,
)
GROUPS = st.lists(st.lists(RECORDS, min_size=1, max_size=5, unique_by=lambda record: record.id), max_size=4)


def start():
    with consent.ledger_opened():
        Profile.objects.all().delete()
    Connection.objects.all().delete()
    connection = Connection.objects.create(kind="hubspot", name="one", slug="one")
    return SyncRun.objects.create(connection=connection, state=SyncRun.State.RUNNING)


def store(run, records, current=True):
    return apply(run, Page("contacts", list(records), {}, current=current), MAPPING, "person", NOW)


def everything():
    """The whole state, without the numbers that PostgreSQL gives out."""
    order = {
        pk: place for place, pk in enumerate(Profile.objects.order_by("pk").values_list("pk", flat=True))
    }

    def rows(model, *columns):
        found = model.objects.values_list(*columns)
        return sorted(
            [
                [
                    order[cell] if name == "profile_id" else cell
                    for name, cell in zip(columns, row, strict=True)
                ]
                for row in found
            ],
            key=repr,
        )

    people = Profile.objects.order_by("pk").values_list(
        "external_id", "email", "phone", "city", "country", "timezone", "attributes"
    )
    answer = ("profile_id", "kind", "key", "state", "source", "changed_at")
    return {
        "people": [*people],
        "names": rows(Identifier, "kind", "value", "profile_id"),
        "memory": rows(SourceRecord, "record_id", "modified_at", "state", "empty", "consent", "content_hash"),
        "rejects": rows(SyncReject, "record_id", "code", "field", "attempts", "resolved_at", "raw"),
        "answers": rows(Consent, *answer),
        "ledger": rows(ConsentChange, *answer),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=GROUPS, current=st.booleans())
def test_any_history_ends_the_same_in_groups_and_one_by_one(groups, current):
    run = start()
    together = [store(run, group, current) for group in groups]
    grouped = everything()
    run = start()
    for group, counts in zip(groups, together, strict=True):
        single = [
            store(run, [record], current) for record in sorted(group, key=lambda record: not record.deleted)
        ]
        for name in ("read", "created", "updated", "unchanged", "rejected", "deleted"):
            assert sum(getattr(one, name) for one in single) == getattr(counts, name)
    assert everything() == grouped
    if groups and not together[-1].rejected:  # what was rejected may pass once another has given up the name
        again = store(run, groups[-1], current)
        assert everything()["people"] == grouped["people"]
        assert again.read == again.unchanged


def person(number, minutes=0, **fields):
    fields = {"email": f"p{number}@x.com", "plan": "free", "push": True, **fields}
    return Record(str(number), NOW + timedelta(minutes=minutes), fields)


def statements(run, records):
    with CaptureQueriesContext(database) as queries:
        counts = store(run, records)
    return len(queries), counts


def test_the_number_of_statements_does_not_depend_on_the_number_of_records():
    run = start()
    found = []
    for size, first in ((5, 1), (5, 11), (300, 101)):  # the first makes the log's partitions
        numbers = range(first, first + size)
        found.append(
            [
                statements(run, [person(number) for number in numbers])[0],
                statements(run, [person(number) for number in numbers])[0],
                statements(run, [person(number, minutes=1) for number in numbers])[0],
                statements(run, [person(number, minutes=2, plan="vip", push=False) for number in numbers])[0],
                statements(run, [person(number, minutes=3, plan="\x00") for number in numbers])[0],
            ]
        )
    assert found[1] == found[2]
    assert found[2][0] < 22
    assert found[2][1] < 8


def test_nothing_is_written_about_a_record_that_tells_nothing_new():
    run = start()
    store(run, [person(1), person(2)])
    before = tuples()
    _count, counts = statements(run, [person(1), person(2)])
    assert (counts.read, counts.unchanged) == (2, 2)
    assert tuples() == before
    _count, counts = statements(run, [person(1, minutes=5), person(2)])
    assert (counts.read, counts.unchanged) == (2, 2)
    assert len(tuples() - before) == 1  # its time, so that an older state can't replace it
    assert store(run, [person(1, minutes=4, plan="vip")]).unchanged == 1


def tuples():
    """The versions of all rows about people: a row that is written anew has another."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT 'p', ctid::text, xmin::text FROM crm_profile UNION ALL"
            " SELECT 's', ctid::text, xmin::text FROM crm_sourcerecord UNION ALL"
            " SELECT 'i', ctid::text, xmin::text FROM crm_identifier"
        )
        return set(cursor.fetchall())


class TestOurs:
    def test_the_crm_fills_what_is_empty_here_and_replaces_nothing(self):
        run = start()
        store(run, [person(1, town="Rome", plan=None)])
        Profile.objects.update(city="Oslo")
        store(run, [person(1, minutes=1, town="Paris", plan="vip", country="PL")])
        profile = Profile.objects.get()
        assert (profile.city, profile.country, profile.attributes) == ("Oslo", "PL", {"plan": "vip"})
        store(run, [person(1, minutes=2, town=None, plan="free", country="DE")])
        profile = Profile.objects.get()
        assert (profile.city, profile.country, profile.attributes) == ("Oslo", "DE", {"plan": "vip"})

    def test_our_email_stays_and_the_crms_still_finds_its_person(self):
        mapping = mappings.parse({"fields": {"email": "email", "town": "city"}, "ours": ["email"]})
        run = start()
        profile = Profile.objects.create(email="ann@x.com")
        Identifier.objects.create(kind="email", value="ann@x.com", profile=profile)
        other = Profile.objects.create(email="new@x.com")
        Identifier.objects.create(kind="email", value="new@x.com", profile=other)
        for minutes, email in ((0, "ann@x.com"), (1, "new@x.com")):
            record = Record(
                "1", NOW + timedelta(minutes=minutes), {"email": email, "town": f"town {minutes}"}
            )
            counts = apply(run, Page("contacts", [record], {}), mapping, "person", NOW)
            assert counts.updated == 1
        profile.refresh_from_db()
        assert (profile.email, profile.city) == ("ann@x.com", "town 1")


def test_the_last_cursor_of_a_group_counts_and_the_newest_state_of_a_record():
    run = start()
    pages = [
        Page("contacts", [person(1, minutes=2, town="Rome")], {"n": 1}, expected=9),
        Page("contacts", [person(1, minutes=1, town="Oslo"), person(2)], {"n": 2}, current=True),
    ]
    counts = apply(run, pages, MAPPING, "person", NOW)
    run.refresh_from_db()
    assert (counts.read, counts.created, counts.unchanged) == (3, 2, 1)
    assert (run.read, run.created, run.expected) == (3, 2, 9)
    assert run.cursor_after == run.connection.cursor == {"contacts": {"n": 2}}
    assert Profile.objects.get(email="p1@x.com").city == "Rome"


def test_a_persons_own_answer_is_older_or_newer_than_the_crms_first_one():
    run = start()
    store(run, [person(1)])
    consent.record(
        [
            consent.Change(
                Profile.objects.get().pk, "channel", "webpush", "unsubscribed", "sdk", NOW + timedelta(1)
            )
        ]
    )
    store(run, [person(1, minutes=5, push=False)])
    store(run, [person(1, minutes=6, push=True)])
    assert Consent.objects.get().state == "unsubscribed"


def test_a_record_that_cannot_be_read_is_rejected_once_however_often_it_comes():
    run = start()
    broken = Record("1", NOW, {"email": "a@x.com"}, problem="Its date is no date.")
    counts = apply(
        run,
        [Page("contacts", [broken, person(2)], {}), Page("contacts", [broken], {})],
        MAPPING,
        "person",
        NOW,
    )
    assert (counts.read, counts.created, counts.rejected) == (3, 1, 2)
    assert SyncReject.objects.get(resolved_at=None).detail == "Its date is no date."
    store(run, [person(1)])
    assert not SyncReject.objects.filter(resolved_at=None).exists()


class Noted(str):
    """A text of which one can tell whether it is still in memory."""


def test_a_group_leaves_the_memory_at_once_though_some_records_were_rejected():
    run = start()
    store(run, [person(1)])
    gc.collect()
    gc.disable()
    try:
        note = Noted("so long")
        held = weakref.ref(note)
        records = [person(2, note=note), person(3, email="nobody"), person(4, email="p1@x.com")]
        assert store(run, records).rejected == 2
        del note, records
        assert held() is None
    finally:
        gc.enable()
