import threading
import time

import pytest
from django.conf import settings
from django.db import connection
from kombu import Connection

from config import database
from config.celery import QUEUES, app

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker():
    """A connection to the queues in this test's database."""
    database.install_broker(connection.settings_dict)
    url = database.broker_url(connection.settings_dict)
    with Connection(url, transport_options=database.BROKER_TRANSPORT_OPTIONS) as broker:
        yield broker


class TestBrokerInTheDatabase:
    def test_is_installed_once(self):
        database.install_broker(connection.settings_dict)

        assert database.install_broker(connection.settings_dict) is False

    def test_carries_a_message_and_forgets_it_when_acknowledged(self, broker):
        with broker.SimpleQueue("test_round_trip") as queue:
            queue.put({"ids": [1, 2]}, serializer="json")
            message = queue.get(timeout=60)
            assert message.payload == {"ids": [1, 2]}
            message.ack()
            assert queue.qsize() == 0

    def test_wakes_a_waiting_worker_at_once(self, broker):
        """By NOTIFY, not by the look it takes every second."""
        with broker.SimpleQueue("test_wake") as queue:
            delays = []
            for _ in range(5):
                sender = threading.Timer(0.2, _send, [broker, "test_wake"])
                sender.start()
                message = queue.get(timeout=60)
                delays.append(time.time() - message.payload["sent"])
                message.ack()
                sender.join()

            assert sorted(delays)[1] < 0.4  # a look would come 0.8 s after each


def _send(broker: Connection, name: str) -> None:
    with broker.clone() as own, own.SimpleQueue(name) as queue:
        queue.put({"sent": time.time()}, serializer="json")


class TestApp:
    def test_has_a_queue_for_each_kind_of_work(self):
        assert {queue.name for queue in app.conf.task_queues} == set(QUEUES)
        assert app.conf.task_default_queue == "engine"

    def test_survives_losing_a_worker_or_a_message(self):
        assert app.conf.task_acks_late
        assert app.conf.task_ignore_result
        assert app.conf.accept_content == ["json"]
        assert app.conf.worker_prefetch_multiplier == 1

    def test_every_sweep_goes_to_a_queue_that_a_process_of_the_procfile_takes(self):
        taken = set()
        for line in (settings.BASE_DIR / "Procfile").read_text().splitlines():
            if "--queues" in line:
                taken |= set(line.split("--queues ")[1].split()[0].split(","))

        assert taken == set(QUEUES)
        assert {sweep["queue"] for sweep in settings.NUDGE_SWEEPS.values()} <= taken
