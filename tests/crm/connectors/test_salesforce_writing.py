"""Writing into Salesforce, and what its mapping suggests."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from crm.connectors.base import Change, ConnectorError
from crm.connectors.salesforce import Salesforce
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.salesforce_crm import SandboxCrm

UPDATE = "composite/sobjects$"


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    with running_sandbox(contacts=20, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


def test_every_kind_of_value_arrives(crm):
    one = min(crm.ids())
    at = datetime(2026, 11, 1, 12, 30, 15, 999_000, tzinfo=timezone(timedelta(hours=2)))
    values = {
        "Nudge_Opens__c": 3,
        "Nudge_Score__c": 0.25,
        "Nudge_Last_Engagement__c": at,
        "Nudge_Unsubscribed__c": True,
        "Nudge_Lifecycle_Stage__c": "loyal 🌸",
        "Birthdate": at,
        "Customer_Number__c": 17,
        "Web_Push_Opt_In__c": False,
        "Plan__c": "vip",
    }
    assert crm.connector().write("Contact", [Change(one, values)]) == [None]
    stored = crm.table.records[one].values
    expected = {
        **values,
        "Nudge_Last_Engagement__c": int(datetime(2026, 11, 1, 10, 30, 15, tzinfo=UTC).timestamp() * 1000),
        "Birthdate": "2026-11-01",
        "Customer_Number__c": "17",
        "Web_Push_Opt_In__c": "No",
    }
    assert {name: stored[name] for name in values} == expected
    assert crm.connector().write("Contact", [Change(one, dict.fromkeys(values))]) == [None]
    assert {name: stored.get(name) for name in values} == {
        **dict.fromkeys(values),
        "Nudge_Unsubscribed__c": False,
    }


def test_one_refused_row_costs_no_other(crm):
    one, two, gone = sorted(crm.ids())[:3]
    crm.delete(gone)
    changes = [
        Change(one, {"Nudge_Opens__c": 1}),
        Change(gone, {"Nudge_Opens__c": 1}),
        Change("no id", {"Nudge_Opens__c": 1}),
        Change(two, {"Nudge_Opens__c": 10**20}),
        Change(two, {"Nudge_Colour__c": "red"}),
        Change(one, {"SystemModstamp": datetime.now(UTC)}),
    ]
    said = crm.connector().write("Contact", changes)
    assert [text is None for text in said] == [True, False, False, False, False, False]
    assert "no longer exists" in said[4]
    assert "may not write" in said[5]
    assert all(text.endswith(".") or ":" in text for text in said if text)
    assert crm.value(one, "Nudge_Opens__c") == 1


def test_two_changes_of_one_record_go_together(crm):
    one = min(crm.ids())
    changes = [
        Change(one, {"Nudge_Opens__c": 1, "Nudge_Clicks__c": 1}),
        Change(one[:15], {"Nudge_Opens__c": 2}),
    ]
    assert crm.connector().write("Contact", changes) == [None, None]
    assert crm.value(one, "Nudge_Opens__c") == 2
    assert crm.value(one, "Nudge_Clicks__c") == 1


def test_a_locked_record_is_tried_again_and_only_it(crm):
    one, two = sorted(crm.ids())[:2]
    locked = {
        "statusCode": "UNABLE_TO_LOCK_ROW",
        "message": "unable to obtain exclusive access",
        "fields": [],
    }
    answer = [{"id": one, "success": True, "errors": []}, {"success": False, "errors": [locked]}]
    crm.script({"path": UPDATE, "nth": 1, "status": 200, "content_type": "application/json", "body": answer})
    changes = [Change(one, {"Nudge_Opens__c": 1}), Change(two, {"Nudge_Opens__c": 2})]
    assert crm.connector().write("Contact", changes) == [None, None]
    assert crm.value(one, "Nudge_Opens__c") is None  # the script answered for it
    assert crm.value(two, "Nudge_Opens__c") == 2


def test_a_record_that_stays_locked_is_told(crm):
    one = min(crm.ids())
    locked = {
        "statusCode": "UNABLE_TO_LOCK_ROW",
        "message": "unable to obtain exclusive access",
        "fields": [],
    }
    body = [{"success": False, "errors": [locked]}]
    crm.script({"path": UPDATE, "status": 200, "content_type": "application/json", "body": body})
    (said,) = crm.connector().write("Contact", [Change(one, {"Nudge_Opens__c": 1})])
    assert "exclusive access" in said
    assert len(crm.asked("composite/sobjects")) == 4


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 503}, {"truncate": 10}])
def test_a_write_whose_answer_is_lost_is_sent_again(crm, fault):
    one = min(crm.ids())
    crm.script({"path": UPDATE, "nth": 1, **fault})
    assert crm.connector().write("Contact", [Change(one, {"Nudge_Opens__c": 7})]) == [None]
    assert crm.value(one, "Nudge_Opens__c") == 7


def test_an_answer_for_fewer_rows_is_not_believed(crm):
    crm.script({"path": UPDATE, "status": 200, "content_type": "application/json", "body": []})
    with pytest.raises(ConnectorError):
        crm.connector().write("Contact", [Change(min(crm.ids()), {"Nudge_Opens__c": 7})])


def test_a_mapping_is_suggested_for_every_object(crm):
    connector = crm.connector()
    contact = connector.suggest("Contact", connector.fields("Contact"))
    assert (
        contact.fields
        | {
            "Email": "email",
            "Phone": "phone",
            "FirstName": "first_name",
            "LastName": "last_name",
            "MailingCity": "city",
            "Country_Code__c": "country",
            "Birthdate": "birthday",
            "Language__c": "language",
            "Timezone__c": "timezone",
            "Lifecycle_Stage__c": "lifecycle_stage",
            "Plan__c": "attributes.plan",
        }
        == contact.fields
    )
    assert not {name for name in contact.fields if name.startswith("Nudge_")}
    assert contact.consent["HasOptedOutOfEmail"] == {"kind": "channel", "key": "email", "inverted": True}
    assert contact.consent["Web_Push_Opt_In__c"] == {"kind": "channel", "key": "webpush"}
    assert contact.write["Nudge_Last_Engagement__c"] == "last_engagement"
    assert connector.suggest("Lead", connector.fields("Lead")).fields["Company"] == "attributes.company"
    opportunity = connector.suggest("Opportunity", connector.fields("Opportunity"))
    assert opportunity.won == {"field": "IsWon", "equals": True}
    assert opportunity.fields["CurrencyIsoCode"] == "currency"
    assert opportunity.fields["Order_Number__c"] == "properties.order_number"
    assert not opportunity.write
    product = connector.suggest("Product2", connector.fields("Product2"))
    assert product.fields["SKU__c"] == "sku"
    assert product.fields["Image_URL__c"] == "image_url"
    crm.org.remove_field("Opportunity", "CurrencyIsoCode")
    assert "currency" not in connector.suggest("Opportunity", connector.fields("Opportunity")).fields.values()
