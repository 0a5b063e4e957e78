"""People whose CRM record is gone.

A deleted record leaves its profile: what the person did here is still true, and another CRM or the website
may know them too. Its record id is forgotten, and consents that only the CRM vouched for end.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection as database

from crm import consent
from crm.connectors.base import Record
from crm.models import Connection, Consent, Identifier

SOURCE = "crm"  # of consents


def delete(
    connection: Connection, object_name: str, kind: str, records: Sequence[Record], now: datetime
) -> None:
    """Forget these records of people, which are live here and gone there.

    Args:
        kind: of the records' Identifiers.
    """
    if not records:
        return
    when = {record.id: record.modified_at for record in records}
    identifiers = Identifier.objects.filter(kind=kind, value__in=list(when))
    people = dict(identifiers.values_list("profile_id", "value"))
    identifiers.delete()
    elsewhere = _vouched_elsewhere(list(people))
    vouched = Consent.objects.filter(
        profile_id__in=list(people), source=SOURCE, state=Consent.State.SUBSCRIBED
    )
    consent.record(
        [
            consent.Change(
                profile_id=row.profile_id,
                kind=row.kind,
                key=row.key,
                state=consent.UNSUBSCRIBED,
                source=SOURCE,
                changed_at=max(when[people[row.profile_id]], row.changed_at),
            )
            for row in vouched
            if (row.profile_id, f"{row.kind}:{row.key}") not in elsewhere
        ]
    )
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE crm_sourcerecord s SET state = 'deleted', synced_at = %s,
                modified_at = greatest(s.modified_at, r.at), consent = '{}', empty = '{}'
            FROM unnest(%s::text[], %s::timestamptz[]) AS r(record_id, at)
            WHERE s.connection_id = %s AND s.object = %s AND s.record_id = r.record_id
            """,
            [now, list(when), list(when.values()), connection.pk, object_name],
        )


def _vouched_elsewhere(profile_ids: list[int]) -> set[tuple[int, str]]:
    """(profile id, `ConsentRule.name`) of the yeses in the live CRM records that these profiles still have."""
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.profile_id, answer.key FROM crm_identifier i
            JOIN crm_connection c ON c.slug = split_part(i.kind, ':', 1)
            JOIN crm_sourcerecord s ON s.connection_id = c.id AND s.state = 'live'
                AND s.object = substr(i.kind, length(c.slug) + 2) AND s.record_id = i.value
            CROSS JOIN jsonb_each(s.consent) answer
            WHERE i.profile_id = ANY(%s) AND answer.value = 'true'
            """,
            [profile_ids],
        )
        return set(cursor.fetchall())
