"""Salesforce in the sandbox, through simple-salesforce as it is."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from simple_salesforce import SalesforceAuthenticationFailed
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceOperationError,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from crm.sandbox.inprocess import running_sandbox
from tests.crm.sandbox.salesforce import ID, client

CONTACTS = 450
ALL = (
    "SELECT Id, LastName, SystemModstamp, IsDeleted, MasterRecordId FROM Contact ORDER BY SystemModstamp, Id"
)


@pytest.fixture(autouse=True)
def recorded():
    """The recorder would read replies before `requests` does; nothing here speaks HubSpot."""


@pytest.fixture(scope="module")
def shared():
    """One sandbox for the tests that only read."""
    with running_sandbox(contacts=CONTACTS, vendors=["salesforce"]) as running:
        yield running


@pytest.fixture
def sandbox():
    """A sandbox of the test's own."""
    with running_sandbox(contacts=60, vendors=["salesforce"]) as running:
        yield running


@pytest.fixture
def sf(sandbox):
    return client(sandbox)


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def query(sf, text):
    return sf.query(text)["records"]


# Logging in


@pytest.mark.parametrize(
    "login",
    [
        {"consumer_key": "ck", "consumer_secret": "cs", "domain": "shop.my"},
        {"username": "u", "password": "p", "consumer_key": "ck", "consumer_secret": "cs"},
        {"username": "u", "password": "p", "security_token": "t"},
        {"username": "u", "password": "p", "organizationId": "00D000000000001"},
    ],
)
def test_each_login_leads_to_a_session_that_works(shared, login):
    sf = client(shared, **login)
    assert sf.session_id.startswith("00D")
    assert sf.sf_instance == f"127.0.0.1:{shared.port}"
    assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == CONTACTS


def test_jwt_login_checks_the_signature_only_when_told(sandbox, key):
    login = {"username": "u", "consumer_key": "ck", "privatekey": pem(key)}
    assert client(sandbox, **login).session_id
    sandbox.salesforce.sessions.public_key = public(key)
    assert client(sandbox, **login).session_id
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid_grant"):
        client(sandbox, **{**login, "privatekey": pem(other)})
    sandbox.clock.offset_seconds = 600
    with pytest.raises(SalesforceAuthenticationFailed, match="expired authorization code"):
        client(sandbox, **login)


def test_only_accepted_secrets_log_in(sandbox):
    sandbox.salesforce.accepts = {"right"}
    login = {"consumer_key": "ck", "consumer_secret": "right", "domain": "shop.my"}
    assert len(query(client(sandbox, **login), ALL)) == 60
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid_client"):
        client(sandbox, **{**login, "consumer_secret": "wrong"})
    soap = {"username": "u", "password": "right", "security_token": "t"}
    assert client(sandbox, **soap).session_id
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN.*Invalid username, password"):
        client(sandbox, **{**soap, "password": "wrong"})
    with pytest.raises(SalesforceExpiredSession):
        query(client(sandbox), ALL)


def test_the_client_logs_in_again_when_its_token_has_ended(sandbox):
    sf = client(sandbox, consumer_key="ck", consumer_secret="cs", domain="shop.my")
    first = sf.session_id
    assert sandbox.salesforce.expire_tokens() == 1
    assert len(query(sf, ALL)) == 60
    assert sf.session_id != first
    second = sf.session_id
    sandbox.clock.offset_seconds = sandbox.salesforce.sessions.idle_seconds + 1
    assert len(query(sf, ALL)) == 60
    assert sf.session_id not in (first, second)
    sandbox.salesforce.sessions.refusing = True
    sandbox.salesforce.expire_tokens()
    with pytest.raises(SalesforceAuthenticationFailed, match="expired access/refresh token"):
        query(sf, ALL)


def test_an_ended_token_gives_the_list_that_the_client_needs(sf, sandbox):
    query(sf, ALL)
    sandbox.salesforce.expire_tokens()
    with pytest.raises(SalesforceExpiredSession) as caught:
        query(sf, ALL)
    assert caught.value.content == [
        {"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}
    ]


# Reading


def test_pages_hold_every_record_once(shared):
    sf = client(shared)
    headers = {"Sforce-Query-Options": "batchSize=200"}
    page = sf.query(ALL, headers=headers)
    assert (page["totalSize"], page["done"], len(page["records"])) == (CONTACTS, False, 200)
    assert re.fullmatch(r"/services/data/v59\.0/query/0r8\w{15}-200", page["nextRecordsUrl"])
    ids = [row["Id"] for row in page["records"]]
    while not page["done"]:
        page = sf.query_more(page["nextRecordsUrl"], identifier_is_url=True)
        assert page["totalSize"] == CONTACTS
        ids += [row["Id"] for row in page["records"]]
    assert "nextRecordsUrl" not in page
    assert sorted(ids) == sorted(row["id"] for row in shared.salesforce.dump("contacts"))
    shared.salesforce.queries.page_size = 100
    assert [row["Id"] for row in sf.query_all_iter(ALL)] == ids
    shared.salesforce.queries.page_size = 2000


def test_rows_look_like_salesforces(shared):
    sf = client(shared)
    (row,) = query(
        sf, "SELECT Id, Email, SystemModstamp, HasOptedOutOfEmail FROM Contact WHERE Email != null LIMIT 1"
    )
    assert row["attributes"] == {
        "type": "Contact",
        "url": f"/services/data/v59.0/sobjects/Contact/{row['Id']}",
    }
    assert re.fullmatch(ID, row["Id"])
    assert row["Id"].startswith("003")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000\+0000", row["SystemModstamp"])
    assert row["HasOptedOutOfEmail"] in (True, False)
    whole = sf.Contact.get(row["Id"][:15])
    assert whole["Id"] == row["Id"]
    assert whole["MailingAddress"]["city"] == whole["MailingCity"]
    assert whole["Nudge_Score__c"] is None
    assert sf.Contact.get_by_custom_id("Customer_Number__c", whole["Customer_Number__c"]) == whole


def test_describe_tells_the_fields_as_they_are_now(sandbox, sf):
    names = {item["name"] for item in sf.describe()["sobjects"]}
    assert {"Contact", "Lead", "Opportunity", "OpportunityContactRole", "Product2", "Account"} <= names
    fields = {field["name"]: field for field in sf.Contact.describe()["fields"]}
    assert fields["Nudge_Id__c"]["externalId"] is fields["Nudge_Id__c"]["unique"] is True
    assert fields["Nudge_Last_Engagement__c"]["type"] == "datetime"
    assert fields["Id"]["updateable"] is False
    assert fields["Plan__c"]["picklistValues"][0] == {
        "active": True,
        "defaultValue": False,
        "label": "free",
        "validFor": None,
        "value": "free",
    }
    for name in ("Contact", "Lead", "Opportunity", "Product2", "Account", "PricebookEntry"):
        listed = [field["name"] for field in getattr(sf, name).describe()["fields"]]
        assert query(sf, f"SELECT {', '.join(listed)} FROM {name} LIMIT 1")
    org = sandbox.salesforce
    org.add_field("Contact", "Shoe_Size__c", type="double")
    org.rename_field("Contact", "Plan__c", "Tier__c")
    org.remove_field("Contact", "Language__c")
    names = {field["name"] for field in sf.Contact.describe()["fields"]}
    assert {"Shoe_Size__c", "Tier__c"} <= names
    assert not {"Plan__c", "Language__c"} & names
    assert query(sf, "SELECT Tier__c FROM Contact WHERE Tier__c = 'free' LIMIT 1")
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_FIELD"):
        query(sf, "SELECT Language__c FROM Contact")


def test_limits_and_the_daily_budget(sandbox, sf):
    sandbox.salesforce.daily_calls = 3
    assert sf.limits()["DailyApiRequests"] == {"Max": 3, "Remaining": 2}
    query(sf, ALL)
    assert sf.api_usage["api-usage"] == (2, 3)
    query(sf, ALL)
    with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
        query(sf, ALL)
    sandbox.clock.offset_seconds = 86_401
    sandbox.salesforce.sessions.idle_seconds = 10**9
    assert query(sf, ALL)


def test_a_locator_that_is_gone(sandbox, sf):
    sandbox.salesforce.queries.page_size = 25
    first, second = sf.query(ALL), sf.query(ALL)
    sandbox.clock.offset_seconds = 2 * 86_400 + 1
    sandbox.salesforce.sessions.idle_seconds = 10**9
    third = sf.query(ALL)
    sf.query_more(third["nextRecordsUrl"], identifier_is_url=True)
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_QUERY_LOCATOR"):
        sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    sandbox.salesforce.queries.expire_cursors()
    for page in (second, third):
        with pytest.raises(SalesforceMalformedRequest, match="INVALID_QUERY_LOCATOR"):
            sf.query_more(page["nextRecordsUrl"], identifier_is_url=True)


def test_hidden_records_seem_not_to_be_there(sandbox, sf):
    sandbox.salesforce.hide("Contact")
    assert query(sf, ALL) == []
    assert len(list(sandbox.salesforce.dump("contacts"))) == 60
    sandbox.salesforce.show("Contact")
    assert len(query(sf, ALL)) == 60


# Writing


def test_a_records_life(sandbox, sf):
    made = sf.Contact.create({"LastName": "Nowak", "Email": "nowak@example.com"})
    assert made["success"] is True
    key = made["id"]
    assert (
        sf.Contact.update(key, {"FirstName": "Ola", "Nudge_Opens__c": 3, "HasOptedOutOfEmail": True}) == 204
    )
    row = sf.Contact.get(key)
    assert (row["Name"], row["Nudge_Opens__c"], row["HasOptedOutOfEmail"]) == ("Ola Nowak", 3, True)
    assert sf.Contact.delete(key) == 204
    with pytest.raises(SalesforceResourceNotFound, match="ENTITY_IS_DELETED"):
        sf.Contact.update(key, {"FirstName": "Ala"})
    assert key not in [row["Id"] for row in query(sf, ALL)]
    (gone,) = [row for row in sf.query(ALL, include_deleted=True)["records"] if row["Id"] == key]
    assert gone["IsDeleted"] is True
    assert gone["SystemModstamp"] >= row["SystemModstamp"]
    sandbox.salesforce.edit("Contact", key, {"archived": False})
    assert sf.Contact.get(key)["IsDeleted"] is False
    sandbox.salesforce.edit("Contact", key, {"erased": True})
    assert key not in [row["Id"] for row in sf.query(ALL, include_deleted=True)["records"]]


def test_upsert_by_external_id(sandbox, sf):
    assert sf.Contact.upsert("Nudge_Id__c/n%2F1%20%C3%A9", {"LastName": "One"}) == 201
    assert sf.Contact.upsert("Nudge_Id__c/N%2F1%20%C3%89", {"LastName": "Eins"}) == 200
    (own,) = query(sf, "SELECT Id FROM Contact WHERE Nudge_Id__c != null")
    assert sf.Contact.update(own["Id"], {"Nudge_Id__c": "n/1 é"}) == 204
    reply = sf.Contact.upsert("Nudge_Id__c/n/1%20%C3%A9", {"LastName": "Un"}, raw_response=True).json()
    (row,) = query(sf, "SELECT Id, LastName, Nudge_Id__c FROM Contact WHERE Nudge_Id__c != null")
    assert (row["LastName"], row["Nudge_Id__c"]) == ("Un", "n/1 é")
    assert reply == {"id": row["Id"], "success": True, "errors": [], "created": False}
    first, second = query(sf, "SELECT Id FROM Contact LIMIT 2")
    for item in (first, second):
        sf.Contact.update(item["Id"], {"Customer_Number__c": "twice"})
    with pytest.raises(SalesforceMoreThanOneRecord) as caught:
        sf.Contact.upsert("Customer_Number__c/twice", {"LastName": "Who"})
    assert [url.rsplit("/", 1)[1] for url in caught.value.content] == [first["Id"], second["Id"]]
    with pytest.raises(SalesforceResourceNotFound, match="external ID field does not exist"):
        sf.Contact.upsert("LastName/x", {"FirstName": "x"})


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"FirstName": "x"}, "REQUIRED_FIELD_MISSING"),
        ({"LastName": "x", "Nope__c": 1}, "INVALID_FIELD"),
        ({"LastName": "x", "SystemModstamp": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"LastName": "x" * 81}, "STRING_TOO_LONG"),
        ({"LastName": "x", "Email": "nobody"}, "INVALID_EMAIL_ADDRESS"),
        ({"LastName": "x", "Birthdate": "31/02/1990"}, "JSON_PARSER_ERROR"),
        ({"LastName": "x", "Nudge_Opens__c": "many"}, "JSON_PARSER_ERROR"),
        ({"LastName": "x", "Nudge_Opens__c": 1e30}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"LastName": "x", "AccountId": "001Qy00000000zz"}, "INVALID_CROSS_REFERENCE_KEY"),
        ({"LastName": "x", "AccountId": "Acme"}, "MALFORMED_ID"),
        ({"LastName": "x", "Nudge_Id__c": "TAKEN"}, "DUPLICATE_VALUE"),
    ],
)
def test_values_that_are_refused(shared, values, code):
    sf = client(shared)
    sf.Contact.upsert("Nudge_Id__c/taken", {"LastName": "Holder"})
    before = sf.query("SELECT COUNT() FROM Contact")["totalSize"]
    with pytest.raises(SalesforceMalformedRequest) as caught:
        sf.Contact.create(values)
    assert caught.value.content[0]["errorCode"] == code
    assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == before
    sf.Contact.delete("Nudge_Id__c/taken")


def test_the_feeds_of_updated_and_deleted_ids(sandbox, sf):
    ids = [row["Id"] for row in query(sf, ALL)]
    start = datetime.now(UTC) - timedelta(minutes=5)
    sf.Contact.update(ids[0], {"FirstName": "New"})
    sf.Contact.delete(ids[1])
    sandbox.salesforce.edit("Contact", ids[2], {"merge": ids[3]})
    sf.Contact.delete(ids[4])
    sandbox.salesforce.edit("Contact", ids[4], {"erased": True})
    sandbox.clock.offset_seconds = 120
    end = datetime.now(UTC) + timedelta(hours=1)
    updated, deleted = sf.Contact.updated(start, end), sf.Contact.deleted(start, end)
    assert set(updated["ids"]) == {ids[0], ids[2]}
    assert {row["id"] for row in deleted["deletedRecords"]} == {ids[1], ids[3]}
    for feed in (updated, deleted):
        covered = datetime.strptime(feed["latestDateCovered"], "%Y-%m-%dT%H:%M:%S.%f%z")
        assert covered.second == 0
        assert datetime.now(UTC) < covered + timedelta(seconds=60) < end
    stamp = (start - timedelta(hours=1)).replace(second=5, microsecond=0)
    sandbox.salesforce.edit("Contact", ids[5], {"modified": stamp.isoformat()})
    window = stamp + timedelta(seconds=40), stamp + timedelta(minutes=10)
    assert sf.Contact.updated(*window)["ids"] == [ids[5]]  # seconds are ignored
    for old in (timedelta(days=31), timedelta(seconds=20)):
        with pytest.raises(SalesforceMalformedRequest, match="INVALID_REPLICATION_DATE"):
            sf.Contact.updated(end - old, end)
    with pytest.raises(SalesforceMalformedRequest, match="INVALID_REPLICATION_DATE"):
        sf.Contact.deleted(start - timedelta(days=16), end)
    assert sandbox.salesforce.empty_recycle_bin("Contact") == 2
    emptied = sf.Contact.deleted(start, end)
    assert emptied["deletedRecords"] == []
    assert emptied["earliestDateAvailable"] > deleted["earliestDateAvailable"]


# Bulk API 2.0


def test_bulk_query_in_pages(sandbox, sf):
    sandbox.salesforce.bulk.page_size = 20
    assert len(list(sf.bulk2.Contact.query("SELECT Id FROM Contact", wait=0))) == 3
    sandbox.salesforce.bulk.page_size = 25
    text = "SELECT Id, Email, Account.Name, HasOptedOutOfEmail, SystemModstamp FROM Contact"
    pages = list(sf.bulk2.Contact.query(text, wait=0))
    assert [page.count("\n") for page in pages] == [26, 26, 11]
    assert {page.split("\n")[0] for page in pages} == {
        '"Id","Email","Account.Name","HasOptedOutOfEmail","SystemModstamp"'
    }
    rows = [line for page in pages for line in page.splitlines()[1:]]
    assert len({row.split(",")[0] for row in rows}) == 60
    assert re.search(r'"(true|false)","\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z"$', rows[0])
    sf.Contact.delete(rows[0].split(",")[0].strip('"'))
    assert (
        sum(page.count("\n") - 1 for page in sf.bulk2.Contact.query_all("SELECT Id FROM Contact", wait=0))
        == 60
    )
    assert (
        sum(page.count("\n") - 1 for page in sf.bulk2.Contact.query("SELECT Id FROM Contact", wait=0)) == 59
    )


def test_bulk_queries_that_fail(sandbox, sf):
    sandbox.salesforce.bulk.fail_next = "InternalServerError : out of luck"
    with pytest.raises(SalesforceOperationError, match="out of luck"):
        list(sf.bulk2.Contact.query("SELECT Id FROM Contact", wait=0))
    for text, code in (
        ("SELECT MailingAddress FROM Contact", "FUNCTIONALITY_NOT_ENABLED"),
        ("SELECT Id, (SELECT Id FROM OpportunityContactRoles) FROM Contact", "FUNCTIONALITY_NOT_ENABLED"),
        ("SELECT Nope FROM Contact", "INVALID_FIELD"),
        ("SELECT", "MALFORMED_QUERY"),
    ):
        with pytest.raises(SalesforceMalformedRequest, match=code):
            list(sf.bulk2.Contact.query(text, wait=0))


def test_bulk_upsert_tells_what_became_of_each_row(sandbox, sf):
    rows = [
        {"nudge_id__c": "1", "LastName": 'Łoś, the "elk"\nof two lines', "Email": ""},
        {"nudge_id__c": "2", "LastName": "", "Email": "x@example.com"},
        {"nudge_id__c": "3", "LastName": "Three", "Email": "broken"},
    ]
    (job,) = sf.bulk2.Contact.upsert(records=rows, external_id_field="Nudge_Id__c", wait=0)
    assert (job["numberRecordsTotal"], job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (3, 3, 2)
    done = sf.bulk2.Contact.get_successful_records(job["job_id"])
    assert '"sf__Id","sf__Created"' in done
    assert done.count('"true"') == 1
    refused = sf.bulk2.Contact.get_failed_records(job["job_id"])
    assert '"sf__Id","sf__Error"' in refused
    assert "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName" in refused
    assert "INVALID_EMAIL_ADDRESS" in refused
    (stored,) = query(sf, "SELECT Id, LastName FROM Contact WHERE Nudge_Id__c = '1'")
    assert stored["LastName"] == 'Łoś, the "elk"\nof two lines'
    sf.bulk2.Contact.update(records=[{"Id": stored["Id"], "FirstName": "#N/A", "LastName": "Elk"}], wait=0)
    assert query(sf, "SELECT FirstName FROM Contact WHERE LastName = 'Elk'")[0]["FirstName"] is None
    for name in ("Ola", ""):  # an empty value changes nothing
        sf.bulk2.Contact.update(
            records=[{"Id": stored["Id"], "FirstName": name, "Email": "elk@example.com"}], wait=0
        )
    assert sf.Contact.get(stored["Id"])["FirstName"] == "Ola"
    sf.bulk2.Contact.delete(records=[{"Id": stored["Id"]}], wait=0)
    (gone,) = [row for row in sf.query(ALL, include_deleted=True)["records"] if row["Id"] == stored["Id"]]
    assert (gone["LastName"], gone["IsDeleted"]) == ("Elk", True)
    sandbox.salesforce.ingest.fail_next = "InternalServerError : out of luck"
    with pytest.raises(SalesforceOperationError, match="out of luck"):
        sf.bulk2.Contact.insert(records=[{"LastName": "Never"}], wait=0)
    assert query(sf, "SELECT Id FROM Contact WHERE LastName = 'Never'") == []
