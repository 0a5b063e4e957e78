"""The wire under Salesforce's client library, which by itself neither waits nor tries again.

The library sends every request to https:// without a timeout and gives up at the first trouble. It takes a
`requests` session, so all that lives here, in the adapter of that session.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from crm.connectors.base import Budget

CONNECT_SECONDS = 5
WHOLE_ANSWER_SECONDS = 300  # however steadily it drips
SLOW_RETRIES = 2  # of calls that took all the time they had
LONGEST_WAIT = 30.0  # seconds, whatever Retry-After says
CHUNK = 65_536
TROUBLE = (429, 500, 502, 503, 504)
# Refusals that pass by themselves; Salesforce sends them with status 400 or 403.
PASSING = (b"UNABLE_TO_LOCK_ROW", b"QUERY_TIMEOUT", b"ConcurrentRequests", b"SERVER_UNAVAILABLE")
SPENT = b"TotalRequests"  # of the last 24 hours: trying again only makes it worse


class Wire(HTTPAdapter):
    """Timeouts for every call and every answer, bounded repetition, counting.

    Everything we ask may be asked twice: reads, updates by id, tokens, and jobs that only read.

    Args:
        patience: seconds to wait for the next byte.
        retries: how often a failed call is repeated.
        backoff: seconds before the first repetition; doubled each time.
        detour: the scheme and host that get every request instead of the one it names.
    """

    def __init__(self, patience: float, retries: int, backoff: float, detour: str | None = None):
        super().__init__(max_retries=0)
        self.patience, self.retries, self.backoff, self.detour = patience, retries, backoff, detour
        self.calls = 0
        self.budget: Budget | None = None
        self.server_time: datetime | None = None  # of the last answer, by Salesforce's clock

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send until there is an answer worth having; raises requests.RequestException if there is none."""
        if self.detour:
            request = request.copy()
            request.url = self.detour + request.path_url
        kwargs |= {"stream": True, "timeout": (CONNECT_SECONDS, self.patience)}
        attempt = 0
        while True:
            self.calls += 1
            try:
                response = self._whole(super().send(request, **kwargs))
            except requests.RequestException as error:
                most = (
                    min(self.retries, SLOW_RETRIES) if isinstance(error, requests.Timeout) else self.retries
                )
                if attempt >= most:
                    raise
                wait = 0.0
            else:
                self._note(response)
                if attempt == self.retries or not _passing(response):
                    return response
                wait = _retry_after(response)
            time.sleep(min(max(wait, self.backoff * 2**attempt), LONGEST_WAIT))
            attempt += 1

    def _whole(self, response: requests.Response) -> requests.Response:
        """The response with its body read: here a body that breaks off can still be asked for again."""
        end, parts = time.monotonic() + WHOLE_ANSWER_SECONDS, []
        try:
            while part := response.raw.read1(CHUNK, decode_content=True):
                parts.append(part)
                if time.monotonic() > end:
                    raise requests.ReadTimeout(response=response)
        except (HTTPError, OSError) as error:
            response.close()
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(error, request=response.request) from None
        response.raw.release_conn()
        # What requests itself sets once a body is read; there is no public way to hand one in.
        response._content = b"".join(parts)
        response._content_consumed = True
        return response

    def _note(self, response: requests.Response) -> None:
        date = response.headers.get("Date")
        with suppress(ValueError):
            if date:
                self.server_time = parsedate_to_datetime(date).replace(tzinfo=UTC)  # HTTP's dates are GMT
        for part in response.headers.get("Sforce-Limit-Info", "").split(";"):
            name, _equals, numbers = part.strip().partition("=")
            used, _slash, limit = numbers.partition("/")
            if name == "api-usage" and used.isdecimal() and limit.isdecimal():
                self.budget = Budget(int(used), int(limit))


def session(wire: Wire) -> requests.Session:
    """A session whose requests all go over `wire`, to nobody but the host they name."""
    made = requests.Session()
    made.max_redirects = 0  # another host must not get the token
    made.auth = _as_it_is  # else a ~/.netrc would replace the token
    made.trust_env = wire.detour is None  # the loopback has no proxy
    made.mount("https://", wire)
    made.mount("http://", wire)
    return made


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _passing(response: requests.Response) -> bool:
    if response.status_code < 400 or SPENT in response.content:
        return False
    return response.status_code in TROUBLE or any(word in response.content for word in PASSING)


def _retry_after(response: requests.Response) -> float:
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isdecimal() else 0.0
