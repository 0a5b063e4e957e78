"""Storing one page of CRM records: profiles, record memory, consent, rejects, counters and cursor together.

Everything about a page happens in one transaction, so a run that dies anywhere has either stored a page
and its cursor, or neither.
"""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection as database
from django.db import transaction
from django.db.models import F

from crm import consent, normalise, profiles
from crm.connectors.base import Page, Record
from crm.models import Connection, Consent, SourceRecord, SyncReject, SyncRun
from crm.normalise import Rejection
from crm.patches import Row
from crm.sync import gone
from crm.sync.gone import SOURCE
from crm.sync.mapping import Mapping, Translation, content_hash, translate

RAW_LIMIT = 1_000  # characters of one value kept for a rejected record

_SAVE = """
    INSERT INTO crm_sourcerecord AS s
        (connection_id, object, record_id, modified_at, content_hash, empty, consent, state, synced_at)
    SELECT %(connection)s, %(object)s, r.record_id, r.modified_at, decode(r.content_hash, 'hex'),
        array(SELECT jsonb_array_elements_text(r.empty)), r.consent, 'live', %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(record_id text, modified_at timestamptz, content_hash text, empty jsonb, consent jsonb)
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET modified_at = excluded.modified_at,
        content_hash = excluded.content_hash, empty = excluded.empty, consent = excluded.consent,
        state = excluded.state, synced_at = excluded.synced_at
"""
_REJECT = """
    INSERT INTO crm_syncreject AS s (connection_id, run_id, object, record_id, code, field, detail, raw,
        attempts, first_seen, last_seen)
    SELECT %(connection)s, %(run)s, %(object)s, r.record_id, r.code, r.field, r.detail, r.raw,
        1, %(now)s, %(now)s
    FROM jsonb_to_recordset(%(rows)s::jsonb)
        AS r(record_id text, code text, field text, detail text, raw jsonb)
    ON CONFLICT (connection_id, object, record_id) DO UPDATE SET run_id = excluded.run_id,
        code = excluded.code, field = excluded.field, detail = excluded.detail, raw = excluded.raw,
        attempts = s.attempts + 1, last_seen = excluded.last_seen, resolved_at = NULL
"""


class SupersededError(Exception):
    """The run was ended by somebody else; nothing more may be stored in its name."""


class Counts(msgspec.Struct):
    """What became of a page's records; `read` is the sum of the others."""

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    merged: int = 0
    deleted: int = 0


class _Taken(msgspec.Struct):
    """A record on its way into the database."""

    record: Record
    content_hash: bytes
    translation: Translation
    known: SourceRecord | None


def apply(run: SyncRun, page: Page, mapping: Mapping, now: datetime) -> Counts:
    """Store one page and move the connection's cursor behind it.

    Raises:
        SupersededError: the run is no longer running; nothing was stored.
    """
    with transaction.atomic():
        counts = _PageWork(run, page, mapping, now).store()
        moved = SyncRun.objects.filter(pk=run.pk, state=SyncRun.State.RUNNING).update(
            beat_at=now,
            expected=page.expected if run.expected is None else run.expected,
            cursor_after={**run.cursor_after, page.object: page.cursor},
            **{name: F(name) + number for name, number in msgspec.structs.asdict(counts).items()},
        )
        if not moved:
            raise SupersededError
        Connection.objects.filter(pk=run.connection_id).update(
            cursor={**run.connection.cursor, page.object: page.cursor}
        )
    run.connection.cursor = {**run.connection.cursor, page.object: page.cursor}
    run.cursor_after = {**run.cursor_after, page.object: page.cursor}
    return counts


class _PageWork:
    """One page inside its transaction."""

    def __init__(self, run: SyncRun, page: Page, mapping: Mapping, now: datetime):
        self.run, self.page, self.mapping, self.now = run, page, mapping, now
        self.connection = run.connection
        self.kind = f"{self.connection.slug}:{page.object}"
        self.counts = Counts(read=len(page.records))
        self.rejected: dict[str, tuple[Record, Rejection]] = {}
        self.saved: list[dict[str, Any]] = []

    def store(self) -> Counts:
        """Sort the records into what has to happen to them, and do that in bulk."""
        newest: dict[str, Record] = {}
        for record in self.page.records:
            held = newest.setdefault(record.id, record)
            if record.modified_at > held.modified_at:
                newest[record.id] = record
        self.counts.unchanged += len(self.page.records) - len(newest)
        known = {row.record_id: row for row in self._records().filter(record_id__in=list(newest))}
        removed: list[Record] = []
        taken: list[_Taken] = []
        digest = self.mapping.digest()
        for record in newest.values():
            if record.deleted:
                self._sort_deleted(record, known.get(record.id), removed)
            else:
                self._sort_live(record, known.get(record.id), digest, taken)
        self._store_profiles(taken)
        self.counts.deleted += len(removed)
        gone.delete(self.connection, self.page.object, self.kind, removed, self.now)
        self._save_records()
        self._save_rejects()
        self._resolve([record_id for record_id in newest if record_id not in self.rejected])
        return self.counts

    def _records(self) -> Any:
        return SourceRecord.objects.filter(connection=self.connection, object=self.page.object)

    def _sort_deleted(self, record: Record, known: SourceRecord | None, removed: list[Record]) -> None:
        if known and known.state == SourceRecord.State.LIVE:
            removed.append(record)
        else:
            self.counts.unchanged += 1

    def _sort_live(
        self, record: Record, known: SourceRecord | None, digest: bytes, taken: list[_Taken]
    ) -> None:
        if known and not self._is_news(record, known):
            self.counts.unchanged += 1
            return
        fingerprint = content_hash(record, self.mapping, digest)
        if known and known.state == SourceRecord.State.LIVE and bytes(known.content_hash) == fingerprint:
            self.counts.unchanged += 1
            if record.modified_at > known.modified_at:
                self._remember(record, fingerprint, known.empty, known.consent)
            return
        memory = known.empty if known and known.state == SourceRecord.State.LIVE else None
        try:
            translation = translate(record, self.mapping, memory)
        except Rejection as error:
            self._reject(record, error)
            return
        taken.append(_Taken(record, fingerprint, translation, known))

    def _is_news(self, record: Record, known: SourceRecord) -> bool:
        """Whether the record may replace what we know: never an older state, never an erased person.

        A deleted record comes back only if it was changed since, or if the CRM's own store (and not an
        index that lags behind) says that it is there.
        """
        match known.state:
            case SourceRecord.State.LIVE:
                return record.modified_at >= known.modified_at
            case SourceRecord.State.DELETED:
                return self.page.current or record.modified_at > known.modified_at
        return False

    def _store_profiles(self, taken: list[_Taken]) -> None:
        rows = [Row(self.kind, item.record.id, item.translation.patch) for item in taken]
        outcomes = profiles.upsert(rows, f"{SOURCE}:{self.connection.slug}", self.now).outcomes
        stored: list[tuple[_Taken, int]] = []
        for item, outcome in zip(taken, outcomes, strict=True):
            if outcome.state == profiles.REJECTED or outcome.profile_id is None:
                self._reject(
                    item.record, Rejection(outcome.code, self._crm_field(outcome.field), outcome.detail)
                )
                continue
            setattr(self.counts, outcome.state, getattr(self.counts, outcome.state) + 1)
            translation = item.translation
            self._remember(item.record, item.content_hash, translation.empty, translation.consent)
            stored.append((item, outcome.profile_id))
        self._store_consent(stored)

    def _crm_field(self, target: str) -> str:
        return next((name for name, mapped in self.mapping.fields.items() if mapped == target), target)

    def _store_consent(self, stored: Sequence[tuple[_Taken, int]]) -> None:
        """Record answers that the CRM has changed or gives for the first time.

        A person's own no stays, whatever the CRM says. A first no of the CRM gives way to a later yes of
        the person. First answers are no events: an import is nothing that people did.
        """
        fresh = [
            (item, profile_id, name, answer)
            for item, profile_id in stored
            for name, answer in item.translation.consent.items()
            if item.known is None or item.known.consent.get(name) is not answer
        ]
        if not fresh:
            return
        present = {
            (row.profile_id, f"{row.kind}:{row.key}"): row
            for row in Consent.objects.filter(profile_id__in={profile_id for _, profile_id, *_ in fresh})
        }
        first: list[consent.Change] = []
        changed: list[consent.Change] = []
        for item, profile_id, name, answer in fresh:
            held = present.get((profile_id, name))
            if held and held.source != SOURCE and (answer or held.state == Consent.State.UNSUBSCRIBED):
                continue
            kind, _colon, key = name.partition(":")
            answered_at = item.record.modified_at
            if held and held.source == SOURCE and item.known and item.known.state != SourceRecord.State.LIVE:
                # Back from the recycle bin, which touches no time: what ended then is answered anew.
                answered_at = max(answered_at, held.changed_at)
            known = item.known is not None and name in item.known.consent
            (changed if known else first).append(
                consent.Change(
                    profile_id=profile_id,
                    kind=kind,
                    key=key,
                    state=consent.SUBSCRIBED if answer else consent.UNSUBSCRIBED,
                    source=SOURCE,
                    changed_at=answered_at,
                )
            )
        consent.record(first, events=False)
        consent.record(changed)

    def _remember(
        self, record: Record, fingerprint: bytes, empty: list[str], answers: dict[str, bool]
    ) -> None:
        self.saved.append(
            {
                "record_id": record.id,
                "modified_at": record.modified_at.isoformat(),
                "content_hash": fingerprint.hex(),
                "empty": empty,
                "consent": answers,
            }
        )

    def _save_records(self) -> None:
        if self.saved:
            self._execute(_SAVE, self.saved)

    def _reject(self, record: Record, error: Rejection) -> None:
        self.rejected[record.id] = (record, error)
        self.counts.rejected += 1

    def _save_rejects(self) -> None:
        rows = [
            {
                "record_id": record_id,
                "code": error.code,
                "field": error.field,
                "detail": error.detail,
                "raw": {name: _showable(value) for name, value in record.fields.items()},
            }
            for record_id, (record, error) in self.rejected.items()
        ]
        if rows:
            self._execute(_REJECT, rows)

    def _resolve(self, record_ids: list[str]) -> None:
        SyncReject.objects.filter(
            connection=self.connection,
            object=self.page.object,
            record_id__in=record_ids,
            resolved_at=None,
        ).update(resolved_at=self.now)

    def _execute(self, statement: str, rows: list[dict[str, Any]]) -> None:
        with database.cursor() as cursor:
            cursor.execute(
                statement,
                {
                    "connection": self.connection.pk,
                    "run": self.run.pk,
                    "object": self.page.object,
                    "now": self.now,
                    "rows": json.dumps(rows),
                },
            )


def _showable(value: Any) -> Any:
    """A value as jsonb can hold it, cut to what helps a person to see what is wrong."""
    match value:
        case str():
            text = value.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
            return normalise.shortened(text, RAW_LIMIT)
        case float():
            return value if math.isfinite(value) else str(value)
        case list():
            return [_showable(item) for item in value]
        case dict():
            return {_showable(key): _showable(item) for key, item in value.items()}
    return value
