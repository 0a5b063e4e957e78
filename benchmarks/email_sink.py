"""An SMTP server that takes everything as fast as it can; prints its port. It counts, and tells by the word COUNT."""

import asyncio
import sys

taken = 0


class Sink(asyncio.Protocol):
    """One connection. Commands may come many at once (RFC 2920)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""
        self.reading = False
        transport.write(b"220 sink ESMTP\r\n")  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Answer whatever is complete."""
        global taken
        self.buffer += data
        answers = []
        while True:
            if self.reading:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    break
                self.buffer, self.reading = self.buffer[end + 5 :], False
                taken += 1
                answers.append(b"250 OK\r\n")
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer = rest
            word = line[:4].upper()
            if word == b"EHLO":
                answers.append(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif word == b"DATA":
                self.reading = True
                answers.append(b"354 go on\r\n")
            elif word == b"COUN":
                answers.append(b"250 %d\r\n" % taken)
            elif word == b"QUIT":
                self.transport.write(b"".join(answers) + b"221 bye\r\n")
                self.transport.close()
                return
            else:
                answers.append(b"250 OK\r\n")
        self.transport.write(b"".join(answers))


async def main() -> None:
    """Listen until killed."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
