"""HubSpot's webhooks: changes are posted to a target URL in batches with a v3 signature.

As HubSpot does it, an event may come more than once and out of order, an event id may repeat, and deleting
for privacy also tells an ordinary deletion.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import aiohttp

from crm.sandbox.hubspot_schema import PORTAL_ID
from crm.sandbox.store import Change

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot
    from crm.sandbox.hubspot_kinds import Kind

APP_ID = 54321
SUBSCRIPTION_ID = 12345
BATCH = 100
MOST_ATTEMPTS = 10
TICK_SECONDS = 0.05
TIMEOUT = aiohttp.ClientTimeout(total=5)
QUEUE_LENGTH = 100_000
# HubSpot signs the URL with these characters decoded.
DECODED = {
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}


def signed_headers(
    secret: str, url: str, body: bytes, timestamp: int, method: str = "POST"
) -> dict[str, str]:
    """The headers of a webhook request: signature v3 over method, URL, body and time.

    `url` is the public URL with its query; `timestamp` is in milliseconds. A receiver refuses a request
    that is older than 300 seconds.
    """
    for code, character in DECODED.items():
        url = url.replace(code, character).replace(code.lower(), character)
    signed = f"{method}{url}".encode() + body + str(timestamp).encode()
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "X-HubSpot-Signature-v3": base64.b64encode(digest).decode(),
        "X-HubSpot-Request-Timestamp": str(timestamp),
    }


def event(kind: str, object_id: int, occurred_at: int, number: int = 1, **more: Any) -> dict[str, Any]:
    """One event; `kind` is such as `contact.creation`, `occurred_at` is in milliseconds."""
    return {
        "eventId": number,
        "subscriptionId": SUBSCRIPTION_ID,
        "portalId": PORTAL_ID,
        "appId": APP_ID,
        "occurredAt": occurred_at,
        "subscriptionType": kind,
        "attemptNumber": 0,
        "objectId": object_id,
        "changeSource": "CRM",
        **more,
    }


class Webhooks:
    """The events that wait, and their delivery. Nothing is kept while `target_url` is empty.

    `retry_seconds` is the pause after a batch that the target did not answer with 2xx.
    """

    def __init__(self, hubspot: HubSpot) -> None:
        self.clock = hubspot.clock
        self.target_url = ""
        self.client_secret = ""
        self.public_url = ""  # what is signed, where a proxy stands before the target
        self.retry_seconds = 5.0
        self.delivered = 0
        self._waiting: deque[dict[str, Any]] = deque(maxlen=QUEUE_LENGTH)
        self._number = 0

    def set(self, target_url: str, client_secret: str, public_url: str = "") -> None:
        """Post to this URL from now on, signed with this secret for `public_url` (default: the same URL)."""
        self.target_url, self.client_secret, self.public_url = target_url, client_secret, public_url

    @property
    def waiting(self) -> int:
        """How many events have not been delivered."""
        return len(self._waiting)

    def follow(self, kind: Kind, change: Change) -> None:
        """Queue the events of a change."""
        if self.target_url:
            for name, more in _events(change):
                self._number += 1
                at = self.clock.now()
                self._waiting.append(
                    event(f"{kind.singular}.{name}", change.record.id, at, self._number, **more)
                )

    async def run(self) -> None:
        """Deliver what waits until cancelled."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                while self._waiting and self.target_url:
                    if not await self._deliver(session):
                        await asyncio.sleep(self.retry_seconds)

    async def _deliver(self, session: aiohttp.ClientSession) -> bool:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        body = json.dumps(batch).encode()
        # Signed with the machine's own time: a sandbox whose clock is off still sends fresh requests.
        now = int(time.time() * 1000)
        headers = signed_headers(self.client_secret, self.public_url or self.target_url, body, now)
        try:
            async with session.post(self.target_url, data=body, headers=headers) as answer:
                accepted = 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError):
            accepted = False
        if accepted:
            self.delivered += len(batch)
            return True
        again = [{**row, "attemptNumber": row["attemptNumber"] + 1} for row in batch]
        self._waiting.extendleft(row for row in reversed(again) if row["attemptNumber"] < MOST_ATTEMPTS)
        return False


def _events(change: Change) -> list[tuple[str, dict[str, Any]]]:
    """(name, further fields) of each event of a change."""
    values = change.record.properties
    changed = [
        ("propertyChange", {"propertyName": name, "propertyValue": values.get(name, "")})
        for name in change.names
    ]
    match change.kind:
        case "create":
            return [("creation", {"changeFlag": "NEW"}), *changed]
        case "update":
            return changed
        case "archive":
            return [("deletion", {"changeFlag": "DELETED"})]
        case "restore":
            return [("restore", {"changeFlag": "RESTORED"})]
        case "merge":
            ids = [change.loser.id] if change.loser else []
            return [("merge", {"primaryObjectId": change.record.id, "mergedObjectIds": ids}), *changed]
        case _:
            return [("privacyDeletion", {}), ("deletion", {"changeFlag": "DELETED"})]
