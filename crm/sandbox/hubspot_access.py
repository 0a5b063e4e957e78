"""Who may call HubSpot, and how often: bearer tokens, the OAuth endpoints, rate limits.

By default any bearer token is accepted for ever and no limit is enforced, though every reply but a search's
tells the burst limit.
"""

from __future__ import annotations

import math
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_schema import PORTAL_ID

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

BURST, BURST_SECONDS = 100, 10
SEARCHES_PER_SECOND = 5
DAILY = 250_000
DAY_SECONDS = 86_400
TOKEN_SECONDS = 1800
GRANTS = {"refresh_token": "refresh_token", "authorization_code": "code"}


@dataclass(frozen=True)
class Limits:
    """How many calls are allowed: in ten seconds, searches in one second, in a day."""

    burst: int = BURST
    searches_per_second: int = SEARCHES_PER_SECOND
    daily: int = DAILY


class Window:
    """The calls of the last so many milliseconds."""

    def __init__(self, seconds: int) -> None:
        self.length = seconds * 1000
        self._calls: deque[int] = deque()

    def count(self, now: int) -> int:
        """How many there are at this time, in milliseconds."""
        while self._calls and not now - self.length < self._calls[0] <= now:
            self._calls.popleft()
        return len(self._calls)

    def add(self, now: int) -> None:
        """One more."""
        self._calls.append(now)

    def wait(self, now: int) -> int:
        """Seconds until there is room for one more."""
        oldest = self._calls[0] if self._calls else now
        return max(1, math.ceil((oldest + self.length - now) / 1000))


class Access:
    """Tokens and limits of one portal, and the OAuth handlers."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot
        self.clock = hubspot.clock
        self.limits: Limits | None = None  # enforced if set
        self.token_seconds: int | None = (
            None  # issued tokens end after that; None: never, though 1800 is told
        )
        self._issued: dict[str, int] = {}  # access token -> when it ends by what was told
        self._used: set[str] = set()
        self._expired: set[str] = set()
        self._revoked: set[str] = set()
        self._burst, self._searches = Window(BURST_SECONDS), Window(1)
        self._day = Window(DAY_SECONDS)

    def routes(self) -> list[tuple[str, str, Any]]:
        """(method, path, handler) of the operations that need no bearer token."""
        return [
            ("POST", "/oauth/v1/token", self.issue_token),
            ("GET", "/oauth/v1/access-tokens/{token}", self.describe_access_token),
            ("GET", "/oauth/v1/refresh-tokens/{token}", self.describe_refresh_token),
            ("DELETE", "/oauth/v1/refresh-tokens/{token}", self.revoke),
        ]

    # Calls

    def check(self, request: web.Request) -> None:
        """Let the request pass, or raise the 401 or 429 that it gets."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise ApiError(401, replies.NO_CREDENTIALS)
        self._used.add(token)
        ends = self._issued.get(token)
        over = self.token_seconds is not None and ends is not None and self.clock.now() >= ends
        if token in self._expired or over:
            raise ApiError(
                401, "The OAuth token used to make this call expired.", category="EXPIRED_AUTHENTICATION"
            )
        accepts = self.hubspot.accepts
        if accepts is not None and token not in accepts and token not in self._issued:
            raise ApiError(401, replies.NO_CREDENTIALS)
        self._limit(request.path.endswith("/search"))

    def _limit(self, is_search: bool) -> None:
        now, limits = self.clock.now(), self.limits
        burst = self._searches if is_search else self._burst
        if limits is not None:
            most = limits.searches_per_second if is_search else limits.burst
            if self._day.count(now) >= limits.daily:
                raise ApiError(429, "", policy="DAILY")
            if burst.count(now) >= most:
                # Only the answer to a burst tells how long to wait.
                policy, wait = ("SECONDLY", None) if is_search else ("TEN_SECONDLY_ROLLING", burst.wait(now))
                raise ApiError(429, "", policy=policy, retry_after=wait)
        burst.add(now)
        self._day.add(now)

    def headers(self) -> dict[str, str]:
        """The rate limit headers, which search replies lack."""
        most = self.limits.burst if self.limits else BURST
        return {
            "X-HubSpot-RateLimit-Max": str(most),
            "X-HubSpot-RateLimit-Remaining": str(max(0, most - self._burst.count(self.clock.now()))),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(BURST_SECONDS * 1000),
        }

    def expire(self) -> int:
        """Refuse from now on every token seen so far; says how many."""
        fresh = (self._used | set(self._issued)) - self._expired
        self._expired |= fresh
        return len(fresh)

    # OAuth

    async def issue_token(self, request: web.Request) -> web.Response:
        """An access token for a client and its code or refresh token."""
        form = await request.post()
        needed = GRANTS.get(str(form.get("grant_type")))
        if needed is None:
            raise ApiError(400, "missing or unknown grant type", status_word="BAD_GRANT_TYPE")
        for key in ("client_id", "client_secret", needed):
            if not form.get(key):
                raise ApiError(
                    400, f"missing or invalid {key.replace('_', ' ')}", status_word=f"BAD_{key.upper()}"
                )
        secret, given = str(form["client_secret"]), str(form[needed])
        accepts = self.hubspot.accepts
        if given in self._revoked or (accepts is not None and not {secret, given} & accepts):
            word = f"BAD_{needed.upper()}"
            raise ApiError(400, f"missing or invalid {needed.replace('_', ' ')}", status_word=word)
        seconds = TOKEN_SECONDS if self.token_seconds is None else self.token_seconds
        token = f"sandbox-{uuid.uuid4()}"
        self._issued[token] = self.clock.now() + seconds * 1000
        return reply(
            {
                "access_token": token,
                "refresh_token": given if needed == "refresh_token" else str(uuid.uuid4()),
                "expires_in": seconds,
                "token_type": "bearer",
            }
        )

    async def describe_access_token(self, request: web.Request) -> web.Response:
        """Whose token it is and how long it lasts."""
        token = request.match_info["token"]
        if token not in self._issued or token in self._expired:
            raise ApiError(404, "missing or unknown access token")
        left = max(0, (self._issued[token] - self.clock.now()) // 1000)
        account = {"hub_id": PORTAL_ID, "app_id": 1, "user_id": 1001, "hub_domain": "shop.example"}
        return reply(
            {"token": token, "expires_in": left, "scopes": ["oauth"], "token_type": "access", **account}
        )

    async def describe_refresh_token(self, request: web.Request) -> web.Response:
        """Whose token it is."""
        token = request.match_info["token"]
        if token in self._revoked:
            raise ApiError(404, "missing or unknown refresh token")
        account = {"hub_id": PORTAL_ID, "user_id": 1001, "client_id": "sandbox", "hub_domain": "shop.example"}
        return reply({"token": token, "scopes": ["oauth"], "token_type": "refresh", **account})

    async def revoke(self, request: web.Request) -> web.Response:
        """End a refresh token: 204, known or not."""
        self._revoked.add(request.match_info["token"])
        return web.Response(status=204)
