"""What a fault rule does to an answer on its way to the client."""

from __future__ import annotations

import asyncio
import gzip
from http import HTTPStatus

from aiohttp import web

from crm.sandbox.faults import Answer, Fault
from crm.sandbox.hubspot_replies import rate_limit_body, reply
from crm.sandbox.vendor import Vendor

HUNG_UP = web.RequestKey("hung_up", bool)  # set on a request that a fault left without an answer
DRIP_SECONDS = 0.05


def scripted(fault: Fault, vendor: Vendor, path: str) -> web.Response:
    """The answer of a rule that replaces the API's."""
    if fault.policy is not None:
        return reply(rate_limit_body(fault.policy), fault.status or 429)
    status = fault.status or 200
    if fault.body_base64 is not None:
        return web.Response(
            body=fault.body_base64, status=status, content_type=fault.content_type or "application/json"
        )
    if fault.body is None:
        return vendor.error_response(status, path)
    if isinstance(fault.body, str):
        return web.Response(text=fault.body, status=status, content_type=fault.content_type or "text/html")
    return reply(fault.body, status)


def repeated(answer: Answer) -> web.Response:
    """The same answer once more."""
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def remember(fault: Fault, response: web.StreamResponse) -> None:
    """Keep an answer for a rule that will repeat it."""
    if isinstance(response, web.Response):
        kept = {name: value for name, value in response.headers.items() if name != "Content-Length"}
        fault.last = Answer(response.status, _bytes(response), kept)


async def deliver(request: web.Request, fault: Fault, response: web.StreamResponse) -> web.StreamResponse:
    """Send the answer as the rule says, or give it back to be sent as it is."""
    response.headers.update(fault.headers)
    for name in fault.remove_headers:
        response.headers.pop(name, None)
    if fault.broken_gzip:
        whole = gzip.compress(_bytes(response), mtime=0)
        headers = {**response.headers, "Content-Encoding": "gzip"}
        headers.pop("Content-Length", None)
        return web.Response(status=response.status, body=whole[: len(whole) // 2], headers=headers)
    if fault.truncate is not None:
        return await _cut(request, response, fault.truncate, fault.framing)
    if fault.stall_seconds is not None or fault.drip_bytes_per_second is not None:
        return await _slowly(request, response, fault)
    return response


def hang_up(request: web.Request) -> web.Response:
    """Close the connection; the response given back is never sent, aiohttp only needs one."""
    request[HUNG_UP] = True
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _bytes(response: web.StreamResponse) -> bytes:
    body = getattr(response, "body", None)
    return body if isinstance(body, bytes) else b""


async def _cut(
    request: web.Request, response: web.StreamResponse, length: int, framing: str
) -> web.StreamResponse:
    """Send the first bytes of the body and close the connection."""
    body = _bytes(response)
    headers = {**response.headers, "Connection": "close"}
    headers.pop("Content-Length", None)
    if framing == "none":
        return _unframed(request, response.status, headers, body[:length])
    if framing == "length":
        headers["Content-Length"] = str(len(body))
    partial = web.StreamResponse(status=response.status, headers=headers)
    if framing == "chunked":
        partial.enable_chunked_encoding()
    await partial.prepare(request)
    await partial.write(body[:length])
    if request.transport is not None:
        request.transport.close()
    return partial


def _unframed(request: web.Request, status: int, headers: dict[str, str], body: bytes) -> web.Response:
    """An answer whose end is the connection's end, as HTTP/1.0 servers and some proxies send."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    request[HUNG_UP] = True
    if request.transport is not None:
        request.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        request.transport.close()
    return web.Response()


async def _slowly(request: web.Request, response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    """Send the whole body, with a pause in its middle or a few bytes at a time."""
    body = _bytes(response)
    headers = {**response.headers, "Content-Length": str(len(body))}
    slow = web.StreamResponse(status=response.status, headers=headers)
    await slow.prepare(request)
    if fault.stall_seconds is not None:
        middle = len(body) // 2
        await slow.write(body[:middle])
        await asyncio.sleep(fault.stall_seconds)
        await slow.write(body[middle:])
    else:
        rate = fault.drip_bytes_per_second or 1
        step = max(1, round(rate * DRIP_SECONDS))
        for start in range(0, len(body), step):
            await slow.write(body[start : start + step])
            await asyncio.sleep(step / rate)
    await slow.write_eof()
    return slow
