"""That no change is lost: late ones, slow indexes, equal stamps, merges and deletions between two pages."""

import pytest

from tests.crm.connectors.hubspot.sandbox import CONTACTS, DEALS, read, records


def imported(crm, name=CONTACTS):
    """The cursor after a first import an hour ago."""
    cursor = read(crm.connector(), name=name, names=["hs_object_id"])[-1].cursor
    crm.sandbox.clock.offset_seconds += 3600
    return read(crm.connector(), cursor, name=name, names=["hs_object_id"])[-1].cursor


def changed(crm, cursor, name=CONTACTS, **options):
    return [one.id for one in records(read(crm.connector(**options), cursor, name=name, names=["city"]))]


def now(crm):
    return crm.sandbox.clock.now()


def test_a_record_committed_late_with_an_early_stamp_arrives(few):
    cursor = imported(few)
    few.hubspot.edit(CONTACTS, "1", {"properties": {"city": "Late"}, "modified": now(few) - 8 * 60_000})
    few.wait()
    assert changed(few, cursor) == ["1"]


def test_a_search_that_trails_by_minutes_loses_nothing(few):
    cursor = imported(few)
    few.hubspot.lag_seconds = 300
    few.change("1")
    few.wait()
    pages = read(few.connector(), cursor)
    assert not records(pages)
    few.sandbox.clock.offset_seconds += 300
    assert changed(few, pages[-1].cursor) == ["1"]


def test_what_changes_at_this_moment_is_left_to_the_next_run(few):
    cursor = imported(few)
    few.change("1")
    page = read(few.connector(), cursor)[-1]
    assert not page.records
    assert page.until.timestamp() * 1000 <= now(few) - 4000
    few.wait()
    assert changed(few, page.cursor) == ["1"]


@pytest.mark.parametrize("minutes", [-10, 10])
def test_only_hubspot_s_clock_counts(few, minutes):
    few.sandbox.clock.offset_seconds = minutes * 60
    cursor = imported(few)
    few.change("1")
    few.wait()
    assert changed(few, cursor) == ["1"]


def test_more_equal_stamps_than_a_search_shows_are_all_found(crm, monkeypatch):
    monkeypatch.setattr("crm.sandbox.hubspot_search.WINDOW", 300)
    cursor = imported(crm)
    stamp = now(crm)
    for record in crm.store.live():
        crm.store.update(record, {"city": "Same"}, stamp)
    crm.wait()
    assert sorted(changed(crm, cursor), key=int) == sorted(crm.ids(), key=int)


def test_changes_between_two_pages_are_found(crm):
    cursor = imported(crm)
    for record in crm.store.live():
        crm.change(str(record.id))
    crm.wait()
    pages = crm.connector().pages(CONTACTS, cursor, "incremental", ["city"])
    seen = [next(pages)]
    first, second, third = (record.id for record in seen[0].records[:3])
    crm.change(first)
    crm.delete(second)
    loser = max(crm.ids(), key=int)
    crm.merge(third, loser)
    seen += pages
    crm.wait()
    seen += read(crm.connector(), seen[-1].cursor, names=["city"])
    latest = {record.id: record for record in records(seen)}
    assert latest[first].fields["city"] == crm.value(first, "city")
    assert latest[second].deleted
    assert latest[third].absorbed == [loser]


def test_an_interrupted_window_is_ended_before_the_next_one_begins(crm):
    cursor = imported(crm)
    for record in crm.store.live():
        crm.change(str(record.id))
    crm.wait()
    first = next(crm.connector().pages(CONTACTS, cursor, "incremental", ["city"]))
    crm.wait()
    last = max(crm.ids(), key=int)
    crm.sandbox.clock.offset_seconds += 1200
    crm.change(last)
    crm.wait()
    pages = read(crm.connector(), first.cursor, names=["city"])
    assert {one.id for one in [*first.records, *records(pages)]} == crm.ids()
    assert pages[-1].until.timestamp() * 1000 > now(crm) - 10_000
    assert [page.until for page in pages[:-1]] == [None] * (len(pages) - 1)


def test_a_full_read_begins_anew_and_an_interrupted_one_goes_on(crm):
    cursor = imported(crm)
    pages = crm.connector().pages(CONTACTS, cursor, "full", ["city"])
    first, second = next(pages), next(pages)
    rest = read(crm.connector(), second.cursor, "full")
    assert {one.id for one in [*first.records, *second.records, *records(rest)]} == crm.ids()
    assert not {one.id for one in first.records} & {one.id for one in records(rest)}


def test_deletions_are_looked_for_as_often_as_configured(few):
    cursor = imported(few)
    few.delete("1")
    few.wait()
    few.forget_calls()
    assert changed(few, cursor, deletions_every_minutes=60) == []
    assert not [path for path in few.calls if "archived=True" in path]
    few.sandbox.clock.offset_seconds += 3600
    assert changed(few, cursor, deletions_every_minutes=60) == ["1"]


def test_a_change_of_a_deal_s_people_is_seen_in_full_mode(few):
    deal = few.hubspot.deals.create({"dealname": "Boots"})
    cursor = imported(few, DEALS)
    few.hubspot.associations.link(DEALS, deal.id, CONTACTS, 2)
    few.wait()
    assert str(deal.id) not in changed(few, cursor, DEALS)
    full = read(few.connector(), cursor, "full", ["dealname"], DEALS)
    assert next(one for one in records(full) if one.id == str(deal.id)).people == [(CONTACTS, "2")]


def test_every_id_is_named_by_the_cheapest_list(crm):
    crm.delete("1")
    crm.forget_calls()
    assert {one for batch in crm.connector().ids(CONTACTS) for one in batch} == crm.ids()
    assert all("properties=hs_object_id&archived=False" in path for path in crm.calls)
    assert len(crm.calls) == 5


def test_long_property_lists_do_not_go_into_the_url(crm):
    for number in range(300):
        crm.hubspot.change_schema(CONTACTS, {"add": {"name": f"custom_property_number_{number}"}})
    connector = crm.connector()
    pages = read(connector, names=[field.name for field in connector.fields(CONTACTS)])
    assert {record.id for record in records(pages)} == crm.ids()
    assert max(map(len, crm.calls)) < 1000


def test_a_property_that_has_gone_is_empty(few):
    few.hubspot.change_schema(CONTACTS, {"remove": "plan"})
    assert {one.fields["plan"] for one in records(read(few.connector(), names=["plan"]))} == {None}
