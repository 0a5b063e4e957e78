"""A whole sync with Salesforce: what the organisation holds and what is here agree, whatever happens between runs."""

import random
from collections import Counter

import pytest

from crm.connectors.salesforce import Salesforce
from crm.models import Identifier, Product, Profile, SourceRecord, SyncReject
from crm.sandbox.inprocess import running_sandbox
from crm.sync import setup
from crm.sync.engine import run
from tests.crm.connectors.salesforce_crm import CONFIG, CREDENTIALS, SandboxCrm

pytestmark = pytest.mark.django_db
OBJECTS = ("Contact", "Lead", "Opportunity", "Product2")


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "poll_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "page_size", 50)
    with running_sandbox(contacts=90, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


@pytest.fixture
def connection(crm):
    made = setup.create("salesforce", "Salesforce", "shop", CONFIG, CREDENTIALS)
    connector = crm.connector()
    made.mapping = {name: setup.suggested(connector, name) for name in OBJECTS}
    made.save()
    return made


def synced(connection):
    report = run(connection)
    assert (report.state, report.error) == ("succeeded", "")
    return report


def assert_the_same(crm):
    """Every live record is here or rejected with a reason, with its values; nobody else is."""
    for name in OBJECTS:
        live = {key for key, one in crm.org.object(name).table.records.items() if not one.deleted}
        taken = set(
            SourceRecord.objects.filter(object=name, state="live").values_list("record_id", flat=True)
        )
        rejected = set(
            SyncReject.objects.filter(object=name, resolved_at=None).values_list("record_id", flat=True)
        )
        assert taken | rejected >= live, name
        assert taken <= live, name
    held = {
        one["identifiers__value"]: one
        for one in Profile.objects.filter(identifiers__kind="shop:Contact").values(
            "identifiers__value", "first_name", "city", "attributes"
        )
    }
    counts = Counter(Identifier.objects.filter(kind="shop:Contact").values_list("profile", flat=True))
    several = {profile for profile, count in counts.items() if count > 1}
    merged = set(
        Identifier.objects.filter(kind="shop:Contact", profile__in=several).values_list("value", flat=True)
    )
    for key, record in crm.table.records.items():
        if record.deleted or key not in held or key in merged:
            continue
        if SyncReject.objects.filter(object="Contact", record_id=key, resolved_at=None).exists():
            continue
        values = record.values
        assert (held[key]["city"] or "") == values.get("MailingCity", ""), key
        assert held[key]["attributes"].get("plan") == values.get("Plan__c"), key
        assert held[key]["attributes"].get("loyalty_points") == values.get("Loyalty_Points__c"), key
    sold = {
        one.values.get("SKU__c"): one
        for one in crm.org.object("Product2").table.records.values()
        if not one.deleted
    }
    for product in Product.objects.filter(sku__in=sold):
        assert float(product.price) == pytest.approx(sold[product.sku].values["Price__c"])


def test_it_agrees_after_the_import_and_after_every_storm_of_changes(crm, connection):
    synced(connection)
    assert_the_same(crm)
    rng = random.Random(7)
    for storm in range(3):
        for _ in range(60):
            crm.org.random_write(rng)
        crm.wait()
        if storm == 1:
            crm.org.expire_tokens()
        crm.sandbox.control.journal.clear()
        synced(connection)
        assert_the_same(crm)
        assert crm.logins() <= 2
    crm.wait()
    assert synced(connection).written == 0


def test_a_run_with_nothing_new_costs_few_calls_and_writes_nothing(crm, connection):
    synced(connection)
    crm.wait(3600)
    synced(connection)
    crm.wait(3600)
    crm.sandbox.control.journal.clear()
    report = synced(connection)
    assert (report.created, report.updated, report.deleted, report.written) == (0, 0, 0, 0)
    # For each object: describe, window, feed; for two of them what stands inside; the rejected ones once more.
    assert report.calls <= 3 * len(OBJECTS) + 2 + 1
    assert not [entry for entry in crm.sandbox.control.journal if entry["method"] == "PATCH"]


def test_a_merge_and_the_feed_of_deletions_keep_the_winner(crm, connection):
    synced(connection)
    winner, loser = (
        record.record_id for record in SourceRecord.objects.filter(object="Contact").order_by("record_id")[:2]
    )
    profile = Identifier.objects.get(kind="shop:Contact", value=winner).profile_id
    crm.merge(winner, loser)
    crm.wait(600)
    synced(connection)
    crm.wait(3600)
    synced(connection)
    assert SourceRecord.objects.get(object="Contact", record_id=loser).state == "merged"
    assert SourceRecord.objects.get(object="Contact", record_id=winner).state == "live"
    assert Profile.objects.filter(pk=profile).exists()


def test_a_daily_budget_that_is_used_up_parks_the_connection(crm, connection):
    synced(connection)
    crm.org.daily_calls = 1
    report = run(connection)
    assert report.state == "failed"
    assert "24 hours" in report.error
    connection.refresh_from_db()
    assert (connection.next_sync_at - report.finished_at).total_seconds() >= 15 * 60
