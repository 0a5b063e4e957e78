"""Deals become purchases, and what happens to a deal later is told, never rewritten."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import identity
from crm.connectors.base import Page, Record
from crm.models import Connection, CrmPurchase, Event, Identifier, Profile, SyncReject, SyncRun
from crm.sync import setup
from crm.sync.apply import apply
from crm.sync.mapping import parse

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = parse(
    {
        "fields": {
            "amount": "value",
            "code": "currency",
            "closed": "occurred_at",
            "shop": "properties.shop",
        },
        "won": {"field": "stage", "equals": ["won", "paid"]},
    },
    "purchase",
)


@pytest.fixture
def run():
    shop = Connection.objects.create(kind="hubspot", name="shop", slug="shop")
    return SyncRun.objects.create(connection=shop, state=SyncRun.State.RUNNING)


@pytest.fixture
def ann():
    profile = Profile.objects.create(first_name="Ann")
    Identifier.objects.create(kind="shop:contacts", value="7", profile=profile)
    return profile


def deal(number=1, minutes=0, people=(("contacts", "7"),), **fields):
    fields = {"amount": 20, "code": "eur", "closed": "2026-10-30", "shop": None, "stage": "won", **fields}
    return Record(str(number), NOW + timedelta(minutes=minutes), fields, people=people)


def gone(number=1, minutes=0):
    return Record(str(number), NOW + timedelta(minutes=minutes), deleted=True)


def store(run, *records, minutes=60):
    page = Page("deals", list(records), {}, current=True)
    return apply(run, page, MAPPING, "purchase", NOW + timedelta(minutes=minutes))


def told():
    order = Event.objects.order_by("seq")
    return [(event.name, event.profile_id, event.properties.get("value")) for event in order]


class TestWon:
    def test_a_won_deal_is_a_purchase_of_its_person_at_its_time(self, run, ann):
        counts = store(run, deal(shop="Berlin"), deal(2, stage="open"), deal(3, stage="paid", amount=7.5))
        assert (counts.created, counts.unchanged, counts.rejected) == (2, 1, 0)
        event = Event.objects.order_by("seq").first()
        assert (event.name, event.profile_id, event.source) == ("purchase", ann.pk, "crm:shop")
        assert event.occurred_at == datetime(2026, 10, 30, 12, tzinfo=UTC)
        assert event.properties == {"order_id": "1", "value": 20, "currency": "EUR", "shop": "Berlin"}

    def test_told_again_it_is_the_same_purchase(self, run, ann):
        store(run, deal())
        assert store(run, deal(minutes=5)).unchanged == 1
        assert told() == [("purchase", ann.pk, 20)]

    def test_a_closing_date_to_come_is_now(self, run, ann):
        store(run, deal(closed="2031-01-01T00:00:00Z"))
        assert Event.objects.get().occurred_at == NOW + timedelta(hours=1)

    def test_the_first_linked_person_who_is_here_bought_it(self, run, ann):
        store(run, deal(people=(("contacts", "9"), ("contacts", "7"))))
        assert told() == [("purchase", ann.pk, 20)]

    def test_a_crm_that_is_connected_anew_counts_nothing_twice(self, run, ann):
        store(run, deal())
        setup.remove(run.connection)
        shop = Connection.objects.create(kind="hubspot", name="shop", slug="shop")
        again = SyncRun.objects.create(connection=shop, state=SyncRun.State.RUNNING)
        Identifier.objects.create(kind="shop:contacts", value="7", profile=ann)
        store(again, deal())
        assert told() == [("purchase", ann.pk, 20)]


class TestLater:
    def test_a_changed_value_is_a_correction(self, run, ann):
        store(run, deal())
        assert store(run, deal(minutes=5, amount=25)).updated == 1
        assert told() == [("purchase", ann.pk, 20), ("purchase_corrected", ann.pk, 25)]
        assert Event.objects.get(name="purchase_corrected").properties["previous_value"] == 20

    def test_another_person_linked_to_it_corrects_nothing(self, run, ann):
        store(run, deal())
        counts = store(run, deal(minutes=5, people=(("contacts", "7"), ("contacts", "9"))))
        assert (counts.read, counts.unchanged) == (1, 1)
        assert told() == [("purchase", ann.pk, 20)]

    def test_a_lost_deal_is_cancelled_once_and_won_again_bought_again(self, run, ann):
        store(run, deal())
        store(run, deal(minutes=5, stage="lost"))
        store(run, deal(minutes=6, stage="lost", shop="Rome"))
        store(run, deal(minutes=7))
        assert [name for name, *_rest in told()] == ["purchase", "purchase_cancelled", "purchase"]

    @pytest.mark.parametrize("together", [True, False])
    def test_a_deal_that_went_into_another_is_not_counted_beside_it(self, run, ann, together):
        """HubSpot tells of merged deals on the winner, and of the loser's end perhaps never."""
        winner = deal(2, 5, amount=50)
        winner.absorbed = ("1", "77")
        if together:
            store(run, deal(), winner)
        else:
            store(run, deal())
            store(run, winner)
        told_of = [("purchase", ann.pk, 20), ("purchase", ann.pk, 50), ("purchase_cancelled", ann.pk, 20)]
        assert sorted(told()) == told_of
        again = Record("2", winner.modified_at + timedelta(1), {**winner.fields, "x": 1}, absorbed=("1",))
        store(run, again)
        store(run, gone(minutes=9))
        assert sorted(told()) == told_of

    def test_a_deleted_deal_is_cancelled(self, run, ann):
        store(run, deal(), deal(2, stage="open"))
        counts = store(run, gone(minutes=5), gone(2, 5), gone(3, 5))
        assert counts.deleted == 2
        assert told() == [("purchase", ann.pk, 20), ("purchase_cancelled", ann.pk, 20)]
        assert CrmPurchase.objects.get().cancelled

    def test_what_follows_goes_to_who_the_person_is_now(self, run, ann):
        store(run, deal())
        bob = Profile.objects.create(first_name="Bob")
        identity.merge([(ann.pk, bob.pk)], "test")
        store(run, deal(minutes=5, amount=30))
        assert told()[-1] == ("purchase_corrected", bob.pk, 30)


class TestRejects:
    def test_without_its_person_it_waits_and_is_taken_later(self, run):
        counts = store(run, deal(), deal(2, people=()))
        assert counts.rejected == 2
        codes = dict(SyncReject.objects.values_list("record_id", "code"))
        assert codes == {"1": "unknown_person", "2": "no_person"}
        ann = Profile.objects.create()
        Identifier.objects.create(kind="shop:contacts", value="7", profile=ann)
        assert store(run, deal()).created == 1
        assert SyncReject.objects.filter(resolved_at=None).count() == 1

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"amount": "lots"}, "amount"),
            ({"closed": "soon"}, "closed"),
            ({"shop": "\x00"}, "shop"),
        ],
    )
    def test_a_value_that_is_none_is_told_and_the_rest_goes_on(self, run, ann, fields, field):
        counts = store(run, deal(**fields), deal(2))
        assert (counts.rejected, counts.created) == (1, 1)
        assert SyncReject.objects.get().field == field

    def test_queries_do_not_grow_with_the_deals(self, run, ann):
        store(run, deal())  # makes the month's partition
        with CaptureQueriesContext(connection) as few:
            store(run, *(deal(number) for number in range(100, 104)))
        with CaptureQueriesContext(connection) as many:
            store(run, *(deal(number) for number in range(200, 260)))
        assert len(many) == len(few) < 25
