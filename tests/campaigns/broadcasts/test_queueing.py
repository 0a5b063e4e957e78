"""From the audience to the outbox: whom, by which channel, and what if a worker dies or there are several."""

import threading

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from campaigns import audience, broadcasts
from campaigns.broadcasts import expanding
from campaigns.models import Broadcast, BroadcastPiece, Segment
from campaigns.segments import usage
from crm import merging
from crm.models import Alert, Profile
from delivery import dispatch, outbox
from delivery.models import Account, Delivery, MessageContent
from tests.campaigns.broadcasts.conftest import NOW, SECOND, draft, people
from tests.delivery import world

State = Broadcast.State


def begun(**fields) -> Broadcast:
    broadcast = draft(**fields)
    broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=0)
    expanding.freeze(broadcast.pk, NOW)
    broadcast.refresh_from_db()
    return broadcast


def written_to(broadcast) -> list[int]:
    return sorted(Delivery.objects.filter(origin_id=broadcast.pk).values_list("profile_id", flat=True))


@pytest.mark.django_db
class TestAudience:
    def test_it_is_who_was_in_the_segment_and_not_excluded_when_it_began(self, memory):
        known = people(5)
        Profile.objects.filter(pk=known[1].pk).update(country="PL")
        broadcast = draft()
        broadcast.exclusions.add(
            Segment.objects.create(
                slug="pl",
                name="PL",
                rule={"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
            )
        )
        assert audience.reach(broadcast, NOW) == audience.Reach(4, 4, 4, excluded=1)
        assert [use.text for use in usage.uses()["pl"]] == ["the broadcast “News”"]
        assert len(usage.live_uses("pl")) == 1
        broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=0)
        expanding.freeze(broadcast.pk, NOW)
        assert usage.live_uses("pl") == []
        world.person(9)  # too late
        Profile.objects.filter(pk=known[2].pk).update(country="PL")
        broadcasts.work(now=NOW)
        assert written_to(broadcast) == [known[place].pk for place in (0, 2, 3, 4)]

    def test_the_queries_for_a_piece_do_not_depend_on_its_size(self, memory, monkeypatch):
        people(8)
        numbers = []
        for size in (2, 6):
            monkeypatch.setattr(expanding, "PEOPLE", size)
            broadcast = begun(message=world.message(f"m{size}"))
            with CaptureQueriesContext(connection) as queries:
                assert expanding.queue_piece(broadcast.pk, NOW)
            numbers.append(len(queries))
        assert numbers[0] == numbers[1] <= 11

    def test_the_first_channel_that_reaches_them(self, memory):
        message = world.message("news")
        MessageContent.objects.create(message=message, channel="inapp", content={"title": "Hi", "body": "Hi"})
        known = people(2)
        Profile.objects.filter(pk=known[1].pk).update(email=None)
        broadcast = draft(message=message, channel="first")
        broadcasts.launch(broadcast.pk, now=NOW)
        channels = dict(Delivery.objects.values_list("profile_id", "channel"))
        assert channels[known[0].pk] in ("memory", "inapp")
        assert audience.reach(broadcast).size == 2

    def test_the_cheapest_channel_that_reaches_them(self, memory):
        message = world.message("news")
        MessageContent.objects.create(message=message, channel="sms", content={"text": "Hi"})
        Account.objects.create(name="S", slug="s", channel="sms", provider="sandbox", cost_per_part="0.07")
        cheap = Account.objects.create(
            name="M", slug="m", channel="memory", provider="sandbox", cost_per_part="0.01"
        )
        known = [world.person(n, channels=["memory", "sms"], phone=f"+4812345678{n}") for n in range(2)]
        Profile.objects.filter(pk=known[1].pk).update(email=None)
        broadcasts.launch(draft(message=message, channel="cheapest").pk, now=NOW)
        assert dict(Delivery.objects.values_list("profile_id", "channel")) == {
            known[0].pk: "memory",
            known[1].pk: "sms",
        }
        cheap.cost_per_part = "0.09"
        cheap.save()
        again = draft(message=message, channel="cheapest")
        broadcasts.launch(again.pk, now=NOW)
        assert set(Delivery.objects.filter(origin_id=again.pk).values_list("channel", flat=True)) == {"sms"}

    @pytest.mark.parametrize("loser", [0, 1])
    def test_who_was_merged_between_pieces_gets_it_once(self, memory, monkeypatch, loser):
        monkeypatch.setattr(expanding, "PEOPLE", 1)
        known = people(2)
        broadcast = begun()
        assert expanding.queue_piece(broadcast.pk, NOW)
        merging.merge([(known[loser].pk, known[1 - loser].pk)], "test", NOW)
        broadcasts.work(now=NOW)
        assert written_to(broadcast) == [known[1 - loser].pk]
        assert not BroadcastPiece.objects.filter(state=BroadcastPiece.State.WAITING).exists()

    def test_who_was_merged_meanwhile_gets_it_once(self, memory):
        one, two = people(2)
        broadcast = begun()
        merging.merge([(one.pk, two.pk)], "test", NOW)
        broadcasts.work(now=NOW)
        [left] = Profile.objects.all()
        assert written_to(broadcast) == [left.pk]
        [found] = audience.figures([broadcast]).values()
        assert (found.audience, found.waiting, found.deleted) == (2, 1, 1)


@pytest.mark.django_db
class TestTrouble:
    def test_a_piece_that_breaks_off_is_done_again_as_a_whole(self, memory, monkeypatch):
        known = people(7)
        broadcast = begun()
        expanding.queue_piece(broadcast.pk, NOW)

        def dies():
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(outbox, "wake_on_commit", dies)
            with pytest.raises(KeyboardInterrupt):
                expanding.queue_piece(broadcast.pk, NOW)
        [found] = audience.figures([broadcast]).values()
        assert (found.waiting, found.unqueued, found.deleted) == (3, 4, 0)
        broadcasts.work(now=NOW)
        assert written_to(broadcast) == [each.pk for each in known]
        broadcast.refresh_from_db()
        assert broadcast.state == State.SENDING

    def test_what_fails_is_paused_with_its_reason_and_can_go_on(self, memory):
        people(2)
        broadcast = draft()
        broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=0)
        right = broadcast.segment.rule
        Segment.objects.update(rule={"kind": "attribute", "field": "shoe_size", "op": "eq", "value": 1})
        broadcasts.work(now=NOW)
        broadcast.refresh_from_db()
        assert broadcast.state == State.PAUSED
        assert "shoe_size" in broadcast.problem
        assert Alert.objects.filter(key=f"broadcast:{broadcast.pk}").exists()
        Segment.objects.update(rule=right)
        broadcasts.resume(broadcast.pk, NOW)
        assert not Alert.objects.filter(key=f"broadcast:{broadcast.pk}", resolved_at=None).exists()
        broadcasts.work(now=NOW)
        assert len(written_to(broadcast)) == 2

    def test_a_launch_can_be_taken_back_during_its_count_down(self, memory):
        people(1)
        broadcast = draft()
        assert broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=30).starts_at == NOW + 30 * SECOND
        broadcasts.work(now=NOW + 29 * SECOND)
        assert broadcasts.undo(broadcast.pk, NOW + 29 * SECOND).state == State.DRAFT
        broadcasts.work(now=NOW + 31 * SECOND)
        assert not Delivery.objects.exists()
        broadcasts.plan(broadcast.pk, now=NOW, undo_seconds=30)
        broadcasts.work(now=NOW + 30 * SECOND)
        assert dispatch.run(NOW + 30 * SECOND).sent == 1
        for refused in (broadcasts.undo, broadcasts.plan):
            with pytest.raises(broadcasts.StateError):
                refused(broadcast.pk)


@pytest.mark.django_db(transaction=True)
def test_two_workers_queue_everybody_once_and_a_pause_is_exact(memory):
    known = people(18)
    broadcast = begun()
    going = threading.Event()

    def queue():
        try:
            while expanding.queue_piece(broadcast.pk, NOW):
                going.set()
        finally:
            connections.close_all()

    def together():
        threads = [threading.Thread(target=queue) for _worker in range(2)]
        for thread in threads:
            thread.start()
        return threads

    threads = together()
    assert going.wait(30)
    broadcasts.pause(broadcast.pk)
    queued = len(written_to(broadcast))
    for thread in threads:
        thread.join(30)
    assert len(written_to(broadcast)) == queued
    [found] = audience.figures([broadcast]).values()
    assert (found.waiting, found.unqueued) == (queued, 18 - queued)
    broadcasts.resume(broadcast.pk)
    for thread in together():
        thread.join(30)
    assert written_to(broadcast) == [each.pk for each in known]
    assert not BroadcastPiece.objects.filter(state="waiting").exists()


def test_who_was_written_to_is_asked_by_person_and_only_of_those_who_were_merged(db):
    """Asked by broadcast, each piece would look at all that the pieces before have queued: statistics are older."""
    with CaptureQueriesContext(connection) as asked:
        assert expanding._written_before(1, {1, 2, 3}) == set()
    assert ["delivery_delivery" in query["sql"] for query in asked] == [False]
