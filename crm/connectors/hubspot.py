"""HubSpot contacts: what to ask for, in which order, and what the answers mean.

Facts about HubSpot that shape this file:

- A search sees at most 10,000 rows of one query and its order by time is not stable, so a fixed window of
  modified times is walked by ascending id, never by offset.
- The search index lags behind writes, and late writes appear below the newest time seen: a window ends
  a few seconds before HubSpot's own clock and starts ten minutes before the end of the one before.
- Archiving does not touch the modified time and takes the record out of search: deletions come from the
  list of archived records, by `archivedAt`.
- Long lists of properties do not fit into a URL: then the list gives ids and a batch gives the values.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm.connectors import register
from crm.connectors.base import (
    Connector,
    ConnectorError,
    Field,
    FieldKind,
    Mode,
    ObjectType,
    Page,
    Record,
    Suggestion,
)
from crm.connectors.hubspot_api import BATCH, CONTACTS, Api, Contact, Contacts
from crm.connectors.tokens import Tokens

State = dict[str, Any]

API = "https://api.hubapi.com"
SEARCH_PAGE = 200
URL_PROPERTIES = 4_000  # characters of property names that fit into a URL
HOLD_BACK = timedelta(seconds=5)
LOOK_BACK = timedelta(minutes=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIELDS = {
    "email": "email",
    "phone": "phone",
    "firstname": "first_name",
    "lastname": "last_name",
    "hs_language": "language",
    "hs_timezone": "timezone",
    "country": "country",
    "city": "city",
    "date_of_birth": "birthday",
    "lifecyclestage": "lifecycle_stage",
    "company": "attributes.company",
    "jobtitle": "attributes.job_title",
}
CONSENT: dict[str, dict[str, Any]] = {
    "webpush_opt_in": {"kind": "channel", "key": "webpush"},
    "newsletter_opt_in": {"kind": "topic", "key": "newsletter"},
    "hs_email_optout": {"kind": "channel", "key": "email", "inverted": True},
}


class HubSpotConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`server` is HubSpot itself or the sandbox of this installation; no other address can be reached."""

    server: Literal["hubspot", "sandbox"] = "hubspot"
    deletions_every_minutes: int = 60


class HubSpotCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """The token of a private app."""

    access_token: str


class HubSpotForm(forms.Form):
    """What the operator enters."""

    server = forms.ChoiceField(
        label=gettext_lazy("Account"),
        choices=[("hubspot", "HubSpot"), ("sandbox", gettext_lazy("CRM sandbox of this installation"))],
    )
    access_token = forms.CharField(
        label=gettext_lazy("Access token"),
        max_length=500,
        help_text=gettext_lazy(
            "In HubSpot: Settings → Integrations → Private apps → create one with the scope "
            "crm.objects.contacts.read. The sandbox takes any token."
        ),
    )
    deletions_every_minutes = forms.IntegerField(
        label=gettext_lazy("Minutes between looks for deleted contacts"),
        min_value=1,
        max_value=1440,
        initial=60,
        help_text=gettext_lazy("HubSpot lists all archived contacts each time, so do not look too often."),
    )


@register
class HubSpot(Connector):
    """Contacts of one HubSpot account."""

    kind, label = "hubspot", "HubSpot"
    objects = (ObjectType(CONTACTS, gettext_lazy("Contacts"), "person", chosen=True),)
    Config, Credentials, Form = HubSpotConfig, HubSpotCredentials, HubSpotForm
    config: HubSpotConfig
    credentials: HubSpotCredentials
    backoff_seconds = 1.0  # doubled with every further attempt

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any], tokens: Tokens | None = None):
        super().__init__(config, credentials, tokens)
        self._api = self._connect()
        self._kinds: dict[str, FieldKind] = {}

    def _connect(self, retries: int = 5, patience: float = 60) -> Api:
        return Api(self.url, self.credentials.access_token, retries, self.backoff_seconds, patience)

    @property
    def url(self) -> str:
        """Where the API is."""
        return settings.NUDGE_SANDBOX_URL if self.config.server == "sandbox" else API

    # What the engine asks

    def test(self) -> str:
        """See Connector."""
        total = _count(self._connect(retries=1, patience=8))  # somebody is waiting for the answer
        return (
            ngettext(
                "HubSpot answers: %d contact can be read.", "HubSpot answers: %d contacts can be read.", total
            )
            % total
        )

    def fields(self, object_name: str) -> list[Field]:
        """See Connector."""
        properties = self._api.properties()
        self._kinds = {found.name: found.kind() for found in properties}
        return [
            Field(found.name, found.label or found.name, self._kinds[found.name], not found.hubspot_defined)
            for found in properties
            if not found.hidden
        ]

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """See Connector. Custom properties become attributes."""
        names = {field.name for field in fields}
        chosen = {name: target for name, target in FIELDS.items() if name in names}
        consent = {name: dict(rule) for name, rule in CONSENT.items() if name in names}
        taken = set(chosen.values())
        for field in fields:
            if field.custom and field.name not in {*chosen, *consent, *taken}:
                chosen[field.name] = f"attributes.{field.name}"
        return Suggestion(chosen, consent)

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """See Connector. The cursor says how far each way of reading is, in ms of HubSpot's clock."""
        if not self._kinds:
            self.fields(CONTACTS)
        now = self._now()
        state = dict(cursor)
        looked = state.get("deleted_until")
        if mode == "full" or not state:
            state = {"list": {"after": None, "started": now}, "deleted_until": looked or now}
            if looked is not None:
                state["deleted"] = {"after": None, "started": now}
        if "list" in state:
            state = yield from self._everything(state, names)
        else:
            state = yield from self._changes(state, now, names)
        if "deleted" in state or now - state["deleted_until"] >= self.config.deletions_every_minutes * 60_000:
            yield from self._deletions(state, now)

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """See Connector. A merged-away id gives the record it went into, under that record's id."""
        if not self._kinds:
            self.fields(CONTACTS)
        return [
            self._record(contact, names)
            for start in range(0, len(ids), BATCH)
            for contact in self._api.read(ids[start : start + BATCH], names)
        ]

    # Three ways through the contacts. Each returns the state it ends in.

    def _everything(self, state: State, names: Sequence[str]) -> Generator[Page, None, State]:
        expected = _count(self._api)
        while True:
            after = state["list"]["after"]
            found, records = self._listed(after, names)
            if found.after:
                state = {**state, "list": {**state["list"], "after": found.after}}
                yield Page(CONTACTS, records, state, expected, current=True)
                continue
            state = {**state, "until": state["list"]["started"]}
            del state["list"]
            yield Page(CONTACTS, records, state, expected, current=True)
            return state

    def _listed(self, after: str | None, names: Sequence[str]) -> tuple[Contacts, list[Record]]:
        if sum(len(name) + len("&properties=") for name in names) <= URL_PROPERTIES:
            found = self._api.page(after, list(names) or ["email"], archived=False)
            return found, [self._record(contact, names) for contact in found.results]
        found = self._api.page(after, ["email"], archived=False)
        return found, self.read(CONTACTS, [contact.id for contact in found.results], names)

    def _changes(self, state: State, now: int, names: Sequence[str]) -> Generator[Page, None, State]:
        window = state.get("search") or {
            "from": state["until"] - _milliseconds(LOOK_BACK),
            "to": now - _milliseconds(HOLD_BACK),
            "last": "0",
        }
        expected = None
        while True:
            found = self._api.search(_query(window, names))
            expected = found.total if expected is None else expected
            ids = [int(contact.id) for contact in found.results]
            if ids != sorted(set(ids)) or (ids and ids[0] <= int(window["last"])):
                raise ConnectorError(_("HubSpot sent contacts out of order; the next run tries again."))
            records = [self._record(contact, names) for contact in found.results]
            if len(ids) == SEARCH_PAGE:
                window = {**window, "last": str(ids[-1])}
                state = {**state, "search": window}
                yield Page(CONTACTS, records, state, expected)
                continue
            state = {**state, "until": window["to"]}
            state.pop("search", None)
            yield Page(CONTACTS, records, state, expected)
            return state

    def _deletions(self, state: State, now: int) -> Generator[Page, None, State]:
        place = state.get("deleted") or {"after": None, "started": now}
        since = datetime.fromtimestamp(state["deleted_until"] / 1000, UTC) - LOOK_BACK
        while True:
            found = self._api.page(place["after"], ["email"], archived=True)
            records = [
                Record(contact.id, contact.archived_at, {}, deleted=True)
                for contact in found.results
                if contact.archived_at and contact.archived_at >= since
            ]
            if found.after:
                place = {**place, "after": found.after}
                state = {**state, "deleted": place}
                yield Page(CONTACTS, records, state, current=True)
                continue
            state = {**state, "deleted_until": place["started"]}
            state.pop("deleted", None)
            yield Page(CONTACTS, records, state, current=True)
            return state

    def _now(self) -> int:
        if self._api.server_time is None:
            raise ConnectorError(_("HubSpot's answers carry no date; is a proxy in between?"))
        return _milliseconds(self._api.server_time - EPOCH)

    def _record(self, contact: Contact, names: Sequence[str]) -> Record:
        fields = {name: _typed(contact.properties.get(name), self._kinds.get(name, "text")) for name in names}
        return Record(contact.id, contact.updated_at, fields)


def _count(api: Api) -> int:
    return api.search({"limit": 1, "properties": ["email"]}).total or 0


def _query(window: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The search for one page of a window: fixed times, ids beyond the last one seen."""
    filters = [
        ("lastmodifieddate", "GTE", str(window["from"])),
        ("lastmodifieddate", "LTE", str(window["to"])),
        ("hs_object_id", "GT", window["last"]),
    ]
    return {
        "filterGroups": [
            {
                "filters": [
                    {"propertyName": name, "operator": operator, "value": value}
                    for name, operator, value in filters
                ]
            }
        ],
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "properties": list(names) or ["email"],
        "limit": SEARCH_PAGE,
    }


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _typed(value: Any, kind: FieldKind) -> Any:
    """HubSpot sends every value as text; an empty one counts as none."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return value
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.lower(), value)
    if kind == "list":
        return [part for part in value.split(";") if part]
    if kind == "number":
        try:
            # Long whole numbers are ids: a float would round them.
            number = int(value) if value.removeprefix("-").isdecimal() else float(value)
        except ValueError:
            return value  # no number, or longer than Python reads
        return number if isinstance(number, int) or math.isfinite(number) else value
    return value
