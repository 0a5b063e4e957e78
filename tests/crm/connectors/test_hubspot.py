"""HubSpot's connector: the conformance suite, and HubSpot's own habits."""

import pytest

from crm.connectors import hubspot_errors, kinds
from crm.connectors.base import ConnectorError
from crm.connectors.hubspot import HubSpot
from crm.connectors.hubspot_values import typed
from crm.sandbox import faults
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.conformance import Conformance

CONTACTS = "contacts"
TOKEN = "pat-eu1-secret"


class SandboxCrm:
    """The sandbox as the conformance suite's CRM."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.store = sandbox.hubspot.contacts
        self.changes = 0

    def connector(self):
        return HubSpot({"server": "sandbox", "deletions_every_minutes": 1}, {"access_token": TOKEN})

    def ids(self):
        return {str(record.id) for record in self.store.live()}

    def add(self):
        return str(self.store.create({"email": "new@example.com"}).id)

    def change(self, record_id):
        self.changes += 1
        self.store.update(self.store.records[int(record_id)], {"city": f"City {self.changes}"})

    def delete(self, record_id):
        self.store.archive(self.store.records[int(record_id)])

    def merge(self, winner, loser):
        self.sandbox.hubspot.edit("contacts", winner, {"merge": loser})

    def value(self, record_id, field):
        return self.store.records[int(record_id)].properties.get(field)

    def wait(self):
        self.sandbox.clock.offset_seconds += 120

    def refuse(self):
        self.script({"path": ".", "status": 401})

    def break_down(self):
        self.script({"path": ".", "status": 200, "body": "<html>Sorry</html>"})

    def secrets(self):
        return [TOKEN]

    def script(self, *rules):
        self.sandbox.control.faults = faults.parse(list(rules))


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(HubSpot, "backoff_seconds", 0.01)
    with running_sandbox(contacts=450) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


class TestHubSpot(Conformance):
    """All that the suite asks."""


def journal(crm):
    return [entry["path"] for entry in crm.sandbox.control.journal]


class TestHabits:
    def test_it_is_found_by_its_kind(self):
        assert kinds()["hubspot"] is HubSpot

    def test_only_hubspot_and_the_sandbox_can_be_reached(self, settings):
        settings.NUDGE_SANDBOX_URL = "http://127.0.0.1:9"
        token = {"access_token": TOKEN}
        assert HubSpot({}, token).url == "https://api.hubapi.com"
        assert HubSpot({"server": "sandbox"}, token).url == "http://127.0.0.1:9"
        for config in ({"server": "http://10.0.0.1"}, {"api_url": "http://10.0.0.1"}):
            with pytest.raises(ConnectorError):
                HubSpot(config, token)

    def test_a_redirect_does_not_get_the_token(self, crm):
        with running_sandbox(contacts=1) as other:
            crm.script(
                {"path": ".", "status": 302, "headers": {"Location": f"{other.url}/crm/v3/objects/contacts"}}
            )
            with pytest.raises(ConnectorError):
                crm.connector().test()
            assert not other.control.journal

    def test_long_property_lists_do_not_go_into_the_url(self, crm):
        for number in range(300):
            name = f"custom_property_number_{number}"
            crm.sandbox.hubspot.schema.add(
                {"name": name, "label": name, "type": "string", "fieldType": "text", "groupName": "shop"}, 0
            )
        connector = crm.connector()
        names = [field.name for field in connector.fields(CONTACTS)]
        pages = list(connector.pages(CONTACTS, {}, "incremental", names))
        assert {record.id for page in pages for record in page.records} == crm.ids()
        assert max(map(len, journal(crm))) < 1000

    def test_a_page_that_leads_to_itself_ends_the_run(self, crm):
        crm.script(
            {"path": "after=", "status": 200, "body": {"results": [], "paging": {"next": {"after": "101"}}}},
        )
        connector = crm.connector()
        with pytest.raises(ConnectorError, match="same page"):
            list(
                connector.pages(
                    CONTACTS, {"list": {"after": "101", "started": 0}, "deleted_until": 0}, "full", ["email"]
                )
            )

    def test_search_results_out_of_order_end_the_run(self, crm):
        contact = {"id": "5", "updatedAt": "2026-01-01T00:00:00.000Z", "properties": {}}
        crm.script(
            {
                "path": "/search",
                "status": 200,
                "body": {"total": 2, "results": [{**contact, "id": "6"}, contact]},
            }
        )
        with pytest.raises(ConnectorError, match="out of order"):
            list(crm.connector().pages(CONTACTS, {"until": 0, "deleted_until": 0}, "incremental", ["email"]))

    def test_half_a_character_costs_one_contact_not_its_page(self, crm):
        body = b'{"results": [{"id": "1", "updatedAt": "2026-01-01T00:00:00Z", "properties": {"city": "\\ud83d"}}]}'
        crm.script({"path": "objects/contacts\\?", "status": 200, "body": body.decode()})
        connector = crm.connector()
        page = next(iter(connector.pages(CONTACTS, {}, "incremental", ["city"])))
        assert page.records[0].fields["city"] == "\ud83d"

    def test_a_spent_day_is_waited_for(self, crm):
        crm.script(
            {
                "path": "properties",
                "status": 429,
                "body": {"policyName": "DAILY", "message": "You have reached your daily limit."},
            }
        )
        with pytest.raises(ConnectorError) as caught:
            crm.connector().fields(CONTACTS)
        assert caught.value.retry_minutes == hubspot_errors.DAILY_LIMIT_MINUTES

    @pytest.mark.parametrize(
        ("value", "kind", "expected"),
        [
            ("", "text", None),
            ("00123", "text", "00123"),
            ("12", "number", 12),
            ("123456789012345678", "number", 123456789012345678),
            ("1.50", "number", 1.5),
            ("nan", "number", "nan"),
            ("twelve", "number", "twelve"),
            ("true", "boolean", True),
            ("False", "boolean", False),
            ("a;b", "list", ["a", "b"]),
        ],
    )
    def test_values_get_their_types(self, value, kind, expected):
        found = typed(value, kind)
        assert found == expected
        assert type(found) is type(expected)
