"""A CRM sandbox and a connection to it, for tests of syncing."""

from crm.models import Connection
from crm.sync import setup


def connect(name="Shop CRM", slug="shop", **config) -> Connection:
    """A connection to the sandbox that `settings.NUDGE_SANDBOX_URL` names, with the suggested mapping."""
    return setup.create("hubspot", name, slug, {"server": "sandbox", **config}, {"access_token": "pat-test"})


def later(sandbox, seconds: float) -> None:
    """Let the sandbox's clock run ahead, so that held-back changes become visible."""
    sandbox.clock.offset_seconds += seconds
