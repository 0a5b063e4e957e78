import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from config import embedded, processes
from tests.stack import ROOT, Stack, free_ports


def _refused(tmp_path, **env):
    """Start the product where it cannot; returns what it said, which is one sentence and no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "config.launch"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "NUDGE_DEMO": "0", "NUDGE_DATA": str(tmp_path / "data")} | env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("✗ ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


class TestRefusals:
    def test_a_taken_port_is_named(self, tmp_path):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            assert f"Port {port} is taken; choose another" in _refused(tmp_path, PORT=str(port))

    def test_so_is_a_taken_port_of_the_demo_crm(self, tmp_path):
        port = free_ports(2)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port + 1))
            taken.listen()

            said = _refused(tmp_path, PORT=str(port), NUDGE_DEMO="1")
            assert f"Port {port + 1}, which the demo's CRM needs (PORT + 1), is taken" in said

    @pytest.mark.parametrize("port", ["0", "65535", "http", "-1", "8000.5", "²"])
    def test_a_senseless_port(self, tmp_path, port):
        assert "PORT must be a whole number from 1 to 65534" in _refused(tmp_path, PORT=port)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")

        assert "cannot be written: Not a directory." in _refused(
            tmp_path, NUDGE_DATA=str(tmp_path / "file" / "data")
        )
        assert "/proc/nudge cannot be written" in _refused(tmp_path, NUDGE_DATA="/proc/nudge")

    def test_a_database_that_does_not_answer(self, tmp_path):
        url = f"postgres://nudge:secret@127.0.0.1:{free_ports(1)}/nudge"

        said = _refused(tmp_path, DATABASE_URL=url, PORT=str(free_ports(1)))
        assert "The DATABASE_URL server cannot be reached: " in said
        assert "secret" not in said


@pytest.fixture(scope="class")
def installed(data_root):
    """The product after its first start, with a row in a table of ours."""
    stack = Stack(data_root / "data", free_ports(2))
    stack.start()
    with _connect(stack) as connection:
        connection.execute("CREATE TABLE launch_test AS SELECT 1 AS number")
    yield stack
    stack.end_all()


@pytest.fixture
def stack(installed):
    """The product while it runs, whatever the test before has done to it."""
    if not installed.healthy():
        installed.end_all()
        installed.start()
    return installed


@pytest.mark.slow
class TestLife:
    """One data folder through its starts and ends. The order spares starts; each test can do without the others."""

    def test_the_first_start_says_where_to_look(self, stack):
        said = stack.said()
        password = stack.data_dir / "admin_password"
        assert "✓ database ready" in said
        assert re.search(r"✓ tables up to date, \d+ changes \(", said)
        assert f"http://localhost:{stack.port}/admin/" in said
        assert f"admin / {password.read_text().strip()}" in said
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
        assert "Traceback" not in said

    def test_a_second_launch_of_the_same_folder_is_refused(self, stack):
        said = _refused(stack.data_dir.parent, NUDGE_DATA=str(stack.data_dir), PORT=str(stack.port))

        assert f"already runs with the data folder {stack.data_dir} (process {stack.process.pid})" in said

    def test_every_worker_takes_tasks(self, stack):
        stack.manage(
            "shell",
            "-c",
            "from config.celery import app\n"
            "for queue in ('engine', 'delivery', 'sync', 'segments', 'keeping'):\n"
            "    app.send_task('celery.accumulate', ['x'], queue=queue)",
        )

        for name in ("worker", "delivery", "sync", "segments", "background"):
            log = stack.data_dir / "logs" / f"{name}.log"
            stack.until(lambda log=log: "Task celery.accumulate[" in log.read_text(), 90, f"{name} working")

    def test_a_killed_process_is_named_and_started_again(self, stack):
        beat = stack.kill("beat")
        web = stack.kill("web")

        assert stack.wait_for("beat", other_than=beat) != beat
        stack.wait_for("web", other_than=web)
        stack.wait_healthy()
        assert "✗ beat was killed by SIGKILL" in stack.said()
        assert "✗ web was killed by SIGKILL" in stack.said()

    def test_a_killed_database_is_started_again_with_its_data(self, stack):
        stack.restart("database")

        stack.wait_healthy()
        assert _remembered(stack) == [(1,)]

    def test_when_the_supervisor_is_killed_its_processes_end(self, stack):
        children = stack.pids()
        assert children
        stack.process.kill()
        stack.process.wait()

        deadline = time.monotonic() + 60
        while (left := list(filter(processes.is_alive, children))) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not [Path(f"/proc/{pid}/cmdline").read_text() for pid in left], stack.logs()

    def test_the_next_start_after_the_death_of_all_does_nothing_again_and_keeps_the_data(self, installed):
        password = installed.password
        made = (installed.data_dir / "postgres" / "PG_VERSION").stat().st_mtime_ns
        installed.end_all()

        installed.start()
        assert "✓ tables up to date (" in installed.said()  # the first start said after how many changes
        assert (installed.data_dir / "postgres" / "PG_VERSION").stat().st_mtime_ns == made
        assert installed.password == password
        assert _remembered(installed) == [(1,)]

    def test_ctrl_c_leaves_no_process(self, stack):
        started = time.monotonic()

        assert stack.stop() == 0
        assert time.monotonic() - started < 25
        assert stack.pids() == []
        assert embedded.postmaster_pid(stack.data_dir) is None
        assert not stack.healthy()


def _remembered(stack):
    with _connect(stack) as connection:
        return connection.execute("SELECT number FROM launch_test").fetchall()


def _connect(stack):
    return psycopg.connect(host=str(stack.data_dir / "socket"), user="postgres", dbname="nudge")
