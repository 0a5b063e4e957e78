"""Keys and clients, as for the tests of the CRM's endpoints."""

from tests.crm.api.conftest import browser, reader, server, stranger, writer  # noqa: F401
