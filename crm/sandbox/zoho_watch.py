"""Zoho's notifications: subscriptions of at most a week, and the unsigned calls that tell of changes."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.zoho_replies import ApiError, NothingError, invalid, local, reply, success
from crm.sandbox.zoho_schema import is_moment

if TYPE_CHECKING:
    from crm.sandbox.zoho import Zoho

HOUR = 3_600_000
WEEK = 7 * 24 * HOUR
TOKEN_LENGTH = 50
POST_SECONDS = 5
EVENTS = {"create": "insert", "edit": "update", "delete": "delete"}
PAUSE_SECONDS = 0.2
QUEUED = 10_000


@dataclass(slots=True)
class Channel:
    """One subscription."""

    id: str
    events: list[str]
    notify_url: str
    token: str | None
    expires: int  # ms

    def wants(self, module: str, operation: str) -> bool:
        """Whether it is told of this operation ("insert", "update", "delete")."""
        return any(
            event == f"{module}.all"
            or (event.startswith(f"{module}.") and EVENTS[_action(event)] == operation)
            for event in self.events
        )


def _action(event: str) -> str:
    return event.rpartition(".")[2]


class Watch:
    """The notification API, and the calls that are waiting to be posted."""

    def __init__(self, zoho: Zoho) -> None:
        self.zoho = zoho
        self.channels: dict[str, Channel] = {}
        self.waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=QUEUED)  # (url, body)

    # The calls

    def changed(self, module: str, operation: str, ids: list[str], names: list[str]) -> None:
        """Queue a call for everyone who has subscribed to this change."""
        now = self.zoho.clock.now()
        for channel in list(self.channels.values()):
            if channel.expires > now and channel.wants(module, operation):
                self.waiting.append((channel.notify_url, self.body(channel, module, operation, ids, names)))

    def body(
        self, channel: Channel, module: str, operation: str, ids: list[str], names: list[str]
    ) -> dict[str, Any]:
        """What Zoho posts to a subscriber."""
        return {
            "server_time": self.zoho.clock.now(),
            "affected_values": [],
            "query_params": {},
            "module": module,
            "resource_uri": f"https://www.zohoapis.com/crm/v8/{module}",
            "ids": ids,
            "affected_fields": [{record_id: names} for record_id in ids] if operation == "update" else [],
            "operation": operation,
            "channel_id": channel.id,
            "token": channel.token,
        }

    def deliver(self) -> int:
        """Post the calls that are waiting; how many were answered with 2xx. Zoho does not try twice."""
        arrived = 0
        while self.waiting:
            url, body = self.waiting.popleft()
            request = urllib.request.Request(  # noqa: S310  the subscriber's own http address
                url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
            )
            try:
                with urllib.request.urlopen(request, timeout=POST_SECONDS) as answer:  # noqa: S310
                    arrived += 200 <= answer.status < 300
            except (OSError, ValueError):
                continue
        return arrived

    async def deliver_forever(self) -> None:
        """Post calls while the server runs."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if self.waiting:
                await asyncio.to_thread(self.deliver)

    # The API

    async def enable(self, request: web.Request) -> web.Response:
        rows = [self._enable(entry) for entry in await self._entries(request)]
        return reply({"watch": rows}, 201)

    async def update(self, request: web.Request) -> web.Response:
        rows = [self._enable(entry, known=True) for entry in await self._entries(request)]
        return reply({"watch": rows})

    async def patch(self, request: web.Request) -> web.Response:
        rows = []
        for entry in await self._entries(request):
            channel = self._known(entry)
            if entry.get("_delete_events"):
                channel.events = [name for name in channel.events if name not in entry.get("events", [])]
                message = "Successfully un-subscribed from actions-watch"
                rows.append(success(message, self._details(channel)))
                continue
            merged = {
                "events": channel.events,
                "notify_url": channel.notify_url,
                "token": channel.token,
                "channel_expiry": local(channel.expires, 0),
            }
            rows.append(self._enable({**merged, **entry}, known=True))
        return reply({"watch": rows})

    async def show(self, request: web.Request) -> web.Response:
        query, now = request.query, self.zoho.clock.now()
        found = [
            {
                "notify_on_related_action": False,
                "channel_expiry": local(channel.expires, self.zoho.utc_offset_minutes),
                "resource_uri": f"https://www.zohoapis.com/crm/v8/{event.partition('.')[0]}",
                "resource_id": "554023000000000000",
                "notify_url": channel.notify_url,
                "resource_name": event.partition(".")[0],
                "channel_id": channel.id,
                "events": [event],
                "token": channel.token,
            }
            for channel in self.channels.values()
            for event in channel.events
            if channel.expires > now
            and query.get("channel_id") in (None, channel.id)
            and query.get("module") in (None, event.partition(".")[0])
        ]
        if not found:
            raise NothingError(204)
        info = {"per_page": 200, "count": len(found), "page": 1, "more_records": False}
        return reply({"watch": found, "info": info})

    async def disable(self, request: web.Request) -> web.Response:
        rows = []
        for channel_id in request.query.get("channel_ids", "").split(","):
            channel = self._known({"channel_id": channel_id})
            del self.channels[channel.id]
            details = {"resource_id": "554023000000000000", "channel_id": channel.id}
            rows.append(success("Successfully removed the subscribe details", details))
        return reply({"watch": rows})

    async def _entries(self, request: web.Request) -> list[dict[str, Any]]:
        entries = (await self.zoho.json(request)).get("watch")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ApiError(400, "MANDATORY_NOT_FOUND", "required field not found", {"api_name": "watch"})
        return entries

    def _known(self, entry: dict[str, Any]) -> Channel:
        channel = self.channels.get(str(entry.get("channel_id")))
        if channel is None:
            raise ApiError(
                400,
                "NOT_SUBSCRIBED",
                "the channel is not subscribed",
                {"channel_id": entry.get("channel_id")},
            )
        return channel

    def _enable(self, entry: dict[str, Any], known: bool = False) -> dict[str, Any]:
        if known:
            self._known(entry)
        for name in ("channel_id", "events", "notify_url"):
            if not entry.get(name):
                raise ApiError(400, "MANDATORY_NOT_FOUND", "required field not found", {"api_name": name})
        channel_id, token = str(entry["channel_id"]), entry.get("token")
        if not channel_id.isdecimal():
            raise invalid("channel_id", expected_data_type="long")
        if token is not None and (not isinstance(token, str) or len(token) > TOKEN_LENGTH):
            raise invalid("token", maximum_length=TOKEN_LENGTH)
        for event in entry["events"]:
            module, _, action = str(event).partition(".")
            if module not in self.zoho.modules or action not in {*EVENTS, "all"}:
                raise invalid("events", event=event)
        channel = Channel(
            channel_id, list(entry["events"]), str(entry["notify_url"]), token, self._expiry(entry)
        )
        self.channels[channel_id] = channel
        verb = "Successfully updated the subscribe details"
        message = verb if known else "Successfully subscribed for actions-watch of the given module"
        return success(message, self._details(channel))

    def _expiry(self, entry: dict[str, Any]) -> int:
        """The end of the subscription: an hour from now unless a time within a week was asked for."""
        now, asked = self.zoho.clock.now(), entry.get("channel_expiry")
        if asked is None:
            return now + HOUR
        if not is_moment(asked):
            raise invalid("channel_expiry", expected_data_type="datetime")
        stamp = int(datetime.fromisoformat(asked).timestamp() * 1000)
        return stamp if now < stamp <= now + WEEK else now + HOUR

    def _details(self, channel: Channel) -> dict[str, Any]:
        return {
            "events": [
                {
                    "channel_expiry": local(channel.expires, self.zoho.utc_offset_minutes),
                    "resource_uri": f"https://www.zohoapis.com/crm/v8/{event.partition('.')[0]}",
                    "resource_id": "554023000000000000",
                    "resource_name": event.partition(".")[0],
                    "channel_id": channel.id,
                }
                for event in channel.events
            ]
        }
