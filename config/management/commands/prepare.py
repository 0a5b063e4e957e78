"""Bring the database up to date and make the admin login; safe to run at every start and on several hosts."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command, get_commands
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor

LOCK = 0x6E756470  # any fixed number: two hosts that start at once must not migrate at once
ADMIN = "admin"


class Command(BaseCommand):
    """`manage.py prepare`"""

    help = "Migrate, create the admin login, and set up what every installation has."
    # The admin theme's check of an action's permission asks the database, whose tables come only now.
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        """Run the steps under one lock, each with a line and its time."""
        try:
            connection.ensure_connection()
        except OperationalError as error:
            raise CommandError(f"The database cannot be reached: {str(error).strip()}") from error
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            try:
                self._migrate()
                with self._step("admin login ready"):
                    _ensure_admin(settings.NUDGE_DATA / "admin_password")
                if "nudge_setup" in get_commands():
                    with self._step("set up"):
                        call_command("nudge_setup")
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        with self._step(f"tables up to date, {missing} changes" if missing else "tables up to date"):
            call_command("migrate", interactive=False, verbosity=0)

    @contextmanager
    def _step(self, label: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.stdout.write(f"✓ {label} ({time.monotonic() - started:.1f} s)")
        self.stdout.flush()


def _ensure_admin(kept: Path) -> None:
    """Create the superuser `admin`, with the given password or a random one kept in the file (mode 600).

    A password given by the environment is set again when it differs. A kept one that no longer fits, because
    the admin chose another, is deleted, so that nobody is told a wrong one.
    """
    user = get_user_model().objects.filter(username=ADMIN).first()
    given = settings.NUDGE_ADMIN_PASSWORD
    if user is None:
        password = given or secrets.token_urlsafe(12)
        if not given:
            # Before the user: were this process to end here, the next start would read the same password.
            password = _keep(kept, password)
        get_user_model().objects.create_superuser(ADMIN, password=password)
    elif given:
        if not user.check_password(given):
            user.set_password(given)
            user.save(update_fields=["password"])
        kept.unlink(missing_ok=True)
    elif kept.exists() and not user.check_password(kept.read_text().strip()):
        kept.unlink()


def _keep(path: Path, password: str) -> str:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip() or password
    with os.fdopen(handle, "w") as file:
        file.write(password + "\n")
    return password
