"""HubSpot's HTTP API, spoken by HubSpot's own client library.

The client signs and addresses the requests. Replies are read from the raw body, because the client's models
are slow and make an empty object of an HTML page; and repeated here, because the client repeats no POST,
waits for no limit, and would go on for ever where HubSpot has closed for the day.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any, Protocol, TypeVar

import msgspec
import urllib3
from hubspot import HubSpot
from hubspot.crm.associations.v4 import ApiException as AssociationsError
from hubspot.crm.objects import ApiException as ObjectsError
from hubspot.crm.properties import ApiException as PropertiesError
from hubspot.events.send import ApiException as EventsError
from hubspot.oauth import ApiException as OAuthError

from crm.connectors import hubspot_errors as errors
from crm.connectors.base import Budget
from crm.connectors.hubspot_errors import PassingError, RefusedError
from crm.connectors.hubspot_values import Kind, Property
from crm.connectors.tokens import discreet

T = TypeVar("T")

CONNECT_SECONDS = 5
PAGE = 100
SEARCH_PAGE = 200
BATCH = 100
LONGEST_WAIT = 30  # seconds between two attempts, whatever Retry-After says
REFUSALS = (ObjectsError, PropertiesError, AssociationsError, EventsError, OAuthError)


class Row(msgspec.Struct, rename="camel"):
    """One record, as lists, searches and batches show it; `problem` tells why it can't be read."""

    id: str
    updated_at: datetime
    properties: dict[str, Any] = {}
    archived: bool = False
    archived_at: datetime | None = None
    object_write_trace_id: str | None = None
    problem: str = ""


class _Next(msgspec.Struct):
    after: str


class _Paging(msgspec.Struct):
    next: _Next | None = None


class Rows(msgspec.Struct):
    """A page of records."""

    results: list[Row]
    paging: _Paging | None = None
    total: int | None = None

    @property
    def after(self) -> str | None:
        """Where the next page begins."""
        return self.paging.next.after if self.paging and self.paging.next else None


class RowError(msgspec.Struct):
    """Why one row of a batch failed."""

    message: str = ""
    context: dict[str, list[str]] = {}


class Batch(msgspec.Struct):
    """What became of a batch."""

    results: list[Row] = []
    errors: list[RowError] = []


class _End(msgspec.Struct):
    id: str


class _Link(msgspec.Struct, rename="camel"):
    to_object_id: int | str


class _Links(msgspec.Struct, rename={"origin": "from"}):
    origin: _End
    to: list[_Link] = []


class _Associations(msgspec.Struct):
    results: list[_Links] = []


class _Properties(msgspec.Struct):
    results: list[Property]


class _Account(msgspec.Struct, rename="camel"):
    portal_id: int


class NewToken(msgspec.Struct):
    """What OAuth's token endpoint gives."""

    access_token: str
    expires_in: int


class Access(Protocol):
    """Where the access token comes from."""

    def token(self, refused: str | None = None) -> str:
        """The token to use; another one if the one given was refused, or the same if there is no other."""


class Meter(Protocol):
    """Who keeps count."""

    calls: int
    budget: Budget | None


class Api:
    """The calls a sync needs, for one account.

    Every method raises ConnectorError with a sentence for the operator.

    Args:
        url: scheme and host of the API.
        retries: how often a failed call is repeated.
        backoff: seconds before the second attempt; doubled each time. HubSpot's limits are waited for in
            multiples of it, too.
        patience: seconds to wait for the next byte.
        slowest: seconds that a whole answer may take.
        within: seconds after which nothing more is tried; None: no end.
    """

    def __init__(
        self,
        url: str,
        access: Access | None,
        meter: Meter,
        retries: int,
        backoff: float,
        patience: float,
        slowest: float,
        within: float | None = None,
    ):
        self.url, self._access, self._meter = url, access, meter
        self._retries, self._backoff = retries, backoff
        self._patience, self._slowest = patience, slowest
        self._ends = None if within is None else time.monotonic() + within
        self.server_time: datetime | None = None  # of the last answer, by HubSpot's clock
        self.answered = 0.0  # when it came, by our monotonic one
        self._token: str | None = None
        self._secrets: tuple[str, ...] = ()  # sent in a form, where a refusal could repeat them
        if access is None:
            self._connect(None)

    def _connect(self, token: str | None) -> None:
        # No retries of urllib3's: neither would they stop at a spent day, nor may another host get the token.
        client = HubSpot(access_token=token, host=self.url, retry=False)
        objects = client.crm.objects
        basic = objects.basic_api
        self._list, self._search = basic.get_page, objects.search_api.do_search
        batch = objects.batch_api
        self._read, self._update = batch.read, batch.update
        self._describe = client.crm.properties.core_api.get_all
        self._associate = client.crm.associations.v4.batch_api.get_page
        self._send = client.events.send.basic_api.send
        self._issue = client.oauth.tokens_api.create
        self._raw = basic.api_client.call_api

    # What can be asked

    def properties(self, kind: Kind) -> list[Property]:
        """The definitions of an object's properties."""
        found = self._ask(_Properties, lambda: self._describe, kind.scope, (kind.name,), {"archived": False})
        return found.results

    def page(
        self, kind: Kind, after: str | None, names: Sequence[str], archived: bool, seen: Iterable[str] = ()
    ) -> Rows:
        """One page of the list by id; `after` comes from the page before, `seen` from all before."""
        place = {} if after is None else {"after": after}

        def sane(found: Rows) -> bool:
            return found.after is None or (found.after != after and found.after not in seen)

        options = {"limit": PAGE, "properties": list(names), "archived": archived, **place}
        return self._ask(Rows, lambda: self._list, kind.scope, (kind.name,), options, sane)

    def search(self, kind: Kind, body: dict[str, Any], sane: Callable[[Rows], bool] | None = None) -> Rows:
        """One page of a search; asked again while the answer is not `sane`."""
        return self._ask(Rows, lambda: self._search, kind.scope, (kind.name, body), {}, sane)

    def read(self, kind: Kind, ids: Sequence[str], names: Sequence[str]) -> list[Row]:
        """Those of up to BATCH records that exist."""
        body = {
            "inputs": [{"id": record_id} for record_id in ids],
            "properties": list(names),
            "propertiesWithHistory": [],
        }
        options = {"archived": False}
        return self._ask(Rows, lambda: self._read, kind.scope, (kind.name, body), options).results

    def update(self, kind: Kind, inputs: list[dict[str, Any]]) -> Batch:
        """Write up to BATCH records."""
        scope = kind.scope.replace(".read", ".write")
        return self._ask(Batch, lambda: self._update, scope, (kind.name, {"inputs": inputs}))

    def associated(self, kind: Kind, other: Kind, ids: Sequence[str]) -> dict[str, list[str]]:
        """By id of up to BATCH records, the ids of what belongs to them; at most 500 each."""
        body = {"inputs": [{"id": record_id} for record_id in ids]}
        found = self._ask(_Associations, lambda: self._associate, other.scope, (kind.name, other.name, body))
        return {links.origin.id: [str(link.to_object_id) for link in links.to] for links in found.results}

    def send(self, event: dict[str, Any]) -> None:
        """Add one event to the timeline."""
        self._ask(None, lambda: self._send, "analytics.behavioral_events.send", (event,))

    def erase(self, kind: Kind, record_id: str) -> None:
        """Delete one record for good, as privacy laws ask for; RefusedError with 404 if there is none.

        The client has no method for it: https://developers.hubspot.com/docs/api/crm/contacts (GDPR delete).
        """
        scope = kind.scope.replace(".read", ".write")
        path = (f"/crm/v3/objects/{kind.name}/gdpr-delete", "POST")
        options = {
            "header_params": {"Content-Type": "application/json"},
            "body": {"objectId": record_id},
            "response_types_map": {},
            "auth_settings": ["oauth2"],
            "_return_http_data_only": True,
        }
        self._ask(None, lambda: self._raw, scope, path, options)

    def portal_id(self) -> str:
        """The account's number."""
        options = {"response_types_map": {}, "auth_settings": ["oauth2"], "_return_http_data_only": True}
        path = ("/account-info/v3/details", "GET")
        return str(self._ask(_Account, lambda: self._raw, "oauth", path, options).portal_id)

    def issue(self, client_id: str, client_secret: str, refresh_token: str) -> NewToken:
        """A new access token for a refresh token."""
        form = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "client_secret": client_secret,
            "refresh_token": refresh_token,
        }
        self._secrets = (client_secret, refresh_token)
        return self._ask(NewToken, lambda: self._issue, "oauth", (), form)

    # How it is asked

    def _ask(
        self,
        reply: type[T] | None,
        call: Callable[[], Callable[..., Any]],
        scope: str,
        args: Sequence[Any],
        options: dict[str, Any] | None = None,
        sane: Callable[[T], bool] | None = None,
    ) -> Any:
        """Call the client until there is an answer that can be read as `reply` (None: an empty one)."""
        renewed = False
        for attempt in count():
            refused = None
            if self._access is not None:
                self._use(self._access.token())
                refused = self._token
            try:
                found = self._once(reply, call(), scope, args, options or {})
                if sane is not None and not sane(found):
                    raise PassingError(errors.repeating())
                return found
            except PassingError as trouble:
                if attempt >= self._retries or not self._wait(trouble, attempt):
                    raise trouble.error from None
            except RefusedError as error:
                # Tokens are renewed when they expire; this is for one that was withdrawn before.
                if error.status != 401 or refused is None or renewed or self._access is None:
                    raise
                renewed = True
                if self._access.token(refused) == refused:
                    raise
        return None

    def _use(self, token: str) -> None:
        if token != self._token:
            self._connect(token)
            self._token = token

    def _wait(self, trouble: PassingError, attempt: int) -> bool:
        """Sleep before the next attempt; False if there is no time for one."""
        steps = 2**attempt if trouble.steps is None else trouble.steps * (attempt + 1)
        seconds = self._backoff * steps
        if trouble.wait is not None:
            # What HubSpot says is enough once; others may be using up the same limit.
            seconds = max(seconds, trouble.wait) if attempt else trouble.wait
        seconds = min(seconds, LONGEST_WAIT)
        if self._ends is not None and time.monotonic() + seconds >= self._ends:
            return False
        time.sleep(seconds)
        return True

    def _timeout(self) -> tuple[float, float]:
        left = self._patience if self._ends is None else max(0.1, self._ends - time.monotonic())
        return min(CONNECT_SECONDS, left), min(self._patience, left)

    def _once(
        self,
        reply: type[T] | None,
        call: Callable[..., Any],
        scope: str,
        args: Sequence[Any],
        options: dict[str, Any],
    ) -> Any:
        self._meter.calls += 1
        try:
            response = call(*args, **options, _preload_content=False, _request_timeout=self._timeout())
            body = self._body(response)
        except REFUSALS as error:
            if not error.status:
                raise errors.untrusted(self.url) from None
            said = discreet(str(error.body or ""), *self._secrets)
            raise errors.read_refusal(error.status, said, error.headers or {}, scope) from None
        except urllib3.exceptions.HTTPError:
            raise PassingError(errors.unreachable(self.url)) from None
        except UnicodeDecodeError:
            # The client stumbles over an error page that is no UTF-8.
            raise PassingError(errors.garbled(self.url)) from None
        self._note(response.headers)
        return None if reply is None else self._decoded(reply, body)

    def _body(self, response: Any) -> bytes:
        """The whole body; the connection is cut if it drips so slowly that no single read times out."""
        left = self._slowest if self._ends is None else self._ends - time.monotonic()
        watch = threading.Timer(max(0.1, min(left, self._slowest)), response.shutdown)
        watch.daemon = True
        watch.start()
        try:
            return response.data
        finally:
            watch.cancel()

    def _note(self, headers: Any) -> None:
        try:
            moment = parsedate_to_datetime(headers["Date"])
            self.server_time = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            self.answered = time.monotonic()
        except (KeyError, TypeError, ValueError):
            pass  # whoever needs the time says that it is missing
        limit = headers.get("X-HubSpot-RateLimit-Daily", "")
        left = headers.get("X-HubSpot-RateLimit-Daily-Remaining", "")
        if limit.isdecimal() and left.isdecimal():
            self._meter.budget = Budget(int(limit) - int(left), int(limit))

    def _decoded(self, reply: type[T], body: bytes) -> T:
        try:
            return msgspec.json.decode(body, type=reply)
        except msgspec.MsgspecError:
            pass
        try:
            # Slower, but one record with half a character or a stray byte does not cost the whole page.
            found = json.loads(body.decode("utf-8", "replace"))
            if issubclass(reply, Rows) and isinstance(found, dict):
                found["results"] = [_readable(row) for row in found["results"]]
            return msgspec.convert(found, reply)
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
            # Broken off in the middle, perhaps, by something that hides the missing rest.
            raise PassingError(errors.garbled(self.url)) from None


def _readable(row: Any) -> Any:
    """A row as it is, or if it can't be read, its id and why."""
    try:
        msgspec.convert(row, Row)
    except msgspec.ValidationError as error:
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            return {"id": row["id"], "updatedAt": "1970-01-01T00:00:00Z", "problem": str(error)}
    return row
