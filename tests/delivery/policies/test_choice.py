"""The cheapest channel that reaches somebody."""

from decimal import Decimal

import pytest

from crm.models import Suppression
from delivery.channels.memory import Memory
from delivery.models import Account
from delivery.policies import choice
from tests.delivery import world

pytestmark = pytest.mark.django_db


def account(channel: str, cost: str | None, **more) -> Account:
    return Account.objects.create(
        name=channel + str(cost), slug=f"{channel}-x", channel=channel, provider="sandbox",
        cost_per_part=None if cost is None else Decimal(cost), **more,
    )  # fmt: skip


def test_the_cheapest_that_reaches_each_person(memory: Memory) -> None:
    account("sms", "0.07")
    account("memory", "0.001")
    both = world.person(1, channels=["sms", "memory"], phone="+48123456781")
    phone = world.person(2, channels=["sms"], phone="+48123456782")
    blocked = world.person(3, channels=["sms", "memory"], phone="+48123456783")
    nobody = world.person(4, agrees=False)
    Suppression.objects.create(channel="memory", address="person3@example.com", reason="bounced")
    people = [both.pk, phone.pk, blocked.pk, nobody.pk]
    found = choice.cheapest(people, ["sms", "memory"])
    assert [found[pk].channel for pk in people] == ["memory", "sms", "sms", "sms"]
    assert found[both.pk].costs == {"memory": "0.001000", "sms": "0.070000"}
    assert found[nobody.pk].facts["because"] == "not reachable"


def test_what_costs_nothing_wins_and_what_has_no_account_reaches_nobody(memory: Memory) -> None:
    ann = world.person(1, channels=["sms", "memory"], phone="+48123456781")
    assert choice.cheapest([ann.pk], ["sms", "memory"])[ann.pk].reachable == ["memory"]
    account("sms", None)
    assert choice.cheapest([ann.pk], ["sms", "memory"])[ann.pk].reachable == ["sms", "memory"]


def test_the_number_of_queries_does_not_grow(memory: Memory, django_assert_num_queries) -> None:
    account("sms", "0.07")
    people = [world.person(n, channels=["sms", "memory"], phone=f"+4812345678{n}").pk for n in range(9)]
    with django_assert_num_queries(8):
        choice.cheapest(people[:1], ["sms", "memory"])
    with django_assert_num_queries(8):
        choice.cheapest(people, ["sms", "memory"])
