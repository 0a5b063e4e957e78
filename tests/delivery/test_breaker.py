"""A provider that fails is left alone, asked now and then, and holds up nobody else."""

from datetime import timedelta

import pytest

from crm.models import Alert
from delivery import breaker, dispatch
from delivery.channels.base import Outcome, Parcel, Result
from delivery.channels.memory import Memory
from delivery.dispatch.lanes import Lane
from delivery.dispatch.late import end as end_late
from delivery.models import Account, Delivery
from delivery.policies import emergency
from tests.delivery import pretend, world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
State = Delivery.State
SECOND = timedelta(seconds=1)
fails = pretend.answer(Outcome.RETRY, status_code=503)


@pytest.fixture(autouse=True)
def carrier(monkeypatch: pytest.MonkeyPatch) -> pretend.Carrier:
    return pretend.install(monkeypatch)


def crowd(count: int, slug: str = "welcome") -> list[Delivery]:
    have = Delivery.objects.count()
    people = [world.person(have + number, channels=["pretend", "memory"]) for number in range(count)]
    return world.queue(world.message(slug, channel="pretend", content={"text": "Hi"}), people, "pretend")


def asked(carrier: pretend.Carrier, seconds: float, limit: int = 100) -> int:
    before = len(carrier.asked)
    dispatch.run(NOW + seconds * SECOND, limit)
    return len(carrier.asked) - before


def test_a_failing_provider_rests_and_is_tried_with_one_message(carrier: pretend.Carrier) -> None:
    account = pretend.account()
    crowd(30)
    carrier.answer = fails
    assert asked(carrier, 0) == breaker.THRESHOLD
    assert world.states() == {State.DEFERRED: 10, State.QUEUED: 20}
    alert = Alert.objects.get()
    assert (alert.key, "503" in alert.detail) == (f"delivery:account:{account.pk}", True)
    assert [asked(carrier, second) for second in (1, 29, 31, 32, 90)] == [0, 0, 1, 0, 0], "30 s, then 60 s"
    carrier.answer = pretend.accept
    assert asked(carrier, 92) == 1
    account.refresh_from_db()
    assert (account.trips, account.failures, account.held_until) == (0, 0, None)
    assert Alert.objects.get().resolved_at
    asked(carrier, 93)
    asked(carrier, 4000)
    assert world.states() == {State.SENT: 30}


def test_failures_count_from_one_batch_to_the_next(carrier: pretend.Carrier) -> None:
    pretend.account()
    crowd(12)
    carrier.answer = fails
    assert sum(asked(carrier, 0, limit=1) for _time in range(12)) == breaker.THRESHOLD


def test_one_success_between_them_ends_the_count(carrier: pretend.Carrier) -> None:
    pretend.account()
    crowd(40)
    answers = iter(
        [fails] * 9 + [pretend.accept] + [fails] * 9 + [pretend.answer(Outcome.REFUSED)] + [fails] * 20
    )
    carrier.answer = lambda parcel: next(answers)(parcel)
    assert asked(carrier, 0) == 30


def test_while_one_message_is_tried_nobody_tries_another(carrier: pretend.Carrier) -> None:
    pretend.account(trips=1, held_until=NOW)
    crowd(3)
    nested = []

    def answer(parcel: Parcel) -> Result:
        nested.append(dispatch.run_lane(Lane("pretend"), NOW).claimed)
        return pretend.accept(parcel)

    carrier.answer = answer
    assert asked(carrier, 1) == 1
    assert nested == [0]
    assert asked(carrier, 1) == 2, "all is well again"


def test_the_wait_follows_the_providers_wish_up_to_an_hour(carrier: pretend.Carrier) -> None:
    pretend.account()
    crowd(12)
    carrier.answer = pretend.answer(Outcome.RETRY, retry_after=timedelta(minutes=5))
    asked(carrier, 0)
    assert Account.objects.get().held_until == NOW + timedelta(minutes=5)


def test_another_account_and_another_channel_go_on(carrier: pretend.Carrier, memory: Memory) -> None:
    pretend.account("dead", trips=3, held_until=NOW + timedelta(hours=1))
    pretend.account("receipts", purpose="transactional")
    held, receipt = crowd(1)[0], crowd(1, "receipt")[0]
    Delivery.objects.filter(pk=receipt.pk).update(transactional=True)
    world.queue(world.message("other"), [held.profile])
    assert dispatch.run(NOW).sent == 2
    held.refresh_from_db()
    assert (held.state, held.attempts) == (State.QUEUED, 0)


def test_what_waits_for_an_account_that_rests_expires(carrier: pretend.Carrier) -> None:
    pretend.account(trips=3, held_until=NOW + timedelta(hours=1))
    late, early = crowd(2)
    Delivery.objects.filter(pk=late.pk).update(expires_at=NOW + 60 * SECOND)
    assert asked(carrier, 61) == 0
    assert end_late(NOW + 61 * SECOND) == 1
    late.refresh_from_db()
    early.refresh_from_db()
    assert (late.state, late.reason, early.state) == (State.EXPIRED, "expired", State.QUEUED)
    assert world.event("message_failed").profile_id == late.profile_id


def test_what_waits_while_sending_is_stopped_expires() -> None:
    pretend.account()
    [waiting] = crowd(1)
    assert end_late(waiting.expires_at) == 0, "claiming sees to it"
    emergency.press(None)
    assert end_late(waiting.expires_at) == 1
