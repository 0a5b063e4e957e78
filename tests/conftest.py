"""Every test run, and every worker of it, has a database of its own on the one embedded server."""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from django.utils import translation

from config import embedded, processes
from tests.settings import SOCKET_DIR


def pytest_configure(config: pytest.Config) -> None:
    """Name the run (pytest-xdist's workers inherit the name) and clear up after runs that were killed."""
    if "NUDGE_TEST_RUN" not in os.environ:
        os.environ["NUDGE_TEST_RUN"] = str(os.getpid())
        _drop_databases_of_dead_runs()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser that shares two cores with another test run may miss a deadline: it gets a second try, and the report
    shows each one (-ra). A fault of ours fails both."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a browser test that is skipped has failed: a missing browser must not pass for a working one."""
    report = yield
    if report.skipped and item.get_closest_marker("browser") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"A browser test was skipped, which CI does not accept: {reason}"
    return report


def _drop_databases_of_dead_runs() -> None:
    """Databases are named `test_nudge_<process id of the run>_<worker>`."""
    server = {"host": str(SOCKET_DIR), "user": embedded.USER, "dbname": "postgres"}
    with psycopg.connect(**server, autocommit=True) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test_nudge_%'")
        for (name,) in names.fetchall():
            pid = name.split("_")[2]
            if pid.isdecimal() and not processes.is_alive(int(pid)):
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="class")
def data_root() -> Iterator[Path]:
    """A folder for the data of servers that run under a user of their own, gone after the test class.

    Not pytest's tmp_path: its parent is closed to others anew by every run of pytest that starts meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="nudge-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Name the test database after the run and the worker, so that two runs at once do not meet."""
    from django.db import connections

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_nudge_{os.environ['NUDGE_TEST_RUN']}_{worker}"
    connections.settings["default"]["TEST"]["NAME"] = name


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    """At the end, cut off what still uses the test database, such as a live server's thread: it is dropped."""
    yield
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """Forget the language that the last request of a test was answered in: it stays with the thread."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _no_events_left(request: pytest.FixtureRequest, django_db_blocker) -> Iterator[None]:
    """Empty the event log after tests that commit: Django flushes only the tables it manages."""
    yield
    marker = request.node.get_closest_marker("django_db")
    commits = marker is not None and (marker.kwargs.get("transaction") or (marker.args and marker.args[0]))
    if commits or {"transactional_db", "live_server"} & set(request.fixturenames):
        from django.db import connection

        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("TRUNCATE crm_event")
