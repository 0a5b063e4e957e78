"""Providers' calls: proven, once, and never believed beyond what they prove."""

import json
from typing import Any

import pytest
from django.test import Client

from delivery import accounts, callbacks, dispatch
from delivery.models import Account, Delivery, ProviderReport
from delivery.providers.base import ProviderError
from tests.delivery import pretend, world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


@pytest.fixture
def delivery(carrier: pretend.Carrier) -> Delivery:
    pretend.account()
    person = world.person(channels=["pretend"])
    [made] = world.queue(world.message(channel="pretend", content={"text": "Hi"}), [person], "pretend")
    dispatch.run(NOW)
    return made


def call(body: Any, token: str = "s3cret", path: str | None = None) -> Any:
    client = Client(enforce_csrf_checks=True)
    path = path or accounts.callback_url(Account.objects.get()).partition("//")[2].partition("/")[2]
    return client.post(
        f"/{path}",
        body if isinstance(body, bytes) else json.dumps(body),
        "application/json",
        headers={"X-Token": token},
    )


def arrived(delivery: Delivery) -> dict[str, Any]:
    return {"key": "k", "provider_id": f"p{delivery.pk}", "kind": "delivered", "at": NOW.isoformat()}


def test_a_proven_call_counts_once(delivery: Delivery) -> None:
    for _time in range(2):
        answer = call([arrived(delivery)])
        assert (answer.status_code, answer.content) == (200, b"taken")
    delivery.refresh_from_db()
    assert delivery.state == "delivered"
    assert ProviderReport.objects.count() == 1


def test_what_is_not_proven_leaves_nothing(delivery: Delivery) -> None:
    wrong = [
        call([arrived(delivery)], token="wrong"),
        call([arrived(delivery)], token=""),
        call([arrived(delivery)], path="callbacks/no-such-key/"),
    ]
    assert {answer.status_code for answer in wrong} == {401}
    assert len({answer.content for answer in wrong}) == 1, "nobody learns which accounts there are"
    assert not ProviderReport.objects.exists()


def test_an_account_without_its_secret_believes_nobody(delivery: Delivery) -> None:
    Account.objects.update(credentials=accounts.get(Account.objects.get().pk).credentials | {"token": ""})
    assert call([arrived(delivery)], token="").status_code == 401


def test_a_call_may_not_be_endless(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "BODY_LIMIT", 10)
    assert call(b"x" * 11).status_code == 413


def test_other_methods_are_refused(delivery: Delivery) -> None:
    assert Client().delete("/callbacks/x/").status_code == 405


def test_an_account_that_is_not_complete_asks_to_call_again(
    delivery: Delivery, carrier: Any, monkeypatch: Any
) -> None:
    def incomplete(*_args: Any) -> None:
        raise ProviderError("The secret s3cret is missing.")

    monkeypatch.setattr(carrier, "hear", incomplete)
    answer = call([arrived(delivery)])
    assert answer.status_code == 503
    assert b"s3cret" not in answer.content
