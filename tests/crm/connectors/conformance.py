"""What every connector must do. A new one inherits `Conformance` and supplies its CRM.

class TestAcme(Conformance):
    @pytest.fixture
    def crm(self):
        ...  # yields an object with the methods of `Crm`
"""

import json
from datetime import datetime
from typing import Protocol

import pytest

from crm.connectors.base import Connector, ConnectorError
from crm.patches import FIELDS
from crm.sync import mapping as mappings


class Crm(Protocol):
    """A CRM with at least 450 live records, and hands on its data."""

    def connector(self) -> Connector:
        """A connector with good credentials, as in a fresh process."""

    def ids(self) -> set[str]:
        """Ids of the live records."""

    def add(self) -> str:
        """A new record; its id."""

    def change(self, record_id: str) -> None:
        """Change something that the suggested mapping takes."""

    def delete(self, record_id: str) -> None:
        """Delete a record."""

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

    def names(self, connector):
        return mappings.parse(self.suggestion(connector)).names()

    def suggestion(self, connector):
        suggested = connector.suggest(connector.fields())
        return {"fields": suggested.fields, "consent": suggested.consent}

    def all_pages(self, crm, cursor, mode="incremental"):
        connector = crm.connector()
        return list(connector.pages(cursor, mode, self.names(connector)))

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

    def test_testing_says_what_was_found(self, crm):
        assert crm.connector().test().endswith(".")

    def test_its_suggestion_is_a_mapping_of_existing_fields(self, crm):
        connector = crm.connector()
        mapping = mappings.parse(self.suggestion(connector))
        assert set(mapping.names()) <= {field.name for field in connector.fields()}
        assert {"email", "first_name"} <= set(mapping.fields.values())
        assert all(target in FIELDS or target.startswith("attributes.") for target in mapping.fields.values())

    def test_a_first_import_brings_every_record(self, crm):
        pages = self.all_pages(crm, {})
        assert {record.id for page in pages for record in page.records} == crm.ids()
        assert len(pages) > 1
        assert pages[0].expected == len(crm.ids())

    def test_records_are_complete_and_dated(self, crm):
        connector = crm.connector()
        names = self.names(connector)
        for record in next(iter(connector.pages({}, "incremental", names))).records:
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
        connector = crm.connector()
        pages = connector.pages({}, "incremental", self.names(connector))
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

    def test_records_are_read_by_id(self, crm):
        connector = crm.connector()
        wanted = sorted(crm.ids())[:150]
        crm.delete(wanted[0])
        found = connector.read([*wanted, "987654321987"], self.names(connector))
        assert {record.id for record in found} == set(wanted[1:])

    def test_refused_credentials_and_garbage_are_told_plainly(self, crm):
        connector = crm.connector()
        crm.refuse()
        said = []
        for attempt in (connector.test, connector.fields, lambda: connector.read(["1"], ["email"])):
            with pytest.raises(ConnectorError) as caught:
                attempt()
            said.append(str(caught.value))
        crm.break_down()
        with pytest.raises(ConnectorError) as caught:
            list(connector.pages({}, "incremental", ["email"]))
        said.append(str(caught.value))
        assert all(text.endswith((".", "?")) for text in said)
        assert not [text for text in said for secret in crm.secrets() if secret in text]

    def test_incomplete_settings_are_told_plainly(self, crm):
        with pytest.raises(ConnectorError):
            type(crm.connector())({}, {})
