"""Which account a message goes by, what is kept of its way, and what happens without one."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from crm.models import Alert
from delivery import accounts, channels, dispatch
from delivery.channels.base import Outcome, Parcel, Result
from delivery.dispatch.claim import claim
from delivery.dispatch.lanes import Lane
from delivery.dispatch.lease import LEASE, Lease
from delivery.models import Account, Attempt, Delivery
from delivery.providers.base import ProviderError
from tests.delivery import pretend, world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
State = Delivery.State


@pytest.fixture(autouse=True)
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


def queue(slug: str = "welcome", **more: object) -> Delivery:
    person = world.person(Delivery.objects.count(), channels=["pretend"])
    message = world.message(slug, channel="pretend", content={"text": "Hi"})
    [made] = world.queue(message, [person], "pretend", **more)
    return made


def test_what_is_kept_of_a_messages_way() -> None:
    account = pretend.account(cost_per_part="0.0051")
    delivery = queue()
    dispatch.run(NOW)
    attempt = Attempt.objects.get()
    assert (attempt.account, attempt.address) == (account, "person0@example.com")
    assert (attempt.provider_id, str(attempt.cost)) == (f"p{delivery.pk}", "0.010200"), "two parts"


def test_the_account_for_the_purpose_comes_before_the_one_for_everything(carrier: pretend.Carrier) -> None:
    pretend.account("all")
    pretend.account("receipts", purpose="transactional")
    pretend.account("spare", usual=False)
    pretend.account("old", purpose="marketing", state="paused")
    first, second = queue(), queue("receipt")
    Delivery.objects.filter(pk=second.pk).update(transactional=True)
    dispatch.run(NOW)
    assert sorted(carrier.asked) == [("all", first.pk), ("receipts", second.pk)]


def test_there_is_one_usual_account_for_a_purpose() -> None:
    pretend.account("one")
    with pytest.raises(IntegrityError), transaction.atomic():
        pretend.account("two")


def test_without_an_account_messages_wait_and_go_when_there_is_one() -> None:
    delivery, late = queue(), queue("late")
    Delivery.objects.filter(pk=late.pk).update(expires_at=NOW)
    result = dispatch.run(NOW)
    assert (result.deferred, result.expired) == (1, 1)
    delivery.refresh_from_db()
    assert delivery.reason == accounts.NONE
    assert Alert.objects.get().key == "delivery:no-account:pretend"
    assert accounts.opened("pretend", NOW) == 0
    pretend.account()
    assert accounts.opened("pretend", NOW) == 1
    assert dispatch.run(NOW).sent == 1
    assert Alert.objects.get().resolved_at


def test_an_account_that_is_not_complete_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    account = pretend.account(credentials={"token": 5})
    delivery = queue()
    assert dispatch.run(NOW).deferred == 1
    delivery.refresh_from_db()
    assert "ProviderError" in delivery.reason
    assert not Attempt.objects.exists(), "it was never tried"
    assert Alert.objects.get().key == f"delivery:account:{account.pk}:setup"
    Account.objects.update(credentials={})
    account.credentials = {"token": "x"}
    account.save()
    assert dispatch.run(NOW + timedelta(hours=1)).sent == 1
    assert Alert.objects.get().resolved_at


def test_what_cant_be_read_is_told_without_the_secret() -> None:
    account = pretend.account()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE delivery_account SET credentials = 'unreadable'")
    with pytest.raises(ProviderError, match="enter them anew"):
        accounts.sender(account.pk)


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_silent_try_is_repeated_only_where_the_provider_knows_it_again(
    idempotent: bool, carrier: pretend.Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretend.Carrier, "idempotent", idempotent)
    pretend.account()
    delivery = queue()
    claimed = claim(Lane("pretend"), NOW, 10)
    next(Lease(claimed.parcels, claimed.leased_at, claimed.marked).parcels())  # and the worker dies
    result = dispatch.run(NOW + LEASE + timedelta(seconds=30))
    delivery.refresh_from_db()
    assert (result.recovered, carrier.sent[delivery.pk]) == (1, int(idempotent))
    assert (delivery.state, delivery.reason) == (
        (State.SENT, "") if idempotent else (State.FAILED, "unknown outcome")
    )


@pytest.mark.parametrize("idempotent", [True, False])
def test_an_answer_of_which_nothing_is_known_ends_the_same(
    idempotent: bool, carrier: pretend.Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretend.Carrier, "idempotent", idempotent)
    carrier.answer = pretend.answer(Outcome.STARTED)
    pretend.account()
    delivery = queue()
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == (
        State.DEFERRED if idempotent else State.FAILED,
        "unknown outcome",
    )
    assert Attempt.objects.get().outcome == Outcome.STARTED


def test_a_provider_that_breaks_off_leaves_the_rest_for_later(carrier: pretend.Carrier) -> None:
    pretend.account()
    first, second, third = queue("a"), queue("b"), queue("c")

    def breaks(parcel: Parcel) -> Result:
        if parcel.delivery.pk == second.pk:
            raise OSError("secret")
        return pretend.accept(parcel)

    carrier.answer = breaks
    dispatch.run(NOW)
    found = dict(Delivery.objects.values_list("pk", "state"))
    assert found == {first.pk: State.SENT, second.pk: State.FAILED, third.pk: State.DEFERRED}
    assert not Delivery.objects.filter(reason__contains="secret").exists()


def test_every_channel_without_an_account_gets_a_sandbox() -> None:
    provided = {
        kind for kind, channel in channels.everything().items() if channel.provided and channel.listed
    }
    mine = next(iter(provided))
    Account.objects.create(name="mine", slug="mine", channel=mine, provider="other")
    assert accounts.ensure_sandboxes() == len(provided) - 1
    assert accounts.ensure_sandboxes() == 0
    made = dict(Account.objects.values_list("channel", "provider"))
    assert made == dict.fromkeys(provided, "sandbox") | {mine: "other"}
