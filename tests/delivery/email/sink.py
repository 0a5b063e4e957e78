"""A real SMTP server on this machine that keeps what arrives and answers as it is told."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult


class Mail:
    """One message as it arrived."""

    def __init__(self, sender: str, recipients: list[str], raw: bytes):
        self.sender, self.recipients, self.raw = sender, recipients, raw

    @property
    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.SMTP)


class Sink:
    """Set `rcpt[address]` to what to answer to a recipient, `data[address]` to what to answer to their message: a line,
    "cut" to hang up, or (for messages) "silent"."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.rcpt: dict[str, str] = {}
        self.data: dict[str, str] = {}
        self.everybody: tuple[str, str] = ("", "")  # the same for those who are not named there
        self.connections = 0
        self.port = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if said := self.rcpt.get(address, self.everybody[0]):
            if said == "cut":
                server.transport.abort()
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        named = [self.data[each] for each in envelope.rcpt_tos if each in self.data]
        answer = (named or [self.everybody[1] or "250 OK"])[0]
        if answer == "silent":
            await asyncio.sleep(3)
        if answer.startswith("250") or answer == "cut":
            self.mails.append(Mail(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        if answer == "cut":
            server.transport.abort()
        return answer

    def to(self, address: str) -> Mail:
        """The only mail to `address`."""
        [found] = [mail for mail in self.mails if mail.recipients == [address]]
        return found


@contextlib.contextmanager
def running(password: str = "") -> Iterator[Sink]:
    """A sink on a free port; with a password it asks for user "nudge"."""
    sink = Sink()
    loop = asyncio.new_event_loop()

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        fine = data.login == b"nudge" and data.password == password.encode()
        return AuthResult(success=fine, handled=False)

    def factory() -> SMTP:
        sink.connections += 1
        return SMTP(
            sink,
            enable_SMTPUTF8=False,
            authenticator=authenticate if password else None,
            auth_required=bool(password),
            auth_require_tls=False,
            hostname="sink.example",
            loop=loop,
        )

    listening = socket.create_server(("127.0.0.1", 0))
    sink.port = listening.getsockname()[1]
    server = loop.run_until_complete(loop.create_server(factory, sock=listening))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
