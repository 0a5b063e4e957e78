"""Months that come and go: what is written while they do is kept or refused, never lost in silence."""

import json
import threading
import uuid
from datetime import UTC, date, datetime

import pytest
from django.db import connection, transaction

from crm import ingest, log, partitions
from crm.models import ClosedMonth, Event, LogCursor, Profile
from tests.crm.concurrently import run, until_readable

OLD = datetime(2022, 3, 15, tzinfo=UTC)
MONTH = date(2022, 3, 1)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _months_again():
    """Partitions outlive a test's flush."""
    partitions.forget()
    yield
    partitions.forget()
    ClosedMonth.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS crm_event_archived_y2022m03")


def send(*times):
    rows = [
        {"name": "n", "profile": {"external_id": "p"}, "id": str(uuid.uuid4()), "occurred_at": at.isoformat()}
        for at in times
    ]
    return ingest.ingest(json.dumps({"events": rows}).encode(), "test", NOW)


def old(count=1):
    return [log.NewEvent(uuid.uuid4(), 1, "n", OLD, {}, "t") for _ in range(count)]


def test_a_closed_month_takes_nothing_more():
    send(OLD)
    log.append(old(2))
    assert MONTH in partitions.months()
    assert partitions.detach(MONTH) == 3
    assert MONTH not in partitions.months()
    send(NOW)  # this person is known, so the short way is taken first
    for _ in range(2):  # this process as it was, and as one that begins now
        result = send(OLD, NOW)
        assert (result.accepted, [(row.code, row.field) for row in result.rejected]) == (
            1,
            [("too_old", "occurred_at")],
        )
        assert log.append(old()) == 0
        partitions.forget()
    assert MONTH not in partitions.months()


def test_what_another_process_closed_is_noticed():
    send(OLD, NOW)
    known = set(partitions._known)
    partitions.detach(MONTH)
    partitions._known.update(known)
    assert [row.code for row in send(OLD).rejected] == ["too_old"]
    partitions._known.update(known)
    assert log.append(old()) == 0
    assert log.append([log.NewEvent(uuid.uuid4(), 1, "n", NOW, {}, "t")]) == 1


def test_its_events_may_be_kept_aside():
    log.append(old(2))
    partitions.detach(MONTH, keep=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM crm_event_archived_y2022m03")
        assert cursor.fetchone() == (2,)
    assert not Event.objects.exists()


def test_a_month_that_is_not_there():
    with pytest.raises(LookupError):
        partitions.detach(date(2015, 1, 1))


def test_nothing_goes_before_all_readers_have_read_it():
    LogCursor.objects.create(name="slow")
    log.append(old())
    with pytest.raises(partitions.StillRead):
        partitions.detach(MONTH)
    until_readable()
    with log.read("slow") as batch:
        assert len(batch.events) == 1
    assert partitions.detach(MONTH) == 1


def test_detaching_may_be_interrupted():
    """It waits for a transaction that uses the table; when it is cancelled then, the next call finishes it."""
    log.append(old())
    using, done = threading.Event(), threading.Event()

    def reader():
        with transaction.atomic():
            assert Event.objects.filter(occurred_at=OLD).count() == 1
            using.set()
            assert done.wait(30)

    def interrupted():
        assert using.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 300")
        try:
            partitions.detach(MONTH)
        except Exception as error:
            return str(error)
        finally:
            done.set()

    _, problem = run(reader, interrupted)
    assert "timeout" in problem
    assert [row.code for row in send(OLD).rejected] == ["too_old"]
    assert partitions.detach(MONTH) == 1
    assert MONTH not in partitions.months()


def test_a_backup_that_lasts_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(partitions, "PATIENCE_MS", 100)
    log.append(old())
    using, done = threading.Event(), threading.Event()

    def backup():
        with transaction.atomic():
            assert Event.objects.filter(occurred_at=OLD).count() == 1
            using.set()
            assert done.wait(30)

    def detach():
        assert using.wait(30)
        try:
            for _ in range(2):  # to detach it, and to finish that
                with pytest.raises(partitions.InUse):
                    partitions.detach(MONTH)
            with connection.cursor() as cursor:
                cursor.execute("SHOW lock_timeout")
                return cursor.fetchone()[0]
        finally:
            done.set()

    _, timeout = run(backup, detach)
    assert timeout == "0"
    assert partitions.detach(MONTH) == 1


def test_writers_go_on_while_a_month_goes():
    send(NOW, OLD)
    stop = threading.Event()

    def write():
        accepted = refused = 0
        while not stop.is_set():
            result = send(NOW, OLD)
            accepted += result.accepted
            refused += len(result.rejected)
        return accepted, refused

    def detach():
        try:
            return partitions.detach(MONTH)
        finally:
            stop.set()

    *written, gone = run(write, write, detach)
    assert Profile.objects.count() == 1
    accepted = 2 + sum(count for count, _refused in written)
    assert Event.objects.count() == accepted - gone
    assert Event.objects.filter(occurred_at=NOW).count() >= 1
