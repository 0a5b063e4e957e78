"""scripts/bootstrap.sh on machines that lack something: one sentence each."""

import os
import shutil
import subprocess

import pytest

from tests.stack import ROOT


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script, nothing installed."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "bootstrap.sh", tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("")
    return tmp_path


def _python(folder, **answers):
    """A stand-in interpreter: answers by the first word its `-c` program contains."""
    cases = "".join(f"*'{word}'*) {action} ;;\n" for word, action in answers.items())
    path = folder / "python-stand-in"
    path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) exit 0 ;;\nesac\n')
    path.chmod(0o755)
    return path


def _fails(checkout, python):
    done = subprocess.run(
        ["sh", "scripts/bootstrap.sh", "requirements.txt"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "PYTHON": str(python)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("✗ ")
    assert done.stderr.count("\n") == 1
    return done.stderr


class TestBootstrap:
    def test_no_python(self, checkout):
        assert "Python 3.11 or newer is needed and /missing/python is not there" in _fails(
            checkout, "/missing/python"
        )

    def test_an_old_python(self, checkout):
        python = _python(checkout, platform="echo 3.9.2", version_info="exit 1")

        assert f"{python} is 3.9.2; name another one: make PYTHON=" in _fails(checkout, python)

    def test_no_venv_module(self, checkout):
        python = _python(checkout, ensurepip="exit 1")

        assert "venv module is missing; install it (Debian: apt-get install python3-venv)" in _fails(
            checkout, python
        )

    def test_a_package_that_needs_a_compiler(self, checkout):
        python = _python(
            checkout,
            **{
                "-m venv": "mkdir -p .venv/bin && cp $0 .venv/bin/python",
                "-m pip": "echo 'fatal error: Python.h: No such file or directory'; exit 1",
            },
        )

        assert "install a compiler and Python's headers" in _fails(checkout, python)

    def test_installs_once_and_again_when_the_requirements_change(self, checkout):
        python = _python(
            checkout,
            **{
                "-m venv": "mkdir -p .venv/bin && cp $0 .venv/bin/python",
                "-m pip": "echo installed >>installs; exit 0",
            },
        )
        command = ["sh", "scripts/bootstrap.sh", "requirements.txt"]
        env = {"PATH": os.environ["PATH"], "PYTHON": str(python)}
        for requirement in ("", "", "# changed"):
            (checkout / "requirements.txt").write_text(requirement)
            subprocess.run(command, cwd=checkout, env=env, check=True, capture_output=True, timeout=120)

        assert (checkout / "installs").read_text() == "installed\n" * 2
