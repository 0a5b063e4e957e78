"""The Celery app. It only wakes: PostgreSQL holds the truth, so every task may run twice, late, or never."""

import gc
import os
import signal
import sys

from celery import Celery, signals
from django.db import connections
from kombu import Exchange, Queue

from config import transport

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

QUEUES = ("engine", "delivery", "ingest", "sync", "segments", "keeping", "reports", "webhooks")

transport.install()
app = Celery("nudge")
# Defaults, so that settings (CELERY_…) may still say otherwise.
app.add_defaults(
    {
        "task_queues": [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
        "task_default_queue": "engine",
        "task_default_exchange": "engine",
        "task_default_routing_key": "engine",
        "task_create_missing_queues": False,  # a misspelt queue is an error, not a task nobody runs
        "task_ignore_result": True,
        "result_backend": None,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts_level": "INFO",
        "worker_enable_remote_control": False,  # would add a queue of its own per worker to the database
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 2,
        # Celery would set up a connection anew for every task; `keep_good_connections` decides instead.
        "CELERY_DB_REUSE_MAX": 1_000_000_000,
        # A wake-up that cannot be published within seconds is left to the next beat sweep.
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.4},
    }
)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.beat_init.connect
def end_beat_plainly(**kwargs: object) -> None:
    """Let beat end by an exception instead of writing its schedule inside of the signal handler.

    A handler interrupts whatever runs; if that is a query, the handler's own waits for the connection's lock
    for ever. Beat writes its schedule on the way out anyhow.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


@signals.task_prerun.connect
@signals.task_postrun.connect
def keep_good_connections(**kwargs: object) -> None:
    """Let the next task use this one's database connection: a new one costs 30 ms until its caches are warm.

    One that saw an error is dropped, with the locks and settings that a failed task may have left on it. A dead one
    is noticed at its first use, see CONN_HEALTH_CHECKS.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            continue  # a test calls tasks within its own transaction
        if connection.errors_occurred:
            connection.close()
        else:
            connection.close_if_unusable_or_obsolete()


@signals.worker_process_init.connect
def collect_less_garbage(**kwargs: object) -> None:
    """As config/wsgi.py: what is loaded stays for good."""
    gc.collect()
    gc.freeze()
