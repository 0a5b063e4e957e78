"""Dry runs: everything counted, nothing kept."""

import pytest

from crm import uploads
from crm.models import (
    Connection,
    Consent,
    Event,
    Identifier,
    Product,
    Profile,
    SourceRecord,
    SyncReject,
    SyncRun,
)
from crm.sync import engine, rehearsal, setup
from crm.sync.rehearsal import rehearse

pytestmark = pytest.mark.django_db
PEOPLE = """email,first name,sms opt in,born
ann@x.com,Ann,yes,1990-01-01
bob@x.com,Bob,no,never
nonsense,Carl,,
,Dora,,
"""


@pytest.fixture
def connection():
    kept = uploads.keep("people.csv", [PEOPLE.encode()])
    mapping = {
        "people": {
            "fields": {"email": "email", "first name": "first_name", "born": "birthday"},
            "consent": {"sms opt in": {"kind": "channel", "key": "sms"}},
        }
    }
    return Connection.objects.create(
        kind="file",
        name="People",
        slug="people",
        config={"upload": kept.pk, "key": "email"},
        mapping=mapping,
        state=Connection.State.PAUSED,
    )


def stored():
    return [
        model.objects.count()
        for model in (Profile, Identifier, Consent, Event, Product, SourceRecord, SyncReject, SyncRun)
    ]


def test_it_tells_what_would_happen_and_keeps_nothing(connection):
    before = stored()
    [told] = rehearse(connection)
    assert (told.counts.read, told.counts.created, told.counts.rejected) == (4, 1, 3)
    assert {(each.record_id, each.field) for each in told.rejected} == {
        ("bob@x.com", "born"),
        ("nonsense", "email"),
        ("row 5", ""),
    }
    assert told.whole
    assert stored() == before
    connection.refresh_from_db()
    assert connection.cursor == {}


def test_what_it_told_then_happens(connection):
    [told] = rehearse(connection)
    report = engine.run(connection, SyncRun.Mode.FULL)
    assert report.state == "succeeded"
    assert (report.created, report.rejected) == (told.counts.created, told.counts.rejected)
    [again] = rehearse(connection)
    assert (again.counts.created, again.counts.unchanged) == (0, 1)


def test_a_newer_file_changes_only_what_differs(connection):
    engine.run(connection, SyncRun.Mode.FULL)
    kept = uploads.keep("people.csv", [b"email,first name\nann@x.com,Anna\nzoe@x.com,Zoe\n"])
    connection.config = {**connection.config, "upload": kept.pk}
    connection.save()
    report = engine.run(connection, SyncRun.Mode.FULL)
    assert (report.created, report.updated, report.deleted) == (1, 1, 0)
    assert Profile.objects.get(email="ann@x.com").first_name == "Anna"


def test_of_a_long_file_the_first_part_is_tried(connection, monkeypatch):
    monkeypatch.setattr(rehearsal, "RECORDS", 2)
    monkeypatch.setattr("crm.connectors.file.BATCH", 2)
    monkeypatch.setattr("crm.sync.pages.RECORDS", 2)
    [told] = rehearse(connection)
    assert (told.counts.read, told.whole) == (2, False)


def test_it_waits_for_a_real_run(connection, monkeypatch):
    def busy(_connection):
        raise engine.AlreadyRunningError("It is being synced at this moment.")

    monkeypatch.setattr(engine, "alone", busy)
    with pytest.raises(engine.AlreadyRunningError):
        rehearse(connection)


def test_products_are_tried_too():
    kept = uploads.keep("things.csv", [b"sku,name,price\n1,Cup,3\n2,Plate,x\n"])
    config = {"upload": kept.pk, "key": "sku"}
    connection = Connection.objects.create(kind="file", name="Things", slug="things", config=config)
    reader = setup.connectors.connector(connection)
    connection.mapping = {"products": setup.suggested(reader, "products")}
    [told] = rehearse(connection)
    assert (told.object, told.counts.created, told.counts.rejected) == ("products", 1, 1)
    assert not Product.objects.exists()
