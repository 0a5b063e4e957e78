"""kombu's pgmq transport, without its second of blindness and safe to start several times at once.

A worker that holds as many tasks as it may takes no further message, so the notifications of those that come meanwhile
are in vain; the transport would look again after its polling interval. Here it looks as soon as a task is done.
"""

import threading

import kombu.transport
from kombu.transport import pgmq

_LOCK = 0x6E6F7469  # "noti"
_NOTIFIES = """
    SELECT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = to_regclass(%s) AND tgname = 'trigger_notify_queue_insert_listeners' AND tgenabled <> 'D'
    ) AND EXISTS (
        SELECT FROM pgmq.notify_insert_throttle WHERE queue_name = %s AND throttle_interval_ms = %s
    )
"""


class Waiter(pgmq._NotifyWaiter):
    """Waits for a notification or, if there was no room for a message at the last look, for a task to end."""

    def __init__(self, dsn: str, transport: "Transport"):
        super().__init__(dsn)
        self.transport = transport

    def wait(self, timeout: float | None) -> bool:
        if not self.transport.full:
            return super().wait(timeout)
        self.transport.full = False
        freed = self.transport.freed.wait(timeout)
        self.transport.freed.clear()
        return freed


class Channel(pgmq.Channel):
    """Tells its transport of room, and makes a queue's trigger only where it is missing."""

    def drain_events(self, timeout=None, callback=None, **kwargs):
        if self._consumers and not self.qos.can_consume():
            self.connection.full = True
        super().drain_events(timeout, callback, **kwargs)

    def basic_ack(self, delivery_tag, multiple=False):
        super().basic_ack(delivery_tag, multiple)
        self.connection.freed.set()

    def basic_reject(self, delivery_tag, requeue=False):
        super().basic_reject(delivery_tag, requeue)
        self.connection.freed.set()

    def _maybe_enable_notify(self, queue, queue_name=None):
        # enable_notify drops the trigger and makes it again: two processes at once fail, and a message that comes
        # in between wakes nobody.
        if not self.use_notify:
            return
        name = queue_name or self._queue_name(queue)
        throttle = self.notify_throttle_interval_ms
        wanted = (f"pgmq.q_{name}", name, throttle)
        pool = self.pgmq.pool
        if pool is None:
            raise RuntimeError("The broker's connections are closed.")
        with pool.connection() as connection, connection.transaction():
            if connection.execute(_NOTIFIES, wanted).fetchone() != (True,):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                if connection.execute(_NOTIFIES, wanted).fetchone() != (True,):
                    connection.execute("SELECT pgmq.enable_notify_insert(%s, %s)", [name, throttle])
        self.connection._register_notify_queue(name)


class Transport(pgmq.Transport):
    """See the module."""

    Channel = Channel

    def __init__(self, client, **kwargs):
        super().__init__(client, **kwargs)
        self.full = False  # at the last look
        self.freed = threading.Event()  # set by the thread that ends tasks, cleared by the one that looks

    def _get_notify_waiter(self) -> pgmq._NotifyWaiter:
        if self._notify_waiter is None:
            self._notify_waiter = Waiter(self._get_pgmq_client().config.dsn, self)
        return self._notify_waiter


def install() -> None:
    """Let URLs that begin with pgmq:// mean this transport."""
    kombu.transport.TRANSPORT_ALIASES["pgmq"] = "config.transport:Transport"
