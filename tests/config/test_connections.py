"""What a worker's tasks leave each other of the database."""

import pytest
from celery import signals
from celery.fixups.django import DjangoWorkerFixup
from django.db import DatabaseError, connection

from config.celery import app, keep_good_connections

pytestmark = pytest.mark.django_db(transaction=True)


def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_the_next_task_goes_on_with_the_connection_of_the_last(monkeypatch):
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 600)
    first = backend()
    DjangoWorkerFixup(app).close_database()
    keep_good_connections()

    assert backend() == first


def test_a_connection_that_saw_an_error_is_dropped_with_what_is_held_on_it():
    first = backend()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1, 2)")
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column")
    keep_good_connections()

    assert backend() != first


def test_one_that_the_server_ended_is_noticed():
    connection.ensure_connection()
    connection.connection.close()
    keep_good_connections()

    assert backend()


def test_workers_ask_before_and_after_each_task():
    for signal in (signals.task_prerun, signals.task_postrun):
        receivers = {getattr(receiver(), "__name__", "") for _key, receiver in signal.receivers}
        assert "keep_good_connections" in receivers
