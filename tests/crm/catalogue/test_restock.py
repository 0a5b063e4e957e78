"""Who is told what became of a product: against a reference that looks through everything that happened."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from crm import catalogue, identity, interest, log, restock
from crm.models import CatalogueSettings, Event, Product, ProductChange, ProductInterest, Profile
from tests.crm.concurrently import run, until_readable

START = datetime(2026, 9, 1, tzinfo=UTC)
NAMES = {
    "asked": "back_in_stock_requested",
    "saved": "wishlist_added",
    "viewed": "product_viewed",
    "bought": "purchase",
}
LOOKBACK, QUIET, COMPARE = timedelta(days=20), timedelta(days=3), timedelta(days=5)

pytestmark = pytest.mark.django_db(transaction=True)


def did(at, profile_id, kind, sku):
    properties = {"items": [{"product_id": sku}]} if kind == "bought" else {"product_id": sku}
    log.append([log.NewEvent(uuid.uuid4(), profile_id, NAMES[kind], at, properties, "test")])


def put(at, **fields):
    catalogue.upsert([catalogue.patch(fields)], "test", at)


def told():
    found = Event.objects.filter(name__in=(interest.BACK, interest.DROPPED)).order_by("occurred_at", "name")
    return sorted(
        (
            event.name,
            event.profile_id,
            event.occurred_at,
            event.properties["sku"],
            event.properties["price"],
            event.properties["old_price"],
            event.properties["reason"],
        )
        for event in found
    )


def tell():
    until_readable()
    return restock.run()


class Reference:
    """What shall be told, found by looking through all that happened for each change and person."""

    def __init__(self):
        self.happened, self.changes, self.told, self.products = [], [], [], {}

    def did(self, at, person, kind, sku):
        self.happened.append((at, person, kind, sku))

    def put(self, at, sku, **fields):
        before = self.products.get(sku)
        after = {**(before or {"price": None, "stock": None, "active": True}), **fields}
        self.products[sku] = after
        if before is not None and before != after:
            self.changes.append({"at": at, "sku": sku, "before": before, "after": after, "open": True})

    @staticmethod
    def can_buy(product):
        if not product["active"]:
            return False
        return None if product["stock"] is None else product["stock"] > 0

    def last(self, person, kind, sku):
        return max((at for at, *rest in self.happened if rest == [person, kind, sku]), default=None)

    def heard(self, person, sku, *names):
        return max(
            (t[2] for t in self.told if t[0] in names and t[1] == person and t[3] == sku), default=None
        )

    def tell(self, people):
        for number, change in enumerate(self.changes):
            if not change["open"]:
                continue
            change["open"] = False
            before, after, at, sku = change["before"], change["after"], change["at"], change["sku"]
            product = self.products[sku]
            back = (
                self.can_buy(after) is True
                and self.can_buy(before) is not True
                and self.can_buy(product) is True
            )
            earlier = [
                other["before"]["price"]
                for other in self.changes[: number + 1]
                if other["sku"] == sku and (other is change or other["at"] > at - COMPARE)
            ]
            lowest = min((price for price in earlier if price is not None), default=None)
            dropped = (
                None not in (before["price"], after["price"], product["price"], lowest)
                and after["price"] < before["price"]
                and product["price"] <= after["price"]
                and self.can_buy(product) is not False
                and lowest > product["price"]
                and (lowest - product["price"]) / lowest >= Decimal("0.1")
            )
            for person in people:
                self._tell(person, sku, at, back, dropped, self.can_buy(before), product, lowest)

    def _tell(self, person, sku, at, back, dropped, was, product, lowest):
        bought = self.last(person, "bought", sku)
        asked, saved, viewed = (self.last(person, kind, sku) for kind in ("asked", "saved", "viewed"))
        ever = self.heard(person, sku, interest.BACK, interest.DROPPED)
        waits = (
            asked and (not bought or asked > bought) and (asked > at - LOOKBACK or not ever or asked > ever)
        )

        def counts(when):
            return when and (not bought or when > bought) and at - LOOKBACK < when <= at

        reason = "asked" if waits else "saved" if counts(saved) else "viewed" if counts(viewed) else None
        if reason is None:
            return
        found = []
        for name, true in ((interest.BACK, back), (interest.DROPPED, dropped)):
            before = self.heard(person, sku, name)
            quiet = before and before >= at - QUIET and not (waits and asked > before)
            cared = counts(saved) or counts(viewed) or (waits and asked <= at)
            if name == interest.DROPPED and not cared:
                continue
            if true and not quiet and not (name == interest.BACK and was is None and reason != "asked"):
                old = float(lowest) if name == interest.DROPPED else None
                price = None if product["price"] is None else float(product["price"])
                found.append((name, person, at, sku, price, old, reason))
        self.told += found


def step(chance, reference, people, at):
    sku = chance.choice("AB")
    if chance.random() < 0.7:
        person, kind = chance.choice(people), chance.choice(("asked", "saved", "viewed", "viewed", "bought"))
        did(at, person, kind, sku)
        reference.did(at, person, kind, sku)
        return
    field = chance.choice(("price", "price", "stock", "stock", "active"))
    value = {
        "price": lambda: chance.choice((None, *map(Decimal, ("7", "8", "9", "9.5", "10", "12")))),
        "stock": lambda: chance.choice((None, Decimal(0), Decimal(0), Decimal(3))),
        "active": lambda: chance.random() < 0.7,
    }[field]()
    put(at, sku=sku, **{field: value})
    reference.put(at, sku, **{field: value})


def test_told_are_those_whom_the_reference_tells():
    CatalogueSettings(
        lookback_days=LOOKBACK.days, quiet_days=QUIET.days, compare_days=COMPARE.days, least_drop=10
    ).save()
    made = 0
    for seed in range(5):
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE crm_event, crm_product, crm_productchange, crm_productinterest")
        chance, reference, at = random.Random(seed), Reference(), START
        people = [Profile.objects.create().pk for _ in range(4)]
        for sku in "AB":
            put(at, sku=sku, price=10, stock=0, currency="EUR")
            reference.put(at, sku, price=Decimal(10), stock=Decimal(0), active=True)
        for _ in range(70):
            at += timedelta(minutes=chance.choice((5, 60, 600, 2000)))
            step(chance, reference, people, at)
            if chance.random() < 0.2:
                tell()
                reference.tell(people)
        tell()
        reference.tell(people)
        assert told() == sorted(reference.told), seed
        made += len(reference.told)
    assert made > 25  # else the examples say little


class TestTelling:
    def test_pages_a_crash_and_two_workers_tell_each_person_once(self, monkeypatch):
        monkeypatch.setattr(restock, "PAGE", 3)
        people = [Profile.objects.create().pk for _ in range(10)]
        put(START, sku="A", stock=0)
        for number, person in enumerate(people):
            did(START + timedelta(hours=number), person, "viewed", "A")
        put(START + timedelta(days=1), sku="A", stock=1)
        until_readable()
        while interest.read()[1]:
            pass
        [change] = ProductChange.objects.values_list("pk", flat=True)
        append = log.append

        def dies(events):
            append(events)
            raise KeyboardInterrupt

        assert restock.tell([change]) == (3, True)
        monkeypatch.setattr(log, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            restock.tell([change])
        monkeypatch.setattr(log, "append", append)
        assert len(told()) == 3
        run(*[restock.run] * 2)
        tell()
        assert sorted(row[1] for row in told()) == people
        assert ProductChange.objects.get().told == 10

    def test_who_only_looked_and_heard_of_it_lately_holds_up_nobody(self):
        """Back and cheaper at once, soon after it was back: of the two only the price is news."""
        [person] = identity.resolve([identity.Reference(external_id="a")])
        put(START, sku="A", stock=0, price=100)
        did(START, person, "viewed", "A")
        for hours, fields in enumerate([{"stock": 1}, {"stock": 0}, {"stock": 1, "price": 50}], 1):
            put(START + timedelta(hours=hours), sku="A", **fields)
            tell()
        assert [name for name, *_ in told()] == [interest.BACK, interest.DROPPED]

    def test_what_was_done_before_a_merge_counts_for_the_winner(self):
        loser, winner = (Profile.objects.create().pk for _ in range(2))
        put(START, sku="A", stock=0)
        did(START, loser, "asked", "A")
        until_readable()
        with log.read("other") as batch:
            events = batch.events
        identity.merge([(loser, winner)], "test")
        interest._keep(events, interest.columns(CatalogueSettings()), ["product_id"])
        put(START + timedelta(days=1), sku="A", stock=1)
        tell()
        assert [row[1] for row in told()] == [winner]

    def test_queries_do_not_grow_with_the_people(self, django_assert_num_queries):
        interest.read()  # the first time makes the cursor
        counts = []
        for many in (2, 60):
            people = Profile.objects.bulk_create([Profile() for _ in range(many)])
            put(START, sku=f"S{many}", stock=0)
            log.append(
                [
                    log.NewEvent(uuid.uuid4(), each.pk, "product_viewed", START, {"sku": f"S{many}"}, "test")
                    for each in people
                ]
            )
            put(START + timedelta(days=1), sku=f"S{many}", stock=1)
            until_readable()
            with django_assert_num_queries(13, exact=False):
                interest.read()
            change = ProductChange.objects.get(told_at=None).pk
            with django_assert_num_queries(16, exact=False) as queries:
                assert restock.tell([change]) == (many, False)
            counts.append(len(queries))
        assert counts[0] == counts[1]

    def test_other_names_of_events_are_read_from_the_log_anew(self):
        person = Profile.objects.create().pk
        log.append([log.NewEvent(uuid.uuid4(), person, "looked", START, {"item": 7}, "test")])
        until_readable()
        interest.read()
        assert not ProductInterest.objects.exists()
        settings = CatalogueSettings.load()
        assert not interest.save_settings(settings)
        settings.viewed, settings.properties = ["looked"], ["item"]
        assert interest.save_settings(settings)
        interest.read()
        assert ProductInterest.objects.get().sku == "7"

    def test_old_interest_goes_and_who_asked_stays(self):
        asker, viewer = (Profile.objects.create() for _ in range(2))
        ProductInterest.objects.create(sku="A", profile=asker, asked_at=START)
        ProductInterest.objects.create(sku="A", profile=viewer, viewed_at=START)
        assert interest.forget(START + timedelta(days=400)) == 1
        assert interest.of_product("A", START) == {"asked": 1, "saved": 0, "viewed": 0}
        assert Product.objects.count() == 0
