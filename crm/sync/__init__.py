"""Keeping profiles equal to what the CRMs say.

`schedule` says which connection is due, `engine` runs it, `apply` stores a page, `mapping` translates a
record, `setup` connects a new CRM. Connectors only fetch.
"""
