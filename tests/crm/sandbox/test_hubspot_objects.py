"""Deals, products, companies and custom objects of the sandbox, with HubSpot's own Python client."""

from collections import Counter

import pytest
from hubspot.crm.deals import ApiException
from hubspot.crm.products import ApiException as ProductException

from crm.sandbox.hubspot_properties import WON
from crm.sandbox.hubspot_seed import seeds


def search(operator, name, value, **more):
    """A search body with one filter."""
    item = {"propertyName": name, "operator": operator, "value": value}
    return {"filterGroups": [{"filters": [item]}], "limit": 100, **more}


def link(deal, contact):
    """A create body's association of a deal with a contact."""
    return {
        "properties": deal,
        "associations": [
            {
                "to": {"id": contact},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}],
            }
        ],
    }


class TestSeeds:
    def test_a_fifth_of_the_people_have_a_deal_and_most_deals_are_won(self):
        made = seeds(3000, seed=1)
        assert 0.17 < len(made.deals) / 3000 < 0.23
        assert len(made.purchases) == len(made.deals)
        won = [values for values, _, _ in made.deals if values["dealstage"] == WON]
        assert len(won) / len(made.deals) > 0.75
        assert all(values["amount"] and values["closedate"] for values in won)
        assert len(Counter(values["deal_currency_code"] for values in won)) == 4
        assert all(created <= modified for _, created, modified in made.deals)

    def test_the_same_seed_gives_the_same_rows(self):
        assert seeds(200, seed=5) == seeds(200, seed=5) != seeds(200, seed=6)

    def test_every_seeded_value_has_a_property(self, sandbox):
        for kind in sandbox.hubspot.kinds.values():
            for record in kind.store.live():
                assert set(record.properties) <= set(kind.schema.definitions), kind.name
                refused = {problem["name"] for problem in kind.schema.problems(record.properties)}
                assert refused <= {"email", "hs_email_optout"}, refused


class TestDeals:
    def test_won_deals_are_told_with_their_money_and_their_people(self, client, sandbox):
        page = client.crm.deals.basic_api.get_page(
            limit=100,
            properties=["amount", "closedate", "deal_currency_code", "hs_is_closed_won", "dealstage"],
            associations=["contacts", "companies"],
        )
        assert len(page.results) == len(sandbox.hubspot.deals.records)
        for deal in page.results:
            assert deal.properties["hs_is_closed_won"] == str(deal.properties["dealstage"] == WON).lower()
            assert float(deal.properties["amount"]) > 0
            (buyer,) = deal.associations["contacts"].results
            assert (buyer.type, int(buyer.id) in sandbox.hubspot.contacts.records) == (
                "deal_to_contact",
                True,
            )
            assert "companies" not in deal.associations

    def test_whether_a_deal_is_won_follows_from_its_stage(self, client, sandbox, http):
        api = client.crm.deals.basic_api
        deal = api.create({"properties": {"dealname": "Boots", "dealstage": "contractsent"}})
        api.update(deal.id, {"properties": {"dealstage": WON}})
        assert (
            api.get_by_id(deal.id, properties=["hs_is_closed_won"]).properties["hs_is_closed_won"] == "true"
        )
        shown = [row for row in sandbox.hubspot.dump("deals") if row["id"] == deal.id]
        assert shown[0]["properties"]["hs_is_closed_won"] == "true"
        with pytest.raises(ApiException):
            api.update(deal.id, {"properties": {"hs_is_closed_won": "false"}})

    def test_only_their_own_modified_date_finds_them(self, client, sandbox):
        do_search = client.crm.deals.search_api.do_search
        everything = do_search(search("GTE", "hs_lastmodifieddate", "0"))
        assert everything.total == len(sandbox.hubspot.deals.records)
        assert do_search(search("GTE", "lastmodifieddate", "0")).total == 0

    def test_deals_of_one_name_are_two_deals(self, client):
        rows = [{"properties": {"dealname": "Same"}}] * 2
        made = client.crm.deals.batch_api.create({"inputs": rows}).results
        assert len({deal.id for deal in made}) == 2
        found = client.crm.deals.search_api.do_search(search("EQ", "dealname", "same"))
        assert found.total == 2

    def test_merged_deals_bring_their_contacts_together(self, client):
        made = [
            client.crm.deals.basic_api.create(link({"dealname": f"Deal {person}"}, person)) for person in "12"
        ]
        winner, loser = (deal.id for deal in made)
        client.crm.deals.basic_api.merge({"primaryObjectId": winner, "objectIdToMerge": loser})
        shown = client.crm.deals.basic_api.get_by_id(loser, associations=["contacts"])
        assert shown.id == winner
        assert {row.id for row in shown.associations["contacts"].results} == {"1", "2"}

    def test_an_association_with_nobody_is_refused_and_makes_nothing(self, client, sandbox):
        before = len(sandbox.hubspot.deals.records)
        with pytest.raises(ApiException) as refused:
            client.crm.deals.basic_api.create(link({"dealname": "Lost"}, "999999"))
        assert refused.value.status == 400
        assert len(sandbox.hubspot.deals.records) == before


class TestOtherObjects:
    def test_products_have_what_a_catalogue_needs(self, client):
        names = ["name", "price", "hs_sku", "hs_url", "category", "stock"]
        page = client.crm.products.basic_api.get_page(limit=100, properties=names)
        assert len(page.results) == 60
        assert all(all(product.properties[name] for name in names) for product in page.results)
        assert len({product.properties["hs_sku"] for product in page.results}) == 60

    def test_a_product_comes_changes_and_goes(self, client, sandbox):
        api = client.crm.products.basic_api
        made = api.create({"properties": {"name": "Mug", "price": "9.90"}})
        assert api.update(made.id, {"properties": {"price": "8.90"}}).properties["price"] == "8.90"
        api.archive(made.id)
        with pytest.raises(ProductException):
            api.get_by_id(made.id)
        assert api.get_by_id(made.id, archived=True).archived is True

    def test_companies_are_known_to_their_people(self, client, sandbox):
        company = client.crm.companies.basic_api.get_page(limit=1, associations=["contacts"]).results[0]
        for person in company.associations["contacts"].results:
            stored = sandbox.hubspot.contacts.records[int(person.id)]
            assert stored.properties["company"] == company.properties["name"]

    def test_an_object_answers_to_its_type_id(self, http):
        assert http("GET", "/crm/v3/objects/0-3?limit=1").json() == http(
            "GET", "/crm/v3/objects/deals?limit=1"
        ).json() | {
            "paging": {"next": {"after": "2", "link": http.base + "/crm/v3/objects/0-3?limit=1&after=2"}}
        }

    def test_a_custom_object_is_served_once_it_is_defined(self, client):
        assert client.crm.schemas.core_api.get_all().results == []
        label = {"singular": "Pet", "plural": "Pets"}
        name = {"name": "pet_name", "label": "Name", "type": "string", "fieldType": "text"}
        made = client.crm.schemas.core_api.create(
            {
                "name": "pets",
                "labels": label,
                "properties": [name],
                "requiredProperties": ["pet_name"],
                "associatedObjects": ["CONTACT"],
            }
        )
        assert made.object_type_id.startswith("2-")
        pet = client.crm.objects.basic_api.create(made.object_type_id, {"properties": {"pet_name": "Rex"}})
        found = client.crm.objects.search_api.do_search("pets", search("EQ", "pet_name", "rex"))
        assert [row.id for row in found.results] == [pet.id]
        assert "hs_createdate" in pet.properties


class TestAssociations:
    def test_batch_read_tells_who_belongs_and_who_has_nobody(self, client, sandbox):
        employed = next(r for r in sandbox.hubspot.contacts.live() if r.properties.get("company"))
        alone = next(r for r in sandbox.hubspot.contacts.live() if not r.properties.get("company"))
        answer = client.crm.associations.v4.batch_api.get_page(
            "contacts", "companies", {"inputs": [{"id": str(employed.id)}, {"id": str(alone.id)}]}
        )
        (row,) = answer.results
        assert row._from.id == str(employed.id)
        assert row.to[0].association_types[0].type_id == 279
        company = sandbox.hubspot.companies.records[int(row.to[0].to_object_id)]
        assert company.properties["name"] == employed.properties["company"]
        assert [error.sub_category for error in answer.errors] == ["crm.associations.NO_ASSOCIATIONS_FOUND"]

    def test_two_records_come_together_and_apart(self, client):
        api = client.crm.associations.v4
        pair = [{"from": {"id": "1"}, "to": {"id": "1"}}]
        assert len(api.batch_api.create_default("products", "contacts", {"inputs": pair}).results) == 1
        assert [row.to_object_id for row in api.basic_api.get_page("contacts", "1", "products").results] == [
            "1"
        ]
        api.basic_api.archive("contacts", "1", "products", "1")
        assert api.basic_api.get_page("products", "1", "contacts").results == []

    def test_a_deleted_record_belongs_to_nobody(self, client, sandbox):
        deal = client.crm.deals.basic_api.create(link({"dealname": "Gone"}, "1"))
        listed = client.crm.associations.v4.basic_api.get_page
        assert deal.id in [row.to_object_id for row in listed("contacts", "1", "deals").results]
        client.crm.deals.basic_api.archive(deal.id)
        assert deal.id not in [row.to_object_id for row in listed("contacts", "1", "deals").results]
        client.crm.contacts.basic_api.purge({"objectId": "1"})
        sandbox.hubspot.deals.restore(sandbox.hubspot.deals.records[int(deal.id)])
        assert listed("deals", deal.id, "contacts").results == []


class TestAround:
    def test_groups_and_their_properties(self, client):
        api = client.crm.properties
        groups = {group.name for group in api.groups_api.get_all("contacts").results}
        assert groups == {"contactinformation", "shop", "nudge"}
        api.groups_api.create("contacts", {"name": "extra", "label": "Extra"})
        body = {"name": "size", "label": "Size", "type": "string", "fieldType": "text", "groupName": "extra"}
        assert api.core_api.create("contacts", body).group_name == "extra"
        assert api.core_api.update("contacts", "size", {"label": "Shoe size"}).label == "Shoe size"
        read = api.batch_api.read("contacts", {"archived": False, "inputs": [{"name": "size"}]})
        assert [item.name for item in read.results] == ["size"]
        api.groups_api.archive("contacts", "extra")
        assert "extra" not in {group.name for group in api.groups_api.get_all("contacts").results}

    def test_engagement_can_be_written_back(self, client, sandbox):
        written = {
            "nudge_last_engagement": "2026-11-01T10:00:00.000Z",
            "nudge_opens": "5",
            "nudge_clicks": "2",
            "nudge_conversions": "1",
            "nudge_score": "12.5",
            "nudge_unsubscribed": "true",
        }
        rows = [{"id": "1", "properties": written}]
        (answer,) = client.crm.contacts.batch_api.update({"inputs": rows}).results
        assert written.items() <= answer.properties.items()
        assert written.items() <= sandbox.hubspot.contacts.records[1].properties.items()

    def test_owners(self, client):
        owners = client.crm.owners.owners_api.get_page().results
        assert len(owners) == 3
        assert client.crm.owners.owners_api.get_by_id(2).email == owners[1].email
        assert client.crm.owners.owners_api.get_page(email=owners[2].email).results == [owners[2]]

    def test_an_event_that_is_sent_twice_is_one_event(self, client, sandbox):
        event = {"eventName": "pe1_opened", "objectId": "1", "uuid": "a-1", "properties": {}}
        client.events.send.basic_api.send(event)
        client.events.send.basic_api.send(event)
        batch = {"inputs": [event, {**event, "uuid": "a-2"}]}
        client.events.send.batch_api.send(batch)
        assert [row["uuid"] for row in sandbox.hubspot.events] == ["a-1", "a-2"]

    def test_an_event_about_nobody_is_refused(self, http, sandbox):
        assert http("POST", "/events/v3/send", {"eventName": "pe1_opened"}).status == 400
        assert sandbox.hubspot.events == []


class TestSearchLag:
    def found(self, client, value):
        answer = client.crm.contacts.search_api.do_search(search("EQ", "jobtitle", value))
        return [record.id for record in answer.results]

    def test_search_sees_the_past_and_lists_see_the_present(self, client, sandbox):
        client.crm.contacts.basic_api.update("1", {"properties": {"jobtitle": "Pilot"}})
        sandbox.hubspot.lag_seconds = 60
        api = client.crm.contacts.basic_api
        api.update("1", {"properties": {"jobtitle": "Diver"}})
        made = api.create({"properties": {"jobtitle": "Diver"}})
        assert api.get_by_id("1", properties=["jobtitle"]).properties["jobtitle"] == "Diver"
        assert (self.found(client, "Pilot"), self.found(client, "Diver")) == (["1"], [])
        sandbox.clock.offset_seconds += 61
        assert (self.found(client, "Pilot"), self.found(client, "Diver")) == ([], ["1", made.id])

    def test_the_deleted_are_still_found_for_a_while(self, client, sandbox):
        made = [
            client.crm.contacts.basic_api.create({"properties": {"jobtitle": "Diver"}}).id for _ in range(4)
        ]
        sandbox.hubspot.lag_seconds = 60
        api = client.crm.contacts.basic_api
        api.archive(made[0])
        api.merge({"primaryObjectId": made[1], "objectIdToMerge": made[2]})
        api.purge({"objectId": made[3]})
        assert sorted(self.found(client, "Diver")) == sorted(made)
        sandbox.clock.offset_seconds += 61
        assert self.found(client, "Diver") == [made[1]]


def test_what_the_app_may_not_see_is_not_there(client, sandbox):
    sandbox.hubspot.hide("contacts", ["1"])
    api = client.crm.contacts
    ids = {record.id for record in api.basic_api.get_page(limit=100).results}
    assert "1" not in ids
    assert len(ids) == 100
    assert api.search_api.do_search({"limit": 1}).total == 299
    read = {"inputs": [{"id": "1"}], "properties": [], "propertiesWithHistory": []}
    assert api.batch_api.read(read).errors[0].context == {"ids": ["1"]}
    sandbox.hubspot.hide("contacts")
    assert api.basic_api.get_page().results == []
    assert len(list(sandbox.hubspot.dump("contacts"))) == 300
    sandbox.hubspot.show("contacts")
    assert api.search_api.do_search({"limit": 1}).total == 300
