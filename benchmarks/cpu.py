"""CPU seconds, which a busy machine does not change much: of this process and those it started, and of the database."""

import os
import resource
from pathlib import Path

from django.db import connection


def own() -> float:
    """Of this process and of those that it started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def database() -> float:
    """Of the database's server on this machine, with all its processes, also those that have ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = int(_stat(cursor.fetchone()[0])[1])
    total = sum(map(int, _stat(server)[11:15]))  # its own, and of its children that have ended
    for found in Path("/proc").glob("[0-9]*"):
        try:
            fields = _stat(int(found.name))
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == server:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[str]:
    """What Linux tells of a process (proc_pid_stat(5)), from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
