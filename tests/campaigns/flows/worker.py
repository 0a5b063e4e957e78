"""Engine workers in processes of their own, for a test that kills them: `python -m tests.campaigns.flows.worker`.

Standard input says what to do: first a line {"database": …, "clock": path}, then a line for each worker to start;
each is answered by its process id. Workers are forked, so that starting one anew takes no time. The clock is a
file that holds the time.
"""

import json
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import django


def main() -> None:
    """Start workers until standard input ends."""
    options = json.loads(sys.stdin.readline())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.conf import settings

    settings.DATABASES["default"]["NAME"] = options["database"]
    django.setup()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need not be waited for
    for _line in sys.stdin:
        pid = os.fork()
        if not pid:
            work(Path(options["clock"]))
        print(pid, flush=True)


def work(clock: Path) -> None:
    """Do what the engine's task does, in small batches, until killed or left alone by who started it."""
    from django.db import OperationalError

    from campaigns.flows import engine, reading

    parent = os.getppid()
    while os.getppid() == parent:
        now = datetime.fromisoformat(clock.read_text())
        try:
            handled, _full = reading.read(now, limit=100)
            moved = engine.advance(now, limit=50)
        except OperationalError as error:  # as Celery does: the task fails, and the next one goes on
            print(f"worker: {error}", file=sys.stderr)
            continue
        if not handled and not moved:
            time.sleep(0.02)
    os._exit(0)


if __name__ == "__main__":
    main()
