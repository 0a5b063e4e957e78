"""Messages say what is computed about each person."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import masking
from crm.models import ComputedAttribute, ComputedValue
from delivery import dispatch
from delivery.admin import people
from delivery.channels.memory import Memory
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def orders() -> ComputedAttribute:
    config = {"kind": "count", "event": "purchase"}
    return ComputedAttribute.objects.create(
        slug="orders", name="Orders", kind="count", config=config, served=True
    )


@pytest.fixture
def favourite() -> ComputedAttribute:
    config = {"kind": "most_frequent", "event": "purchase", "property": "category"}
    return ComputedAttribute.objects.create(
        slug="favourite", name="Favourite", kind="most_frequent", config=config, served=True
    )


def test_each_person_gets_their_own_values(memory: Memory, orders, favourite) -> None:
    ann, bob = world.person(1), world.person(2)
    ComputedValue.objects.create(profile=ann, attribute=orders, number=3.0)
    ComputedValue.objects.create(profile=ann, attribute=favourite, text="shoes")
    text = "{{ profile.first_name }} {{ computed.orders }} {{ computed.favourite | default: 'all' }}"
    world.queue(world.message(content={"text": text}), [ann, bob])
    dispatch.run(NOW)
    assert sorted(parcel.payload for parcel in memory.sent) == ["Ann1 3 shoes", "Ann2 0 all"]
    assert people.data_for(ann)["computed"] == {"orders": 3, "favourite": "shoes"}


def test_a_preview_shows_contact_data_in_outline(favourite) -> None:
    ann = world.person(1)
    ComputedValue.objects.create(profile=ann, attribute=favourite, text="ann@home.example")
    with masking.hiding():
        assert people.data_for(ann)["computed"] == {"favourite": "a•••@h•••.example"}


def test_messages_that_do_not_ask_cost_nothing(memory: Memory, orders) -> None:
    world.queue(world.message(content={"text": "Hello"}), [world.person(1)])
    with CaptureQueriesContext(connection) as asked:
        dispatch.run(NOW)
    assert not [query for query in asked.captured_queries if "computed" in query["sql"]]
