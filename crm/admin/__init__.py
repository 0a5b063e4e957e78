"""Admin pages of the audience and of connected CRMs: importing this registers them."""

from crm.admin import (
    alerts,
    api_keys,
    audit,
    computed,
    connections,
    consent,
    event_files,
    events,
    list_imports,
    places,
    products,
    profiles,
    retention,
    sync_runs,
    topics,
    written_records,
)

__all__ = [
    "alerts",
    "api_keys",
    "audit",
    "computed",
    "connections",
    "consent",
    "event_files",
    "events",
    "list_imports",
    "places",
    "products",
    "profiles",
    "retention",
    "sync_runs",
    "topics",
    "written_records",
]
