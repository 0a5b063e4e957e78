"""Fills the demo: a connected CRM, what marketers have built, and a month of history."""

import time
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from config.demo import content, history
from crm import api_keys, sync
from crm.connectors import base as connectors
from crm.models import ApiKey, Connection, Profile

SHOP_KEY = "Demo shop"


class Command(BaseCommand):
    """`manage.py nudge_demo`"""

    help = "Fill the demo. Safe to run again: what is there already is left alone."

    def handle(self, *args: object, **options: object) -> None:
        """Fill in what is missing, a line for each part."""
        if not settings.NUDGE_DEMO:
            raise CommandError("NUDGE_DEMO is off, so there is no demo to fill.")
        _shop_key()
        connection, created = _connection()
        if created or not Profile.objects.exists():
            with self._step("contacts arrived from the CRM sandbox"):
                sync.run(connection)
        with self._step("segments, messages and flows ready"):
            content.create()
        if history.needed():
            with self._step("a month of history written"):
                history.create(timezone.now())
        content.go_live()

    @contextmanager
    def _step(self, label: str):
        started = time.monotonic()
        yield
        self.stdout.write(f"✓ {label} ({time.monotonic() - started:.1f} s)")
        self.stdout.flush()


def _shop_key() -> None:
    """Keep the shop's public key where its pages find it."""
    path = settings.NUDGE_DATA / "demo_browser_key"
    if path.exists() and api_keys.find(path.read_text().strip()):
        return
    ApiKey.objects.filter(name=SHOP_KEY).delete()
    _key, text = api_keys.create(SHOP_KEY, [ApiKey.Scope.BROWSER], [settings.NUDGE_PUBLIC_URL])
    path.write_text(text)


def _connection() -> tuple[Connection, bool]:
    """The sandbox as a HubSpot account, with the mapping that the connector itself suggests."""
    connection, created = Connection.objects.get_or_create(
        slug="hubspot-demo",
        defaults={
            "kind": "hubspot",
            "name": "HubSpot (demo sandbox)",
            "config": {"server": "sandbox"},
            "credentials": {"access_token": "demo"},
        },
    )
    if not connection.mapping:
        connector = connectors.of(connection)
        connection.mapping = connector.suggest(connector.fields()).as_mapping()
        connection.save(update_fields=["mapping"])
    return connection, created
