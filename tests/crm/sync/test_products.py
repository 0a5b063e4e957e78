"""A CRM's products in the catalogue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crm.connectors.base import Page, Record
from crm.models import Connection, Product, SourceRecord, SyncReject, SyncRun
from crm.sync.apply import apply
from crm.sync.mapping import parse

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MAPPING = parse(
    {
        "fields": {
            "code": "sku",
            "title": "name",
            "price": "price",
            "left": "stock",
            "on": "active",
            "colour": "attributes.colour",
        }
    },
    "product",
)


@pytest.fixture
def run():
    connection = Connection.objects.create(kind="hubspot", name="shop", slug="shop")
    return SyncRun.objects.create(connection=connection, state=SyncRun.State.RUNNING)


def cup(number=1, minutes=0, **fields):
    fields = {"code": "CUP", "title": "Cup", "price": 3.5, "left": 4, "on": True, "colour": "red", **fields}
    return Record(str(number), NOW + timedelta(minutes=minutes), fields)


def store(run, *records, minutes=60):
    page = Page("products", list(records), {}, current=True)
    return apply(run, page, MAPPING, "product", NOW + timedelta(minutes=minutes))


def test_a_product_is_known_by_its_number(run):
    assert store(run, cup(), cup(2, code=None, title="Nameless")).created == 2
    product = Product.objects.get(sku="CUP")
    assert (product.name, product.price, product.stock) == ("Cup", Decimal("3.5"), 4)
    assert (product.attributes, product.source, product.active) == ({"colour": "red"}, "crm:shop", True)
    assert Product.objects.get(sku="2").name == "Nameless"


def test_only_what_changed_is_written(run):
    store(run, cup())
    changed = store(run, cup(minutes=1, price=4, colour=None), minutes=70)
    assert changed.updated == 1
    product = Product.objects.get()
    assert (product.price, product.attributes) == (4, {})
    assert product.updated_at == NOW + timedelta(minutes=70)
    assert store(run, cup(minutes=2, price=4.0, colour=None), minutes=80).unchanged == 1
    assert Product.objects.get().updated_at == NOW + timedelta(minutes=70)


def test_two_records_of_one_product_are_one_and_it_is_sold_while_either_lives(run):
    counts = store(run, cup(1), cup(2, price=9))
    assert counts.created + counts.unchanged == 2
    assert Product.objects.get().price == 9
    gone = [Record(str(number), NOW + timedelta(minutes=5), deleted=True) for number in (1, 2)]
    store(run, gone[0])
    assert Product.objects.get().active
    store(run, gone[1])
    assert not Product.objects.get().active
    assert SourceRecord.objects.filter(state="deleted").count() == 2
    assert store(run, cup(1, 9)).updated == 1
    assert Product.objects.get().active


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"price": "dear"}, "price"),
        ({"price": 1e30}, "price"),
        ({"title": "a\x00"}, "title"),
        ({"left": True}, "left"),
    ],
)
def test_a_value_that_can_not_be_is_told_and_the_rest_goes_on(run, fields, field):
    counts = store(run, cup(**fields), cup(2, code="PLATE"))
    assert (counts.rejected, counts.created) == (1, 1)
    assert SyncReject.objects.get().field == field


def test_a_product_whose_number_was_put_right_is_not_sold_under_the_old_one(run):
    store(run, cup(1, code="CPU"), cup(2, code="MUG"), cup(3, code="MUG"))
    store(run, cup(1, 5, code="CUP"), cup(2, 5, code="CUP2"))
    sold = Product.objects.filter(active=True).values_list("sku", flat=True)
    assert set(sold) == {"CUP", "CUP2", "MUG"}


def test_queries_do_not_grow_with_the_products(run, django_assert_num_queries):
    with django_assert_num_queries(11):
        store(run, *(cup(number, code=f"C{number}") for number in range(3)))
    with django_assert_num_queries(11):
        store(run, *(cup(number, code=f"C{number}") for number in range(100, 160)))


def test_the_list_in_the_admin(run, admin_client):
    store(run, cup())
    page = admin_client.get("/admin/crm/product/").content.decode()
    assert "CUP" in page
    assert "3.5" in page
    assert admin_client.get(f"/admin/crm/product/{Product.objects.get().pk}/change/").status_code == 200
