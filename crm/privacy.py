"""Forgetting a person for good.

What remains of an erased person: an empty profile under its number, the history of consents (proof that what was
sent was allowed), events without anything but their names, times and amounts (so that counts and revenue of reports
stay right), the ids of CRM records and digests of names (`crm.tombstones`) so that no import brings them back, and
the audit log, which knows people by their numbers only.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection as database
from django.db.models import Model
from django.utils import timezone

from crm import attribute_changes, changes, conflicts, connectors, consent, log, pg, signals, tombstones, wake
from crm.models import (
    ComputedValue,
    Connection,
    CrmErasure,
    Device,
    IdempotentAnswer,
    Identifier,
    LastLocation,
    PersonPlace,
    ProductInterest,
    Profile,
    ProfileMerge,
    SyncHint,
    WrittenRecord,
)
from crm.patches import FIELDS

ERASED = "profile_erased"
ATTRIBUTE = "attributes."
# What our own events say about us and not about the person.
_OURS = [
    "message",
    "delivery",
    "channel",
    "variant",
    "origin",
    "flow",
    "step",
    "segment",
    "kind",
    "key",
    "state",
    "field",
    "names",
]
# Of everybody's events only these numbers stay: what reports add up. Any other may tell something about a person (an
# age, a house number, an order's number that leads back to them).
_AMOUNTS = ["value", "previous_value", "total", "amount", "revenue"]
_GONE: tuple[type[Model], ...] = (
    Identifier,
    Device,
    WrittenRecord,
    ProductInterest,
    PersonPlace,
    LastLocation,
    ComputedValue,
)
_BLANK = (
    *("external_id", "email", "phone", "first_name", "last_name", "language", "timezone", "country", "city"),
    *("latitude", "longitude", "birthday", "lifecycle_stage", "first_seen", "last_seen"),
)
_STRIPPED = """
    (SELECT coalesce(jsonb_object_agg(key, value), '{{}}') FROM jsonb_each(properties)
     WHERE (jsonb_typeof(value) = 'number' AND key = ANY(%(amounts)s))
        OR (key = 'currency' AND length(value #>> '{{}}') <= 3) OR ({ours}))
"""
# The CRM records of these profiles: those that are live, and those that were deleted before.
_RECORDS = """
    CREATE TEMPORARY TABLE crm_erasing ON COMMIT DROP AS
    SELECT s.id, s.connection_id, s.object, s.record_id FROM crm_identifier i
    JOIN crm_connection c ON c.slug = split_part(i.kind, ':', 1)
    JOIN crm_sourcerecord s ON s.connection_id = c.id AND s.object = substr(i.kind, length(c.slug) + 2)
        AND s.record_id = i.value
    WHERE i.profile_id = ANY(%(ids)s)
    UNION
    SELECT s.id, s.connection_id, s.object, s.record_id FROM crm_sourcerecord s WHERE s.local = ANY(%(locals)s)
"""
_ERASURE = (
    """
    UPDATE crm_sourcerecord s SET state = 'erased', content_hash = '', empty = '{}', consent = '{}', local = '',
        merged_into = '', synced_at = %(now)s
    FROM crm_erasing e WHERE s.id = e.id AND s.state <> 'erased'
    """,
    *(
        f"""
        DELETE FROM {table} t USING crm_erasing e
        WHERE t.connection_id = e.connection_id AND t.object = e.object AND t.record_id = e.record_id
        """
        for table in ("crm_syncreject", "crm_outgoingactivity", "crm_writtenrecord")
    ),
    "DROP TABLE crm_erasing",
    f"""
    UPDATE crm_event SET properties = {_STRIPPED.format(ours="source = 'nudge' AND key = ANY(%(ours)s)")}
    WHERE profile_id = ANY(%(ids)s)
    """,
    f"""
    UPDATE crm_crmpurchase SET properties = {_STRIPPED.format(ours="false")}
    WHERE profile_id = ANY(%(known)s)
    """,
)


def left_by(profile_id: int | None) -> str:
    """How a deleted CRM record's memory (`SourceRecord.local`) names the profile that it left behind."""
    return "" if profile_id is None else f"profile:{profile_id}"


def left(local: str) -> int | None:
    """The profile that `left_by` named."""
    number = local.removeprefix("profile:")
    return int(number) if number != local else None


def present(profile_ids: Collection[int]) -> dict[int, int]:
    """The profiles that these are now, after merges; without those that no longer exist."""
    if not profile_ids:
        return {}
    with database.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE now (was, id) AS (
                SELECT id, id FROM unnest(%s::bigint[]) AS given(id)
                UNION SELECT now.was, m.winner_id FROM now JOIN crm_profilemerge m ON m.loser_id = now.id
            )
            SELECT was, id FROM now JOIN crm_profile USING (id)
            """,
            [list(profile_ids)],
        )
        return dict(cursor.fetchall())


def in_crms(profile_ids: Collection[int]) -> list[tuple[int, int, str, str]]:
    """The live records of these people in CRMs that can erase, as (profile id, connection id, object, record id)."""
    able = [kind for kind, connector in connectors.kinds().items() if connector.erase_batch]
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.profile_id, c.id, s.object, s.record_id FROM crm_identifier i
            JOIN crm_connection c ON c.slug = split_part(i.kind, ':', 1) AND c.kind = ANY(%s)
            JOIN crm_sourcerecord s ON s.connection_id = c.id AND s.state = 'live'
                AND s.object = substr(i.kind, length(c.slug) + 2) AND s.record_id = i.value
            WHERE i.profile_id = ANY(%s) ORDER BY i.profile_id, c.id, s.object, s.record_id
            """,
            [able, list(profile_ids)],
        )
        return cursor.fetchall()


@pg.atomically
def erase(
    profile_ids: Collection[int], reason: str, now: datetime | None = None, crms: bool = False
) -> list[int]:
    """Forget these people here, whatever any CRM says about them later; return those that there were.

    Args:
        reason: a code without anything personal, such as "crm" or "request".
        crms: have their records in CRMs erased too; `crm.sync.erasures` does it after commit.
    """
    now = now or timezone.now()
    ids = list(
        Profile.objects.select_for_update()
        .filter(pk__in=profile_ids)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not ids:
        return []
    if crms:
        CrmErasure.objects.bulk_create(
            [
                CrmErasure(
                    profile_id=profile_id,
                    connection_id=connection_id,
                    object=object_name,
                    record_id=record_id,
                    due_at=now,
                )
                for profile_id, connection_id, object_name, record_id in in_crms(ids)
            ],
            ignore_conflicts=True,
        )
        wake.on_commit("crm.tasks.erase_in_crms", "sync")
    tombstones.keep(ids)
    signals.profiles_erased.send(sender=None, profile_ids=ids)
    # What remembers a profile by its number may know a person by that of a profile that was merged into theirs.
    merged = ProfileMerge.objects.filter(winner_id__in=ids).values_list("loser_id", flat=True)
    known = [*ids, *merged]
    values: dict[str, Any] = {
        "ids": ids,
        "known": known,
        "now": now,
        "ours": _OURS,
        "amounts": _AMOUNTS,
        "locals": [left_by(pk) for pk in known],
    }
    with attribute_changes.unrecorded():
        _blank(ids, known, values)
    changes.touch(ids)
    log.append(
        [
            log.NewEvent(
                id=log.event_id("erased", profile_id, now.isoformat()),
                profile_id=profile_id,
                name=ERASED,
                occurred_at=now,
                properties={"reason": reason},
                source="nudge",
            )
            for profile_id in ids
        ]
    )
    return ids


def _blank(ids: Sequence[int], known: Sequence[int], values: Mapping[str, Any]) -> None:
    """Delete and blank all that is stored about these people; `known`: with those who were merged into them."""
    with database.cursor() as cursor:
        for statement in (_RECORDS, *_ERASURE):
            cursor.execute(statement, values)
    for model in _GONE:
        model._default_manager.filter(profile_id__in=ids).delete()
    consent.forget(ids)
    IdempotentAnswer.objects.all().delete()  # answers kept for repetitions, for two days at most; any may name them
    conflicts.forget(known)
    # The admin's history of a profile calls it by the person's name.
    history = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Profile))
    history.filter(object_id__in=[str(pk) for pk in known]).update(object_repr=ERASED, change_message="")
    ProfileMerge.objects.filter(winner_id__in=ids).delete()  # they keep the merged profiles as they were
    Profile.objects.filter(pk__in=ids).update(
        **dict.fromkeys(_BLANK), attributes={}, sources={}, updated_at=timezone.now()
    )


def forget(
    connection: Connection, object_name: str, left_empty: Mapping[int, Collection[str]], now: datetime
) -> None:
    """Forget people whom a CRM has erased; of those whom another live CRM record vouches for, what it told.

    To be called when the erased records are tombstones already.

    Args:
        left_empty: profile id -> the profile fields that the erased record had nothing for.
    """
    if not left_empty:
        return
    others = _live_records(list(left_empty))
    erase([profile_id for profile_id in left_empty if profile_id not in others], "crm", now)
    kept = {profile_id: empty for profile_id, empty in left_empty.items() if profile_id in others}
    if kept:
        _take_back(connection, object_name, kept, others, now)


def _live_records(profile_ids: list[int]) -> dict[int, list[tuple[int, int, str, str, list[str]]]]:
    """Profile id -> its live CRM records as (number, connection id, object, record id, empty fields)."""
    found: dict[int, list[tuple[int, int, str, str, list[str]]]] = {}
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.profile_id, s.id, s.connection_id, s.object, s.record_id, s.empty FROM crm_identifier i
            JOIN crm_connection c ON c.slug = split_part(i.kind, ':', 1)
            JOIN crm_sourcerecord s ON s.connection_id = c.id AND s.state = 'live'
                AND s.object = substr(i.kind, length(c.slug) + 2) AND s.record_id = i.value
            WHERE i.profile_id = ANY(%s)
            """,
            [profile_ids],
        )
        for profile_id, *record in cursor.fetchall():
            found.setdefault(profile_id, []).append(tuple(record))
    return found


def _take_back(
    connection: Connection,
    object_name: str,
    left_empty: Mapping[int, Collection[str]],
    others: Mapping[int, Sequence[tuple[int, int, str, str, list[str]]]],
    now: datetime,
) -> None:
    """Blank what only the erased record told, and have the others' records read again: theirs counts now."""
    wanted = {record[1] for records in others.values() for record in records}
    mapped = {row.pk: row.mapping for row in Connection.objects.filter(pk__in={connection.pk, *wanted})}

    def targets(connection_id: int, name: str) -> set[str]:
        return set((mapped[connection_id].get(name) or {}).get("fields", {}).values())

    again: list[tuple[int, int, str, str, list[str]]] = []
    names: list[tuple[str, int]] = []
    profiles = list(Profile.objects.select_for_update().filter(pk__in=left_empty).order_by("pk"))
    for profile in profiles:
        told = targets(connection.pk, object_name) - set(left_empty[profile.pk])
        for record in others[profile.pk]:
            told -= targets(record[1], record[2]) - set(record[4])
            again.append(record)
        for target in told:
            if target.startswith(ATTRIBUTE):
                profile.attributes.pop(target.removeprefix(ATTRIBUTE), None)
            elif target in FIELDS:
                setattr(profile, target, None)
                names.append((target, profile.pk))
        profile.updated_at = timezone.now()
    with attribute_changes.unrecorded():
        Profile.objects.bulk_update(profiles, [*FIELDS, "attributes", "updated_at"])
    for kind in (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE):
        owners = [profile_id for target, profile_id in names if target == kind]
        if owners:
            Identifier.objects.filter(kind=kind, profile_id__in=owners).delete()
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE crm_sourcerecord SET content_hash = '' WHERE id = ANY(%s)", [[row[0] for row in again]]
        )
    SyncHint.objects.bulk_create(
        [
            SyncHint(connection_id=row[1], object=row[2], record_id=row[3], kind="changed", received_at=now)
            for row in again
        ],
        ignore_conflicts=True,
    )
