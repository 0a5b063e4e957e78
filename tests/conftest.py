"""Every test run, and every worker of it, has a database of its own on the one embedded server."""

import gc
import os
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from django.core.cache import cache
from django.utils import translation

from config import embedded, processes
from tests.settings import SOCKET_DIR

ROOT = Path(__file__).resolve().parent
BROWSER_PATIENCE = 15  # seconds; a wait ends as soon as it may, so only a failure takes that long
# Files that take longer than the number of their tests tells. Two of them start the whole product: not side by side.
LONG = (
    "e2e/test_whole_loop.py",
    "api/test_schemathesis.py",
    "config/test_launch.py",
    "campaigns/flows/test_reference.py",
    "crm/sync/test_faults.py",
    "crm/sync/test_faults_records.py",
    "crm/sync/test_faults_processes.py",
    "crm/sync/test_mutants.py",
    "campaigns/segments/test_differential.py",
    "delivery/test_crashes.py",
    "delivery/test_chaos.py",
    "campaigns/flows/test_chaos.py",
    "campaigns/admin/test_builder_browser.py",
    "campaigns/segments/test_builder_browser.py",
    "crm/admin/test_wizard_browser.py",
    "crm/test_repeated_events.py",
    "crm/computed/test_computed_browser.py",
    "crm/admin/test_event_files_browser.py",
    "delivery/preferences/test_browser.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Name the run (pytest-xdist's workers inherit the name) and clear up after runs that were killed."""
    if "NUDGE_TEST_RUN" not in os.environ:
        os.environ["NUDGE_TEST_RUN"] = str(os.getpid())
        _drop_databases_of_dead_runs()


def pytest_collection_finish() -> None:
    """What is loaded by now stays until the end: the collector need not look at it again and again."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, then with the largest files: no process shall be left alone with one at the end.

    A browser that shares two cores with another test run may miss a deadline: its test is tried again, twice at most,
    and the report shows each try (-ra). So a fault fails the run only if it shows three times in a row: what fails now
    and then is to be found by reading the report.
    """
    sizes = Counter(item.path for item in items)
    ranks = {ROOT / path: rank for rank, path in enumerate(LONG)}
    items.sort(key=lambda item: (ranks.get(item.path, len(LONG)), -sizes[item.path], item.path))
    driven = [item for item in items if item.get_closest_marker("browser")]
    for item in driven:
        item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=1))
    if driven:
        from playwright.sync_api import expect

        expect.set_options(timeout=BROWSER_PATIENCE * 1000)


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


@pytest.fixture
def spooled(settings, tmp_path: Path) -> Path:
    """The folder of this test's spool: nothing that other tests have left is in it."""
    from delivery.links import targets

    targets.forget()
    settings.NUDGE_SPOOL_DIR = tmp_path / "spool"
    return settings.NUDGE_SPOOL_DIR


@pytest.fixture(scope="class")
def data_root() -> Iterator[Path]:
    """A folder for the data of servers that run under a user of their own, gone after the test class.

    Not pytest's tmp_path: its parent is closed to others anew by every run of pytest that starts meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="nudge-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_blocker) -> None:
    """Name the test database after the run and the worker, so that two runs at once do not meet."""
    from django.db import connections

    from tests import migrated

    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = f"test_nudge_{os.environ['NUDGE_TEST_RUN']}_{worker}"
    connections.settings["default"]["TEST"]["NAME"] = name
    with django_db_blocker.unblock():
        connections.settings["default"]["TEST"]["TEMPLATE"] = migrated.template()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    """At the end, cut off what still uses the test database, such as a live server's thread: it is dropped."""
    from django.db import connection

    from tests import emptying

    with django_db_blocker.unblock():
        emptying.install()
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="session", autouse=True)
def _static_files_found_once() -> None:
    """Each new test client makes the middleware anew, which would look through every app's static files."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    look, found = WhiteNoiseMiddleware.add_files_from_finders, {}

    def add(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    WhiteNoiseMiddleware.add_files_from_finders = add


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Forget the language that the last request of a test was answered in, which stays with the thread, and the cache:
    it belongs to the process, and what a test has looked up would answer the next one for a minute.
    """
    yield
    translation.deactivate()
    cache.clear()
