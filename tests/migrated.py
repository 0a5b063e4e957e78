"""A migrated database to copy, for running all migrations takes longer than most test files.

It is made once for a state of the code that it comes from and kept in `var/test`: as a dump that all workers share,
and in the server of each worker as a database that the test databases are copies of. Django looks for migrations to
run in each copy, too.
"""

import fcntl
import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.core.management import call_command
from django.db import connection

from config import embedded
from tests.settings import DATA, SOCKET_DIR

ROOT = Path(__file__).resolve().parent.parent
SHARED = DATA.parent
PACKAGES = ("analytics", "campaigns", "config", "crm", "delivery")
KEPT = 3  # of older code: another run may be about to copy one


def template() -> str:
    """The name of a database of this worker's server in which all migrations have been run."""
    name = f"migrated_{_digest()}"
    dump = SHARED / f"{name}.dump"
    with _one_at_a_time(), _server() as server:
        rows = server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'migrated_%' ORDER BY oid")
        there = [row[0] for row in rows]
        if name in there:
            return name
        for old in there[:-KEPT]:
            server.execute(f'DROP DATABASE IF EXISTS "{old}" WITH (FORCE)')
        unfinished = f"unfinished_{name}"
        server.execute(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{unfinished}"')
        if dump.exists():
            _run("pg_restore", "--dbname", unfinished, dump)
        else:
            _migrate(unfinished)
            part = dump.with_suffix(".part")
            _run("pg_dump", "--format=custom", "--compress=0", "--file", part, unfinished)
            part.rename(dump)
            for old_dump in sorted(SHARED.glob("migrated_*.dump"), key=lambda file: file.stat().st_mtime)[
                :-KEPT
            ]:
                old_dump.unlink()
        server.execute(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"')
    return name


def _digest() -> str:
    """Names the state of the migrations, of what they import and of what follows them."""
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if {"migrations", "models"} & set(file.parts) or file.name in ("fields.py", "roles.py"):
                digest.update(b"%s\0%s\0" % (str(file).encode(), file.read_bytes()))
    return digest.hexdigest()[:16]


def _migrate(name: str) -> None:
    """Run the migrations in another database of the server."""
    usual = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = usual


def _run(program: str, *arguments: str | Path) -> None:
    server = ("--host", SOCKET_DIR, "--username", embedded.USER)
    subprocess.run([embedded.PROGRAMS / program, *server, *arguments], check=True)


def _server() -> psycopg.Connection:
    return psycopg.connect(host=str(SOCKET_DIR), user=embedded.USER, dbname="postgres", autocommit=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """The first worker migrates, the others wait for its dump; then each fills its own server."""
    with open(SHARED / "migrated.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
