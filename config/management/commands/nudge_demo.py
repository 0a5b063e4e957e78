"""Fills the demo: a connected CRM, what marketers have built, and a month of history."""

import time
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from config.demo import assortment, carts, content, history, lapsed, letters, sizes, success
from crm import api_keys
from crm.connectors.base import ConnectorError
from crm.models import ApiKey, Connection, SyncRun
from crm.sync import engine, setup

SHOP_KEY = "Demo shop"
CRM = "hubspot-demo"
PATIENCE = 180  # seconds for the first sync, wherever it runs


class Command(BaseCommand):
    """`manage.py nudge_demo`"""

    help = "Fill the demo. Safe to run again: what is there already is left alone."

    def handle(self, *args: object, **options: object) -> None:
        """Fill in what is missing, a line for each part."""
        if not settings.NUDGE_DEMO:
            raise CommandError("NUDGE_DEMO is off, so there is no demo to fill.")
        _shop_key()
        connection = _connection()
        if not connection.runs.filter(state=SyncRun.State.SUCCEEDED).exists():
            with self._step("contacts arrived from the CRM sandbox"):
                self._first_sync(connection)
        if not content.exists():
            with self._step("messages and flows written"):
                content.create()
        if not assortment.exists():
            with self._step("products and places written"):
                assortment.create()
        if history.needed():
            now = timezone.now()
            with self._step("a month of history and segments written"), transaction.atomic():
                history.create(now, carts.create)
                if not content.has_audience():
                    content.create_audience()
                    sizes.create(now)
            with self._step("half a year of letters and what came of them written"), transaction.atomic():
                success.create(now)
                letters.create(now)
                lapsed.create(now)
            content.go_live()  # only now, so that nobody is greeted for last month

    def _first_sync(self, connection: Connection) -> None:
        """Sync here, or watch the worker that was faster."""
        try:
            run = engine.run(connection, SyncRun.Mode.FULL, progress=self._tell)
        except engine.AlreadyRunningError:
            run = self._watch(connection)
        if run.state != SyncRun.State.SUCCEEDED:
            raise CommandError(run.error or "The first sync takes too long; look at Connections in the admin")

    def _watch(self, connection: Connection) -> SyncRun:
        deadline = time.monotonic() + PATIENCE
        while True:
            run = connection.runs.latest("queued_at")
            self._tell(run)
            if run.state in (SyncRun.State.SUCCEEDED, SyncRun.State.FAILED) or time.monotonic() > deadline:
                return run
            time.sleep(1)

    def _tell(self, run: SyncRun) -> None:
        if run.read and run.read % 1000 == 0:
            self.stdout.write(f"· {run.read:,} of {run.expected or '?':,} contacts")
            self.stdout.flush()

    @contextmanager
    def _step(self, label: str):
        started = time.monotonic()
        yield
        self.stdout.write(f"✓ {label} ({time.monotonic() - started:.1f} s)")
        self.stdout.flush()


def _shop_key() -> None:
    """Keep the shop's public key, and the secret that it signs its customers with, where the shop finds them."""
    public, secret = (settings.NUDGE_DATA / name for name in ("demo_browser_key", "demo_identity_secret"))
    key = api_keys.find(public.read_text().strip()) if public.exists() else None
    if key is None:
        ApiKey.objects.filter(name=SHOP_KEY).delete()
        key, text = api_keys.create(SHOP_KEY, [ApiKey.Scope.BROWSER], [settings.NUDGE_PUBLIC_URL])
        public.write_text(text)
        secret.unlink(missing_ok=True)
    if not secret.exists():
        secret.touch(mode=0o600)
        secret.write_text(api_keys.renew_identity_secret(key))


def _connection() -> Connection:
    """The sandbox as a HubSpot account, with the mapping that the connector itself suggests."""
    found = Connection.objects.filter(slug=CRM).first()
    if found:
        return found
    try:
        return setup.create(
            "hubspot",
            "HubSpot (demo sandbox)",
            CRM,
            {"server": "sandbox"},
            {"access_token": "demo"},
            by="demo",
        )
    except ConnectorError as error:
        raise CommandError(f"The CRM sandbox can't be read: {error}") from error
