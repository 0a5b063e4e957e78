"""Writing back: only differences, everyone concerned, nothing twice, whatever dies in between."""

from datetime import UTC, datetime, timedelta

import pytest

from crm import consent, identity, log
from crm.connectors.base import Connector, ConnectorError
from crm.models import (
    Connection,
    Identifier,
    LogCursor,
    OutgoingActivity,
    Profile,
    SourceRecord,
    WrittenRecord,
)
from crm.sync import writeback
from crm.sync.mapping import parse
from tests.reading import settle

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = parse(
    {
        "write": {
            "Opens": "opens",
            "Last": "last_engagement",
            "Left": "unsubscribed",
            "Stage": "lifecycle_stage",
            "Tier": "attributes.tier",
        },
        "activities": ["message_opened"],
    }
)


class Crm(Connector):
    """A CRM in memory."""

    write_batch, takes_activities = 3, True

    def __init__(self):
        self.held, self.timeline, self.calls = {}, {}, 0
        self.refused, self.down, self.dies = set(), False, ""

    def write(self, object_name, changes):
        self.calls += 1
        if self.down:
            raise ConnectorError("The CRM is away.")
        assert 0 < len(changes) <= self.write_batch
        answers = []
        for change in changes:
            assert change.values
            if change.id not in self.refused:
                self.held.setdefault(change.id, {}).update(change.values)
            answers.append("No such field." if change.id in self.refused else None)
        if self.dies == "write":
            raise KeyboardInterrupt
        return answers

    def send(self, object_name, activities):
        self.calls += 1
        for activity in activities:
            if activity.record_id not in self.refused:
                self.timeline[activity.id, activity.record_id] = activity
        if self.dies == "send":
            raise KeyboardInterrupt
        return ["Not allowed." if activity.record_id in self.refused else None for activity in activities]


@pytest.fixture
def crm():
    return Crm()


@pytest.fixture
def connection():
    return Connection.objects.create(kind="memory", name="Shop", slug="shop")


@pytest.fixture
def people(connection):
    """Ten profiles, record n for the nth."""
    profiles = Profile.objects.bulk_create(Profile(first_name=f"P{n}", updated_at=NOW) for n in range(10))
    Identifier.objects.bulk_create(
        Identifier(kind="shop:contacts", value=str(n), profile=profile) for n, profile in enumerate(profiles)
    )
    SourceRecord.objects.bulk_create(
        SourceRecord(
            connection=connection,
            object="contacts",
            record_id=str(n),
            modified_at=NOW,
            content_hash=b"",
        )
        for n in range(10)
    )
    return profiles


def opened(profile, minutes=0, name="message_opened"):
    at = NOW + timedelta(minutes=minutes)
    event_id = log.event_id("test", profile.pk, name, minutes)
    log.append([log.NewEvent(event_id, profile.pk, name, at, {"message": "hi"}, "test")])
    return event_id


def write(crm, connection, minutes=60, mapping=MAPPING):
    settle()
    connection.refresh_from_db()
    now = NOW + timedelta(minutes=minutes)
    return writeback.write_back(crm, connection, "contacts", mapping, now)


def change(profile, at=30, **fields):
    Profile.objects.filter(pk=profile.pk).update(updated_at=NOW + timedelta(minutes=at), **fields)


class TestDifferences:
    def test_who_has_done_nothing_is_left_alone(self, crm, connection, people):
        assert write(crm, connection).records == 0
        assert crm.calls == 0

    def test_what_happened_before_it_was_switched_on_is_written_too(self, crm, connection, people):
        opened(people[3])
        opened(people[3], 5)
        change(people[4], lifecycle_stage="customer", attributes={"tier": 2})
        assert write(crm, connection).records == 2
        assert crm.held == {
            "3": {"Opens": 2, "Last": NOW + timedelta(minutes=5)},
            "4": {"Stage": "customer", "Tier": 2},
        }

    def test_only_what_is_new_is_written_and_a_quiet_run_writes_nothing(self, crm, connection, people):
        opened(people[1])
        write(crm, connection)
        calls = crm.calls
        assert write(crm, connection, 61).records == 0
        assert crm.calls == calls
        opened(people[1], 70)
        change(people[2], 71, lifecycle_stage="lead")
        consent.record(
            [consent.Change(people[5].pk, "channel", "webpush", consent.UNSUBSCRIBED, "person", NOW)]
        )
        crm.held.clear()
        assert write(crm, connection, 80).records == 3
        assert crm.held == {
            "1": {"Opens": 2, "Last": NOW + timedelta(minutes=70)},
            "2": {"Stage": "lead"},
            "5": {"Left": True},
        }

    def test_a_value_that_goes_is_cleared(self, crm, connection, people):
        change(people[2], lifecycle_stage="lead")
        write(crm, connection)
        change(people[2], 70, lifecycle_stage=None)
        write(crm, connection, 80)
        assert crm.held["2"] == {"Stage": None}

    def test_each_object_hears_of_changed_profiles_however_long_ago_the_last_run_was(
        self, crm, connection, people
    ):
        """One person may be a contact and a lead."""
        connection.mapping = {name: {"write": MAPPING.write} for name in ("contacts", "leads")}
        connection.save()
        SourceRecord.objects.create(
            connection=connection, object="leads", record_id="L", modified_at=NOW, content_hash=b""
        )
        Identifier.objects.create(kind="shop:leads", value="L", profile=people[2])
        for name in ("contacts", "leads"):
            writeback.write_back(crm, connection, name, MAPPING, NOW)
        change(people[2], 30, lifecycle_stage="lead")
        now = NOW + timedelta(hours=5)
        writeback.write_back(crm, connection, "contacts", MAPPING, now)
        connection.refresh_from_db()
        writeback.write_back(crm, connection, "leads", MAPPING, now)
        assert crm.held == {"2": {"Stage": "lead"}, "L": {"Stage": "lead"}}

    def test_another_choice_of_values_begins_with_everybody(self, crm, connection, people):
        opened(people[1])
        opened(people[1], 1, "message_clicked")
        write(crm, connection)
        more = parse({"write": {**MAPPING.write, "Clicks": "clicks"}})
        crm.held.clear()
        assert write(crm, connection, 61, more).records == 1
        assert crm.held == {"1": {"Clicks": 1}}
        assert LogCursor.objects.filter(name__startswith="writeback:").count() == 1

    def test_merged_people_add_up(self, crm, connection, people):
        opened(people[1])
        opened(people[2])
        write(crm, connection)
        SourceRecord.objects.filter(record_id="2").update(state="merged")
        identity.merge([(people[2].pk, people[1].pk)], "crm")
        write(crm, connection, 70)
        assert crm.held["1"]["Opens"] == 2

    def test_records_that_are_gone_are_left_alone(self, crm, connection, people):
        SourceRecord.objects.filter(record_id="1").update(state="deleted")
        opened(people[1])
        write(crm, connection)
        assert crm.held == {}
        assert crm.timeline == {}


class TestTrouble:
    @pytest.fixture(autouse=True)
    def begun(self, crm, connection, people):
        """The timeline begins when it is switched on."""
        write(crm, connection, 0)

    def test_one_refused_record_does_not_stop_the_others_and_is_tried_again(self, crm, connection, people):
        for person in people:
            opened(person)
        crm.refused = {"4"}
        written = write(crm, connection)
        assert (written.records, written.refused) == (9, 2)  # the value and the timeline entry
        assert WrittenRecord.objects.get(record_id="4").error == "No such field."
        crm.refused = set()
        later = write(crm, connection, 60 + 6 * 60)
        assert (later.records, later.activities) == (1, 1)
        assert crm.held["4"]["Opens"] == 1
        assert WrittenRecord.objects.exclude(error="").count() == 0

    def test_what_a_dead_crm_did_not_get_it_gets_later(self, crm, connection, people):
        opened(people[1])
        crm.down = True
        with pytest.raises(ConnectorError):
            write(crm, connection)
        crm.down = False
        written = write(crm, connection, 61)
        assert (written.records, written.activities) == (1, 1)

    def test_a_process_that_dies_after_the_call_does_no_harm(self, crm, connection, people):
        first = opened(people[1])
        for crm.dies in ("write", "send"):
            with pytest.raises(KeyboardInterrupt):
                write(crm, connection)
        crm.dies = ""
        write(crm, connection)
        assert crm.held == {"1": {"Opens": 1, "Last": NOW}}
        assert set(crm.timeline) == {(str(first), "1")}
        calls = crm.calls
        write(crm, connection, 62)
        assert crm.calls == calls

    def test_a_long_backlog_is_spread_over_runs(self, crm, connection, people, monkeypatch):
        monkeypatch.setattr(writeback, "BATCHES", 2)
        for person in people:
            opened(person)
        assert write(crm, connection).waiting == 8
        write(crm, connection, 61)
        assert write(crm, connection, 62).waiting == 0
        assert len(crm.held) == len(crm.timeline) == 10

    def test_queries_do_not_grow_with_the_people(
        self, crm, connection, people, django_assert_max_num_queries
    ):
        write(crm, connection)
        crm.write_batch = 100
        for person in people:
            opened(person)
        settle()
        connection.refresh_from_db()
        with django_assert_max_num_queries(33):
            writeback.write_back(crm, connection, "contacts", MAPPING, NOW + timedelta(minutes=70))
        assert len(crm.held) == 10

    def test_forgetting_leaves_nothing(self, crm, connection, people):
        opened(people[1])
        crm.refused = {"1"}
        write(crm, connection)
        writeback.forget(connection)
        assert not WrittenRecord.objects.exists()
        assert not OutgoingActivity.objects.exists()
        assert not LogCursor.objects.filter(name__startswith="writeback:").exists()
