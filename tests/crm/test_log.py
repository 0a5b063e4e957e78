"""The event log: no gaps, no repeats, whatever commits when and whoever reads."""

import random
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from crm import log, partitions, signals
from crm.models import Event, LogCursor, Profile
from tests.crm.concurrently import run, until_readable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def new(name="looked", at=NOW, profile=1, **properties):
    return log.NewEvent(uuid.uuid4(), profile, name, at, properties, "test")


def names(cursor, **options):
    with log.read(cursor, **options) as batch:
        return [event.name for event in batch.events]


def drain(cursor, limit=5000):
    """All waiting events of a cursor, in batches of `limit`."""
    events, full = [], True
    while full:
        with log.read(cursor, limit) as batch:
            events += batch.events
            full = batch.full
    return events


@pytest.mark.django_db
class TestAppend:
    def test_the_same_fact_is_stored_once(self):
        event = new()
        assert (log.append([event, new()]), log.append([event]), log.append([])) == (2, 0, 0)

    def test_ids_come_from_what_they_are_about(self):
        assert log.event_id("a", 1) == log.event_id("a", 1) != log.event_id("a", 2)

    def test_each_month_has_a_partition(self):
        months = [
            datetime(2031, 1, 31, 23, tzinfo=UTC),
            datetime(2031, 2, 1, tzinfo=UTC),
            datetime(2019, 12, 1, tzinfo=UTC),
        ]
        log.append([new(at=at) for at in months])
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM crm_event ORDER BY 1")
            tables = [row[0] for row in cursor.fetchall()]
        assert tables == ["crm_event_y2019m12", "crm_event_y2031m01", "crm_event_y2031m02"]

    def test_readers_are_woken_after_commit(self, django_capture_on_commit_callbacks):
        heard = []
        signals.events_recorded.connect(receiver := lambda names, **kwargs: heard.append(names), weak=False)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                event = new()
                log.append([event, new("bought")])
                log.append([event])
                assert heard == []
            assert heard == [{"looked", "bought"}]
        finally:
            signals.events_recorded.disconnect(receiver)


@pytest.mark.django_db(transaction=True)
class TestPartitions:
    def test_a_rolled_back_partition_is_made_again(self):
        at = datetime(2033, 5, 1, tzinfo=UTC)
        with transaction.atomic():
            log.append([new(at=at)])
            log.append([new(at=at)])
            transaction.set_rollback(True)
        assert log.append([new(at=at)]) == 1

    def test_many_need_the_same_new_month_at_once(self):
        at = datetime(2034, 5, 1, tzinfo=UTC)
        assert sum(run(*[lambda: log.append([new(at=at)])] * 6)) == 6

    def test_months_ahead(self):
        partitions.ensure_ahead(datetime(2035, 11, 30, tzinfo=UTC))
        months = ["crm_event_y2035m11", "crm_event_y2035m12", "crm_event_y2036m01"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_class WHERE relname = ANY(%s)", [months])
            assert cursor.fetchone()[0] == 3


@pytest.mark.django_db(transaction=True)
class TestRead:
    def test_events_come_once_in_order_with_all_they_hold(self):
        event = new("bought", profile=7, total=5, text="ż")
        log.append([event, new("looked")])
        until_readable()
        with log.read("a") as batch:
            first, second = batch.events
        assert (first.id, first.profile_id, first.name, first.occurred_at) == (event.id, 7, "bought", NOW)
        assert (first.properties, first.source, second.name) == ({"total": 5, "text": "ż"}, "test", "looked")
        assert (first.txid, first.seq) < (second.txid, second.seq)
        assert names("a") == []
        assert names("b") == ["bought", "looked"]

    def test_only_the_wanted_are_handed_out_but_all_are_passed(self):
        log.append([new("a"), new("b"), new("c"), new("b")])
        until_readable()
        with log.read("r", limit=3, names=["b"]) as batch:
            assert ([event.name for event in batch.events], batch.full) == (["b"], True)
        with log.read("r", limit=3, names=["b"]) as batch:
            assert ([event.name for event in batch.events], batch.full) == (["b"], False)
        assert names("r") == []

    def test_a_batch_of_only_unwanted_ones_moves_on(self):
        log.append([new("a")] + [new("b")])
        until_readable()
        assert names("r", names=["c"]) == []
        assert names("r") == []

    def test_a_reader_that_fails_gets_the_same_again(self):
        log.append([new("a"), new("b")])
        until_readable()

        def fail():
            with log.read("r") as batch:
                Profile.objects.create(first_name="half done")
                assert len(batch.events) == 2
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert not Profile.objects.exists()
        assert names("r") == ["a", "b"]

    def test_a_late_commit_is_not_passed_by(self):
        """The transaction that began first, and has the lower numbers, commits last."""
        appended, go_on = threading.Event(), threading.Event()

        def slow():
            with transaction.atomic():
                log.append([new("slow")])
                appended.set()
                assert go_on.wait(30)

        def meanwhile():
            assert appended.wait(30)
            log.append([new("quick")])
            seen = names("r")
            go_on.set()
            return seen

        _, seen = run(slow, meanwhile)
        assert seen == []
        until_readable()
        assert names("r") == ["slow", "quick"]

    def test_two_readers_with_one_cursor_share_the_work(self):
        log.append([new("a")])
        until_readable()
        with log.read("r") as batch:
            assert len(batch.events) == 1
            assert run(lambda: names("r")) == [[]]

    def test_starting_at_the_end(self):
        log.append([new("old")])
        until_readable()
        log.start_at_end("r")
        log.append([new("new")])
        until_readable()
        log.start_at_end("r")
        assert names("r") == ["new"]

    def test_lag(self):
        log.append([new(), new()])
        until_readable()
        LogCursor.objects.create(name="r")
        assert log.lag("r") == 2
        drain("r")
        assert (log.lag("r"), log.lag("nobody")) == (0, 0)

    def test_a_reader_waits_while_a_partition_is_in_the_making(self):
        """Else it could be planned without the partition and yet take its transaction for past."""
        taken = []

        def read():
            with log.read("r") as batch:
                taken.append(len(batch.events))

        LogCursor.objects.create(name="r")
        partitions.forget()
        with transaction.atomic():
            log.append([log.NewEvent(uuid.uuid4(), 1, "old", NOW - timedelta(days=3000), {}, "t")])
            reader = threading.Thread(target=lambda: (read(), connection.close()))
            reader.start()
            reader.join(0.5)
            assert reader.is_alive()
            transaction.set_rollback(True)
        reader.join(60)
        assert taken == [0]

    def test_nothing_is_lost_or_repeated_under_many_writers_and_readers(self):
        writers, rounds, readers = 8, 25, 3
        ids = [[[uuid.uuid4() for _ in range(3)] for _ in range(rounds)] for _ in range(writers)]

        def write(batches):
            chance = random.Random(str(batches[0][0]))
            for batch in batches:
                try:
                    with transaction.atomic(), connection.cursor() as cursor:
                        log.append(
                            [
                                log.NewEvent(i, 1, "n", NOW - timedelta(days=chance.randrange(90)), {}, "t")
                                for i in batch[:2]
                            ]
                        )
                        cursor.execute("SELECT pg_sleep(%s)", [chance.random() / 50])
                        log.append([log.NewEvent(batch[2], 1, "n", NOW, {}, "t")])
                        if chance.random() < 0.1:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    pass

        def read():
            chance, seen = random.Random(), []
            for _ in range(120):
                try:
                    with log.read("r", limit=chance.choice([1, 7, 50])) as batch:
                        if chance.random() < 0.1:
                            raise ZeroDivisionError
                        taken = [event.id for event in batch.events]
                    seen += taken
                except ZeroDivisionError:
                    pass
            return seen

        outcomes = run(*(lambda batches=batches: write(batches) for batches in ids), *[read] * readers)
        until_readable()
        seen = [i for outcome in outcomes[writers:] for i in outcome] + [event.id for event in drain("r", 50)]
        stored = set(Event.objects.values_list("id", flat=True))
        assert len(seen) == len(set(seen))
        assert set(seen) == stored
        assert 0 < len(stored) < writers * rounds * 3
