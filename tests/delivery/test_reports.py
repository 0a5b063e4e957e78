"""What providers tell later: once each, in whatever order, and with the same end."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from crm import consent, suppressions
from crm.models import Consent, Event, Suppression
from delivery import dispatch, receipts, reports
from delivery.channels.base import Outcome, Result
from delivery.models import Account, Attempt, Delivery, ProviderReport
from delivery.providers.base import Report, Reported
from tests.delivery import pretend, world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
State = Delivery.State


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


def sent(count: int = 1) -> tuple[Account, list[Delivery]]:
    """An account by which so many people got a message."""
    account = pretend.account()
    people = [world.person(number, channels=["pretend"]) for number in range(count)]
    deliveries = world.queue(world.message(channel="pretend", content={"text": "Hi"}), people, "pretend")
    assert dispatch.run(NOW).sent == count
    return account, deliveries


def taken() -> tuple[Account, Delivery]:
    """The same for one person, without the way there."""
    account, person = pretend.account(), world.person(channels=["pretend"])
    [delivery] = world.queue(world.message(channel="pretend"), [person], "pretend")
    Delivery.objects.update(state=State.SENT, sent_at=NOW)
    Attempt.objects.create(
        delivery=delivery,
        account=account,
        address=person.email,
        provider_id=f"p{delivery.pk}",
        outcome=Outcome.ACCEPTED,
        finished_at=NOW,
    )
    return account, delivery


def told(delivery: Delivery, kind: Reported, second: int = 1, **more: Any) -> Report:
    return Report(
        f"{delivery.pk}:{kind}:{second}", f"p{delivery.pk}", kind, NOW + timedelta(seconds=second), **more
    )


def later(account: Account, *all_told: Report) -> int:
    return reports.apply(account, all_told, NOW + timedelta(minutes=1))


def end(delivery: Delivery) -> tuple[Any, ...]:
    """All that reports may change."""
    delivery.refresh_from_db()
    names = sorted(Event.objects.filter(profile_id=delivery.profile_id).values_list("name", flat=True))
    said_no = Consent.objects.filter(profile_id=delivery.profile_id, state=consent.UNSUBSCRIBED).exists()
    listed = sorted(Suppression.objects.filter(channel="pretend").values_list("address", flat=True))
    return (
        delivery.state,
        delivery.reason,
        delivery.delivered_at,
        said_no,
        listed,
        [name for name in names if name in ("message_bounced", "message_complained")],
    )


def test_an_arrival_is_told_once(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    report = told(delivery, Reported.DELIVERED)
    assert later(account, report, report) == 1
    assert later(account, report) == 0
    delivery.refresh_from_db()
    assert (delivery.state, delivery.delivered_at) == (State.DELIVERED, report.at)
    assert world.event("message_delivered").properties["message"] == "welcome"
    assert later(account, told(delivery, Reported.READ, 2)) == 1
    assert world.event("message_read").occurred_at == NOW + timedelta(seconds=2)


def test_what_fails_after_it_was_taken_failed(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    later(account, told(delivery, Reported.FAILED, 3, detail="no such\nnumber"))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == (State.FAILED, "failed: no such number")
    later(account, told(delivery, Reported.DELIVERED, 5))
    delivery.refresh_from_db()
    assert delivery.state == State.FAILED, "the first final word counts"
    assert world.event("message_failed").properties["reason"].startswith("failed")


@pytest.mark.parametrize("kind", [Reported.BOUNCED, Reported.COMPLAINED])
def test_who_is_not_there_or_complains_is_never_written_to_again(
    kind: Reported, carrier: pretend.Carrier
) -> None:
    account, [delivery] = sent()
    later(account, told(delivery, Reported.DELIVERED), told(delivery, kind, 2))
    assert suppressions.listed(["pretend"], ["person0@example.com"])
    delivery.refresh_from_db()
    assert delivery.state == State.DELIVERED
    [again] = world.queue(
        world.message("again", channel="pretend", content={"text": "Hi"}), [delivery.profile], "pretend"
    )
    assert dispatch.run(NOW).suppressed == 1
    assert carrier.sent[again.pk] == 0


def test_a_soft_bounce_changes_nothing(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    later(account, told(delivery, Reported.DELAYED))
    assert end(delivery)[:2] == (State.SENT, "")
    assert not Suppression.objects.exists()


def test_a_no_told_to_the_provider_is_a_no(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    later(account, told(delivery, Reported.UNSUBSCRIBED))
    assert Consent.objects.get(profile_id=delivery.profile_id, key="pretend").state == consent.UNSUBSCRIBED


def test_a_report_may_name_an_address_of_a_message_that_is_not_ours(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    later(account, Report("k1", "unknown", Reported.BOUNCED, NOW, address="Person0@Example.com"))
    later(account, Report("k2", "unknown2", Reported.BOUNCED, NOW, address="not an address\x00"))
    assert suppressions.listed(["pretend"], ["person0@example.com"])
    assert ProviderReport.objects.filter(delivery=None).count() == 2


def test_a_report_may_come_before_the_call_is_recorded(carrier: pretend.Carrier) -> None:
    """The provider reports while it still answers the call that sends."""
    account = pretend.account()

    def answer(parcel: Any) -> Result:
        reports.apply(account, [Report("k", "early", Reported.DELIVERED, NOW)], NOW)
        return Result(parcel.number, Outcome.ACCEPTED, 200, provider_id="early")

    carrier.answer = answer
    [delivery] = world.queue(
        world.message(channel="pretend", content={"text": "Hi"}),
        [world.person(channels=["pretend"])],
        "pretend",
    )
    dispatch.run(NOW)
    assert end(delivery)[0] == State.SENT
    assert reports.match_waiting(NOW) == 1
    assert end(delivery)[0] == State.DELIVERED
    assert reports.match_waiting(NOW) == 0


def test_another_accounts_numbers_are_not_ours(carrier: pretend.Carrier) -> None:
    _account, [delivery] = sent()
    other = pretend.account("other", usual=False)
    later(other, told(delivery, Reported.FAILED))
    assert end(delivery)[0] == State.SENT


def test_the_price_told_later_counts(carrier: pretend.Carrier) -> None:
    account, [delivery] = sent()
    later(account, told(delivery, Reported.DELIVERED, cost="-0.0075"))
    later(account, told(delivery, Reported.READ, cost="free"))
    assert str(Attempt.objects.get(delivery=delivery).cost) == "0.007500"


def test_what_the_answer_says_about_a_person_counts_at_once(carrier: pretend.Carrier) -> None:
    carrier.answer = pretend.answer(Outcome.REFUSED, told="unsubscribed")
    pretend.account()
    person = world.person(channels=["pretend"])
    world.queue(world.message(channel="pretend", content={"text": "Hi"}), [person], "pretend")
    dispatch.run(NOW)
    assert Consent.objects.get(profile_id=person.pk, key="pretend").state == consent.UNSUBSCRIBED


def test_the_number_of_queries_does_not_grow_with_the_reports(carrier: pretend.Carrier) -> None:
    account, deliveries = sent(30)
    kinds = [Reported.DELIVERED, Reported.BOUNCED, Reported.UNSUBSCRIBED]
    later(account, *(told(delivery, kind) for delivery in deliveries[:2] for kind in kinds))
    counts = []
    for part in (deliveries[2:5], deliveries[5:30]):
        with CaptureQueriesContext(connection) as queries:
            later(account, *(told(delivery, kind) for delivery in part for kind in kinds))
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 31


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[tuple[Reported, int]], list[int], list[int]]:
    """Some reports, an order with repetitions that leaves out none, and where calls begin."""
    some = draw(
        st.lists(st.tuples(st.sampled_from(Reported), st.integers(0, 3)), min_size=1, max_size=5, unique=True)
    )
    order = [
        *draw(st.lists(st.sampled_from(range(len(some))), max_size=4)),
        *draw(st.permutations(range(len(some)))),
    ]
    return some, order, draw(st.lists(st.integers(1, 8), max_size=3))


@given(orders())
@settings(max_examples=12, deadline=None)
def test_any_order_and_repetition_ends_the_same(case: tuple[Any, ...]) -> None:
    some, order, cuts = case
    ends = []
    for sequence in (range(len(some)), order):
        with transaction.atomic():
            account, delivery = taken()
            for call in _calls(list(sequence), cuts):
                later(account, *(told(delivery, *some[place]) for place in call))
            ends.append(end(delivery))
            transaction.set_rollback(True)
    assert ends[0] == ends[1]


def _calls(order: Sequence[int], cuts: Sequence[int]) -> list[Sequence[int]]:
    places = sorted({0, len(order), *(cut for cut in cuts if cut < len(order))})
    return [order[start:stop] for start, stop in zip(places, places[1:], strict=False)]


def test_a_late_reader_of_the_log_does_not_bring_back_what_was_lost(carrier: pretend.Carrier) -> None:
    account, delivery = taken()
    later(account, told(delivery, Reported.DELIVERED, 9))
    later(account, told(delivery, Reported.BOUNCED, 3))
    assert end(delivery)[0] == State.FAILED
    assert receipts.mark_delivered({delivery.pk: NOW + timedelta(seconds=9)}) == 0
    assert end(delivery)[0] == State.FAILED


def test_reports_of_what_is_not_ours_go_after_a_while(carrier: pretend.Carrier) -> None:
    account, delivery = taken()
    later(
        account, Report("a", "somebody else's", Reported.DELIVERED, NOW), told(delivery, Reported.DELIVERED)
    )
    assert reports.forget_unmatched(NOW + timedelta(days=2)) == 0
    assert reports.forget_unmatched(NOW + timedelta(days=4)) == 1
    assert ProviderReport.objects.get().delivery == delivery


def test_odd_numbers_cost_no_record(carrier: pretend.Carrier) -> None:
    account = pretend.account()
    people = [world.person(number, channels=["pretend"]) for number in range(2)]
    deliveries = world.queue(world.message(channel="pretend", content={"text": "Hi"}), people, "pretend")
    number = secrets.token_hex(20_000) + "\0"
    carrier.answer = lambda parcel: Result(parcel.number, Outcome.ACCEPTED, 200, provider_id=number)
    assert dispatch.run(NOW).sent == 2
    later(account, Report(number, number, Reported.DELIVERED, NOW + timedelta(seconds=1)))
    assert end(deliveries[1])[0] == State.DELIVERED
