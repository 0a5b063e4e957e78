"""A push service for the demo's make-believe subscribers: it takes every push and shows it to nobody."""

from __future__ import annotations

from aiohttp import web

from crm.sandbox.control import PREFIX

PATH = PREFIX + "push/"


async def accept(request: web.Request) -> web.Response:
    """Answer as a push service that has taken the message (RFC 8030, section 5)."""
    await request.read()
    return web.Response(
        status=201, headers={"Location": request.path, "TTL": request.headers.get("TTL", "0")}
    )


def routes() -> list[web.RouteDef]:
    """The route table."""
    return [web.post(PATH + "{subscriber}", accept)]
