"""Audience = sent + waiting + not sent + failed + expired + not yet queued, whatever is done in whatever order."""

import contextlib
from collections import Counter

import pytest
from django.db import transaction
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from campaigns import audience, broadcasts
from campaigns.broadcasts import expanding, settling
from campaigns.models import Broadcast, BroadcastPiece
from crm.models import Profile, Suppression
from delivery import channels, dispatch
from delivery.models import Delivery
from tests.campaigns.broadcasts.conftest import HOUR, MINUTE, NOW, draft, people
from tests.delivery import world

pytestmark = pytest.mark.django_db
State = Broadcast.State

OPERATIONS = [
    "queue",
    "queue",
    "send",
    "send",
    "settle",
    "pause",
    "resume",
    "wait",
    "remove",
    "cancel",
    "work",
]


class Run:
    """One broadcast to some people of all sorts, and everything that can be done to it."""

    def __init__(self, per_minute):
        people(5)
        leaving = [world.person(place, agrees=False) for place in (30, 31)]
        self.refusing = [world.person(20, agrees=False), world.person(21, email=None), world.person(22)]
        Suppression.objects.create(channel="memory", address="person22@example.com", reason="complaint")
        self.now, self.removed, self.removable = NOW, 0, [each.pk for each in leaving]
        self.pk = draft(per_minute=per_minute).pk
        broadcasts.plan(self.pk, now=NOW, undo_seconds=0)
        expanding.freeze(self.pk, NOW)

    def do(self, operation):
        before = len(channels.get("memory").sent)
        state = Broadcast.objects.get(pk=self.pk).state
        with contextlib.suppress(broadcasts.StateError):
            getattr(self, operation)()
        if state in (State.PAUSED, State.CANCELLED) and operation != "resume":
            assert len(channels.get("memory").sent) == before
        self.check()

    def queue(self):
        expanding.queue_piece(self.pk, self.now)

    def send(self):
        dispatch.run(self.now, limit=2)

    def settle(self):
        settling.settle(self.pk, self.now)

    def pause(self):
        broadcasts.pause(self.pk, self.now)

    def resume(self):
        broadcasts.resume(self.pk, self.now)

    def cancel(self):
        broadcasts.cancel(self.pk, self.now)

    def work(self):
        broadcasts.work(now=self.now)

    def wait(self):
        self.now += MINUTE

    def remove(self):
        if self.removable:
            Profile.objects.filter(pk=self.removable.pop()).delete()
            self.removed += 1

    def check(self):
        broadcast = Broadcast.objects.get(pk=self.pk)
        [found] = audience.figures([broadcast]).values()
        rows = Delivery.objects.filter(origin_id=self.pk, origin_type="broadcast")
        states = Counter(rows.values_list("state", flat=True))
        assert found.audience == 10
        assert found.told + found.deleted == 10
        assert found.told >= 10 - self.removed
        assert found.sent == states["sent"]
        assert found.waiting == states["queued"] + states["deferred"] + states["sending"]
        assert found.suppressed + found.failed == sum(number for _state, _reason, number in found.reasons)
        given_to = Counter(parcel.delivery.profile_id for parcel in channels.get("memory").sent)
        assert set(given_to.values()) <= {1}
        assert not given_to.keys() & {each.pk for each in self.refusing}
        if broadcast.finished_at:
            assert found.waiting == found.unqueued == 0
            cancelled = BroadcastPiece.objects.filter(broadcast=broadcast, state="cancelled").exists()
            assert found.deleted == self.removed or (cancelled and found.deleted < self.removed)
        return broadcast, found

    def to_the_end(self):
        with contextlib.suppress(broadcasts.StateError):
            self.resume()
        for _time in range(40):
            self.do("work")
            self.do("send")
            broadcast, found = self.check()
            if broadcast.finished_at:
                return broadcast, found
            self.now += MINUTE / 10
        raise AssertionError("It never ends.")


@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.lists(st.sampled_from(OPERATIONS), max_size=14), st.sampled_from([None, None, 60]))
def test_at_every_step(operations, per_minute):
    channels.get("memory").reset()
    with transaction.atomic():
        run = Run(per_minute)
        run.check()
        for operation in operations:
            run.do(operation)
        broadcast, found = run.to_the_end()
        if broadcast.state == State.FINISHED:
            assert (found.sent + found.expired, found.suppressed) == (5, 5 - run.removed)
        transaction.set_rollback(True)


def test_what_waits_when_it_is_cancelled_is_taken_back_and_the_rest_never_queued(memory):
    people(7)
    broadcast = draft()
    broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=0)
    expanding.freeze(broadcast.pk, NOW)
    expanding.queue_piece(broadcast.pk, NOW)
    dispatch.run(NOW, limit=1)
    broadcasts.cancel(broadcast.pk, NOW)
    assert not BroadcastPiece.objects.exclude(profile_ids=[]).exists()
    broadcasts.work(now=NOW)
    broadcast.refresh_from_db()
    [found] = audience.figures([broadcast]).values()
    assert (broadcast.state, broadcast.finished_at) == (State.CANCELLED, NOW)
    assert (found.sent, found.suppressed, found.waiting, found.unqueued) == (1, 6, 0, 0)
    assert found.reasons == [("suppressed", "cancelled", 6)]
    assert len(world.events("message_suppressed")) == 2  # of those who were queued
    with pytest.raises(broadcasts.StateError):
        broadcasts.resume(broadcast.pk)


def test_what_is_due_in_a_pause_goes_out_after_it_and_is_looked_at_only_once_before(memory):
    people(3)
    broadcast = draft()
    broadcasts.launch(broadcast.pk, now=NOW)
    broadcasts.pause(broadcast.pk, NOW)
    assert dispatch.run(NOW).deferred == 3
    assert dispatch.run(NOW + HOUR).claimed == 0
    broadcasts.resume(broadcast.pk, NOW + HOUR)
    broadcasts.work(now=NOW + HOUR)
    assert dispatch.run(NOW + HOUR).sent == 3
    broadcasts.work(now=NOW + HOUR)
    broadcast.refresh_from_db()
    assert (broadcast.state, broadcast.releasing) == (State.FINISHED, False)


def test_what_became_too_late_in_a_pause_expires(memory):
    people(2)
    broadcast = draft()
    broadcasts.launch(broadcast.pk, now=NOW)
    broadcasts.pause(broadcast.pk, NOW)
    dispatch.run(NOW)
    dispatch.run(NOW + 24 * HOUR)
    [found] = audience.figures([broadcast]).values()
    assert (found.expired, found.waiting) == (2, 0)
    broadcasts.resume(broadcast.pk, NOW + 24 * HOUR)
    broadcasts.work(now=NOW + 24 * HOUR)
    broadcast.refresh_from_db()
    assert broadcast.state == State.FINISHED


def test_what_providers_say_of_each_person_fills_no_page_and_tells_no_address(memory):
    people(3 * audience.MOST_REASONS)
    broadcast = draft()
    broadcasts.launch(broadcast.pk, now=NOW)
    rows = list(Delivery.objects.order_by("pk"))
    for place, row in enumerate(rows):
        row.state = "failed"
        row.reason = f"550 <person{place}@example.com>, +48600{place:06d} unknown"
        if place >= audience.MOST_REASONS:
            row.reason = f"550 queued as {chr(65 + place % 26)}{place}"
    Delivery.objects.bulk_update(rows, ["state", "reason"])
    [found] = audience.figures([broadcast]).values()
    first, *rest = found.reasons
    assert first == ("failed", "550 ••• +••• unknown", audience.MOST_REASONS)
    assert (len(rest), rest[-1]) == (
        audience.MOST_REASONS,
        ("failed", audience.OTHER, audience.MOST_REASONS + 1),
    )
    assert found.failed == sum(number for _state, _reason, number in found.reasons)
