"""HubSpot's connector: the conformance suite, its settings, its objects and what its values become."""

import pytest

from crm.connectors import kinds
from crm.connectors.base import ConnectorError
from crm.connectors.hubspot import HubSpot
from crm.connectors.hubspot_values import Property, merged_ids, typed
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.conformance import Conformance
from tests.crm.connectors.hubspot.sandbox import CONTACTS, DEALS, PRODUCTS, TOKEN, read, records


class TestHubSpot(Conformance):
    """All that the suite asks."""


class TestSettings:
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

    @pytest.mark.parametrize(
        ("config", "credentials", "missing"),
        [
            ({}, {}, "Access token"),
            ({}, {"access_token": "  "}, "Access token"),
            ({"access": "oauth"}, {"access_token": "x", "client_id": "y"}, "Client secret, Refresh token"),
        ],
    )
    def test_what_is_missing_is_named(self, config, credentials, missing):
        with pytest.raises(ConnectorError, match=missing):
            HubSpot(config, credentials)

    @pytest.mark.parametrize(
        ("entered", "wrong"),
        [
            ({"access_token": "x"}, set()),
            ({"access": "private"}, {"access_token"}),
            ({"access": "oauth", "client_id": "x"}, {"client_secret", "refresh_token"}),
            ({"access": "oauth", "client_id": "x", "client_secret": "y", "refresh_token": "z"}, set()),
            ({"access": "magic", "access_token": "x"}, {"access"}),
            ({"access_token": "x", "portal_id": "shop"}, {"portal_id"}),
        ],
    )
    def test_the_form_asks_for_what_the_access_needs(self, entered, wrong):
        form = HubSpot.Form({"server": "hubspot", "deletions_every_minutes": "60", **entered})
        assert set(form.errors) == wrong

    def test_a_redirect_does_not_get_the_token(self, few):
        with running_sandbox(contacts=1, vendors=["hubspot"]) as other:
            few.script(
                {"path": ".", "status": 302, "headers": {"Location": f"{other.url}/crm/v3/objects/contacts"}}
            )
            with pytest.raises(ConnectorError):
                few.connector().test()
            assert not other.control.journal


class TestObjects:
    def test_a_test_counts_what_can_be_read_and_names_missing_scopes(self, crm):
        assert crm.connector().test() == (
            "HubSpot answers: 450 contacts can be read. "
            f"Deals: {len(crm.hubspot.deals.records)}. Products: {len(crm.hubspot.products.records)}."
        )
        crm.script({"path": "objects/deals", "status": 403})
        assert (
            "Deals can't be read: the app lacks the scope crm.objects.deals.read." in crm.connector().test()
        )

    @pytest.mark.parametrize("name", [CONTACTS, DEALS, PRODUCTS])
    def test_a_change_of_any_object_arrives(self, crm, name):
        cursor = read(crm.connector(), name=name, names=["hs_object_id"])[-1].cursor
        store = crm.hubspot.kinds[name].store
        changed = next(iter(store.live()))
        crm.sandbox.clock.offset_seconds += 600
        store.update(changed, {"description": "changed"})
        crm.wait()
        found = records(read(crm.connector(), cursor, name=name, names=["hs_object_id"]))
        assert [record.id for record in found] == [str(changed.id)]

    def test_a_purchase_names_its_people_and_whether_it_is_one(self, crm):
        connector = crm.connector()
        names = ["amount", "deal_currency_code", "closedate", "hs_is_closed_won"]
        found = {record.id: record for record in records(read(connector, name=DEALS, names=names))}
        assert len(found) == len(crm.hubspot.deals.records) > 50
        deal = next(iter(crm.hubspot.deals.live()))
        record = found[str(deal.id)]
        assert record.fields["amount"] == pytest.approx(float(deal.properties["amount"]))
        assert record.fields["hs_is_closed_won"] is (deal.properties["dealstage"] == "closedwon")
        deals, contacts = crm.hubspot.kinds[DEALS], crm.hubspot.kinds[CONTACTS]
        people = crm.hubspot.associations.of(deals, deal, contacts)
        assert record.people == [("contacts", str(person)) for person in people] != []
        assert [one.people for one in connector.read(DEALS, [record.id], names)] == [record.people]

    def test_a_deal_of_nobody_is_read_too(self, few):
        few.hubspot.deals.create({"dealname": "Lonely"})
        found = records(read(few.connector(), name=DEALS, names=["dealname"]))
        assert [record.people for record in found if record.fields["dealname"] == "Lonely"] == [[]]

    def test_a_merge_is_told_by_the_winner_whatever_is_mapped(self, few):
        cursor = read(few.connector())[-1].cursor
        winner, loser = sorted(few.ids())[:2]
        few.merge(winner, loser)
        few.wait()
        connector = few.connector()
        told = {record.id: list(record.absorbed) for record in records(read(connector, cursor))}
        assert told[winner] == [loser]
        assert set(read(connector)[0].records[0].fields) == {"email"}
        assert [(one.id, list(one.absorbed)) for one in connector.read(CONTACTS, [loser, winner], [])] == [
            (winner, [loser])
        ]

    def test_formulas_are_volatile_and_only_what_takes_values_is_writable(self, few):
        fields = {field.name: field for field in few.connector().fields(DEALS)}
        assert Property("hs_forecast", "Forecast", "number", calculated=True).field().volatile
        assert not fields["hs_is_closed_won"].volatile  # it follows the stage, which moves the time
        assert not fields["hs_is_closed_won"].writable
        assert not fields["hs_lastmodifieddate"].writable
        assert fields["amount"].writable
        assert not fields["amount"].volatile

    def test_our_own_fields_are_written_and_not_read(self, few):
        connector = few.connector()
        suggestion = connector.suggest(CONTACTS, connector.fields(CONTACTS))
        assert suggestion.write["nudge_opens"] == "opens"
        assert len(suggestion.write) == 10
        assert not [name for name in suggestion.fields if name.startswith("nudge_")]


class TestValues:
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

    @pytest.mark.parametrize(
        ("properties", "expected"),
        [
            ({}, []),
            ({"hs_merged_object_ids": "5;7"}, ["5", "7"]),
            ({"hs_calculated_merged_vids": "5:1700000000000;9:1700000000001"}, ["5"]),
            ({"hs_merged_object_ids": "5", "hs_calculated_merged_vids": "5:1;6:2"}, ["5", "6"]),
            ({"hs_merged_object_ids": "nonsense"}, []),
        ],
    )
    def test_merged_ids_are_found_in_either_property(self, properties, expected):
        assert merged_ids(properties, "9") == expected
