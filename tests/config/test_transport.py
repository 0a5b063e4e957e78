import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from kombu import Connection

from config import database, transport

pytestmark = pytest.mark.django_db

PATIENT = database.BROKER_TRANSPORT_OPTIONS | {"polling_interval": 60}


@pytest.fixture
def url():
    database.install_broker(connection.settings_dict)
    return database.broker_url(connection.settings_dict)


def triggers(queue):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal",
            [f"pgmq.q_{queue}"],
        )
        return [row[0] for row in cursor.fetchall()]


def test_urls_of_the_database_mean_it(url):
    with Connection(url) as broker:
        assert isinstance(broker.transport, transport.Transport)


def test_a_message_that_came_while_all_hands_were_full_is_taken_when_one_is_free(url):
    """No notification comes for it any more, and the next look would be a minute off."""
    taken = []
    with Connection(url, transport_options=PATIENT) as broker, broker.SimpleQueue("test_room") as queue:
        for number in (1, 2):
            queue.put({"number": number}, serializer="json")
        with broker.Consumer(queue.queue, on_message=taken.append, prefetch_count=1):
            broker.drain_events(timeout=30)
            threading.Timer(0.2, taken[0].ack).start()  # as a worker does, whose tasks end in another thread
            broker.drain_events(timeout=30)
            taken[1].ack()

    assert [message.decode()["number"] for message in taken] == [1, 2]


def test_many_may_start_at_once(url):
    """Each declares its queues; the trigger that notifies is made once and stays."""
    together = threading.Barrier(4)

    def declare(_number):
        with Connection(url, transport_options=PATIENT) as broker:
            broker.ensure_connection()
            together.wait(60)
            with broker.SimpleQueue("test_start") as queue:
                queue.qsize()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(declare, range(4)))
    [made] = triggers("test_start")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(declare, range(4)))

    assert triggers("test_start") == [made]
