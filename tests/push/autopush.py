"""The WebSocket side of Mozilla's push service, as Firefox speaks it.

Protocol: PushServiceWebSocket.sys.mjs of Firefox, and autopush-rs. Messages for a browser that is not connected
wait until it says hello again; those it has not acknowledged are sent again.
"""

import contextlib
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from tests.push.client import b64url, unb64url
from tests.push.journal import Ack

if TYPE_CHECKING:
    from tests.push.service import PushService


@dataclass(frozen=True)
class Message:
    """One accepted push on its way to a browser; `expires` is a Unix time in seconds."""

    channel_id: str
    version: str
    body: bytes
    topic: str
    expires: float
    endpoint: str

    def to_json(self) -> dict[str, Any]:
        """The `notification` message; without data for an empty push."""
        message: dict[str, Any] = {
            "messageType": "notification",
            "channelID": self.channel_id,
            "version": self.version,
        }
        if self.body:
            message |= {"data": b64url(self.body), "headers": {"encoding": "aes128gcm"}}
        return message


class Autopush:
    """The connected browsers and the messages that wait for them."""

    def __init__(self, service: "PushService") -> None:
        self._service = service
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._waiting: dict[str, dict[str, Message]] = {}  # by uaid, then by version

    async def close(self) -> None:
        """Hang up on all browsers; they come back by themselves."""
        for socket in list(self._sockets.values()):
            await socket.close(code=1001)

    async def deliver(self, uaid: str, message: Message) -> None:
        """Send to a connected browser, else keep until the message's TTL ends. The same Topic replaces."""
        waiting = self._waiting.setdefault(uaid, {})
        if message.topic:
            for version, older in list(waiting.items()):
                if (older.channel_id, older.topic) == (message.channel_id, message.topic):
                    del waiting[version]
        waiting[message.version] = message
        if socket := self._sockets.get(uaid):
            await self._send(socket, message)

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """Talk with one browser until it hangs up."""
        socket = web.WebSocketResponse(protocols=["push-notification"])
        await socket.prepare(request)
        uaid = ""
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    continue
                message = json.loads(frame.data)
                if message.get("messageType") == "hello":
                    uaid = await self._hello(socket, message)
                else:
                    await self._handle(socket, uaid, message)
        finally:
            if self._sockets.get(uaid) is socket:
                del self._sockets[uaid]
        return socket

    async def _hello(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> str:
        uaid = message.get("uaid", "")
        if uaid not in self._waiting:
            uaid = uuid.uuid4().hex
            self._waiting[uaid] = {}
        self._sockets[uaid] = socket
        reply = {"messageType": "hello", "status": 200, "uaid": uaid, "use_webpush": True, "broadcasts": {}}
        await socket.send_json(reply)
        for waiting in list(self._waiting[uaid].values()):
            if waiting.expires > time.time():
                await self._send(socket, waiting)
        return uaid

    async def _send(self, socket: web.WebSocketResponse, message: Message) -> None:
        with contextlib.suppress(ConnectionResetError):  # it stays waiting and goes out at the next hello
            await socket.send_json(message.to_json())

    async def _handle(self, socket: web.WebSocketResponse, uaid: str, message: dict[str, Any]) -> None:
        match message.get("messageType"):
            case None if not message:  # ping
                await socket.send_str("{}")
            case "register":
                await socket.send_json(self._register(uaid, message))
            case "unregister":
                for subscription in self._service.subscriptions_of(uaid):
                    if subscription.channel_id == message["channelID"]:
                        self._service.unregister(subscription.endpoint, message.get("code", 200))
                reply = {"messageType": "unregister", "status": 200, "channelID": message["channelID"]}
                await socket.send_json(reply)
            case "ack":
                for update in message["updates"]:
                    self._settle(uaid, update["version"], update.get("code", 100))
            case "nack":
                self._settle(uaid, message["version"], message.get("code", 301))

    def _register(self, uaid: str, message: dict[str, Any]) -> dict[str, Any]:
        channel_id, key = message["channelID"], message.get("key")
        status = 200
        try:
            if key is not None and len(unb64url(key)) != 65:
                status = 400
        except ValueError:
            status = 400
        reply = {"messageType": "register", "status": status, "channelID": channel_id}
        if status == 200:
            key = key.rstrip("=") if key else None
            reply["pushEndpoint"] = self._service.register(key, uaid=uaid, channel_id=channel_id).endpoint
        return reply

    def _settle(self, uaid: str, version: str, code: int) -> None:
        message = self._waiting[uaid].pop(version, None)
        self._service.acks.append(Ack(message.endpoint if message else "", version, code))
