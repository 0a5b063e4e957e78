"""What the system says about running processes (Linux's /proc; elsewhere only whether one exists)."""

import os
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether the process runs. One that is dead and not yet collected by its parent (a zombie) does not."""
    try:
        # The state follows the command in brackets, which may itself hold spaces and brackets.
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        if PROC.joinpath("self").exists():
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def command_line(pid: int) -> str:
    """The process's command line, arguments separated by blanks; empty when unknown."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        return b" ".join(arguments).decode(errors="replace").strip()
    except OSError:
        return ""


def with_working_directory(directory: Path) -> list[int]:
    """Live processes that work in this directory, as each PostgreSQL process does in its data directory."""
    return [pid for pid in _all() if _link(pid, "cwd") == str(directory) and is_alive(pid)]


def with_environment(name: str, value: str) -> list[int]:
    """Live processes that were started with this environment variable, this process excepted."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in _all():
        try:
            variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables and pid != os.getpid() and is_alive(pid):
            found.append(pid)
    return found


def _all() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()] if PROC.is_dir() else []


def _link(pid: int, name: str) -> str:
    try:
        return str((PROC / str(pid) / name).readlink())
    except OSError:
        return ""
