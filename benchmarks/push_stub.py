"""A push service that takes everything, as cheaply as asyncio can: `python -m benchmarks.push_stub` prints its port."""

import asyncio

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


class Stub(asyncio.Protocol):
    """Counts off request after request on a kept connection; bodies are thrown away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer to."""
        self.transport, self.rest = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer every complete request in `data`; keep the start of the next."""
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.rest) < end + 4 + length:
                return
            self.rest = self.rest[end + 4 + length :]
            self.transport.write(ANSWER)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
