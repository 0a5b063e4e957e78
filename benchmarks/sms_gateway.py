"""A gateway for text messages that takes everything: prints its port, answers like Twilio, tells its count."""

import asyncio
from itertools import count

from aiohttp import web

_numbers = count(1)


async def _take(request: web.Request) -> web.Response:
    await request.read()
    sid = f"SM{next(_numbers):032x}"
    return web.json_response({"sid": sid, "status": "queued", "num_segments": "1"}, status=201)


def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_post("/{path:.*}", _take)
    runner = web.AppRunner(app, access_log=None)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    loop.run_forever()


if __name__ == "__main__":
    main()
