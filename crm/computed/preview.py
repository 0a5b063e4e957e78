"""What a definition would give, for some real people, before anything is stored."""

from datetime import UTC, datetime
from typing import NamedTuple

from django.db import OperationalError, connection
from django.utils import timezone
from psycopg.errors import QueryCanceled

from crm.computed.compute import found
from crm.computed.kinds import Kind
from crm.computed.kinds.base import Ask, Scope
from crm.computed.reading import value_of
from crm.models import Profile
from crm.pg import statement_limits

PEOPLE = 10
NEWEST_EVENTS = 2_000  # looked at to find people who did it lately
TIMEOUT_MS = 3_000


class TooSlow(Exception):
    """Even ten people take too long."""


class Line(NamedTuple):
    """One person with their value in words."""

    person: Profile
    text: str


def lines(kind: Kind, now: datetime | None = None) -> list[Line]:
    """The values of up to ten people who did what the definition is about lately. Raises TooSlow."""
    moment = (now or timezone.now()).astimezone(UTC)
    try:
        with statement_limits(TIMEOUT_MS), connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT profile_id FROM (
                    SELECT profile_id, occurred_at FROM crm_event WHERE name = %s AND occurred_at > %s
                    ORDER BY occurred_at DESC LIMIT %s
                ) AS newest GROUP BY profile_id ORDER BY max(occurred_at) DESC LIMIT %s
                """,
                [kind.config.event, datetime(1970, 1, 2, tzinfo=UTC), NEWEST_EVENTS, PEOPLE],
            )
            ids = [row[0] for row in cursor.fetchall()]
            rows = found(kind, Ask(moment, Scope(ids)))
            cursor.execute(rows.text, list(rows.params))
            values = {row[0]: row[1:4] for row in cursor.fetchall()}
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise
    people = Profile.objects.in_bulk(ids)
    return [
        Line(people[pk], kind.in_words(value_of(kind, values.get(pk), moment))) for pk in ids if pk in people
    ]
