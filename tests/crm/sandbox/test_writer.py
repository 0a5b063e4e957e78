"""The live writer: believable changes in every CRM, the same for the same seed."""

import json
import time

import pytest

from crm.sandbox.inprocess import running_sandbox
from crm.sandbox.server import Sandbox

VENDORS = {"hubspot": "contacts", "salesforce": "contacts", "zoho": "contacts"}


def state(sandbox):
    """Everything in the stores but the times of the changes."""
    timeless = ("id", "archived", "merged_ids", "properties")
    return {
        vendor: [{key: row[key] for key in timeless} for row in sandbox.vendors[vendor].dump(kind)]
        for vendor, kind in VENDORS.items()
    }


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_same_seed_gives_the_same_changes(vendor):
    one, two, other = Sandbox(60, 1), Sandbox(60, 1), Sandbox(60, 1)
    other.writer = type(other.writer)(other.vendors, seed=2)
    sequences = [[sandbox.writer.write(vendor) for _ in range(80)] for sandbox in (one, two, other)]
    assert sequences[0] == sequences[1] != sequences[2]
    assert state(one)[vendor] == state(two)[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_records_are_changed_created_and_deleted(vendor):
    sandbox = Sandbox(80, 1)
    before = state(sandbox)[vendor]
    for _ in range(400):
        sandbox.writer.write(vendor)
    after = state(sandbox)[vendor]
    known, now = ({row["id"]: row for row in rows} for rows in (before, after))
    assert set(now) - set(known)
    assert any(row["archived"] for row in after)
    assert any(row["merged_ids"] for row in after)
    same = set(known) & set(now)
    assert any(known[key]["properties"] != now[key]["properties"] for key in same)


def test_it_keeps_its_rate_and_stops_when_told(http, sandbox):
    answer = http("POST", "/_control/writer", {"writes_per_second": 100, "vendors": ["hubspot"]})
    assert answer.json()["vendors"] == ["hubspot"]
    others = {name: list(sandbox.vendors[name].dump("contacts")) for name in ("salesforce", "zoho")}
    began, deadline = time.monotonic(), time.monotonic() + 10
    while sandbox.writer.done < 40:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert time.monotonic() - began > 0.2
    assert http("POST", "/_control/writer", {"writes_per_second": 0}).json()["writes_per_second"] == 0
    done = sandbox.writer.done
    http("GET", "/crm/v3/objects/contacts/1")
    assert sandbox.writer.done == done
    assert {name: list(sandbox.vendors[name].dump("contacts")) for name in others} == others


def test_every_change_that_the_api_shows_is_in_the_store(sandbox, http):
    for _ in range(200):
        sandbox.writer.write("hubspot")
    shown, after = {}, "0"
    while after:
        page = http("GET", f"/crm/v3/objects/contacts?limit=100&after={after}&properties=city").json()
        shown |= {row["id"]: row["updatedAt"] for row in page["results"]}
        after = page.get("paging", {}).get("next", {}).get("after")
    lines = http("GET", "/_control/store/hubspot/contacts").data.splitlines()
    stored = [json.loads(line) for line in lines]
    assert shown == {row["id"]: row["modified"] for row in stored if not row["archived"]}


@pytest.mark.parametrize(
    "body", [{}, {"writes_per_second": -1}, {"writes_per_second": 1, "vendors": "hubspot"}]
)
def test_nonsense_is_refused(http, body):
    assert http("POST", "/_control/writer", body).status == 400
    unknown = {"writes_per_second": 1, "vendors": ["acme"]}
    assert http("POST", "/_control/writer", unknown).status == 404


def test_a_writer_that_dies_is_not_taken_for_a_quiet_crm(monkeypatch):
    def broken(rng):
        raise RuntimeError("broken")

    def serve_until_it_writes():
        with running_sandbox(contacts=5) as sandbox:
            monkeypatch.setattr(sandbox.hubspot, "random_write", broken)
            sandbox.writer.set_rate(1000, ["hubspot"])
            deadline = time.monotonic() + 5
            while not sandbox.writer.done:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    with pytest.raises(RuntimeError, match="broken"):
        serve_until_it_writes()


def test_only_the_vendors_asked_for_are_served():
    with running_sandbox(contacts=5, vendors=["zoho"]) as sandbox:
        assert list(sandbox.vendors) == ["zoho"]
        assert sandbox.vendor_of("/crm/v3/objects/contacts") is None
