"""A CRM on loopback: an HTTP server that speaks CRM vendors' APIs over a seeded in-memory store.

It serves the demo and the tests of the connectors. It needs no database and no Django settings.
"""
