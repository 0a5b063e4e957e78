"""A dump that is restored into another server: its transaction numbers are far ahead of the server's own."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection

from crm import changes, log
from crm.models import Event, LogCursor, Profile
from tests.crm.concurrently import until_readable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


def write(*names):
    profile = Profile.objects.create()
    for name in names:
        log.append([log.NewEvent(uuid4(), profile.pk, name, NOW, {}, "test")])


def read(limit=100):
    until_readable()
    with log.read("reader", limit) as batch:
        return [event.name for event in batch.events]


def restore_elsewhere():
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE crm_event SET txid = txid + 10^12; UPDATE crm_logcursor SET txid = txid + 10^12;"
            "UPDATE crm_watch SET txid = txid + 10^12"
        )


def test_readers_go_on_where_they_were():
    write("one", "two", "three")
    assert read(limit=2) == ["one", "two"]
    restore_elsewhere()
    assert read() == []
    call_command("nudge_setup")
    write("four")
    assert read() == ["three", "four"]
    assert read() == []


def test_whoever_follows_changes_need_not_wait_for_transactions_of_the_other_server():
    changes.watch(["country"])
    write("one")
    restore_elsewhere()
    assert not changes.settled(["country"])
    call_command("nudge_setup")
    until_readable()
    assert changes.settled(["country"])


def test_nothing_moves_in_the_server_it_was_written_in():
    write("one")
    assert read() == ["one"]
    before = list(Event.objects.values_list("txid")), list(LogCursor.objects.values_list("txid"))
    assert not log.rebase()
    assert before == (list(Event.objects.values_list("txid")), list(LogCursor.objects.values_list("txid")))


def test_an_empty_log():
    assert not log.rebase()
