"""Values that flows write into CRMs: asked for by the step, written by the connection's next sync."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from campaigns.flows import crm_writes
from campaigns.models import CrmWrite
from crm import connectors
from crm.connectors.base import Connector, ConnectorError, ObjectType
from crm.models import Connection, Identifier, SourceRecord
from crm.sync import writeback
from crm.sync.mapping import Mapping
from tests.campaigns.flows.standing import advance, facts, form_of, problems, queries, rehearsed, stand, step

SCHEMA = {"contacts": {"Plan": "text", "Score": "number", "Seen": "datetime"}, "leads": {"Rating": "text"}}


class Crm(Connector):
    """A CRM in memory."""

    kind, label = "memory", "Memory"
    Config = Credentials = msgspec.defstruct("Nothing", [])
    objects = (
        ObjectType("contacts", "Contacts", "person"),
        ObjectType("leads", "Leads", "person"),
        ObjectType("deals", "Deals", "purchase"),
    )
    write_batch = 3

    def __init__(self):
        self.held, self.refused, self.down = {}, set(), False

    def write(self, object_name, changes):
        if self.down:
            raise ConnectorError("The CRM is away.")
        assert len(changes) <= self.write_batch
        for change in changes:
            if change.id not in self.refused:
                self.held.setdefault((object_name, change.id), {}).update(change.values)
        return ["No such value." if change.id in self.refused else None for change in changes]


@pytest.fixture
def crm(monkeypatch):
    monkeypatch.setitem(connectors.kinds(), "memory", Crm)
    return Crm()


@pytest.fixture
def shop(crm, world):
    return Connection.objects.create(
        kind="memory",
        name="Shop",
        slug="shop",
        mapping={"contacts": {"write": {"Opens": "opens"}}, "leads": {}, "deals": {}},
        schema=SCHEMA,
    )


def known(connection, profile_id, number, object_name="contacts"):
    Identifier.objects.create(kind=f"{connection.slug}:{object_name}", value=number, profile_id=profile_id)
    SourceRecord.objects.create(
        connection=connection,
        object=object_name,
        record_id=number,
        modified_at=datetime.now(UTC),
        content_hash=b"",
    )


def sync(world, crm, connection, **later):
    world.now += timedelta(**later)
    return [
        writeback.write_back(crm, connection, name, Mapping(), world.now) for name in ("contacts", "leads")
    ]


def test_values_go_into_the_record_that_has_the_fields_with_the_next_sync(world, crm, shop):
    ann, lead = world.person("ann"), world.person("lead")
    known(shop, ann, "1")
    known(shop, lead, "L1", "leads")
    config = {"fields": {"Plan": {"from": "event.plan"}, "Seen": "2026-05-01T10:00:00+02:00"}}
    people = [(ann, {"event": {"plan": "gold"}})]
    foreseen = rehearsed(world, "crm_write", config, people)
    stand(world, world.flow([step("crm_write", **config)]), people)
    stand(world, world.flow([step("crm_write", fields={"Rating": "A"})], slug="leads"), [(lead, {})])
    advance(world)
    assert foreseen[0] in facts()
    assert crm.held == {}
    sync(world, crm, shop)
    seen = datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert crm.held == {("contacts", "1"): {"Plan": "gold", "Seen": seen}, ("leads", "L1"): {"Rating": "A"}}
    assert set(CrmWrite.objects.values_list("state", "due_at")) == {("written", None)}
    crm.held.clear()
    sync(world, crm, shop, hours=2)
    assert crm.held == {}


def test_what_is_refused_is_tried_some_times_and_what_is_away_waits(world, crm, shop):
    people = [(world.person(f"p{number}"), {}) for number in range(5)]
    for number, (profile_id, _context) in enumerate(people):
        known(shop, profile_id, str(number))
    stand(world, world.flow([step("crm_write", fields={"Plan": "x"})]), people)
    advance(world)
    crm.down = True
    with pytest.raises(ConnectorError):
        sync(world, crm, shop)
    crm.down, crm.refused = False, {"3"}
    written, _leads = sync(world, crm, shop)
    assert (written.records, written.refused) == (4, 1)
    for _try in range(crm_writes.ATTEMPTS):
        sync(world, crm, shop, hours=2)
    [left] = CrmWrite.objects.exclude(state="written")
    assert (left.state, left.error, left.attempts) == ("refused", "No such value.", crm_writes.ATTEMPTS)


def test_who_comes_into_the_crm_within_a_day_is_written_too(world, crm, shop):
    ann, bob = world.person("ann"), world.person("bob")
    stand(world, world.flow([step("crm_write", fields={"Plan": "x"})]), [(ann, {}), (bob, {})])
    advance(world)
    sync(world, crm, shop, hours=5)
    known(shop, ann, "1")
    sync(world, crm, shop, hours=5)
    assert crm.held == {("contacts", "1"): {"Plan": "x"}}
    sync(world, crm, shop, days=1)
    assert CrmWrite.objects.get(profile_id=bob).state == "nobody"


def test_a_connection_that_rests_for_days_writes_afterwards(world, crm, shop):
    ann = world.person("ann")
    known(shop, ann, "1")
    stand(world, world.flow([step("crm_write", fields={"Plan": "x"})]), [(ann, {})])
    advance(world)
    sync(world, crm, shop, days=3)
    assert crm.held == {("contacts", "1"): {"Plan": "x"}}


def test_the_last_value_of_a_record_counts(world, crm, shop):
    ann = world.person("ann")
    known(shop, ann, "1")
    for slug, plan in (("one", "silver"), ("two", "gold")):
        stand(world, world.flow([step("crm_write", fields={"Plan": plan})], slug=slug), [(ann, {})])
        advance(world, seconds=1)
    sync(world, crm, shop)
    assert crm.held == {("contacts", "1"): {"Plan": "gold"}}


def test_a_batch_takes_as_many_queries_as_one_person(world, shop):
    flow = world.flow([step("crm_write", fields={"Plan": {"from": "profile.email"}})])
    people = [(world.person(f"p{number}"), {}) for number in range(20)]
    queries(world, flow, people[:1])
    assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])


def test_settings(world, crm, shop):
    file = Connection.objects.create(kind="file", name="File", slug="file", mapping={"people": {}})
    assert problems("crm_write") == {"fields"}
    assert problems("crm_write", connection=file.pk, fields={"Plan": 1}) == {"connection"}
    assert problems("crm_write", fields={"Plan": "x", "Rating": "A"}) == {"fields"}
    assert (
        problems("crm_write", fields={"Nope": "x"})
        == problems("crm_write", fields={"Opens": 1})
        == {"fields"}
    )
    assert (
        problems("crm_write", fields={"Score": "many"})
        == problems("crm_write", fields={"Seen": 1})
        == {"fields"}
    )
    assert problems("crm_write", fields={"Plan": {"add": 1}}) == {"fields"}
    assert problems("crm_write", connection=shop.pk, fields={"Plan": "x", "Score": 2}) == set()
    config = {"connection": shop.pk, "fields": {"Plan": {"from": "event.plan"}, "Score": -1}}
    assert form_of("crm_write", config) == config
    Connection.objects.all().delete()
    assert problems("crm_write", fields={"Plan": 1}) == {"connection"}
