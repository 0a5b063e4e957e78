"""A test that goes to a tester's own address is nothing that happened to the person whose data fills it in."""

from datetime import timedelta

import pytest

from crm.models import Consent, Event, Suppression
from delivery import dispatch, receipts, reports
from delivery.channels.base import Outcome
from delivery.models import Delivery
from delivery.providers.base import Report, Reported
from tests.delivery import pretend, world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
TESTER = "tester@example.com"


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


def queued(text: str = "Hi") -> Delivery:
    wanted = world.message(channel="pretend", content={"text": text})
    context = {"test": {"address": TESTER}}
    [delivery] = world.queue(
        wanted, [world.person(channels=["pretend"])], "pretend", origin_type="test", context=context
    )
    return delivery


def names(delivery: Delivery) -> list[str]:
    return list(Event.objects.filter(profile_id=delivery.profile_id).values_list("name", flat=True))


def test_what_becomes_of_it_is_no_event_of_the_person(carrier: pretend.Carrier) -> None:
    account, delivery = pretend.account(), queued()
    before = names(delivery)
    assert dispatch.run(NOW).sent == 1
    number = delivery.tries.get().provider_id
    told = [
        Report(kind.value, number, kind, NOW + timedelta(seconds=1), address=TESTER)
        for kind in (Reported.DELIVERED, Reported.COMPLAINED, Reported.UNSUBSCRIBED)
    ]
    reports.apply(account, told, NOW + timedelta(minutes=1))
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.DELIVERED
    assert names(delivery) == before
    assert Consent.objects.get(profile_id=delivery.profile_id).state == "subscribed"
    assert list(Suppression.objects.values_list("address", flat=True)) == [TESTER]


def test_an_answer_to_the_call_leaves_the_persons_consent_alone(carrier: pretend.Carrier) -> None:
    pretend.account()
    delivery = queued()
    carrier.answer = pretend.answer(Outcome.REFUSED, told="unsubscribed")
    assert dispatch.run(NOW).failed == 1
    assert Consent.objects.get(profile_id=delivery.profile_id).state == "subscribed"
    assert "message_failed" not in names(delivery)


def test_an_early_report_of_a_device_is_no_event_either() -> None:
    delivery = queued()
    assert receipts.mark_delivered({delivery.pk: NOW}) == 1
    assert "message_sent" not in names(delivery)


def test_its_links_lead_to_nobodys_page(carrier: pretend.Carrier) -> None:
    pretend.account()
    delivery = queued("{{ unsubscribe_url }}")
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert "/p/example/unsubscribe/" in delivery.content["text"]
