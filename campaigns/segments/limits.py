"""Statements that may take only so long."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection
from psycopg.errors import QueryCanceled

from crm.pg import statement_limits
from crm.rules.sql import Sql


class TooSlow(Exception):
    """The database did not answer within the time given."""


@contextmanager
def limits(timeout_ms: int) -> Iterator[None]:
    """As `statement_limits`.

    Raises:
        TooSlow: a statement was stopped.
    """
    try:
        with statement_limits(timeout_ms):
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


def fetch(statement: Sql, timeout_ms: int) -> list[tuple]:
    """The rows of a statement. Raises TooSlow."""
    with limits(timeout_ms), connection.cursor() as cursor:
        cursor.execute(statement.text, list(statement.params))
        return cursor.fetchall()
