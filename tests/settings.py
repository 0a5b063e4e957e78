"""The product's settings for tests: an embedded PostgreSQL server for each xdist worker, no broker, no demo.

The event log's readers wait for every transaction of the server, whatever its database: workers that shared
one would hold each other up.

pytest-django loads settings before it reads any conftest.py, so the environment is set here.
"""

import os
import tempfile
from pathlib import Path

from config import embedded

DATA = Path(__file__).resolve().parent.parent / "var" / "test" / os.environ.get("PYTEST_XDIST_WORKER", "main")

for _name in [name for name in os.environ if name.startswith("NUDGE_") and name != "NUDGE_TEST_RUN"]:
    del os.environ[_name]
for _name in ("DATABASE_URL", "BROKER_URL", "PORT"):
    os.environ.pop(_name, None)
os.environ |= {
    "NUDGE_DATA": str(DATA),
    "NUDGE_DEMO": "0",
    # Tasks only wake; the tests call what they would run. The real broker has tests of its own.
    "BROKER_URL": "memory://",
    "NUDGE_LOG_LEVEL": "WARNING",
    # Playwright's blocking API keeps an event loop in the test's thread, where the database is used too.
    "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
}

# The first process to start the server decides that it may forget: nothing in it is worth an fsync.
SOCKET_DIR = embedded.ensure_running(DATA, database="nudge", durable=False)

from config.settings import *  # noqa: E402, F403

# Fast instead of slow to guess: the tests log in often.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A live server's threads must not keep the database that is dropped after the tests.
DATABASES["default"]["CONN_MAX_AGE"] = 0  # noqa: F405

# Tests come from one address and revoke keys behind the cache's back.
NUDGE_RATE_LIMITS = {}
NUDGE_KEY_CACHE_SECONDS = 0

# Each process its own: two runs at once share the rest.
_spool = tempfile.TemporaryDirectory(prefix="nudge-spool-")
NUDGE_SPOOL_DIR = Path(_spool.name)
