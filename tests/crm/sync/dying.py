"""Runs `manage.py sync` in processes that are killed in the middle of their work.

python -m tests.crm.sync.dying <connection> <statement> <statement> …

Each process gets SIGKILL just before or after its nth SQL statement. Prints how many died.
"""

import os
import signal
import sys

import django


def die_at(number: int):
    """A wrapper for Django's execution of statements: kills this process at the nth, even ones after it ran."""
    done = 0

    def execute(run, sql, params, many, context):
        nonlocal done
        done += 1
        if done == number and number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = run(sql, params, many, context)
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return execute


def main(connection: str, statements: list[int]) -> int:
    """Let one process after the other go on with the sync; return how many were killed."""
    from django.core.management import call_command
    from django.db import connection as database

    from crm import connectors
    from crm.sync import pages

    pages.RECORDS = 50
    connectors.kinds()
    killed = 0
    for number in statements:
        pid = os.fork()
        if not pid:
            with database.execute_wrapper(die_at(number)):
                call_command("sync", connection, full=number % 3 == 0)
            os._exit(0)
        killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    return killed


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    sys.stdout = sys.stderr
    sys.__stdout__.write(f"{main(sys.argv[1], [int(number) for number in sys.argv[2:]])}\n")
