"""One embedded PostgreSQL server for the whole run; every run and every worker has a database of its own."""

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent.parent / "var" / "test"


def _prepare() -> None:
    """Set the environment before Django reads it; xdist's workers inherit what the first process set."""
    for name in ("DATABASE_URL", "BROKER_URL", "NUDGE_PUBLIC_URL", "NUDGE_PUSH_HOSTS", "PORT"):
        os.environ.pop(name, None)
    os.environ |= {
        "NUDGE_DATA": str(DATA),
        "NUDGE_DEMO": "0",
        # Tasks only wake; the tests call what they would run. A real broker has tests of its own.
        "BROKER_URL": "memory://",
        "NUDGE_LOG_LEVEL": "WARNING",
    }
    from config import embedded

    socket_dir = embedded.ensure_running(DATA, database="nudge", durable=False)
    if "NUDGE_TEST_RUN" not in os.environ:
        os.environ["NUDGE_TEST_RUN"] = str(os.getpid())
        _drop_databases_of_dead_runs(socket_dir)


def _drop_databases_of_dead_runs(socket_dir: Path) -> None:
    """Runs that were killed leave their databases behind: `test_nudge_<process id>…`."""
    import psycopg

    from config import embedded, processes

    server = {"host": str(socket_dir), "user": embedded.USER, "dbname": "postgres"}
    with psycopg.connect(**server, autocommit=True) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test_nudge_%'")
        for (name,) in names.fetchall():
            pid = name.split("_")[2]
            if pid.isdecimal() and not processes.is_alive(int(pid)):
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


_prepare()


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Name the test database after the run and the worker, so that two runs at once do not meet."""
    from django.db import connections

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_nudge_{os.environ['NUDGE_TEST_RUN']}_{worker}"
    connections.settings["default"]["TEST"]["NAME"] = name
