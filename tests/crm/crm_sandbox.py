"""A CRM sandbox and a connection to it, for tests of syncing."""

from crm.models import Connection
from crm.sync import setup

READ_ONLY = {"fields", "consent", "ours", "won"}  # the parts of a mapping that write nothing into the CRM


def connect(name="Shop CRM", slug="shop", *, objects=("contacts",), **config) -> Connection:
    """A connection to the sandbox that `settings.NUDGE_SANDBOX_URL` names, with the suggested mapping.

    It reads only these objects, and writes nothing back.
    """
    connection = setup.create(
        "hubspot", name, slug, {"server": "sandbox", **config}, {"access_token": "pat-test"}
    )
    connection.mapping = {
        found: {part: value for part, value in connection.mapping[found].items() if part in READ_ONLY}
        for found in objects
    }
    connection.save(update_fields=["mapping"])
    return connection


def later(sandbox, seconds: float) -> None:
    """Let the sandbox's clock run ahead, so that held-back changes become visible."""
    sandbox.clock.offset_seconds += seconds
