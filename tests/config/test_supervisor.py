import os
import signal
import sys
import time

import pytest

from config import processes
from config.supervisor import Noise, Supervisor


class TestNoise:
    @pytest.mark.parametrize(
        "line",
        [
            "2026-11-21 20:55:14,812 ERROR celery.worker: lost",
            "[2026-11-21 14:51:17,019: WARNING/MainProcess] discarding closed connection",
            "[2026-11-21 20:55:14 +0000] [123] [CRITICAL] WORKER TIMEOUT",
        ],
    )
    def test_warnings_are_shown(self, line):
        assert Noise(False).shows(line)

    @pytest.mark.parametrize(
        "line",
        [
            "2026-11-21 20:55:57,759 INFO celery.beat: beat: Starting...",
            "2026-11-21 20:55:15,119 WARNING django.request: Not Found: /favicon.ico",
            "task crm.tasks.sync ERROR handling is fine",
            "",
        ],
    )
    def test_the_everyday_is_not_unless_asked_for(self, line):
        assert not Noise(False).shows(line)
        assert Noise(True).shows(line)

    def test_the_same_again_is_not_news(self):
        noise = Noise(False)

        assert noise.shows("2026-11-21 20:55:14,812 ERROR x: lost 3 at 0x7f1")
        assert not noise.shows("2026-11-21 20:55:15,100 ERROR x: lost 4 at 0x7f2")
        assert noise.shows("2026-11-21 20:55:15,200 ERROR x: found")

    def test_of_a_traceback_the_line_that_names_the_error(self):
        noise = Noise(False)
        lines = [
            "Traceback (most recent call last):",
            '  File "x.py", line 1',
            "    boom()",
            "KeyError: 1",
            "next",
        ]

        assert [line for line in lines if noise.shows(line)] == ["KeyError: 1"]


class TestSupervisor:
    """Runs in the main thread of the test, which is where signal handlers may be set."""

    @pytest.fixture(autouse=True)
    def _signals(self):
        kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        yield
        for number, handler in kept.items():
            signal.signal(number, handler)

    @pytest.fixture
    def data_dir(self, tmp_path):
        for name in ("run", "logs"):
            (tmp_path / name).mkdir()
        return tmp_path

    def _run(self, data_dir, code, when, patience=60.0):
        """Supervise one Python program until `when(supervisor)` is true; returns the pids it had."""
        program = data_dir / "program.py"
        program.write_text(code)
        deadline, pids = time.monotonic() + patience, []

        def tick():
            pid = supervisor.services[0].process and supervisor.services[0].process.pid
            if pid and pid not in pids:
                pids.append(pid)
            if when(pids) or time.monotonic() > deadline:
                supervisor.request_stop()

        command = f"{sys.executable} -u {program}"
        supervisor = Supervisor({"job": command}, os.environ | {"MARK": str(data_dir)}, data_dir, tick)
        supervisor.run()
        assert time.monotonic() < deadline
        return pids

    def test_starts_a_dead_process_again_and_says_which(self, data_dir, capsys):
        pids = self._run(data_dir, "import os; os.kill(os.getpid(), 9)", lambda pids: len(pids) == 2)

        assert len(set(pids)) == 2
        assert "✗ job was killed by SIGKILL, starting it again in 0.5 s" in capsys.readouterr().out

    def test_writes_the_log_and_shows_only_warnings(self, data_dir, capsys):
        log = data_dir / "logs" / "job.log"
        code = "import signal\nprint('hello')\nprint('2026-01-01 ERROR x: bad')\nsignal.pause()"
        self._run(data_dir, code, lambda _: "bad" in log.read_text())

        shown = capsys.readouterr().out
        assert "hello" in log.read_text()
        assert "ERROR x: bad" in shown
        assert "hello" not in shown

    def test_leaves_no_process_and_no_pid_file(self, data_dir):
        ready = data_dir / "ready"
        code = (
            "import pathlib, signal, subprocess, sys\n"
            "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
            f"pathlib.Path({str(ready)!r}).touch()\nsignal.pause()"
        )
        self._run(data_dir, code, lambda _: ready.exists())

        assert processes.with_environment("MARK", str(data_dir)) == []
        assert list((data_dir / "run").iterdir()) == []

    def test_kills_what_does_not_listen(self, data_dir, monkeypatch):
        monkeypatch.setattr("config.supervisor.GRACE", 0.5)
        ready = data_dir / "ready"
        code = (
            "import pathlib, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"pathlib.Path({str(ready)!r}).touch()\nwhile True: signal.pause()"
        )
        (pid,) = self._run(data_dir, code, lambda _: ready.exists())

        assert not processes.is_alive(pid)
