"""Who may look at a broadcast's state, and who may change it, at the same time.

Whoever queues or sends for a broadcast shares it until their transaction ends; whoever changes its state has it alone.
So when pausing returns, nothing more is queued or taken for sending. PostgreSQL lets waiters for an advisory lock in by
turns, so that senders that follow each other closely can't keep a pause waiting, as they could with the row's lock; and
unlike that it does not hold back the readers of the log while a large audience is being looked for.
"""

from collections.abc import Collection

from django.db import connection

from campaigns.models import Broadcast

SPACE = 0x62726F61  # "broa"


def share(broadcast_ids: Collection[int]) -> None:
    """Keep the state of these from changing until the caller's transaction ends. Read it after this."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock_shared(%s, id) FROM unnest(%s::int[]) AS id",
            [SPACE, sorted(broadcast_ids)],
        )


def alone(broadcast_id: int) -> Broadcast:
    """The broadcast as it is now, for whoever is going to change it in the caller's transaction.

    Raises:
        Broadcast.DoesNotExist: there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [SPACE, broadcast_id])
    return Broadcast.objects.select_related("message", "segment").get(pk=broadcast_id)
