"""Salesforce's REST and Bulk 2.0 APIs, spoken by the client library simple-salesforce.

The library is given a token and a session, never a password, and of its calls only those are used that do
not log in by themselves. It is built anew with every new token: its parts keep the one they were made with.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import msgspec
import requests
from django.utils.translation import gettext as _
from simple_salesforce import Salesforce
from simple_salesforce.bulk2 import Operation, SFBulk2Handler
from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession
from simple_salesforce.util import call_salesforce

from crm import normalise
from crm.connectors.base import ConnectorError
from crm.connectors.salesforce_auth import Login
from crm.connectors.salesforce_http import Wire, session
from crm.connectors.salesforce_settings import SalesforceConfig, SalesforceCredentials
from crm.connectors.tokens import Token, Tokens

T = TypeVar("T")
Row = dict[str, Any]

VERSION = "59.0"
READ_ATTEMPTS = 3
SPENT_MINUTES = 15  # the calls of a rolling 24 hours are used up
FORBIDDEN = ("INSUFFICIENT_ACCESS", "INVALID_TYPE", "NOT_FOUND", "FUNCTIONALITY_NOT_ENABLED")
SWITCHED_OFF = ("API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED")
csv.field_size_limit(
    16 * 1024 * 1024
)  # a long text area holds 131,072 characters, the module's own limit less


class Refused(ConnectorError):
    """Salesforce's answer to one request is an error; `code` is its own, empty if it gave none."""

    def __init__(self, message: str, status: int, code: str = "", retry_minutes: int | None = None):
        super().__init__(message, retry_minutes)
        self.status, self.code = status, code


class DescribedValue(msgspec.Struct):
    value: str | None = None
    active: bool = True


class DescribedField(msgspec.Struct, rename="camel"):
    """A field as describe tells it."""

    name: str
    type: str
    label: str = ""
    custom: bool = False
    updateable: bool = False
    calculated: bool = False
    deprecated_and_hidden: bool = False
    picklist_values: list[DescribedValue] | None = None


class DescribedChild(msgspec.Struct, rename="camel"):
    relationship_name: str | None = None


class Described(msgspec.Struct, rename="camel"):
    """An object as describe tells it."""

    fields: list[DescribedField]
    child_relationships: list[DescribedChild] = []


class Rows(msgspec.Struct, rename="camel"):
    """A query's answer; `done` false: there are more, though fewer than asked for were sent."""

    total_size: int
    done: bool
    records: list[Row]


class DeletedRow(msgspec.Struct, rename="camel"):
    id: str
    deleted_date: datetime


class Deleted(msgspec.Struct, rename="camel"):
    """What was deleted in a span of time, as far as Salesforce still knows."""

    deleted_records: list[DeletedRow]
    earliest_date_available: datetime
    latest_date_covered: datetime


class RowError(msgspec.Struct, rename="camel"):
    status_code: str = ""
    message: str = ""


class RowResult(msgspec.Struct):
    success: bool
    errors: list[RowError] = []


class Job(msgspec.Struct, rename="camel"):
    """A Bulk 2.0 query."""

    id: str
    state: str
    error_message: str | None = None


class Results(msgspec.Struct):
    """A part of a job's rows, all values as text, and the place of the next part; none: this was the last."""

    rows: list[dict[str, str]]
    locator: str


class _GarbledError(Exception):
    """An answer that breaks off or is not what was asked for."""


class Api:
    """The calls a sync needs, for one account. Every method raises ConnectorError with a sentence for the operator.

    Args:
        detour: scheme and host of this installation's sandbox, if that is what to talk to.
        retries: how often a failed call is repeated.
        backoff: seconds before the first repetition; doubled each time.
        patience: seconds to wait for the next byte.
    """

    def __init__(
        self,
        config: SalesforceConfig,
        credentials: SalesforceCredentials,
        tokens: Tokens,
        detour: str | None,
        retries: int,
        backoff: float,
        patience: float,
    ):
        self.wire = Wire(patience, retries, backoff, detour)
        self._session = session(self.wire)
        self._tokens = tokens
        self._login = Login(config, credentials, self._session, self.wire)
        self._token: Token | None = None
        self._client: Salesforce | None = None

    @property
    def now(self) -> datetime:
        """Salesforce's clock at its last answer, in whole seconds."""
        if self.wire.server_time is None:
            raise ConnectorError(_("Salesforce's answers carry no date; is a proxy in between?"))
        return self.wire.server_time

    def organization(self) -> str:
        """The id of the organisation that the token is for, 18 characters; empty if Salesforce didn't tell."""
        return self._present().extra.get("organization", "")

    # REST

    def describe(self, name: str) -> Described:
        """An object's fields."""
        return self._read(Described, lambda client: client.restful(f"sobjects/{name}/describe"))

    def query(self, soql: str, deleted: bool = False) -> Rows:
        """The first rows that a query finds; `deleted` takes in the recycle bin."""
        return self._read(Rows, lambda client: client.query(soql, include_deleted=deleted))

    def deleted(self, name: str, start: datetime, end: datetime) -> Deleted:
        """What was deleted in a span of time; Salesforce cuts both ends to whole minutes."""
        span = {"start": _minute(start), "end": _minute(end)}
        return self._read(Deleted, lambda client: client.restful(f"sobjects/{name}/deleted/", params=span))

    def retrieve(self, name: str, ids: Sequence[str], fields: Sequence[str]) -> list[Row | None]:
        """Live records in the order of their ids, up to 2,000; the request's body has room for many fields."""
        body = json.dumps({"ids": list(ids), "fields": list(fields)})
        found = self._read(
            list[Row | None],
            lambda client: client.restful(f"composite/sobjects/{name}", method="POST", data=body) or [],
        )
        if len(found) != len(ids):
            raise self.garbled()
        return found

    def update(self, rows: Sequence[Row]) -> list[RowResult]:
        """Update up to 200 records, each with its own outcome, in their order."""
        body = json.dumps({"allOrNone": False, "records": list(rows)})
        results = self._read(
            list[RowResult],
            lambda client: client.restful("composite/sobjects", method="PATCH", data=body) or [],
        )
        if len(results) != len(rows):
            raise self.garbled()
        return results

    def delete(self, ids: Sequence[str]) -> list[RowResult]:
        """Put up to 200 records into the recycle bin, each with its own outcome, in their order."""
        params = {"ids": ",".join(ids), "allOrNone": "false"}
        results = self._read(
            list[RowResult],
            lambda client: client.restful("composite/sobjects", params=params, method="DELETE") or [],
        )
        if len(results) != len(ids):
            raise self.garbled()
        return results

    # Bulk 2.0. The library can only run a job from its beginning to its end; its parts can go on with one.

    def start_job(self, soql: str) -> Job:
        """Have Salesforce prepare a query's rows."""
        return self._read(Job, lambda client: _jobs(client).create_job(Operation.query, soql))

    def job(self, job_id: str) -> Job:
        """How far a job is."""
        return self._read(Job, lambda client: _jobs(client).get_job(job_id, True))

    def results(self, job_id: str, locator: str, most: int) -> Results:
        """At most so many of a job's rows, from a place on; "" is the beginning."""
        params: dict[str, Any] = {"maxRecords": most}
        if locator:
            params["locator"] = locator

        def fetch(client: Salesforce) -> Results:
            # The library's own method drops NUL characters and fails at a byte that is no UTF-8.
            response = call_salesforce(
                url=f"{client.bulk2_url}query/{job_id}/results",
                method="GET",
                session=client.session,
                headers={**_bulk(client).headers, "ACCEPT": "text/csv; charset=UTF-8"},
                params=params,
            )
            following = response.headers.get("Sforce-Locator", "")
            rows = _parsed(response.content.decode("utf-8", "replace"))
            if str(len(rows)) != response.headers.get("Sforce-NumberOfRecords"):
                raise _GarbledError
            return Results(rows, "" if following == "null" else following)

        return self._ask(fetch)

    # Asking

    def _read(self, shape: type[T], call: Callable[[Salesforce], Any]) -> T:
        def converted(client: Salesforce) -> T:
            try:
                return msgspec.convert(call(client), shape)
            except msgspec.ValidationError:
                raise _GarbledError from None

        return self._ask(converted)

    def _ask(self, call: Callable[[Salesforce], T]) -> T:
        """Call with a valid token; an answer that makes no sense is asked for again."""
        renewed, attempt = False, 1
        while True:
            client = self._connected()
            try:
                return call(client)
            except SalesforceExpiredSession:
                if renewed:
                    raise ConnectorError(
                        _("Salesforce refuses the token that it has just given. May the user use the API?")
                    ) from None
                self._renew()
                renewed = True
            except SalesforceError as error:
                raise self._refusal(error) from None
            except (_GarbledError, requests.JSONDecodeError, RecursionError):
                if attempt == READ_ATTEMPTS:
                    raise self.garbled() from None
                attempt += 1
                time.sleep(self.wire.backoff)
            except requests.TooManyRedirects:
                raise self.garbled() from None
            except requests.RequestException:
                raise ConnectorError(
                    _("No answer from %s. Check the network; the next run continues where this one stopped.")
                    % client.sf_instance
                ) from None

    def _present(self) -> Token:
        """The token to use, of these settings and no others."""
        if self._token is None:
            token = self._tokens.get(self._login.fetch)
            if token.extra.get("account") != self._login.account:
                token = self._tokens.get(self._login.fetch, refused=token.value)
            self._token = token
        return self._token

    def _renew(self) -> None:
        self._token = self._tokens.get(self._login.fetch, refused=self._present().value)
        self._client = None

    def _connected(self) -> Salesforce:
        if self._client is None:
            token = self._present()
            self._client = Salesforce(
                session_id=token.value,
                instance_url=token.extra["instance_url"],
                session=self._session,
                version=VERSION,
                object_pairs_hook=None,  # plain dicts: three times as fast
            )
        return self._client

    def garbled(self) -> ConnectorError:
        """The error for answers that make no sense."""
        return ConnectorError(
            _("%s answered with something that is not Salesforce's API. Is there a proxy in between?")
            % self._login.host
        )

    def _refusal(self, error: SalesforceError) -> ConnectorError:
        status, code, message = error.status, *_said(error.content)
        if code == "REQUEST_LIMIT_EXCEEDED" and "Concurrent" not in message:
            return Refused(
                _(
                    "The organisation's Salesforce calls of the last 24 hours are used up; the sync goes on later."
                ),
                *(status, code, SPENT_MINUTES),
            )
        if code in SWITCHED_OFF:
            return Refused(
                _(
                    "The API is switched off for this user or organisation. Give the user the permission "
                    "“API Enabled”; the organisation needs an edition with the API."
                ),
                *(status, code),
            )
        if status >= 500 or status == 429 or code == "REQUEST_LIMIT_EXCEEDED":
            return Refused(
                _("Salesforce has trouble (error %d); the next run continues where this one stopped.")
                % status,
                *(status, code),
            )
        if not code:
            return self.garbled()
        if code.startswith(FORBIDDEN):
            return Refused(
                _(
                    "The user may not see what was asked for; give it permission to read the objects and their "
                    "fields. Salesforce says: %s"
                )
                % message,
                *(status, code),
            )
        return Refused(_("Salesforce refused the request: %s") % message, status, code)


def _said(content: Any) -> tuple[str, str]:
    """Error code and message of an error's body: mostly a list with an object, at times the object."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict):
        return "", ""
    # Errors about a query repeat it and put their reason into the last line.
    lines = str(first.get("message") or "").strip().splitlines() or [""]
    code = str(first.get("errorCode") or "")
    return code, normalise.shortened(lines[-1] or code, 300)


def _bulk(client: Salesforce) -> SFBulk2Handler:
    return cast(SFBulk2Handler, client.bulk2)


def _jobs(client: Salesforce) -> Any:
    # The object's name only matters for writing jobs.
    return _bulk(client).Contact._client


def _parsed(text: str) -> list[dict[str, str]]:
    """The rows of a CSV with a header; _GarbledError if one is not whole."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(reader, [])
        rows = list(reader)
    except csv.Error:
        raise _GarbledError from None
    if not names or any(len(row) != len(names) for row in rows):
        raise _GarbledError
    return [dict(zip(names, row, strict=True)) for row in rows]


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(second=0, microsecond=0).isoformat()
