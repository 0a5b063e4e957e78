"""Many given people as a table that PostgreSQL knows the size of.

Planning with ten thousand ids written into a statement, for every part of it and every month of the event log, costs
more than running it; and written out they are read again for each of fifty segments.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count

from django.db import connection

_numbers = count(1)


@contextmanager
def stored(profile_ids: Collection[int]) -> Iterator[str]:
    """A temporary table with the column `id`, for `compiler.query`, that goes with the block.

    Outside of a transaction nothing is held open by it, so that readers of the event log need not wait.
    """
    name = f"segments_scope_{next(_numbers)}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE {name} (id bigint PRIMARY KEY)")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {name} SELECT DISTINCT unnest(%s::bigint[])", [list(profile_ids)])
            cursor.execute(f"ANALYZE {name}")
        yield name
    finally:
        if not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
