"""Who agreed to what. No consent, no send, whoever asks."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, transaction

from crm import log
from crm.models import Consent, LegalBasis, Preference, Topic
from crm.pg import copy_columns, number_array

CHANNEL, TOPIC = Consent.Kind.CHANNEL.value, Consent.Kind.TOPIC.value
SUBSCRIBED, UNSUBSCRIBED = Consent.State.SUBSCRIBED.value, Consent.State.UNSUBSCRIBED.value
PENDING = Consent.State.PENDING.value
ON_CONSENT = LegalBasis.CONSENT.value


class Change(msgspec.Struct, gc=False):
    """One answer of one person. `kind` is CHANNEL or TOPIC, `key` its name.

    `proof` says where the answer was given: "page" (an address without its query), "user_agent", "language" and
    "address" (a fingerprint). `delivery` is the message whose link led to the answer.
    """

    profile_id: int
    kind: str
    key: str
    state: str
    source: str
    changed_at: datetime
    wording: str = ""
    wording_version: str = ""
    legal_basis: str = ON_CONSENT
    proof: dict[str, Any] = {}
    delivery: int | None = None


_NAMES = (
    *("profile_id", "kind", "key", "state", "source"),
    *("wording", "wording_version", "legal_basis", "proof", "changed_at"),
)
_COLUMNS = ", ".join(_NAMES)
_CHANGES = """
    WITH changes AS (
        SELECT DISTINCT ON (profile_id, kind, key) *
        FROM jsonb_to_recordset(%s::jsonb) AS r(profile_id bigint, kind text, key text, state text,
            source text, wording text, wording_version text, legal_basis text, proof jsonb, delivery bigint,
            changed_at timestamptz)
        ORDER BY profile_id, kind, key, changed_at DESC
    ),
"""
_RECORD = f"""
    {_CHANGES} applied AS (
        INSERT INTO crm_consent AS c ({_COLUMNS})
        SELECT {_COLUMNS} FROM changes
        ON CONFLICT (profile_id, kind, key) DO UPDATE
            SET state = excluded.state, source = excluded.source, wording = excluded.wording,
                wording_version = excluded.wording_version, legal_basis = excluded.legal_basis,
                proof = excluded.proof, changed_at = excluded.changed_at
            WHERE c.state <> excluded.state AND c.changed_at <= excluded.changed_at
        RETURNING {", ".join(f"c.{name}" for name in _NAMES)}
    ), entered AS (
        INSERT INTO crm_consentchange ({_COLUMNS}) SELECT {_COLUMNS} FROM applied
    )
    SELECT profile_id, kind, key, a.state, a.source, a.changed_at, c.delivery
    FROM applied a JOIN changes c USING (profile_id, kind, key)
"""
# The rows are locked by the statement before. A repetition without words leaves the words of the first answer.
_RENEW = f"""
    {_CHANGES} renewed AS (
        UPDATE crm_consent c SET source = r.source, changed_at = r.changed_at, legal_basis = r.legal_basis,
            wording = CASE WHEN silent THEN c.wording ELSE r.wording END,
            wording_version = CASE WHEN silent THEN c.wording_version ELSE r.wording_version END,
            proof = CASE WHEN silent THEN c.proof ELSE r.proof END
        FROM (
            SELECT changes.*, held.id, changes.wording = '' AND changes.source = held.source AS silent,
                (held.source, held.wording, held.wording_version, held.legal_basis) AS before
            FROM changes JOIN crm_consent held USING (profile_id, kind, key)
        ) r
        WHERE c.id = r.id AND c.state = r.state AND c.changed_at < r.changed_at
        RETURNING {", ".join(f"c.{name}" for name in _NAMES)},
            (c.source, c.wording, c.wording_version, c.legal_basis) <> r.before OR c.state = '{PENDING}' AS told
    )
    INSERT INTO crm_consentchange ({_COLUMNS}) SELECT {_COLUMNS} FROM renewed WHERE told
"""


@transaction.atomic
def record(changes: Sequence[Change], events: bool = True) -> int:
    """Store answers that are newer than what we have; return how many differ from it.

    Each of those goes into the append-only ledger and, as `consent_changed`, into the event log. One that only
    repeats what we have renews its time, so that an answer from in between that comes late does not count; it
    goes into the ledger where source, wording or legal basis are others, and always where it asks to be confirmed.

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
                properties={"kind": kind, "key": key, "state": state, "source": source}
                | ({"delivery": delivery} if delivery else {}),
                source="nudge",
            )
            for profile_id, kind, key, state, source, changed_at, delivery in rows
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
            for name in ("kind", "key", "state", "source", "wording", "wording_version", "legal_basis")
        ),
        [msgspec.json.encode(change.proof).decode() if change.proof else "{}" for change in changes],
        [change.changed_at.isoformat() for change in changes],
    ]
    with connection.cursor() as cursor:
        for table in ("crm_consent", "crm_consentchange"):
            with cursor.copy(f"COPY {table} ({_COLUMNS}) FROM STDIN") as copy:
                copy_columns(copy, columns)


_ANSWERS = f"""
    SELECT profile_id, kind, state FROM crm_consent
    WHERE profile_id = ANY(%s::bigint[])
        AND ((kind, key) = ('{CHANNEL}', %s) OR (kind, key) = ('{TOPIC}', nullif(%s, '')))
"""


def subscribed(profile_ids: Collection[int], channel: str, topic: str = "", opt_in: bool = True) -> set[int]:
    """Return those of `profile_ids` that may be written to by `channel` about `topic`.

    The channel needs a yes. A topic only must not have a no, unless it is one that needs a yes as well; a yes that
    waits to be confirmed is none. Two queries.

    Args:
        opt_in: False for a channel that only must not have a no, such as messages inside the customer's own site.
    """
    wanted = set(profile_ids)
    needs_yes = bool(topic and wanted) and Topic.objects.filter(slug=topic, needs_yes=True).exists()
    yes: dict[str, set[int]] = {CHANNEL: set(), TOPIC: set()}
    no: dict[str, set[int]] = {CHANNEL: set(), TOPIC: set()}
    with connection.cursor() as cursor:
        cursor.execute(_ANSWERS, [number_array(wanted), channel, topic])
        for profile_id, kind, state in cursor.fetchall():
            (yes if state == SUBSCRIBED else no)[kind].add(profile_id)
    agreed = yes[CHANNEL] if opt_in else wanted - no[CHANNEL]
    return agreed & yes[TOPIC] if needs_yes else agreed - no[TOPIC]


@contextmanager
def ledger_opened() -> Iterator[None]:
    """Let this transaction change and delete entries of the ledger, for whoever erases people for good."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL nudge.ledger = 'open'")
        try:
            yield
        finally:
            if not connection.needs_rollback:
                cursor.execute("SET LOCAL nudge.ledger = 'closed'")


@transaction.atomic
def forget(profile_ids: Collection[int]) -> None:
    """Drop what erased people agreed to and how they wanted to be written to.

    The ledger stays as the proof that what was sent was allowed, without the pages and browsers it was said with.
    """
    ids = list(profile_ids)
    Consent.objects.filter(profile_id__in=ids).delete()
    Preference.objects.filter(profile_id__in=ids).delete()
    with ledger_opened(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE crm_consentchange SET proof = proof - '{page,user_agent}'::text[]"
            " WHERE profile_id = ANY(%s) AND proof ?| '{page,user_agent}'",
            [ids],
        )
