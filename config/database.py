"""Where the data lives: a PostgreSQL server named by a URL, or the embedded one; it is the broker too."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
import psycopg
from django.core.exceptions import ImproperlyConfigured
from pgmq import install_pgmq_from_sql

from config import embedded

NAME = "nudge"
# Seconds: a host that is gone, or a server that hangs, answers nothing at all.
PATIENCE = {"connect_timeout": 5}
_ADDRESS = ("USER", "PASSWORD", "HOST")
INSTALL_LOCK = 0x6E756467  # any fixed number; two processes must not install the queue functions at once

# Options of kombu's pgmq transport: NOTIFY wakes a worker in about 15 ms, where polling takes 100.
BROKER_TRANSPORT_OPTIONS = {
    "init_extension": False,  # installed from SQL, see install_broker
    "use_notify": True,
    "notify_throttle_interval_ms": 0,
    "wait_time_seconds": 0,  # no long poll: LISTEN does the waiting
    # Seconds between looks should a notification be lost; a worker asked to stop notices after as long.
    "polling_interval": 1,
    "pool_size": 2,
    "visibility_timeout": 3600,  # seconds until an unacknowledged task is handed out again
}


def databases(data_dir: Path, url: str | None = None) -> dict[str, Any]:
    """Django's `DATABASES["default"]`. Without a URL, the embedded server is started or attached to.

    Raises:
        ImproperlyConfigured: the URL is no PostgreSQL URL, or the embedded server does not start.
    """
    common = {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
    if url:
        parsed = environ.Env.db_url_config(url)
        if "postgresql" not in str(parsed.get("ENGINE")):
            raise ImproperlyConfigured("DATABASE_URL must look like postgres://user:password@host:5432/name.")
        options = {**PATIENCE, **parsed.get("OPTIONS", {})}
        return {**parsed, "ENGINE": "django.db.backends.postgresql", **common, "OPTIONS": options}
    socket_dir = embedded.ensure_running(data_dir, database=NAME)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": NAME,
        "USER": embedded.USER,
        "PASSWORD": "",
        "HOST": str(socket_dir),
        "PORT": str(embedded.PORT),
        "OPTIONS": PATIENCE,
        **common,
    }


def broker_url(database: dict[str, Any]) -> str:
    """The Celery broker in the same database, for kombu's pgmq transport; a socket folder is encoded."""
    user, password, host = (quote(str(database.get(key) or ""), safe="") for key in _ADDRESS)
    port = database.get("PORT") or 5432
    return f"pgmq://{user or 'postgres'}:{password}@{host or 'localhost'}:{port}/{database['NAME']}"


def install_broker(database: dict[str, Any]) -> bool:
    """Install the queue tables and functions once. Returns whether that was needed.

    Args:
        database: an entry of Django's DATABASES.
    """
    connection = psycopg.connect(
        host=database.get("HOST") or None,
        port=database.get("PORT") or None,
        user=database.get("USER") or None,
        password=database.get("PASSWORD") or None,
        dbname=database["NAME"],
        **{key: value for key, value in database.get("OPTIONS", {}).items() if key.startswith("ssl")},
    )
    with connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
        found = connection.execute("SELECT to_regclass('pgmq.meta')").fetchone()
        if found and found[0]:
            return False
        install_pgmq_from_sql(conn=connection)
    return True


def stop(data_dir: Path) -> bool:
    """Stop the embedded server, whoever uses it. Returns whether it ran."""
    return embedded.stop(data_dir)
