"""Salesforce contacts, leads, opportunities and products: how the parts in the files beside this one are used."""

import hmac
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm import normalise
from crm.connectors import register
from crm.connectors.base import (
    Budget,
    Change,
    Connector,
    ConnectorError,
    Field,
    Hint,
    HookAnswer,
    HookRefused,
    HookRequest,
    Mode,
    ObjectType,
    Page,
    Record,
    Suggestion,
)
from crm.connectors.salesforce_api import Api, Row, RowResult
from crm.connectors.salesforce_fields import CONTACT, LEAD, OPPORTUNITY, PRODUCT, Schema, suggestion
from crm.connectors.salesforce_hook import ACK, Notifications, keyed
from crm.connectors.salesforce_ids import long_form
from crm.connectors.salesforce_read import IDS_IN_QUERY, Reader
from crm.connectors.salesforce_settings import (
    SalesforceConfig,
    SalesforceCredentials,
    SalesforceForm,
    problem,
)
from crm.connectors.salesforce_walk import Walk
from crm.connectors.tokens import Tokens

RETRIES, PATIENCE = 5, 60.0
QUICKLY = 1, 8.0  # where somebody is waiting for the answer
WRITTEN = 200  # records in one call, Salesforce's limit
WRITE_ATTEMPTS = 4
DELETED = ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY")
LOCKED = ("UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE")


@register
class Salesforce(Connector):
    """One organisation."""

    kind, label = "salesforce", "Salesforce"
    objects = (
        ObjectType(CONTACT, gettext_lazy("Contacts"), "person", chosen=True),
        ObjectType(LEAD, gettext_lazy("Leads"), "person"),
        ObjectType(OPPORTUNITY, gettext_lazy("Opportunities"), "purchase"),
        ObjectType(PRODUCT, gettext_lazy("Products"), "product"),
    )
    Config, Credentials, Form = SalesforceConfig, SalesforceCredentials, SalesforceForm
    config: SalesforceConfig
    credentials: SalesforceCredentials
    write_batch = WRITTEN
    erase_batch = WRITTEN
    identity_fields = ("server", "domain")
    hook_help = gettext_lazy(
        "In Salesforce: Setup → Workflow Actions → Outbound Messages → New; choose the object, as “Endpoint URL” "
        "the whole address shown here, and as fields only “Id”; do not send the session id. Then Setup → Flows → New → "
        "record-triggered flow, when a record is created or updated, with the outbound message as its action; "
        "activate it. Do so for each object."
    )
    backoff_seconds = 1.0  # doubled with every further attempt
    poll_seconds = 1.0  # before a Bulk job is asked for again
    page_size = 2_000  # Salesforce sends no more rows at once
    bulk_from = 50_000  # records from which on a Bulk job is the cheaper way

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any], tokens: Tokens | None = None):
        super().__init__(config, credentials, tokens)
        found = problem(self.config, self.credentials)
        if found:
            label = self.Form.base_fields[found[0]].label
            raise ConnectorError(
                _("The connection's settings are incomplete: %s.") % f"{label} – {found[1].rstrip('.')}"
            )
        self._api = self._connect(RETRIES, PATIENCE)
        self._schemas: dict[str, Schema] = {}

    def _connect(self, retries: int, patience: float) -> Api:
        detour = settings.NUDGE_SANDBOX_URL.rstrip("/") if self.config.server == "sandbox" else None
        return Api(
            self.config,
            self.credentials,
            self.tokens,
            detour,
            retries=retries,
            backoff=self.backoff_seconds,
            patience=patience,
        )

    @property
    def calls(self) -> int:  # type: ignore[override]  # counted where the calls are made
        """See Connector."""
        return self._api.wire.calls

    @property
    def budget(self) -> Budget | None:  # type: ignore[override]
        """See Connector. Salesforce counts the calls of the last 24 hours, everybody's in the organisation."""
        return self._api.wire.budget

    # What the engine asks

    def test(self) -> str:
        """See Connector."""
        api = self._connect(*QUICKLY)
        total = api.query(f"SELECT COUNT() FROM {CONTACT}").total_size
        return (
            ngettext(
                "Salesforce answers: %d contact can be read.",
                "Salesforce answers: %d contacts can be read.",
                total,
            )
            % total
        )

    def account(self) -> str:
        """See Connector."""
        return self._api.organization()

    def fields(self, object_name: str) -> list[Field]:
        """See Connector. Without compound fields, whose parts are fields of their own."""
        return list(self._described(object_name).fields)

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """See Connector. Custom fields become attributes."""
        return suggestion(object_name, self.object_type(object_name).role, fields)

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """See Connector; the cursor is described in `salesforce_walk`."""
        return self._walk(object_name, names).pages(cursor, full=mode == "full")

    def ids(self, object_name: str) -> Iterator[list[str]]:
        """See Connector."""
        return self._walk(object_name, []).ids()

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """See Connector. Ids of 15 characters are understood; records come under 18."""
        reader = self._reader(object_name, names)
        known = list(dict.fromkeys(found for one in ids if (found := long_form(one))))
        records = [
            reader.record(row)
            for start in range(0, len(known), IDS_IN_QUERY)
            for row in reader.by_id(known[start : start + IDS_IN_QUERY])
        ]
        return [record for record in records if not record.deleted or record.merged_into]

    def write(self, object_name: str, changes: Sequence[Change]) -> list[str | None]:
        """See Connector. A record that is locked is tried again."""
        schema = self._schema(object_name)
        said: list[str | None] = [None] * len(changes)
        rows: dict[str, Row] = {}  # by record: Salesforce refuses two rows about one
        asked: dict[str, list[int]] = {}
        for index, change in enumerate(changes):
            record_id = long_form(change.id)
            refused = _unwritable(schema, change) if record_id else _("This is no id of a Salesforce record.")
            if refused or not record_id:
                said[index] = refused
                continue
            values = {name: schema.outgoing(name, value) for name, value in change.values.items()}
            row = rows.setdefault(record_id, {"attributes": {"type": object_name}, "id": record_id})
            row.update(values)
            asked.setdefault(record_id, []).append(index)
        for record_id, result in self._written(rows).items():
            if not result.success:
                for index in asked[record_id]:
                    said[index] = _why(result)
        return said

    def erase(self, object_name: str, ids: Sequence[str]) -> list[str | None]:
        """See Connector. Salesforce keeps what is deleted in its recycle bin for 15 days, then it is gone for good."""
        whole = {record_id: long_form(record_id) for record_id in ids}
        wanted = list(dict.fromkeys(record_id for record_id in whole.values() if record_id))
        results = dict(zip(wanted, self._api.delete(wanted) if wanted else [], strict=True))
        said: list[str | None] = []
        for record_id in ids:
            result = results.get(whole[record_id] or "")
            if result is None:
                said.append(_("This is no id of a Salesforce record."))
            else:
                gone = any(error.status_code in DELETED for error in result.errors)
                said.append(None if result.success or gone else _why(result))
        return said

    def hook(self, request: HookRequest) -> HookAnswer:
        """See Connector. The message must come to our secret address and from our organisation."""
        if not keyed(request.url, self.config.hook_key):
            raise HookRefused
        message = Notifications(request)
        try:
            ours = self._connect(*QUICKLY).organization()
        except ConnectorError:
            raise HookRefused from None  # it can't be checked now; Salesforce sends it again
        if not ours or not hmac.compare_digest(message.organization, ours):
            raise HookRefused
        known = {found.name for found in self.objects}
        hints = [Hint(name, record_id) for name, record_id in message.records if name in known]
        return HookAnswer(hints, ACK, "text/xml; charset=utf-8")

    # Parts

    def _described(self, object_name: str) -> Schema:
        """The object's schema as it is at this moment."""
        found = self._schemas[object_name] = Schema(object_name, self._api.describe(object_name))
        return found

    def _schema(self, object_name: str) -> Schema:
        return self._schemas.get(object_name) or self._described(object_name)

    def _reader(self, object_name: str, names: Sequence[str]) -> Reader:
        schema = self._schema(object_name)
        return Reader(
            self._api, object_name, lambda: self._described(object_name), schema, names, self.page_size
        )

    def _walk(self, object_name: str, names: Sequence[str]) -> Walk:
        reader = self._reader(object_name, names)
        bulk_from = self.bulk_from if reader.simple and not self.hurried else None
        every = timedelta(minutes=self.config.deletions_every_minutes)
        return Walk(self._api, reader, bulk_from, self.poll_seconds, every)

    def _written(self, rows: dict[str, Row]) -> dict[str, RowResult]:
        """What came of each row."""
        results: dict[str, RowResult] = {}
        waiting = dict(rows)
        for attempt in range(WRITE_ATTEMPTS):
            if not waiting:
                break
            if attempt:
                time.sleep(self.backoff_seconds * 2 ** (attempt - 1))
            found = self._api.update(list(waiting.values()))
            results |= zip(waiting, found, strict=True)
            waiting = {
                record_id: row
                for record_id, row in waiting.items()
                if any(error.status_code in LOCKED for error in results[record_id].errors)
            }
        return results


def _unwritable(schema: Schema, change: Change) -> str | None:
    """Why a change can't be sent, if it can't."""
    for name in change.values:
        if name not in schema.types:
            return _("The field %s no longer exists, or the user may not see it.") % name
        if name not in schema.writable:
            return _("The user may not write the field %s.") % name
    return None


def _why(result: RowResult) -> str:
    error = result.errors[0] if result.errors else None
    said = normalise.shortened(error.message or error.status_code, 300) if error else ""
    return _("Salesforce refused the change: %s") % said if said else _("Salesforce refused the change.")
