"""Processes for a test that kills them: `python -m tests.campaigns.flows.worker`.

Standard input says what to do: first a line {"database": …, "clock": path, "settings": {…}}, answered by the port on
which events are taken, then a line with a role for each process to start, answered by its process id. Processes are
forked, so that starting one anew takes no time; those that take events share one socket, which stays open when they
die. The clock is a file that holds the time.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from socketserver import BaseServer
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django

MOMENT = 0.02  # seconds between looks for work
NAME = "nursery"  # of connections to the database, to be killed by
SENT_AT_ONCE = 15  # small batches, so that not every one is met by a kill


def main() -> None:
    """Start processes until standard input ends."""
    options = json.loads(sys.stdin.readline())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings

    database = settings.DATABASES["default"]
    database["NAME"] = options["database"]
    database["OPTIONS"] = {**database.get("OPTIONS", {}), "application_name": NAME}
    for name, value in options["settings"].items():
        setattr(settings, name, value)
    django.setup()
    from django.core.wsgi import get_wsgi_application
    from django.urls import get_resolver
    from django.utils import timezone

    clock = Path(options["clock"])

    def now() -> datetime:
        return datetime.fromisoformat(clock.read_text())

    timezone.now = now
    application = get_wsgi_application()
    assert get_resolver().url_patterns  # loaded once, before anybody is forked
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need not be waited for
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            if line.strip() == "web":
                serve(listening, application)
            work({"engine": move, "sender": send}[line.strip()], now)
        print(pid, flush=True)


def work(once: Callable[[datetime], bool], now: Callable[[], datetime]) -> None:
    """Do what a task does, in small batches, until killed or left alone by who started it."""
    from django.db import InterfaceError, OperationalError, close_old_connections

    parent = os.getppid()
    while os.getppid() == parent:
        try:
            if not once(now()):
                time.sleep(MOMENT)
        except (
            OperationalError,
            InterfaceError,
        ) as error:  # as Celery does: the task fails, and the next one goes on
            print(f"worker: {error}", file=sys.stderr)
            close_old_connections()
    os._exit(0)


def move(now: datetime) -> bool:
    """Read the log and move people; whether there was anything to do."""
    from campaigns.flows import engine, reading

    handled = reading.read(now, limit=100)[0]
    moved = engine.advance(now, limit=50)
    return bool(handled or moved)


def send(now: datetime) -> bool:
    """Send what is due; whether there was anything."""
    from delivery import dispatch

    return not dispatch.run(now, limit=SENT_AT_ONCE).idle


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(listening: socket.socket, application: Callable) -> None:
    """Answer one request after the other until killed or left alone by who started it."""
    parent = os.getppid()
    server = WSGIServer(listening.getsockname(), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = listening.getsockname()
    server.setup_environ()
    server.set_app(application)
    BaseServer.service_actions = lambda _self: None if os.getppid() == parent else os._exit(0)
    server.serve_forever(poll_interval=0.2)


if __name__ == "__main__":
    main()
