import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured

from config import database, embedded, processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data_dir(data_root, request):
    """A data folder whose server, if a test starts one, is gone afterwards."""
    data_dir = data_root / request.node.name[:40]
    yield data_dir
    embedded.release(data_dir)
    if embedded.postmaster_pid(data_dir):
        embedded.stop(data_dir)


def _query(socket_dir: Path, query: str, name: str = "postgres"):
    with psycopg.connect(host=str(socket_dir), user="postgres", dbname=name) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone() if cursor.description else None


def _query_again_and_again(socket_dir: Path):
    while True:
        _query(socket_dir, "SELECT 1")


def _in_another_process(data_dir: Path, then: str = "") -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from config import embedded\n"
        "embedded.ensure_running(Path(sys.argv[1]), durable=False); print('up', flush=True)\n" + then
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
class TestServer:
    def test_starts_with_raised_settings_and_no_network(self, data_dir):
        socket_dir = embedded.ensure_running(data_dir, database="nudge")

        assert _query(socket_dir, "SHOW work_mem", "nudge") == ("64MB",)
        assert _query(socket_dir, "SHOW max_wal_size", "nudge") == ("4GB",)
        assert _query(socket_dir, "SHOW listen_addresses", "nudge") == ("",)
        assert _query(socket_dir, "SHOW fsync", "nudge") == ("on",)
        assert socket_dir.stat().st_mode & 0o777 == 0o700

    def test_processes_that_start_at_once_share_one_server_and_the_last_stops_it(self, data_dir):
        others = [_in_another_process(data_dir, "sys.stdin.read()") for _ in range(3)]
        assert [other.stdout.readline() for other in others] == ["up\n"] * 3

        server = embedded.postmaster_pid(data_dir)
        others[0].kill()  # leaves without a word; the kernel drops its lock
        others[1].communicate()
        assert embedded.postmaster_pid(data_dir) == server
        others[2].communicate()
        assert embedded.postmaster_pid(data_dir) is None
        others[0].communicate()

    def test_recovers_when_server_is_killed(self, data_dir):
        socket_dir = embedded.ensure_running(data_dir)
        _query(socket_dir, "CREATE TABLE kept AS SELECT 1 AS one")
        # This process does not collect the dead server, which stays a zombie wherever init does not either.
        os.kill(embedded.postmaster_pid(data_dir), signal.SIGKILL)

        assert embedded.ensure_running(data_dir) == socket_dir
        assert _query(socket_dir, "SELECT one FROM kept") == (1,)

    def test_a_query_that_outlives_the_killed_server_is_ended(self, data_dir, monkeypatch):
        monkeypatch.setattr(embedded, "ORPHANS_GRACE", 0.5)
        socket_dir = embedded.ensure_running(data_dir, durable=False)
        connection = psycopg.connect(host=str(socket_dir), user=embedded.USER, autocommit=True)
        backend = connection.info.backend_pid
        connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
        os.kill(embedded.postmaster_pid(data_dir), signal.SIGKILL)

        assert embedded.ensure_running(data_dir, durable=False) == socket_dir
        assert not processes.is_alive(backend)
        connection.close()
        assert _query(socket_dir, "SELECT 1") == (1,)

    def test_a_server_that_somebody_killed_meanwhile_had_asked_to_stop_is_waited_for(self, data_dir):
        socket_dir = embedded.ensure_running(data_dir, durable=False)
        stopping = embedded.postmaster_pid(data_dir)
        guest = psycopg.connect(host=str(socket_dir), user=embedded.USER)
        os.kill(stopping, signal.SIGTERM)  # as `pg_ctl stop` does: it ends when the guest has left
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            _query_again_and_again(socket_dir)
        leaving = threading.Timer(0.5, guest.close)
        leaving.start()

        assert embedded.ensure_running(data_dir, durable=False) == socket_dir
        leaving.join()
        assert embedded.postmaster_pid(data_dir) not in (None, stopping)
        assert _query(socket_dir, "SELECT 1") == (1,)

    def test_a_stale_pid_file_of_a_stranger_is_no_obstacle(self, data_dir):
        socket_dir = embedded.ensure_running(data_dir, durable=False)
        embedded.stop(data_dir)
        (data_dir / "postgres" / "postmaster.pid").write_text(
            f"{os.getpid()}\n{data_dir / 'postgres'}\n1700000000\n5432\n{socket_dir}\n\n  1 1\nready\n"
        )

        embedded.ensure_running(data_dir, durable=False)
        assert embedded.postmaster_pid(data_dir) != os.getpid()

    def test_a_long_path_gets_a_short_private_socket_folder(self, data_root):
        data_dir = data_root / ("long" * 25)
        try:
            socket_dir = embedded.ensure_running(data_dir, durable=False)
            assert len(str(socket_dir)) < 60
            assert socket_dir.stat().st_mode & 0o777 == 0o700
        finally:
            embedded.release(data_dir)
        assert not socket_dir.exists()

    def test_a_start_that_was_interrupted_leaves_nothing_in_the_way(self, data_dir):
        (data_dir / "postgres.new").mkdir(parents=True)
        (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")

        assert embedded.ensure_running(data_dir, durable=False)

    def test_a_damaged_cluster_is_one_sentence(self, data_dir):
        embedded.ensure_running(data_dir, durable=False)
        embedded.stop(data_dir)
        (data_dir / "postgres" / "PG_VERSION").write_text("9.6\n")

        with pytest.raises(embedded.DatabaseError, match="failed: database files are incompatible"):
            embedded.ensure_running(data_dir, durable=False)


class TestDatabases:
    def test_a_url_names_a_server(self, tmp_path):
        found = database.databases(tmp_path, "postgres://ann:p%40ss@db.example:6000/nudge?sslmode=require")

        assert found["ENGINE"] == "django.db.backends.postgresql"
        assert (found["HOST"], found["PORT"], found["NAME"]) == ("db.example", 6000, "nudge")
        assert (found["USER"], found["PASSWORD"]) == ("ann", "p@ss")
        assert found["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}
        assert found["CONN_HEALTH_CHECKS"]
        assert database.broker_url(found) == "pgmq://ann:p%40ss@db.example:6000/nudge"

    @pytest.mark.parametrize("url", ["mysql://a@b/c", "sqlite:///x"])
    def test_other_databases_are_refused(self, tmp_path, url):
        with pytest.raises(ImproperlyConfigured, match="DATABASE_URL must look like postgres://"):
            database.databases(tmp_path, url)

    def test_a_file_in_the_folders_place_is_one_sentence(self, tmp_path):
        (tmp_path / "data").write_text("")

        with pytest.raises(ImproperlyConfigured, match=r"data folder .*data cannot be written: .*\.$"):
            database.databases(tmp_path / "data")
