"""Who agreed to what. No consent, no send, whoever asks."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from django.db import connection, transaction

from crm import log
from crm.models import Consent
from crm.pg import copy_columns

CHANNEL, TOPIC = Consent.Kind.CHANNEL.value, Consent.Kind.TOPIC.value
SUBSCRIBED, UNSUBSCRIBED = Consent.State.SUBSCRIBED.value, Consent.State.UNSUBSCRIBED.value


class Change(msgspec.Struct, gc=False):
    """One answer of one person. `kind` is CHANNEL or TOPIC, `key` its name."""

    profile_id: int
    kind: str
    key: str
    state: str
    source: str
    changed_at: datetime
    wording: str = ""


_CHANGES = """
    WITH changes AS (
        SELECT DISTINCT ON (profile_id, kind, key) *
        FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, kind text, key text, state text,
            source text, wording text, changed_at timestamptz)
        ORDER BY profile_id, kind, key, changed_at DESC
    ),
"""
_RECORD = f"""
    {_CHANGES} applied AS (
        INSERT INTO crm_consent AS c (profile_id, kind, key, state, source, wording, changed_at)
        SELECT profile_id, kind, key, state, source, wording, changed_at FROM changes
        ON CONFLICT (profile_id, kind, key) DO UPDATE
            SET state = excluded.state, source = excluded.source, wording = excluded.wording,
                changed_at = excluded.changed_at
            WHERE c.state <> excluded.state AND c.changed_at <= excluded.changed_at
        RETURNING c.profile_id, c.kind, c.key, c.state, c.source, c.wording, c.changed_at
    )
    INSERT INTO crm_consentchange (profile_id, kind, key, state, source, wording, changed_at)
    SELECT * FROM applied
    RETURNING profile_id, kind, key, state, source, changed_at
"""
# The rows are locked by the statement before. A repetition without words leaves the words of the first answer.
_RENEW = f"""
    {_CHANGES} renewed AS (
        UPDATE crm_consent c SET source = r.source, changed_at = r.changed_at,
            wording = CASE WHEN r.wording = '' AND r.source = c.source THEN c.wording ELSE r.wording END
        FROM changes r JOIN crm_consent held USING (profile_id, kind, key)
        WHERE c.id = held.id AND c.state = r.state AND c.changed_at < r.changed_at
        RETURNING c.profile_id, c.kind, c.key, c.state, c.source, c.wording, c.changed_at,
            (c.source, c.wording) <> (held.source, held.wording) AS told
    )
    INSERT INTO crm_consentchange (profile_id, kind, key, state, source, wording, changed_at)
    SELECT profile_id, kind, key, state, source, wording, changed_at FROM renewed WHERE told
"""


@transaction.atomic
def record(changes: Sequence[Change], events: bool = True) -> int:
    """Store answers that are newer than what we have; return how many differ from it.

    Each of those goes into the append-only ledger and, as `consent_changed`, into the event log. One that only
    repeats what we have renews its time, so that an answer from in between that comes late does not count; it
    goes into the ledger where source or wording are others.

    Args:
        events: False keeps an import of old answers out of the event log.
    """
    if not changes:
        return 0
    with connection.cursor() as cursor:
        given = msgspec.json.encode(changes).decode()
        cursor.execute(_RECORD, [given])
        rows = cursor.fetchall()
        if len(rows) < len(changes):
            cursor.execute(_RENEW, [given])
    if not events:
        return len(rows)
    log.append(
        [
            log.NewEvent(
                id=log.event_id("consent", profile_id, kind, key, changed_at.isoformat(), state),
                profile_id=profile_id,
                name="consent_changed",
                occurred_at=changed_at,
                properties={"kind": kind, "key": key, "state": state, "source": source},
                source="nudge",
            )
            for profile_id, kind, key, state, source, changed_at in rows
        ]
    )
    return len(rows)


def record_first(changes: Sequence[Change]) -> None:
    """Store the answers of people who were made in this transaction, so that nobody can have asked them before.

    An import: it goes into the ledger, and not into the event log.

    Args:
        changes: one answer to each question at most.
    """
    if not changes:
        return
    columns = [
        [str(change.profile_id) for change in changes],
        *(
            [getattr(change, name) for change in changes]
            for name in ("kind", "key", "state", "source", "wording")
        ),
        [change.changed_at.isoformat() for change in changes],
    ]
    names = "profile_id, kind, key, state, source, wording, changed_at"
    with connection.cursor() as cursor:
        for table in ("crm_consent", "crm_consentchange"):
            with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                copy_columns(copy, columns)


def subscribed(profile_ids: Collection[int], channel: str, topic: str = "") -> set[int]:
    """Return those of `profile_ids` that may be written to by `channel` about `topic`.

    The channel needs a yes; a topic only must not have a no.
    """
    wanted = list(profile_ids)
    agreed = set(
        Consent.objects.filter(
            profile_id__in=wanted, kind=CHANNEL, key=channel, state=SUBSCRIBED
        ).values_list("profile_id", flat=True)
    )
    if topic and agreed:
        agreed -= set(
            Consent.objects.filter(
                profile_id__in=wanted, kind=TOPIC, key=topic, state=UNSUBSCRIBED
            ).values_list("profile_id", flat=True)
        )
    return agreed
