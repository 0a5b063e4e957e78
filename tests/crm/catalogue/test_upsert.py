"""Creating and changing products in bulk."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crm import catalogue
from crm.models import Product, ProductChange
from crm.normalise import Rejection
from tests.crm.concurrently import run

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def say(*rows, minutes=0, **options):
    patches = [catalogue.patch(row, **options) for row in rows]
    return [each.state for each in catalogue.upsert(patches, "test", NOW + timedelta(minutes=minutes))]


@pytest.mark.django_db
class TestUpsert:
    def test_what_is_left_out_stays_and_what_is_null_goes(self):
        given = {"sku": "A", "name": "Cup", "price": "3.50", "stock": 4, "attributes": {"a": 1, "b": 2}}
        assert say(given) == ["created"]
        assert say({"sku": "A", "price": None, "attributes": {"a": None}}, minutes=1) == ["updated"]
        product = Product.objects.get()
        assert (product.name, product.price, product.stock, product.attributes) == ("Cup", None, 4, {"b": 2})
        assert (product.created_at, product.updated_at) == (NOW, NOW + timedelta(minutes=1))

    def test_a_whole_product_loses_what_is_left_out(self):
        say({"sku": "A", "name": "Cup", "price": 3, "active": False, "attributes": {"a": 1}})
        say({"sku": "A", "stock": 2}, whole=True)
        product = Product.objects.get()
        assert (product.name, product.price, product.stock) == ("", None, 2)
        assert (product.active, product.attributes) == (True, {})

    def test_rows_of_one_product_act_one_after_the_other(self):
        states = say({"sku": "A", "price": 3}, {"sku": "A", "price": 4}, {"sku": "A", "price": "4.0000"})
        assert states == ["created", "updated", "unchanged"]
        assert Product.objects.get().price == 4
        assert not ProductChange.objects.exists()

    def test_what_changes_nothing_is_not_written(self, django_assert_num_queries):
        say({"sku": "A", "price": 3})
        with django_assert_num_queries(3):  # reading, within a savepoint
            assert say({"sku": "A", "price": 3.0}, minutes=9) == ["unchanged"]
        assert Product.objects.get().updated_at == NOW

    def test_queries_do_not_grow_with_the_rows(self, django_assert_num_queries):
        say({"sku": "old", "price": 9})
        for number in (3, 60):
            rows = [{"sku": f"{number}-{each}"} for each in range(number)]
            with django_assert_num_queries(6):
                say({"sku": "old", "price": number}, *rows)

    def test_exact_to_the_last_digit(self):
        say({"sku": "A", "price": "12345678901234.5678"})
        assert Product.objects.get().price == Decimal("12345678901234.5678")

    @pytest.mark.parametrize(
        ("row", "code", "field"),
        [
            ({}, "missing_field", "sku"),
            ({"sku": "A", "prise": 1}, "unknown_field", "prise"),
            ({"sku": "A", "price": "dear"}, "invalid_number", "price"),
            ({"sku": "A", "active": "yes"}, "invalid_type", "active"),
            ({"sku": "A", "attributes": []}, "invalid_type", "attributes"),
            ({"sku": "A", "name": "a\x00"}, "nul_character", "name"),
            ({"sku": "A", "currency": "EURO"}, "too_long", "currency"),
        ],
    )
    def test_what_cannot_be_taken_is_named(self, row, code, field):
        with pytest.raises(Rejection) as refused:
            catalogue.patch(row)
        assert (refused.value.code, refused.value.field) == (code, field)

    def test_changes_of_price_and_stock_are_written_down(self):
        say({"sku": "A", "price": 10, "currency": "eur", "stock": 0})
        say({"sku": "A", "name": "New name", "stock": 0}, minutes=1)
        say({"sku": "A", "price": 8}, minutes=2)
        say({"sku": "A", "stock": 5}, minutes=3)
        say({"sku": "A", "stock": 4}, minutes=4)
        assert catalogue.retire(["A", "B"], "test", NOW + timedelta(minutes=5)) == 1
        found = ProductChange.objects.order_by("id").values_list(
            "old_price", "price", "was_in_stock", "in_stock", "told_at"
        )
        gone = NOW + timedelta(minutes=5)
        assert list(found) == [
            (10, 8, False, False, None),
            (8, 8, False, True, None),
            (8, 8, True, False, gone),  # no news for anybody
        ]


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_each_product_once():
    rows = [{"sku": f"S{number}", "price": 1} for number in range(40)]
    results = run(*[lambda rows=each: say(*rows) for each in (rows, rows[::-1], rows)])
    assert sorted(state for states in results for state in states).count("created") == 40
    assert Product.objects.count() == 40
