"""From a queued row to a recorded result, over the remembering channel."""

from datetime import UTC, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import consent
from crm.models import Alert, Consent, Profile, Suppression
from delivery import content, dispatch, outbox
from delivery.channels.base import Outcome, Result
from delivery.channels.memory import Memory
from delivery.dispatch import lease, recording
from delivery.dispatch.recording import CHUNK
from delivery.models import Attempt, Delivery, MessageContent
from delivery.policies import Verdict, defer, emergency, guards, suppress
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db
State = Delivery.State


def test_a_queued_delivery_is_sent_and_logged(memory: Memory) -> None:
    ann = world.person(1)
    message = world.message(content={"text": "Hello {{ profile.first_name }}"})
    [delivery] = world.queue(message, [ann])

    result = dispatch.run(NOW)

    delivery.refresh_from_db()
    assert (result.claimed, result.sent) == (1, 1)
    assert [parcel.payload for parcel in memory.sent] == ["Hello Ann1"]
    assert (delivery.state, delivery.sent_at, delivery.attempts) == (State.SENT, NOW, 1)
    assert delivery.content == {"text": "Hello Ann1"}
    assert [attempt.outcome for attempt in Attempt.objects.all()] == [Outcome.ACCEPTED]
    event = world.event("message_sent")
    assert event.occurred_at == NOW
    assert event.properties == {
        "message": "welcome",
        "delivery": delivery.pk,
        "channel": "memory",
        "variant": "a",
        "origin": {"type": "flow", "id": 7, "step": "s1"},
    }
    assert dispatch.run(NOW).idle


def test_queueing_a_cause_twice_makes_one_delivery() -> None:
    ann, message = world.person(), world.message()
    one = world.request("flow:1:a:1", message, ann)
    assert outbox.queue([one, one], NOW) == 1
    assert outbox.queue([one], NOW) == 0
    assert Delivery.objects.count() == 1


def test_a_delivery_expires_by_its_messages_own_limit() -> None:
    [delivery] = world.queue(
        world.message(expires_after_hours=3), [world.person()], due_at=NOW + timedelta(hours=1)
    )
    assert delivery.expires_at == NOW + timedelta(hours=4)


def test_consent_withdrawn_after_queueing_stops_it(memory: Memory) -> None:
    ann, ben = world.person(1), world.person(2)
    deliveries = world.queue(world.message(), [ann, ben])
    world.answer(ann, consent.UNSUBSCRIBED, ["memory"], NOW)

    dispatch.run(NOW)

    assert [parcel.delivery.profile_id for parcel in memory.sent] == [ben.pk]
    deliveries[0].refresh_from_db()
    assert (deliveries[0].state, deliveries[0].reason) == (State.SUPPRESSED, "no consent")
    event = world.event("message_suppressed")
    assert (event.profile_id, event.properties["reason"]) == (ann.pk, "no consent")


def test_a_topic_can_be_left_without_leaving_the_channel(memory: Memory) -> None:
    ann = world.person()
    consent.record([consent.Change(ann.pk, consent.TOPIC, "offers", consent.UNSUBSCRIBED, "test", NOW)])
    world.queue(world.message("sale", topic="offers"), [ann])
    world.queue(world.message("news", topic="news"), [ann])

    dispatch.run(NOW)

    assert [parcel.delivery.message.slug for parcel in memory.sent] == ["news"]


def test_suppressed_addresses_and_missing_addresses(memory: Memory) -> None:
    ann, ben = world.person(1), world.person(2, email=None)
    Suppression.objects.create(channel="memory", address=ann.email, reason="bounced")
    deliveries = world.queue(world.message(), [ann, ben])

    dispatch.run(NOW)

    assert memory.sent == []
    reasons = Delivery.objects.in_bulk([delivery.pk for delivery in deliveries])
    assert [reasons[d.pk].reason for d in deliveries] == ["address suppressed", "no active device"]


def test_guards_decide_last_and_the_first_verdict_counts(memory: Memory) -> None:
    people = [world.person(number) for number in range(4)]
    deliveries = world.queue(world.message(), people)
    later = NOW + timedelta(hours=2)
    asked: list[list[int]] = []

    def first(waiting, now) -> dict[int, Verdict]:
        asked.append([delivery.pk for delivery in waiting])
        return {deliveries[0].pk: suppress("left the flow"), deliveries[1].pk: defer(later, "quiet hours")}

    def second(waiting, now) -> dict[int, Verdict]:
        asked.append([delivery.pk for delivery in waiting])
        return {deliveries[2].pk: defer(NOW + timedelta(days=9), "capped")}

    guards.register(first)
    guards.register(second)
    dispatch.run(NOW)

    assert [sorted(group) for group in asked] == [
        sorted(d.pk for d in deliveries),
        sorted(d.pk for d in deliveries[2:]),
    ]
    found = Delivery.objects.in_bulk([d.pk for d in deliveries])
    assert [found[d.pk].state for d in deliveries] == [
        State.SUPPRESSED,
        State.DEFERRED,
        State.DEFERRED,
        State.SENT,
    ]
    assert found[deliveries[1].pk].due_at == later
    assert found[deliveries[2].pk].due_at == deliveries[2].expires_at, "never later than it may go out"


def test_a_broken_guard_lets_nothing_out(memory: Memory) -> None:
    from crm.models import Alert

    def broken(waiting, now) -> dict[int, Verdict]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return {}

    guards.register(broken)
    [delivery] = world.queue(world.message(), [world.person()])
    dispatch.run(NOW)

    delivery.refresh_from_db()
    assert memory.sent == []
    assert (delivery.state, delivery.due_at) == (State.DEFERRED, NOW + timedelta(minutes=1))
    assert "broken" in Alert.objects.get().key


def test_one_persons_broken_text_fails_alone(memory: Memory) -> None:
    ann, ben = world.person(1, attributes={"n": 0}), world.person(2, attributes={"n": 2})
    message = world.message(content={"text": "{{ 10 | divided_by: profile.attributes.n }}"})
    deliveries = world.queue(message, [ann, ben])

    result = dispatch.run(NOW)

    assert (result.failed, result.sent) == (1, 1)
    assert [parcel.payload for parcel in memory.sent] == ["5"]
    deliveries[0].refresh_from_db()
    assert deliveries[0].state == State.FAILED
    assert deliveries[0].reason.startswith("render: text: line 1: ")


def test_each_person_gets_the_best_language(memory: Memory) -> None:
    message = world.message(content={"text": "Hello"})
    MessageContent.objects.create(message=message, channel="memory", locale="ar", content={"text": "مرحبا"})
    MessageContent.objects.create(message=message, channel="memory", locale="pt-BR", content={"text": "Oi"})
    people = [
        world.person(n, language=tongue) for n, tongue in enumerate(["ar-SA", "pt_br", "pt", None, "AR"])
    ]
    deliveries = world.queue(message, people)
    dispatch.run(NOW)
    found = Delivery.objects.in_bulk([d.pk for d in deliveries])
    assert [found[d.pk].locale for d in deliveries] == ["ar", "pt-BR", "", "", "ar"]
    assert [found[d.pk].content["text"] for d in deliveries] == ["مرحبا", "Oi", "Hello", "Hello", "مرحبا"]


def test_nothing_written_for_a_language_is_a_failure_with_a_reason(memory: Memory) -> None:
    message = world.message()
    MessageContent.objects.update(locale="ar")
    [delivery] = world.queue(message, [world.person(language="en")])
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == (
        State.FAILED,
        "nothing written for this channel, variant and language",
    )


def test_the_context_cannot_replace_the_profile(memory: Memory) -> None:
    message = world.message(content={"text": "{{ profile.first_name }} {{ event.properties.sku }}"})
    context = {"profile": {"first_name": "Mallory"}, "event": {"properties": {"sku": "T-1"}}}
    world.queue(message, [world.person(1)], context=context)
    dispatch.run(NOW)
    assert memory.sent[0].payload == "Ann1 T-1"


def test_what_is_not_due_waits_and_what_is_too_late_expires(memory: Memory) -> None:
    message = world.message(expires_after_hours=1)
    [delivery] = world.queue(message, [world.person()], due_at=NOW + timedelta(minutes=30))
    assert dispatch.run(NOW).idle
    result = dispatch.run(NOW + timedelta(hours=2))
    delivery.refresh_from_db()
    assert result.expired == 1
    assert (delivery.state, memory.sent) == (State.EXPIRED, [])
    assert world.event("message_failed").properties["reason"] == "expired"


def test_retries_back_off_until_the_delivery_expires(memory: Memory) -> None:
    memory.answer = lambda parcel: Result(parcel.number, Outcome.RETRY, 503, "busy")
    [delivery] = world.queue(world.message(expires_after_hours=6), [world.person()])
    now, waits = NOW, []
    while True:
        dispatch.run(now)
        delivery.refresh_from_db()
        if delivery.state == State.EXPIRED:
            break
        assert (delivery.state, delivery.reason) == (State.DEFERRED, "503 busy")
        waits.append((delivery.due_at - now).total_seconds())
        now = delivery.due_at
    assert now == delivery.expires_at
    assert waits[0] < 60
    grown = waits[:-1]  # the last one is cut to the expiry
    assert all(later > earlier for earlier, later in zip(grown[:6], grown[1:7], strict=False))
    assert max(waits) <= 3600 * 1.25 + 1
    assert Attempt.objects.filter(outcome=Outcome.RETRY).count() == delivery.attempts == len(waits)


def test_retry_after_is_the_least_wait(memory: Memory) -> None:
    memory.answer = lambda parcel: Result(parcel.number, Outcome.RETRY, 429, "", timedelta(minutes=20))
    [delivery] = world.queue(world.message(), [world.person()])
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert timedelta(minutes=20) <= delivery.due_at - NOW <= timedelta(minutes=26)


def test_a_channel_that_dies_in_the_middle_keeps_the_results_it_gave(memory: Memory) -> None:
    def answer(parcel):
        if len(memory.sent) == 3:
            raise RuntimeError("boom")
        return Result(parcel.number, Outcome.ACCEPTED, 200)

    memory.answer = answer
    deliveries = world.queue(world.message(), [world.person(number) for number in range(5)])
    dispatch.run(NOW)
    found = Delivery.objects.in_bulk([d.pk for d in deliveries])
    by_state: dict[str, int] = {}
    for delivery in found.values():
        by_state[delivery.state] = by_state.get(delivery.state, 0) + 1
    # Two were accepted; the third may have gone out, so it is not tried again; two were never begun.
    assert by_state == {State.SENT: 2, State.FAILED: 1, State.DEFERRED: 2}
    assert [d.reason for d in found.values() if d.state == State.FAILED] == ["unknown outcome"]


def test_an_unknown_channel_is_a_reason_not_a_crash(memory: Memory) -> None:
    ann = world.person(channels=["pigeon", "memory"])
    [lost] = world.queue(world.message("a"), [ann], channel="pigeon")
    world.queue(world.message("b"), [ann])
    assert dispatch.run(NOW).sent == 1
    lost.refresh_from_db()
    assert (lost.state, lost.reason) == (State.SUPPRESSED, "no active device")


def test_a_lost_lease_does_not_overwrite_the_new_holder(memory: Memory) -> None:
    def answer(parcel):
        # Meanwhile our lease ran out and another worker sent and recorded it.
        Delivery.objects.filter(pk=parcel.delivery.pk).update(
            attempts=2, lease_until=NOW + timedelta(hours=1)
        )
        return Result(parcel.number, Outcome.REFUSED, 400)

    memory.answer = answer
    [delivery] = world.queue(world.message(), [world.person()])
    result = dispatch.run(NOW)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, result.failed) == (State.SENDING, 2, 0)
    assert not world.events("message_failed")


def test_the_number_of_queries_does_not_grow_with_the_batch(memory: Memory, monkeypatch) -> None:
    monkeypatch.setattr(emergency, "ASK_EVERY", 3600.0)  # the switch is asked for by the clock
    monkeypatch.setattr(lease, "AHEAD", 1000)  # one short statement marks so many as begun
    monkeypatch.setattr(recording, "SOON", 3600.0)
    message = world.message(content={"text": "{{ profile.email }}"})
    world.queue(message, _crowd(1, "warm"))
    dispatch.run(NOW)
    counts = {}
    for size in (10, CHUNK - 1, 500):
        world.queue(message, _crowd(size, f"of{size}"))
        with CaptureQueriesContext(connection) as queries:
            assert dispatch.run(NOW).sent == size
        counts[size] = len(queries)
    assert counts[10] == counts[CHUNK - 1] <= 37
    # Results are recorded a chunk at a time; two more chunks are two more short transactions.
    assert counts[500] <= counts[10] + 2 * 11


def test_what_a_guard_asks_of_what_waits_takes_no_query(memory: Memory) -> None:
    world.queue(world.message(), _crowd(3, "guarded"))
    asked = []

    def guard(deliveries, now):
        with CaptureQueriesContext(connection) as queries:
            told = {(each.state, each.reason, each.due_at, each.queued_at.tzinfo) for each in deliveries}
        asked.append((len(queries), told))
        return {}

    guards.register(guard)
    try:
        assert dispatch.run(NOW).sent == 3
    finally:
        guards.unregister(guard)
    assert asked == [(0, {(State.QUEUED, "", NOW, UTC)})]


def _crowd(size: int, name: str) -> list[Profile]:
    profiles = Profile.objects.bulk_create([Profile(email=f"p{n}@{name}.example.com") for n in range(size)])
    Consent.objects.bulk_create(
        [
            Consent(
                profile=p, kind="channel", key="memory", state="subscribed", source="test", changed_at=NOW
            )
            for p in profiles
        ]
    )
    return profiles


def test_one_row_that_cannot_be_prepared_holds_up_nobody(memory: Memory, monkeypatch) -> None:
    deliveries = world.queue(world.message(), [world.person(number) for number in range(9)])
    odd = deliveries[4].pk

    def gather(batch, contents):
        if odd in [delivery.pk for delivery in batch]:
            raise TypeError("odd")
        return gathered(batch, contents)

    gathered = content.gather
    monkeypatch.setattr(content, "gather", gather)
    for _time in range(20):
        dispatch.run(NOW, 8)
    found = Delivery.objects.get(pk=odd)
    assert world.states() == {State.SENT: 8, State.DEFERRED: 1}
    assert (found.reason, found.due_at > NOW) == ("could not be prepared: TypeError", True)
    assert Alert.objects.get().key == "delivery:lane:memory"


def test_a_variant_without_words_falls_back_to_the_first(memory: Memory) -> None:
    [delivery] = world.queue(world.message(), [world.person()], variant="b")
    assert dispatch.run(NOW).sent == 1
    delivery.refresh_from_db()
    assert delivery.variant == "a"
    assert world.event("message_sent").properties["variant"] == "a"


def test_nobody_gets_what_was_judged_too_long_ago(memory: Memory, monkeypatch) -> None:
    start = lease.monotonic()
    minutes = iter([0, 0, 0, 0, 0, 61])
    clock = [start]

    def answer(parcel):
        clock[0] = start + next(minutes, 61)
        return Result(parcel.number, Outcome.ACCEPTED, 200)

    memory.answer = answer
    people = [world.person(number) for number in range(8)]
    world.queue(world.message(), people)
    monkeypatch.setattr(lease, "monotonic", lambda: clock[0])
    dispatch.run(NOW)
    sent = world.states()[State.SENT]
    assert sent < 8
    clock[0] = start
    for one in people:
        world.answer(one, consent.UNSUBSCRIBED, ["memory"], NOW)
    dispatch.run(NOW + timedelta(seconds=90))
    assert world.states() == {State.SENT: sent, State.SUPPRESSED: 8 - sent}
