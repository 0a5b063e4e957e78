"""What is sent apart from the rest: a slow or dead service holds up its own lane only.

A lane is one channel's marketing, or its transactional messages. Each goes by one account at a time. So many may work
on one lane at once as NUDGE_SENDERS_PER_LANE says, whatever the number of workers, so that no lane takes them all.
"""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

import msgspec
from django.conf import settings
from django.db import connection

from crm import pg

_LOCK = 0x4C616E65  # first half of the advisory locks; the second is made of the lane and the place


class Lane(msgspec.Struct, frozen=True):
    """One channel's messages, transactional ones apart."""

    channel: str
    transactional: bool = False


# Jumps through the index from one lane to the next, however many rows wait in each.
_DUE = """
    WITH RECURSIVE lanes AS (
        (SELECT d.channel, d.transactional FROM delivery_delivery d
         WHERE d.state IN ('queued', 'deferred') ORDER BY d.channel, d.transactional LIMIT 1)
        UNION ALL
        SELECT following.* FROM lanes CROSS JOIN LATERAL (
            SELECT d.channel, d.transactional FROM delivery_delivery d
            WHERE d.state IN ('queued', 'deferred')
              AND (d.channel, d.transactional) > (lanes.channel, lanes.transactional)
            ORDER BY d.channel, d.transactional LIMIT 1
        ) AS following
    )
    SELECT l.channel, l.transactional FROM lanes l
    WHERE EXISTS (
        SELECT FROM delivery_delivery d
        WHERE d.state IN ('queued', 'deferred') AND d.channel = l.channel AND d.transactional = l.transactional
          AND d.due_at <= %s
    )
    ORDER BY l.transactional DESC, l.channel
"""


def due(now: datetime) -> list[Lane]:
    """Return the lanes in which something is due, transactional ones first."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [now])
        return [Lane(channel, transactional) for channel, transactional in cursor.fetchall()]


def of(channel: str) -> tuple[Lane, Lane]:
    """Return a channel's lanes."""
    return Lane(channel, True), Lane(channel, False)


@contextmanager
def place(lane: Lane) -> Iterator[bool]:
    """Hold one of the lane's places on this connection; False when all are taken."""
    with ExitStack() as stack:
        yield any(
            stack.enter_context(pg.locked(_LOCK, _number(lane, number)))
            for number in range(settings.NUDGE_SENDERS_PER_LANE)
        )


def _number(lane: Lane, place: int) -> int:
    name = f"{lane.channel}:{lane.transactional}:{place}"
    return zlib.crc32(name.encode()) - 2**31  # the lock takes a signed number
