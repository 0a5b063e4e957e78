"""Zoho's OAuth, and what stands before every call: token, credits of the day, calls at one time.

Shapes follow Zoho's client library; the texts of refusals and the limits follow its developer pages.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from crm.sandbox.store import Clock
from crm.sandbox.zoho_replies import BY_STATUS, ApiError, reply

DAY = 86_400_000
REFRESH_WINDOW = 600_000
NEVER = 2**62
SCOPES = (
    "ZohoCRM.modules.ALL ZohoCRM.settings.ALL ZohoCRM.bulk.ALL ZohoCRM.coql.READ ZohoCRM.notifications.ALL"
)
TOO_OFTEN = {
    "error_description": "You have made too many requests continuously. Please try again after some time.",
    "error": "Access Denied",
    "status": "failure",
}


@dataclass
class Access:
    """Who may call, and how much. Every attribute without an underscore is for a test to set."""

    clock: Clock
    accepts: set[str] | None = None
    token_seconds: int = 3600
    refuse_refresh: str | None = None  # the error of every refresh: invalid_code, invalid_client, …
    refresh_limit: int | None = None  # tokens issued in ten minutes before "Access Denied"
    credits: int = 50_000  # in rolling 24 hours
    concurrency: int = 25
    _issued: dict[str, int] = field(default_factory=dict)  # access token -> expiry in ms
    _refused: set[str] = field(default_factory=set)
    _refreshes: deque[int] = field(default_factory=deque)
    _spent: deque[tuple[int, int]] = field(default_factory=deque)  # (when, credits)
    _total: int = 0
    running: int = 0

    async def issue(self, request: web.Request) -> web.Response:
        """`POST /oauth/v2/token`. Errors come with status 200, as Zoho sends them."""
        form = {**request.query, **await request.post()}
        needed = {"refresh_token": "refresh_token", "authorization_code": "code"}
        proof = needed.get(str(form.get("grant_type", "")))
        if not form.get("client_id") or not form.get("client_secret"):
            return reply({"error": "invalid_client"})
        if proof is None or not form.get(proof):
            return reply({"error": "invalid_code"})
        if self.refuse_refresh:
            return reply({"error": self.refuse_refresh})
        if self.accepts is not None:
            if form["client_secret"] not in self.accepts:
                return reply({"error": "invalid_client_secret"})
            if form[proof] not in self.accepts:
                return reply({"error": "invalid_code"})
        now = self.clock.now()
        while self._refreshes and self._refreshes[0] <= now - REFRESH_WINDOW:
            self._refreshes.popleft()
        if self.refresh_limit is not None and len(self._refreshes) >= self.refresh_limit:
            return reply(TOO_OFTEN, 400)
        self._refreshes.append(now)
        token = f"1000.{secrets.token_hex(16)}.{secrets.token_hex(16)}"
        self._issued[token] = now + self.token_seconds * 1000
        body = {
            "access_token": token,
            "scope": SCOPES,
            "api_domain": f"{request.scheme}://{request.host}",
            "token_type": "Bearer",
            "expires_in": self.token_seconds,
        }
        if proof == "code":
            body["refresh_token"] = f"1000.{secrets.token_hex(16)}.{secrets.token_hex(16)}"
        return reply(body)

    def expire(self) -> int:
        """Refuse every access token seen or issued so far; how many they are."""
        self._refused |= set(self._issued)
        count = len(self._issued)
        self._issued.clear()
        return count

    def check(self, request: web.Request) -> None:
        """Raise ApiError unless the request carries a token that holds."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "zoho-oauthtoken" or not token:
            raise ApiError(401, "AUTHENTICATION_FAILURE", "Authentication failed")
        issued = self._issued.get(token)
        known = issued is not None or self.accepts is None or token in self.accepts
        if token in self._refused or not known or (issued is not None and issued <= self.clock.now()):
            raise ApiError(401, "INVALID_TOKEN", "invalid oauth token")
        if issued is None:
            self._issued[token] = NEVER  # one that a test made up

    def charge(self, cost: int) -> dict[str, str]:
        """Spend credits; the headers of the reply. ApiError once they are used up."""
        now = self.clock.now()
        while self._spent and self._spent[0][0] <= now - DAY:
            self._total -= self._spent.popleft()[1]
        if self._total + cost > self.credits:
            raise ApiError(429, "TOO_MANY_REQUESTS", "You have exceeded the API credits of the day.")
        self._spent.append((now, cost))
        self._total += cost
        if self._total * 2 < self.credits:
            return {}
        return {"X-API-CREDITS-REMAINING": str(self.credits - self._total)}

    def enter(self) -> None:
        """Begin a call; ApiError if as many as allowed are running."""
        if self.running >= self.concurrency:
            raise ApiError(429, *BY_STATUS[429])
        self.running += 1

    def leave(self) -> None:
        """End a call."""
        self.running -= 1
