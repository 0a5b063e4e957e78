"""What every connector must do. A new one inherits `Conformance` and supplies its CRM.

class TestAcme(Conformance):
    @pytest.fixture
    def crm(self):
        ...  # yields an object with the methods of `Crm`
"""

import json
from datetime import datetime
from typing import Any, Protocol

import pytest

from crm.connectors.base import Change, Connector, ConnectorError, HookRefused, HookRequest
from crm.sync import mapping as mappings

STRANGE_IDS = ["' OR '1' = '1", "../1", "1,2", "", "ü", "9" * 40]


class Crm(Protocol):
    """A CRM with at least 450 live records of its first object, people, and hands on its data."""

    def connector(self) -> Connector:
        """A connector with good credentials, as in a fresh process."""

    def ids(self) -> set[str]:
        """Ids of the live people."""

    def add(self) -> str:
        """A new person; the record's id."""

    def change(self, record_id: str) -> None:
        """Change something that the suggested mapping takes."""

    def delete(self, record_id: str) -> None:
        """Delete a person, into the recycle bin if the CRM has one."""

    def merge(self, winner: str, loser: str) -> None:
        """Merge two people; NotImplementedError if the CRM has no merging."""

    def value(self, record_id: str, field: str) -> Any:
        """What the CRM's store holds."""

    def wait(self) -> None:
        """Let the CRM's clock run until changes are visible."""

    def refuse(self) -> None:
        """From now on, credentials are refused."""

    def break_down(self) -> None:
        """From now on, answers are HTML."""

    def secrets(self) -> list[str]:
        """The credentials."""


class Conformance:
    """Tests for any connector."""

    def person(self, crm):
        """The object that most tests read."""
        found = crm.connector().objects[0]
        assert found.role == "person"
        return found.name

    def names(self, connector, name):
        return self.mapping(connector, name).names()

    def mapping(self, connector, name):
        suggested = connector.suggest(name, connector.fields(name))
        data = {
            "fields": suggested.fields,
            "consent": suggested.consent,
            "won": suggested.won,
            "write": suggested.write,
        }
        return mappings.parse(data, connector.object_type(name).role)

    def all_pages(self, crm, cursor, mode="incremental"):
        connector, name = crm.connector(), self.person(crm)
        return list(connector.pages(name, cursor, mode, self.names(connector, name)))

    def merge(self, crm, winner, loser):
        """Merge two people, or skip the test if the CRM has no merging."""
        try:
            crm.merge(winner, loser)
        except NotImplementedError:
            pytest.skip("The CRM has no merging.")

    def imported(self, crm):
        """The cursor after a first import."""
        return self.all_pages(crm, {})[-1].cursor

    def test_it_declares_itself(self, crm):
        connector = crm.connector()
        assert connector.kind.isidentifier()
        assert str(connector.label)
        parts = {*connector.Config.__struct_fields__, *connector.Credentials.__struct_fields__}
        assert set(connector.Form().fields) <= parts
        assert set(connector.Credentials.__struct_fields__) <= set(connector.Form().fields)
        assert len({found.name for found in connector.objects}) == len(connector.objects)
        assert any(found.chosen for found in connector.objects)
        assert set(connector.identity_fields) <= set(connector.Config.__struct_fields__)

    def test_testing_says_what_was_found(self, crm):
        assert crm.connector().test().endswith(".")

    def test_its_suggestions_are_mappings_of_existing_fields(self, crm):
        connector = crm.connector()
        for found in connector.objects:
            fields = {field.name: field for field in connector.fields(found.name)}
            mapping = self.mapping(connector, found.name)
            assert set(mapping.names()) <= set(fields)
            assert all(fields[name].writable for name in mapping.write)
            if found.role == "person":
                assert {"email", "first_name"} <= set(mapping.fields.values())
            if found.role == "purchase":
                assert mapping.won
                assert {"value", "occurred_at"} <= set(mapping.fields.values())
            if found.role == "product":
                assert {"name", "price"} <= set(mapping.fields.values())

    def test_every_object_is_read_to_its_end(self, crm):
        connector = crm.connector()
        for found in connector.objects:
            names = self.names(connector, found.name)
            pages = list(connector.pages(found.name, {}, "full", names))
            assert {page.object for page in pages} == {found.name}
            assert pages[-1].until
            assert pages[-1].until.tzinfo
            assert not [page for page in pages[:-1] if page.until]
            live = {record.id for page in pages for record in page.records if not record.deleted}
            assert live == {record_id for batch in connector.ids(found.name) for record_id in batch}
            if found.role == "purchase":
                assert [record for page in pages for record in page.records if record.people]
        assert connector.calls > 0

    def test_a_first_import_brings_every_record(self, crm):
        pages = self.all_pages(crm, {})
        assert {record.id for page in pages for record in page.records} == crm.ids()
        assert len(pages) > 1
        assert pages[0].expected == len(crm.ids())
        assert {one for batch in crm.connector().ids(self.person(crm)) for one in batch} == crm.ids()

    def test_records_are_complete_and_dated(self, crm):
        connector, name = crm.connector(), self.person(crm)
        names = self.names(connector, name)
        for record in next(iter(connector.pages(name, {}, "incremental", names))).records:
            assert set(record.fields) == set(names)
            assert isinstance(record.modified_at, datetime)
            assert record.modified_at.tzinfo
            assert not record.deleted

    def test_every_cursor_is_json_and_a_place_to_go_on_from(self, crm):
        pages = self.all_pages(crm, {})
        seen: set[str] = set()
        for page in pages[:-1]:
            seen |= {record.id for record in page.records}
            cursor = json.loads(json.dumps(page.cursor))
            rest = {record.id for later in self.all_pages(crm, cursor) for record in later.records}
            assert seen | rest == crm.ids()

    def test_an_interrupted_full_read_goes_on_where_it_was(self, crm):
        connector, name = crm.connector(), self.person(crm)
        pages = connector.pages(name, self.imported(crm), "full", self.names(connector, name))
        first, second = next(pages), next(pages)
        cursor = json.loads(json.dumps(second.cursor))
        rest = {record.id for page in self.all_pages(crm, cursor, "full") for record in page.records}
        assert {record.id for page in (first, second) for record in page.records} | rest == crm.ids()
        assert len(rest) < len(crm.ids())

    def test_a_run_without_changes_reads_little_and_moves_on(self, crm):
        before = self.all_pages(crm, {})[-1]
        crm.wait()
        pages = self.all_pages(crm, before.cursor)
        assert len([record for page in pages for record in page.records]) < 20
        assert pages[-1].until > before.until

    def test_no_field_need_be_asked_for(self, crm):
        connector, name = crm.connector(), self.person(crm)
        pages = list(connector.pages(name, {}, "full", []))
        assert {record.id for page in pages for record in page.records} == crm.ids()
        assert not [record for page in pages for record in page.records if record.fields]
        some = sorted(crm.ids())[:2]
        assert {record.id for record in connector.read(name, some, [])} == set(some)

    def test_a_change_and_a_new_record_arrive_and_the_rest_does_not(self, crm):
        cursor = self.imported(crm)
        changed, added = sorted(crm.ids())[7], crm.add()
        crm.change(changed)
        crm.wait()
        records = [record for page in self.all_pages(crm, cursor) for record in page.records]
        assert {changed, added} <= {record.id for record in records}
        assert len(records) < 20

    def test_many_changes_at_once_arrive(self, crm):
        cursor = self.imported(crm)
        for record_id in crm.ids():
            crm.change(record_id)
        crm.wait()
        pages = self.all_pages(crm, cursor)
        assert {record.id for page in pages for record in page.records} == crm.ids()
        for page in pages[:-1]:
            rest = {record.id for later in self.all_pages(crm, page.cursor) for record in later.records}
            done = {record.id for earlier in pages[: pages.index(page) + 1] for record in earlier.records}
            assert done | rest == crm.ids()

    def test_a_change_during_the_import_is_not_lost(self, crm):
        connector, name = crm.connector(), self.person(crm)
        pages = connector.pages(name, {}, "incremental", self.names(connector, name))
        first = next(pages)
        crm.change(first.records[0].id)
        cursor = list(pages)[-1].cursor
        crm.wait()
        records = [record for page in self.all_pages(crm, cursor) for record in page.records]
        assert first.records[0].id in {record.id for record in records}

    def test_a_deletion_arrives(self, crm):
        cursor = self.imported(crm)
        victim = sorted(crm.ids())[3]
        crm.delete(victim)
        crm.wait()
        records = [record for page in self.all_pages(crm, cursor) for record in page.records]
        assert [record.id for record in records if record.deleted] == [victim]
        full = [record for page in self.all_pages(crm, cursor, "full") for record in page.records]
        assert {record.id for record in full if record.deleted} == {victim}
        assert {record.id for record in full if not record.deleted} == crm.ids()

    def test_a_merge_arrives(self, crm):
        cursor = self.imported(crm)
        winner, loser = sorted(crm.ids())[5:7]
        self.merge(crm, winner, loser)
        crm.wait()
        records = [record for page in self.all_pages(crm, cursor) for record in page.records]
        told_by_loser = {(record.merged_into, record.id) for record in records if record.merged_into}
        told_by_winner = {(record.id, lost) for record in records for lost in record.absorbed}
        gone = {record.id for record in records if record.deleted}
        assert (winner, loser) in told_by_loser | told_by_winner or loser in gone
        assert {one for batch in crm.connector().ids(self.person(crm)) for one in batch} == crm.ids()

    def test_records_are_read_by_id(self, crm):
        connector, name = crm.connector(), self.person(crm)
        wanted = sorted(crm.ids())[:150]
        crm.delete(wanted[0])
        crm.delete(wanted[2])
        found = connector.read(name, [*wanted, "987654321987"], self.names(connector, name))
        live = {record.id for record in found if not record.deleted}
        assert live == {wanted[1], *wanted[3:]}
        assert len([record for record in found if not record.deleted]) == len(live)

    def test_a_record_that_was_merged_away_is_not_given_under_its_old_id(self, crm):
        connector, name = crm.connector(), self.person(crm)
        winner, loser = sorted(crm.ids())[1:3]
        self.merge(crm, winner, loser)
        found = connector.read(name, [loser, winner], self.names(connector, name))
        assert [record.id for record in found if not record.deleted] == [winner]
        assert {record.merged_into for record in found if record.id == loser} <= {winner}

    def test_ids_that_are_none_find_nothing_and_harm_nothing(self, crm):
        connector, name = crm.connector(), self.person(crm)
        good = min(crm.ids())
        found = connector.read(name, [*STRANGE_IDS, good], self.names(connector, name))
        assert [record.id for record in found if not record.deleted] == [good]
        assert connector.read(name, [], []) == []

    def test_values_are_written_back_and_twice_does_no_harm(self, crm):
        connector, name = crm.connector(), self.person(crm)
        if not connector.write_batch:
            pytest.skip("It writes nothing back.")
        assert connector.write(name, []) == []
        field = next(one for one, value in self.mapping(connector, name).write.items() if value == "opens")
        first, second = sorted(crm.ids())[:2]
        changes = [Change(first, {field: 3}), Change("987654321987", {field: 4}), Change(second, {field: 5})]
        for _ in range(2):
            one, missing, two = connector.write(name, changes)
            assert (one, two) == (None, None)
            assert missing
            assert float(crm.value(first, field)) == 3
            assert float(crm.value(second, field)) == 5
        assert connector.write(name, [Change(first, {field: None})]) == [None]
        assert crm.value(first, field) in (None, "")

    def test_people_are_erased_and_twice_does_no_harm(self, crm):
        connector, name = crm.connector(), self.person(crm)
        if not connector.erase_batch:
            pytest.skip("It can erase nobody.")
        victim, kept = sorted(crm.ids())[:2]
        assert connector.erase(name, []) == []
        for _ in range(2):
            assert connector.erase(name, [victim, "987654321987654321"])[0] is None
            assert victim not in crm.ids()
            assert kept in crm.ids()

    def test_a_call_from_a_stranger_is_refused(self, crm):
        connector = crm.connector()
        now = datetime.fromisoformat("2026-11-01T12:00:00+00:00")
        for body in (b"", b"[]", b"{}", b"<xml/>", b"\xff"):
            request = HookRequest("POST", "https://nudge.example/hooks/crm/shop/", {}, body, now)
            with pytest.raises(HookRefused):
                connector.hook(request)

    def test_refused_credentials_and_garbage_are_told_plainly(self, crm):
        name = self.person(crm)
        connector = crm.connector()
        crm.refuse()
        said = []
        for attempt in (
            connector.test,
            lambda: connector.fields(name),
            lambda: connector.read(name, ["1"], ["email"]),
        ):
            with pytest.raises(ConnectorError) as caught:
                attempt()
            said.append(str(caught.value))
        crm.break_down()
        with pytest.raises(ConnectorError) as caught:
            list(connector.pages(name, {}, "incremental", ["email"]))
        said.append(str(caught.value))
        assert all(text.endswith((".", "?")) for text in said)
        assert not [text for text in said for secret in crm.secrets() if secret in text]

    def test_incomplete_settings_are_told_plainly(self, crm):
        with pytest.raises(ConnectorError):
            type(crm.connector())({}, {})
