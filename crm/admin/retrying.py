"""Having rejected records read again."""

from typing import Any

from crm.connectors.base import Hint
from crm.models import Connection
from crm.sync import hints, schedule


def retry(connection: Connection, rejects: Any, by: str) -> int:
    """Have these rejected records of a connection looked at by the next run, and ask for it; return how many.

    Args:
        rejects: a queryset of SyncReject.
        by: who asked.
    """
    found = list(rejects.order_by("pk").values_list("object", "record_id")[: hints.MOST])
    if found:
        hints.add(connection, [Hint(name, record_id) for name, record_id in found])
        schedule.request_sync(connection, by=by)
    return len(found)
