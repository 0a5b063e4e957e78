"""Reading events."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from crm import identity, log, partitions

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def two(db):
    """Ann bought ten times, three at a time; Bob once, and looked."""
    ann, bob = identity.resolve([identity.Reference(email=f"{name}@example.com") for name in ("ann", "bob")])
    rows = [(ann, "bought", START + timedelta(hours=n // 3), {"n": n}) for n in range(10)]
    rows += [(bob, "bought", START - timedelta(days=1), {}), (bob, "looked", START, {"page": "/"})]
    partitions.ensure(at for _who, _name, at, _properties in rows)
    log.append([log.NewEvent(uuid.uuid4(), who, name, at, data, "api") for who, name, at, data in rows])
    return ann, bob


def pages(caller, path):
    body = caller.get(path).json()
    found = body["events"]
    while body["next_cursor"]:
        body = caller.get(f"{path}&cursor={body['next_cursor']}").json()
        found += body["events"]
    return found


def test_pages_hold_each_event_once_the_latest_first(reader, two):
    found = pages(reader, "events/?name=bought&limit=4")
    assert len({event["id"] for event in found}) == len(found) == 11
    times = [event["occurred_at"] for event in found]
    assert times == sorted(times, reverse=True)
    assert (found[-1]["profile"], found[-1]["occurred_at"]) == (two[1], "2026-02-28T00:00:00Z")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("events/?name=bought&since=2026-03-01T01:00:00Z", 7),
        ("events/?name=bought&since=2026-03-01T02:00:00%2B01:00&until=2026-03-01T02:00:00Z", 3),
        ("events/?name=bought&source=sdk", 0),
        ("profiles/{bob}/events/?since=2026-02-01T00:00:00Z", 2),
        ("profiles/{bob}/events/?name=looked", 1),
    ],
)
def test_filters(reader, two, query, count):
    assert len(pages(reader, query.format(bob=two[1]))) == count


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "name"), ("?name=a&since=yesterday", "since"), ("?name=a&since=2026-01-01T00:00:00", "since")],
)
def test_what_is_missing_or_wrong_is_named(reader, query, field):
    response = reader.get(f"events/{query}")
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)


def test_only_keys_that_may_read_see_events(writer, browser, two):
    for caller in (writer, browser):
        for path in ("events/?name=bought", f"profiles/{two[0]}/events/"):
            assert caller.get(path).status_code == 403
    shop = {"HTTP_ORIGIN": "https://shop.example.com"}
    assert "Access-Control-Allow-Origin" not in browser.get("events/?name=bought", **shop)
    preflight = browser.send("OPTIONS", "events/", **shop)
    assert preflight["Access-Control-Allow-Methods"] == "POST"
