"""Zoho CRM: what to ask for, in which order, and what the answers mean.

Facts about Zoho that shape this file:

- Lists are sorted by Modified_Time, which counts whole seconds. Records move while one pages, and page numbers
  or tokens then skip their neighbours; so no page is ever turned: the next request asks for what changed since
  the last time seen. A second with more records than a page is walked by ascending id with a COQL query.
- Late writes appear below the newest time seen: a walk ends a few seconds before Zoho's own clock and starts
  ten minutes before the end of the one before.
- Deletions and merges leave lists without a trace; both show in the list of deleted records.
- A list shows at most 50 fields: more are read in several calls and joined by id. A record that changed in
  between keeps the earlier time, so that it comes again.
- Notifications are not signed; they carry a token that only this account's credentials give.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm.connectors import register, zoho_fields
from crm.connectors.base import (
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
from crm.connectors.tokens import Tokens
from crm.connectors.zoho_api import Api
from crm.connectors.zoho_errors import RefusedError
from crm.connectors.zoho_reading import MODULES, Reading
from crm.connectors.zoho_settings import ZohoConfig, ZohoCredentials, ZohoForm

OBJECTS = {module: name for name, module in MODULES.items()}
WRITE_ROWS = 100
SUBSCRIBED = timedelta(days=6)  # Zoho allows a week, and gives an hour to whoever asks for more
RENEW_BEFORE = timedelta(days=3)
TOKEN_LENGTH = 48  # Zoho takes 50 characters
# Refusals that meet every record alike.
HOPELESS = ("OAUTH_SCOPE_MISMATCH", "NO_PERMISSION", "NOT_ALLOWED", "INVALID_MODULE")


@register
class Zoho(Connector):
    """One Zoho CRM organisation."""

    kind, label = "zoho", "Zoho CRM"
    objects = (
        ObjectType("contacts", gettext_lazy("Contacts"), "person", chosen=True),
        ObjectType("leads", gettext_lazy("Leads"), "person"),
        ObjectType("deals", gettext_lazy("Deals"), "purchase"),
        ObjectType("products", gettext_lazy("Products"), "product"),
    )
    Config, Credentials, Form = ZohoConfig, ZohoCredentials, ZohoForm
    config: ZohoConfig
    credentials: ZohoCredentials
    write_batch = WRITE_ROWS
    erase_batch = WRITE_ROWS
    identity_fields = ("server",)
    hook_help = gettext_lazy(
        "Nothing to set up: at every sync the subscription to Zoho's notifications is renewed if it is about to end."
    )
    backoff_seconds = 1.0  # doubled with every further attempt

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any], tokens: Tokens | None = None):
        super().__init__(config, credentials, tokens)
        self._api = self._connect()
        self._reading = Reading(self._api)
        self._types: dict[str, dict[str, str]] = {}  # object -> field -> Zoho's data type

    def _connect(self, retries: int = 5, patience: float = 60) -> Api:
        centre = None if self.config.server == "sandbox" else self.config.server
        return Api(
            centre,
            settings.NUDGE_SANDBOX_URL,
            self.credentials,
            self.tokens,
            retries,
            self.backoff_seconds,
            patience,
        )

    @property
    def calls(self) -> int:  # type: ignore[override]  # counted where the calls are made
        """See Connector."""
        return self._api.calls

    # What the engine asks

    def test(self) -> str:
        """See Connector."""
        api = self._connect(retries=1, patience=8)  # somebody is waiting for the answer
        total = api.count("Contacts")
        api.query("select id from Contacts where id > 0 limit 1")  # a scope that is easily forgotten
        return (
            ngettext("Zoho answers: %d contact can be read.", "Zoho answers: %d contacts can be read.", total)
            % total
        )

    def fields(self, object_name: str) -> list[Field]:
        """See Connector."""
        definitions = self._api.fields(MODULES[object_name])
        self._types[object_name] = {
            str(definition.get("api_name")): str(definition.get("data_type")) for definition in definitions
        }
        return [found for definition in definitions if (found := zoho_fields.field(definition))]

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """See Connector. Custom fields become attributes."""
        return zoho_fields.suggest(object_name, fields)

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """See Connector and Reading."""
        return self._reading.pages(cursor, mode, object_name, names)

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """See Connector. Zoho does not tell where a merged-away record went."""
        return self._reading.records(object_name, ids, names)

    def ids(self, object_name: str) -> Iterator[list[str]]:
        """See Connector."""
        return self._reading.ids(object_name)

    def write(self, object_name: str, changes: Sequence[Change]) -> list[str | None]:
        """See Connector. Records are updated by id, so writing twice does no harm."""
        if object_name not in self._types:
            self.fields(object_name)
        types = self._types[object_name]
        said: dict[int, str | None] = {
            place: _("%s is no record id of Zoho.") % change.id
            for place, change in enumerate(changes)
            if not change.id.isdecimal()
        }
        places = [place for place in range(len(changes)) if place not in said]
        rows = [
            {
                **{
                    name: zoho_fields.given(value, types.get(name, "text"))
                    for name, value in changes[place].values.items()
                },
                "id": changes[place].id,
            }
            for place in places
        ]
        said |= dict(zip(places, self._update(MODULES[object_name], rows), strict=True))
        return [said[place] for place in range(len(changes))]

    def erase(self, object_name: str, ids: Sequence[str]) -> list[str | None]:
        """See Connector. Zoho keeps what is deleted in its recycle bin for 60 days."""
        said: dict[str, str | None] = {
            record_id: None if record_id.isdecimal() else _("%s is no record id of Zoho.") % record_id
            for record_id in ids
        }
        wanted = [record_id for record_id, refused in said.items() if refused is None]
        said |= zip(wanted, self._delete(MODULES[object_name], wanted), strict=True)
        return [said[record_id] for record_id in ids]

    def hook(self, request: HookRequest) -> HookAnswer:
        """See Connector."""
        try:
            call = msgspec.json.decode(request.body, type=_Call)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise HookRefused from None
        if not hmac.compare_digest(call.token.encode(), self._hook_token().encode()):
            raise HookRefused
        name = OBJECTS.get(call.module)
        if name is None:
            return HookAnswer([])
        kind: Literal["changed", "deleted"] = "deleted" if call.operation == "delete" else "changed"
        ids = dict.fromkeys(str(record_id) for record_id in call.ids)
        return HookAnswer([Hint(name, record_id, kind) for record_id in ids if record_id.isdecimal()])

    def watch(self, url: str, state: dict[str, Any], now: datetime) -> dict[str, Any]:
        """See Connector. The subscription is renewed well before its end, and when the address changes."""
        if urlsplit(url).scheme != "https" and self.config.server != "sandbox":
            return state  # Zoho calls nothing else
        token = self._hook_token()
        mark = hashlib.sha256(f"{token} {url}".encode()).hexdigest()[:16]
        if state.get("mark") == mark and now < datetime.fromisoformat(state["renew_at"]):
            return state
        channel = str(int(hashlib.sha256(url.encode()).hexdigest()[:13], 16) + 1)
        entry = {
            "channel_id": channel,
            "events": [f"{module}.all" for module in MODULES.values()],
            "notify_url": url,
            "token": token,
            "channel_expiry": (now.astimezone(UTC) + SUBSCRIBED).isoformat(timespec="seconds"),
        }
        try:
            details = self._api.watch("PUT" if state.get("channel") == channel else "POST", entry)
        except RefusedError as error:
            if error.code != "NOT_SUBSCRIBED":
                raise
            details = self._api.watch("POST", entry)
        ends = _channel_end(details) or now + timedelta(hours=1)
        renew_at = ends - min(RENEW_BEFORE, (ends - now) / 2)
        return {"channel": channel, "mark": mark, "renew_at": renew_at.isoformat()}

    def _hook_token(self) -> str:
        """What shows that a call comes from Zoho: only these credentials give it."""
        key = f"{self.credentials.client_secret} {self.credentials.refresh_token}".encode()
        return hmac.new(key, b"zoho notifications", hashlib.sha256).hexdigest()[:TOKEN_LENGTH]

    def _update(self, module: str, rows: list[dict[str, Any]]) -> list[str | None]:
        """Update rows; a batch that is refused as a whole is halved until the culprit stands alone."""
        if not rows:
            return []
        try:
            results = self._api.update(module, rows)
        except RefusedError as error:
            if error.code in HOPELESS:
                raise
            if len(rows) == 1:
                return [str(error)]
            half = len(rows) // 2
            return self._update(module, rows[:half]) + self._update(module, rows[half:])
        if len(results) != len(rows):
            raise ConnectorError(_("Zoho sent an answer that makes no sense; the next run tries again."))
        return [_complaint(result) for result in results]

    def _delete(self, module: str, ids: list[str]) -> list[str | None]:
        """Delete records; a batch that is refused as a whole is halved until the culprit stands alone."""
        if not ids:
            return []
        try:
            results = self._api.delete(module, ids)
        except RefusedError as error:
            if error.code in HOPELESS:
                raise
            if len(ids) == 1:
                return [str(error)]
            half = len(ids) // 2
            return self._delete(module, ids[:half]) + self._delete(module, ids[half:])
        if len(results) != len(ids):
            raise ConnectorError(_("Zoho sent an answer that makes no sense; the next run tries again."))
        return [None if _unknown(result) else _complaint(result) for result in results]


class _Call(msgspec.Struct):
    """What Zoho posts about a change."""

    module: str
    operation: str
    ids: list[str | int]
    token: str


def _channel_end(details: dict[str, Any]) -> datetime | None:
    """When Zoho ends the subscription."""
    try:
        return min(datetime.fromisoformat(event["channel_expiry"]) for event in details["events"])
    except (KeyError, TypeError, ValueError):
        return None


def _unknown(result: dict[str, Any]) -> bool:
    """Whether Zoho says of one row that it has no such record."""
    details = result.get("details")
    return result.get("status") != "success" and isinstance(details, dict) and details.get("api_name") == "id"


def _complaint(result: dict[str, Any]) -> str | None:
    """What Zoho says against one row of a write, or None."""
    if result.get("status") == "success":
        return None
    details = result.get("details")
    name = details.get("api_name") if isinstance(details, dict) else None
    if name == "id":
        return _("Zoho does not have this record any more.")
    said = str(result.get("message") or result.get("code") or "")
    if name:
        return _("Zoho refused the field %(name)s: %(said)s.") % {"name": name, "said": said}
    return _("Zoho refused the record: %s.") % said
