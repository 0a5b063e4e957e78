"""Conversations with an SMTP server (RFC 5321), many messages each, and what its answers mean.

`smtplib` opens and secures connections. The transaction is our own, as only then it is known where it broke off: before
the message was handed over it can be tried again; after that, without an answer, nobody knows.
"""

import contextlib
import re
import smtplib
import ssl
import threading
import time
from typing import Any

import msgspec

from delivery.channels.base import Outcome

CONNECT, ENVELOPE, FINAL = 8.0, 8.0, 20.0  # seconds to wait for answers: together less than a lease's margin
IDLE = 30.0  # seconds after which a kept connection is not trusted any more
LONGEST_LINE, MOST_LINES = 8192, 100  # of an answer
_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
# RFC 3463: bad destination mailbox, its system, its syntax, moved; mailbox disabled. And null MX (RFC 7505).
_DEAD = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}
_NOBODY = re.compile(
    r"(user|mailbox|recipient|account|address)\b.{0,40}\b(unknown|not found|not exist|unavailable|invalid|disabled)"
    r"|(no such|unknown|invalid) (user|mailbox|recipient|account|address)",
    re.IGNORECASE,
)


class Unreachable(Exception):
    """There is no conversation with the server; nothing was sent. `refused` tells that it does not want us."""

    def __init__(self, detail: str, code: int | None = None, refused: bool = False):
        super().__init__(detail)
        self.detail, self.code, self.refused = detail, code, refused


class Answer(msgspec.Struct, frozen=True):
    """What became of one message: an outcome, the server's code and words, and whether the mailbox is dead."""

    outcome: Outcome
    code: int | None
    detail: str
    dead: bool = False


class Server(msgspec.Struct, frozen=True):
    """Where and how to connect. `security` is "starttls", "tls" or "none"."""

    host: str
    port: int
    security: str
    username: str = ""
    password: str = ""
    hello: str = ""


class Connection:
    """One open connection. After an Unreachable or a broken message it is of no more use."""

    def __init__(self, server: Server):
        """Connect, secure and log in.

        Raises:
            Unreachable: it did not come about.
        """
        self.sent = 0
        self.usable = True
        self.used_at = time.monotonic()
        context = ssl.create_default_context()
        smtp: smtplib.SMTP | None = None
        try:
            if server.security == "tls":
                smtp = smtplib.SMTP_SSL(
                    server.host, server.port, server.hello or None, timeout=CONNECT, context=context
                )
            else:
                smtp = smtplib.SMTP(server.host, server.port, server.hello or None, timeout=CONNECT)
            if server.security == "starttls":
                smtp.starttls(context=context)
            smtp.ehlo_or_helo_if_needed()
            if server.username:
                _log_in(smtp, server)
        except smtplib.SMTPAuthenticationError as error:
            self._give_up(smtp)
            refused = error.smtp_code >= 500
            raise Unreachable(_words(error.smtp_error), error.smtp_code, refused) from error
        except smtplib.SMTPResponseException as error:
            self._give_up(smtp)
            raise Unreachable(_words(error.smtp_error), error.smtp_code, error.smtp_code >= 500) from error
        except smtplib.SMTPNotSupportedError as error:
            self._give_up(smtp)
            raise Unreachable(str(error), None, refused=True) from error
        except ssl.SSLCertVerificationError as error:
            self._give_up(smtp)
            raise Unreachable(f"its certificate is not valid: {error.verify_message}", None, True) from error
        except (smtplib.SMTPException, OSError) as error:
            self._give_up(smtp)
            raise Unreachable(error.strerror or str(error) or type(error).__name__) from error
        self._smtp = smtp
        self._unread = b""
        self._pipelining = smtp.has_extn("pipelining")

    def transmit(self, sender: str, recipient: str, message: bytes) -> Answer | None:
        """Send one message; None when the connection broke before the message was handed over.

        Args:
            message: lines end with CRLF.
        """
        mail, rcpt = f"MAIL FROM:<{sender}>\r\n", f"RCPT TO:<{recipient}>\r\n"
        try:
            self._patience(ENVELOPE)
            if self._pipelining:
                self._send(f"{mail}{rcpt}DATA\r\n".encode("ascii"))
                answers = [self._reply() for _command in range(3)]
            else:
                answers = []
                for command, fine in ((mail, 250), (rcpt, 250), ("DATA\r\n", 354)):
                    self._send(command.encode("ascii"))
                    answers.append(self._reply())
                    if not _accepts(answers[-1][0], fine):
                        break
            refused = self._refused(answers)
            if refused is not None:
                return refused
            body = message.replace(b"\r\n.", b"\r\n..")
            self._send(body + (b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n"))
        except (smtplib.SMTPException, OSError):
            self.close()
            return None
        # From here on the server has all of it.
        try:
            self._patience(FINAL)
            code, words = self._reply()
        except (smtplib.SMTPException, OSError) as error:
            self.close()
            return Answer(Outcome.STARTED, None, f"no answer to the message: {error}"[:200])
        self.sent += 1
        self.used_at = time.monotonic()
        if code == 421:
            self.close()
        return _final(code, _words(words))

    def close(self) -> None:
        """Leave without ceremony."""
        self.usable = False
        with contextlib.suppress(OSError):
            self._smtp.close()

    def quit(self) -> None:
        """Say goodbye."""
        self.usable = False
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self._patience(1.0)
            self._smtp.quit()

    def _patience(self, seconds: float) -> None:
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        self._smtp.sock.settimeout(seconds)

    def _send(self, data: bytes) -> None:
        """Hand over bytes; `smtplib` would do the same in more steps."""
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        self._smtp.sock.sendall(data)

    def _reply(self) -> tuple[int, bytes]:
        """Return the code and the words of the next reply, -1 for one that is none (RFC 5321, section 4.2).

        Several that came at once take one call of the system.
        """
        words = []
        while True:
            line = self._line()
            code = int(line[:3]) if line[:3].isdigit() else -1
            words.append(line[4:].strip())
            if code < 0 or line[3:4] != b"-":
                return code, b"\n".join(words)
            if len(words) > MOST_LINES:
                raise smtplib.SMTPServerDisconnected("its answer does not end")

    def _line(self) -> bytes:
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > LONGEST_LINE:
                raise smtplib.SMTPServerDisconnected("its answer does not end")
            if self._smtp.sock is None or not (more := self._smtp.sock.recv(65536)):
                raise smtplib.SMTPServerDisconnected("the connection was closed")
            self._unread += more
        line, self._unread = self._unread[:end], self._unread[end + 1 :]
        return line

    def _refused(self, answers: list[tuple[int, bytes]]) -> Answer | None:
        """Return what the server refused before the message, if it did, and leave it ready for the next one."""
        place = next(
            (
                place
                for place, (code, _words) in enumerate(answers)
                if not _accepts(code, 354 if place == 2 else 250)
            ),
            None,
        )
        if place is None:
            return None
        code, words = answers[place][0], _words(answers[place][1])
        if code == 421:
            self.close()
        elif len(answers) == 3 and answers[2][0] == 354:
            self._send(b".\r\n")  # it waits for a message to nobody (RFC 2920, section 3.1)
            self._reply()
        else:
            self._send(b"RSET\r\n")
            self._reply()
        self.used_at = time.monotonic()
        if 400 <= code < 500:
            return Answer(Outcome.RETRY, code, words)
        if place == 0:
            return Answer(Outcome.CONFIGURATION, code, words)
        return _refusal(code, words, about_mailbox=place == 1)

    @staticmethod
    def _give_up(smtp: smtplib.SMTP | None) -> None:
        if smtp is not None:
            smtp.close()


class Pool:
    """Connections that were left open, for the next batch. Any number of threads may take and give back."""

    def __init__(self) -> None:
        self._idle: dict[Server, list[Connection]] = {}
        self._lock = threading.Lock()

    def take(self, server: Server) -> Connection:
        """Return an open connection, a new one if there is none; Unreachable when it does not come about."""
        with self._lock:
            kept = self._idle.get(server, [])
            while kept:
                found = kept.pop()
                if time.monotonic() - found.used_at < IDLE:
                    return found
                found.close()
        return Connection(server)

    def give_back(self, server: Server, connection: Connection, most: int) -> None:
        """Keep a connection that is still of use, `most` of them for a server."""
        with self._lock:
            kept = self._idle.setdefault(server, [])
            if connection.usable and len(kept) < most:
                kept.append(connection)
                return
        if connection.usable:
            connection.quit()

    def clear(self) -> None:
        """Close all."""
        with self._lock:
            everything, self._idle = [c for kept in self._idle.values() for c in kept], {}
        for connection in everything:
            connection.quit()


def _log_in(smtp: smtplib.SMTP, server: Server) -> None:
    """Try the password once: `smtplib` tries a wrong one again in every way, and servers shut guessers out."""
    offered = smtp.esmtp_features.get("auth", "").upper().split()
    ways: dict[str, Any] = {
        "PLAIN": smtp.auth_plain,
        "LOGIN": smtp.auth_login,
        "CRAM-MD5": smtp.auth_cram_md5,
    }
    way = next((way for way in ways if way in offered), None)
    if way is None:
        raise smtplib.SMTPNotSupportedError("the server offers no login that we know")
    smtp.user, smtp.password = server.username, server.password
    smtp.auth(way, ways[way])


def _accepts(code: int, wanted: int) -> bool:
    return code == wanted or (wanted == 250 and code == 251)


def _final(code: int, words: str) -> Answer:
    if 200 <= code < 300:
        return Answer(Outcome.ACCEPTED, code, words)
    if 400 <= code < 500:
        return Answer(Outcome.RETRY, code, words)
    return _refusal(code, words, about_mailbox=False)


def _refusal(code: int, words: str, about_mailbox: bool) -> Answer:
    """A final no: to the mailbox when it does not exist, to us when we have to identify ourselves better."""
    found = _ENHANCED.search(words)
    status = ".".join(found.groups()) if found else ""
    if code in (530, 534, 535, 538) or status.startswith("5.7.8"):
        return Answer(Outcome.CONFIGURATION, code, words)
    if status in _DEAD or (about_mailbox and not status and _NOBODY.search(words)):
        return Answer(Outcome.GONE, code, words, dead=True)
    return Answer(Outcome.REFUSED, code, words)


def _words(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
