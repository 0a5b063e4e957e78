"""People whose CRM record is gone: deleted, no longer visible, merged away or erased for privacy.

A deleted record leaves its profile: what the person did here is still true, and another CRM or the website
may know them too. Its record id is forgotten, and consents that only the CRM vouched for end. A person who was
erased is forgotten here as well. Either way the id stays as a tombstone, with the profile it belonged to.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import connection as database

from crm import consent, privacy
from crm.connectors.base import Record
from crm.models import (
    Connection,
    Consent,
    Identifier,
    OutgoingActivity,
    SourceRecord,
    SyncReject,
    WrittenRecord,
)

SOURCE = "crm"  # of consents

_TOMBSTONES = """
    INSERT INTO crm_sourcerecord AS s
        (connection_id, object, record_id, modified_at, content_hash, empty, consent, state, merged_into, local,
         synced_at)
    SELECT %(connection)s, %(object)s, r.record_id, r.at, '', '{}', '{}', r.state, '', r.local, %(now)s
    FROM unnest(%(ids)s::text[], %(times)s::timestamptz[], %(states)s::text[], %(locals)s::text[])
        AS r(record_id, at, state, local)
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET state = excluded.state, merged_into = '',
        modified_at = greatest(s.modified_at, excluded.modified_at), content_hash = '', consent = '{}', empty = '{}',
        local = CASE WHEN excluded.state = 'erased' THEN '' WHEN excluded.local = '' THEN s.local
            ELSE excluded.local END,
        synced_at = excluded.synced_at
    WHERE s.state <> 'erased'
"""


def remove(
    connection: Connection, object_name: str, kind: str, records: Sequence[Record], now: datetime
) -> None:
    """Forget these records of people, in the caller's transaction.

    Args:
        kind: of the records' Identifiers.
        records: deleted ones that are live here, and erased ones that are not erased here, known or not.
    """
    if not records:
        return
    when = {record.id: record.modified_at for record in records}
    identifiers = Identifier.objects.filter(kind=kind, value__in=list(when))
    people = dict(identifiers.values_list("value", "profile_id"))
    erased = [record.id for record in records if record.erased]
    forgotten = _forgotten(connection, object_name, erased, people) if erased else {}
    identifiers.delete()
    entomb(connection, object_name, records, people, now)
    latest: dict[int, datetime] = {}
    for record_id, profile_id in people.items():
        latest[profile_id] = max(when[record_id], latest.get(profile_id, when[record_id]))
    end_consent(latest)
    for model in (SyncReject, WrittenRecord, OutgoingActivity) if erased else ():
        model._default_manager.filter(
            connection=connection, object=object_name, record_id__in=erased
        ).delete()
    privacy.forget(connection, object_name, forgotten, now)


def _forgotten(
    connection: Connection, object_name: str, record_ids: Sequence[str], people: Mapping[str, int]
) -> dict[int, list[str]]:
    """The profiles of erased records, also of those deleted here before, with what each record had nothing for."""
    records = SourceRecord.objects.filter(
        connection=connection, object=object_name, record_id__in=record_ids
    ).only("record_id", "local", "empty")
    known = {row.record_id: row for row in records}
    before = {row.record_id: pid for row in known.values() if (pid := privacy.left(row.local)) is not None}
    now_there = privacy.present(set(before.values()))
    forgotten: dict[int, list[str]] = {}
    for record_id in record_ids:
        profile_id = people.get(record_id) or now_there.get(before.get(record_id, 0))
        if profile_id:
            forgotten[profile_id] = known[record_id].empty if record_id in known else []
    return forgotten


def entomb(
    connection: Connection,
    object_name: str,
    records: Sequence[Record],
    people: Mapping[str, int],
    now: datetime,
) -> None:
    """Remember that these records are gone. ERASED is final.

    Args:
        people: record id -> the profile it leaves behind, for persons.
    """
    erased, deleted = SourceRecord.State.ERASED.value, SourceRecord.State.DELETED.value
    with database.cursor() as cursor:
        cursor.execute(
            _TOMBSTONES,
            {
                "connection": connection.pk,
                "object": object_name,
                "now": now,
                "ids": [record.id for record in records],
                "times": [record.modified_at for record in records],
                "states": [erased if record.erased else deleted for record in records],
                "locals": [privacy.left_by(people.get(record.id)) for record in records],
            },
        )


def end_consent(profiles: Mapping[int, datetime]) -> None:
    """End the yeses that only a CRM vouched for, as none of these profiles' live records says so any more.

    Args:
        profiles: profile id -> when its record went.
    """
    if not profiles:
        return
    elsewhere = _vouched_elsewhere(list(profiles))
    vouched = Consent.objects.filter(
        profile_id__in=list(profiles), source=SOURCE, state=Consent.State.SUBSCRIBED
    )
    consent.record(
        [
            consent.Change(
                profile_id=row.profile_id,
                kind=row.kind,
                key=row.key,
                state=consent.UNSUBSCRIBED,
                source=SOURCE,
                changed_at=max(profiles[row.profile_id], row.changed_at),
            )
            for row in vouched
            if (row.profile_id, f"{row.kind}:{row.key}") not in elsewhere
        ]
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
