"""Zoho CRM's HTTP API, version 8, over requests.

Zoho's own client keeps global state and files, so calls are made directly: with time limits, a bounded number
of attempts, no redirects, and one refresh of the access token when it is refused. Whatever is asked here may be
asked twice: reads, updates by id, and subscriptions under a fixed number.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from django.utils import timezone
from django.utils.translation import gettext as _
from requests.auth import AuthBase

from crm.connectors import zoho_errors
from crm.connectors.base import ConnectorError
from crm.connectors.tokens import Token, Tokens, discreet

Json = dict[str, Any]

CONNECT_SECONDS = 5
WHOLE_ANSWER_SECONDS = 180
LONGEST_ANSWER = 64 * 1024 * 1024  # bytes
CHUNK = 64 * 1024
LONGEST_WAIT = 30  # seconds, whatever Retry-After says
TOKEN_ATTEMPTS = 3
PAGE = 200
IDS = 100
MOST_FIELDS = 50
QUERY_ROWS = 2000

# Data centre -> (where tokens come from, the domain of the API). Nothing else can be reached.
CENTRES = {
    "com": ("https://accounts.zoho.com", "zohoapis.com"),
    "eu": ("https://accounts.zoho.eu", "zohoapis.eu"),
    "in": ("https://accounts.zoho.in", "zohoapis.in"),
    "com.au": ("https://accounts.zoho.com.au", "zohoapis.com.au"),
    "jp": ("https://accounts.zoho.jp", "zohoapis.jp"),
    "ca": ("https://accounts.zohocloud.ca", "zohoapis.ca"),
    "sa": ("https://accounts.zoho.sa", "zohoapis.sa"),
    "uk": ("https://accounts.zoho.uk", "zohoapis.uk"),
    "cn": ("https://accounts.zoho.com.cn", "zohoapis.com.cn"),
}
# Zoho's production, sandbox and developer accounts of a data centre.
API_HOSTS = ("www", "sandbox", "developer")

NOTHING = (204, 304)


class Grant(msgspec.Struct):
    """What gets access tokens."""

    client_id: str
    client_secret: str
    refresh_token: str


class _PassingError(Exception):
    """An attempt that failed in a way that may pass; holds the error to raise if it does not."""

    def __init__(self, error: ConnectorError, wait: float | None = None):
        super().__init__(str(error))
        self.error = error
        self.wait = wait


class _TokenAuth(AuthBase):
    """Also keeps requests from looking for other credentials in a .netrc file."""

    def __init__(self, token: str):
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Zoho-oauthtoken {self.token}"
        return request


class Api:
    """The calls a sync needs, with one account's access.

    Every method raises ConnectorError with a sentence for the operator.

    Args:
        centre: a key of CENTRES, or None for the sandbox at `sandbox`, scheme and host.
        retries: how often a failed call is repeated.
        backoff: seconds before the first repetition; doubled each time.
        patience: seconds to wait for the next byte.
    """

    def __init__(
        self,
        centre: str | None,
        sandbox: str,
        grant: Grant,
        tokens: Tokens,
        retries: int,
        backoff: float,
        patience: float,
    ):
        self._centre, self._sandbox = centre, sandbox
        self._grant, self._tokens = grant, tokens
        self._retries, self._backoff, self._patience = retries, backoff, patience
        self._session = requests.Session()
        self.calls = 0
        self.server_time: datetime | None = None  # of the last answer, by Zoho's clock

    # Calls

    def fields(self, module: str) -> list[Json]:
        """The definitions of a module's fields."""
        return _rows(self._call("GET", "/crm/v8/settings/fields", {"module": module}), "fields")

    def count(self, module: str) -> int:
        """How many records there are."""
        answer = self._call("GET", f"/crm/v8/{module}/actions/count")
        count = (answer or {}).get("count")
        return count if isinstance(count, int) else 0

    def changed(self, module: str, names: Sequence[str], after: datetime | None) -> tuple[list[Json], bool]:
        """The first PAGE records changed after a time, by ascending Modified_Time; whether there are more."""
        headers = {} if after is None else {"If-Modified-Since": after.isoformat(timespec="seconds")}
        asked = {"fields": ",".join(names), "sort_by": "Modified_Time", "sort_order": "asc", "per_page": PAGE}
        answer = self._call("GET", f"/crm/v8/{module}", asked, headers=headers)
        return _rows(answer, "data"), _more(answer)

    def read(self, module: str, ids: Sequence[str], names: Sequence[str]) -> list[Json]:
        """Those of up to IDS records that exist."""
        asked = {"fields": ",".join(names), "ids": ",".join(ids)}
        return _rows(self._call("GET", f"/crm/v8/{module}", asked), "data")

    def deleted(self, module: str, after: datetime | None, page: int) -> tuple[list[Json], bool]:
        """A page of what was deleted after a time, in the recycle bin or not; whether there are more."""
        headers = {} if after is None else {"If-Modified-Since": after.isoformat(timespec="seconds")}
        asked = {"type": "all", "page": page, "per_page": PAGE}
        answer = self._call("GET", f"/crm/v8/{module}/deleted", asked, headers=headers)
        return _rows(answer, "data"), _more(answer)

    def query(self, text: str) -> list[Json]:
        """The rows of a COQL query."""
        return _rows(self._call("POST", "/crm/v8/coql", body={"select_query": text}), "data")

    def update(self, module: str, rows: Sequence[Json]) -> list[Json]:
        """Update up to 100 records by their ids, without starting workflows; one result for each."""
        answer = self._call("PUT", f"/crm/v8/{module}", body={"data": list(rows), "trigger": []})
        return _rows(answer, "data")

    def delete(self, module: str, ids: Sequence[str]) -> list[Json]:
        """Delete up to 100 records, without starting workflows; one result for each."""
        asked = {"ids": ",".join(ids), "wf_trigger": "false"}
        return _rows(self._call("DELETE", f"/crm/v8/{module}", asked), "data")

    def watch(self, method: str, entry: Json) -> Json:
        """Subscribe (POST) or renew (PUT); Zoho's details of the subscription."""
        answer = self._call(method, "/crm/v8/actions/watch", body={"watch": [entry]})
        row = next(iter(_rows(answer, "watch")), {})
        if row.get("status") != "success":
            raise zoho_errors.refused(row)
        return row.get("details") or {}

    # One call, several attempts

    def _call(
        self,
        method: str,
        path: str,
        asked: Json | None = None,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
    ) -> Json | None:
        """The answer's JSON object, None for an empty answer."""
        token = self._tokens.get(self._fetch)
        refreshed = False
        attempt = 0
        while True:
            try:
                url = self._address(token) + path
                answer, content = self._send(
                    method, url, params=asked, json=body, headers=headers, auth=_TokenAuth(token.value)
                )
                return self._understood(answer, content)
            except _StaleTokenError:
                if refreshed:
                    raise ConnectorError(
                        _("Zoho refuses a token that it has just given. Connect the account again.")
                    ) from None
                refreshed = True
                token = self._tokens.get(self._fetch, refused=token.value)
            except _PassingError as passing:
                attempt += 1
                if attempt > self._retries:
                    raise passing.error from None
                self._wait(attempt, passing.wait)

    def _wait(self, attempt: int, told: float | None) -> None:
        own = self._backoff * 2 ** (attempt - 1)
        time.sleep(min(LONGEST_WAIT, max(own, told or 0)))

    def _send(self, method: str, url: str, **more: Any) -> tuple[requests.Response, bytes]:
        """One exchange. _PassingError if there was no whole answer."""
        self.calls += 1
        try:
            with self._session.request(
                method,
                url,
                timeout=(CONNECT_SECONDS, self._patience),
                allow_redirects=False,  # another host must not get the token
                stream=True,
                **more,
            ) as answer:
                return answer, self._body(answer)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            raise _PassingError(
                ConnectorError(
                    _(
                        "No answer from %(url)s. Check the network; the next run continues where this one stopped."
                    )
                    % {"url": _origin(url)}
                )
            ) from None

    def _body(self, answer: requests.Response) -> bytes:
        """The whole body, in bounded time: a socket's timeout does not end an answer that drips."""
        deadline = time.monotonic() + max(WHOLE_ANSWER_SECONDS, self._patience)
        parts, size = [], 0
        while part := answer.raw.read1(CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if time.monotonic() > deadline or size > LONGEST_ANSWER:
                raise urllib3.exceptions.TimeoutError
        return b"".join(parts)

    def _understood(self, answer: requests.Response, content: bytes) -> Json | None:
        date = answer.headers.get("Date")
        if date:
            self.server_time = parsedate_to_datetime(date)
        status = answer.status_code
        if status in NOTHING:
            return None
        said = _json(content)
        if status == 429:
            raise _PassingError(
                zoho_errors.too_many(answer.headers.get("X-API-CREDITS-REMAINING", ""), said),
                _retry_after(answer),
            )
        if status >= 500:
            message = _("Zoho has trouble (error %d); the next run continues where this one stopped.")
            raise _PassingError(ConnectorError(message % status), _retry_after(answer))
        if 300 <= status < 400 or said is None:
            raise _PassingError(self._garbled(answer.url))
        if status == 401 and said.get("code") != "OAUTH_SCOPE_MISMATCH":
            raise _StaleTokenError
        rows = said.get("data", said.get("watch"))
        if said.get("status") == "error" or "error" in said or (status >= 400 and not isinstance(rows, list)):
            raise zoho_errors.refused(said)
        return said

    def _garbled(self, url: str) -> ConnectorError:
        return ConnectorError(
            _("%(url)s answered with something that is not Zoho's API. Is there a proxy in between?")
            % {"url": _origin(url)}
        )

    # Tokens

    def _address(self, token: Token) -> str:
        """Where the API is: Zoho tells with the token, within the data centre."""
        if self._centre is None:
            return self._sandbox
        domain = CENTRES[self._centre][1]
        told = urlsplit(token.extra.get("api_domain", ""))
        if told.scheme == "https" and told.netloc in {f"{name}.{domain}" for name in API_HOSTS}:
            return f"https://{told.netloc}"
        return f"https://www.{domain}"

    def _fetch(self, old: Token | None) -> Token:
        """A new access token."""
        accounts = self._sandbox if self._centre is None else CENTRES[self._centre][0]
        form = {"grant_type": "refresh_token", **msgspec.structs.asdict(self._grant)}
        for attempt in range(1, TOKEN_ATTEMPTS + 1):
            try:
                answer, content = self._send("POST", f"{accounts}/oauth/v2/token", data=form, auth=_no_auth)
                return self._token(answer, content)
            except _PassingError as passing:
                if attempt == TOKEN_ATTEMPTS or attempt > self._retries:
                    raise passing.error from None
                self._wait(attempt, passing.wait)
        raise AssertionError("unreachable")

    def _token(self, answer: requests.Response, content: bytes) -> Token:
        said = _json(content)
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _PassingError(
                ConnectorError(_("Zoho's sign-in has trouble; the next run tries again.")),
                _retry_after(answer),
            )
        if said is None or 300 <= answer.status_code < 400:
            raise _PassingError(self._garbled(answer.url))
        value = said.get("access_token")
        if not isinstance(value, str) or not value:
            error = discreet(str(said.get("error", "")), self._grant.client_secret, self._grant.refresh_token)
            raise zoho_errors.no_token({"error": error})
        seconds = said.get("expires_in")
        lifetime = seconds if isinstance(seconds, int) and 0 < seconds <= 86_400 else 3600
        domain = said.get("api_domain")
        extra = {"api_domain": domain} if isinstance(domain, str) else {}
        return Token(value, timezone.now() + timedelta(seconds=lifetime), extra)


class _StaleTokenError(Exception):
    """The access token was refused."""


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _json(content: bytes) -> Json | None:
    """The JSON object in a body, or None if there is none."""
    try:
        said = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        try:
            # Slower, but a record with half a character or a stray byte does not cost the whole page.
            said = json.loads(content.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
    return said if isinstance(said, dict) else None


def _rows(answer: Json | None, key: str) -> list[Json]:
    rows = (answer or {}).get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConnectorError(_("Zoho sent an answer that makes no sense; the next run tries again."))
    return rows


def _more(answer: Json | None) -> bool:
    info = (answer or {}).get("info")
    return bool(info.get("more_records")) if isinstance(info, dict) else False


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
