"""What we do with PostgreSQL beyond Django: values in its own text forms, which is far cheaper than one parameter or
one cell at a time, transactions that begin again after a deadlock or may take only so long, and advisory locks."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import OperationalError, connection, transaction
from psycopg import Cursor, adapters
from psycopg.errors import DeadlockDetected
from psycopg.pq import Format

TRIES = 5
Result = TypeVar("Result")

SLICE = 500  # rows made into text while PostgreSQL stores the ones before

# COPY's text format: https://www.postgresql.org/docs/18/sql-copy.html
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_SPECIAL = ("\\", "\t", "\n", "\r")

_TIMES: Any = adapters.get_loader(adapters.types["timestamptz"].oid, Format.TEXT)


class Contention(RuntimeError):
    """Other writers hold what we need, time and again; whoever asked may ask once more in a moment."""


def number_array(values: Iterable[int]) -> str:
    """The whole numbers as the literal of a bigint[]."""
    return f"{{{','.join(map(str, values))}}}"


def text_array(values: Sequence[str]) -> str:
    """The values as the literal of a text[].

    Raises:
        ValueError: one contains NUL, which no text in PostgreSQL can.
    """
    if not values:
        return "{}"
    joined = "\0".join(values)
    if joined.count("\0") >= len(values):
        raise ValueError("PostgreSQL takes no NUL in a text.")
    if "\\" in joined or '"' in joined:
        joined = joined.replace("\\", "\\\\").replace('"', '\\"')
    return '{"' + joined.replace("\0", '","') + '"}'


def quick_times(cursor: Any) -> None:
    """Let a cursor of Django's read moments by psycopg's C code, as moments in UTC still; Django's way takes ten times
    as long."""
    cursor.adapters.register_loader("timestamptz", _TIMES)


def copy_columns(copy: Any, columns: Sequence[Sequence[str | None]]) -> None:
    """Write rows, given as columns of equal length, to a COPY in text format. None is NULL."""
    for start in range(0, len(columns[0]), SLICE):
        cells = [_cells(column[start : start + SLICE]) for column in columns]
        copy.write("\n".join(map("\t".join, zip(*cells, strict=True))) + "\n")


def _cells(column: Sequence[str | None]) -> Sequence[str]:
    everything = "".join([value for value in column if value is not None])
    if any(character in everything for character in _SPECIAL):
        return ["\\N" if value is None else value.translate(_ESCAPES) for value in column]
    return ["\\N" if value is None else value for value in column]


class _Prepared(Cursor[Any]):
    """Has PostgreSQL keep each statement's plan, and hands it values that need no quoting."""

    def execute(
        self, query: Any, params: Any = None, *, prepare: bool | None = True, binary: bool | None = None
    ) -> Any:
        """As psycopg.Cursor.execute."""
        return super().execute(query, params, prepare=prepare, binary=binary)


@contextmanager
def prepared() -> Iterator[Any]:
    """A cursor as Django's, for the few statements that come so often that planning them each time is what they cost.

    Their values have to say what they are: `%s::bigint[]`.
    """
    django: Any = connection
    django.ensure_connection()
    with django.wrap_database_errors:
        raw = django._prepare_cursor(_Prepared(django.connection))
    with raw as cursor:
        yield cursor


def retried(work: Callable[[], Result]) -> Result:
    """Do `work` in a transaction, again if it and another one waited for each other and ours was ended."""
    for attempt in range(TRIES):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if not isinstance(error.__cause__, DeadlockDetected) or attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def atomically(function: Callable[..., Result]) -> Callable[..., Result]:
    """As `transaction.atomic`, for a service that may be done again after a deadlock."""

    @functools.wraps(function)
    def repeated(*args: Any, **kwargs: Any) -> Result:
        return retried(lambda: function(*args, **kwargs))

    return repeated


@contextmanager
def locked(space: int, number: int) -> Iterator[bool]:
    """Hold the advisory lock (space, number) on this connection; False when another connection has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [space, number])
        [mine] = cursor.fetchone()
    try:
        yield mine
    finally:
        # With a lost connection the lock is gone, and what happened is to be told, not that.
        if mine and connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [space, number])


@contextmanager
def statement_limits(timeout_ms: int) -> Iterator[None]:
    """A transaction whose statements may take so long, with memory for large sets.

    It writes nothing by itself: the log's readers wait for a transaction only from its first write on.
    """
    settings = {"statement_timeout": str(timeout_ms), "work_mem": "64MB", "jit": "off"}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(['current_setting(%s)'] * len(settings))}", list(settings))
        before = dict(zip(settings, cursor.fetchone(), strict=True))
        _configure(cursor, settings)
        yield
        _configure(cursor, before)  # an outer transaction goes on as it was


def _configure(cursor: Any, settings: dict[str, str]) -> None:
    calls = ", ".join(["set_config(%s, %s, true)"] * len(settings))
    cursor.execute(f"SELECT {calls}", [item for pair in settings.items() for item in pair])
