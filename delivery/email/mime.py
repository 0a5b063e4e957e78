"""An email as the bytes that go over the wire (RFC 5322, 2045 to 2047), made quickly.

Python's `email` package takes longer to fold and encode one message than all else that sending it takes; what is made
here is a fixed shape: two alternatives in UTF-8, with the few headers of a message to one person.
"""

import binascii
import re
import secrets
from datetime import datetime
from email.header import Header
from email.utils import encode_rfc2231, format_datetime

from delivery.email.content import Attachment, EmailPayload

_ADDRESS = re.compile(r"[^\s<>\"(),:;@\[\]\\\x00-\x20\x7f]{1,64}@[^\s<>\"(),:;@\[\]\\\x00-\x20\x7f]{1,255}\Z")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+\Z")
_NAME = re.compile(r"[A-Za-z0-9-]+\Z")
_LINE = 76
_AS_IT_IS = bytes((9, 10, *range(32, 127)))
_STRANGERS = 20  # different bytes to encode; with more of them one go through the text is quicker
# Escapes are three characters, never divided; a soft line break takes the 76th place.
_PIECES = re.compile(rb".{1,75}(?<!=)(?<!=.)")
_UNQUOTED = re.compile(r'["\\]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadAddress(ValueError):
    """No email can go to or come from this."""


def address(value: str) -> str:
    """Return an address as it stands in commands and headers, its domain in ASCII.

    Raises:
        BadAddress: it is none, or its part before the @ needs letters that not every server takes.
    """
    value = value.strip()
    if not _ADDRESS.match(value):
        raise BadAddress("not an email address")
    name, _at, domain = value.rpartition("@")
    if not name.isascii():
        raise BadAddress("the part before the @ has letters that not every server takes")
    try:
        return f"{name}@{domain.encode('idna').decode() if not domain.isascii() else domain}"
    except UnicodeError:
        raise BadAddress("its domain can't be written in ASCII") from None


def header(name: str, value: str) -> bytes:
    """Return one header line.

    Raises:
        ValueError: the value would begin another line, or is not ASCII.
    """
    if not _NAME.match(name) or _CONTROL.search(value):
        raise ValueError(f"the header {name[:40]} has control characters")
    return f"{name}: {value}\r\n".encode("ascii")


def words(text: str) -> str:
    """Return text for a header: as it is where that is safe, else as encoded words; folded."""
    if text.isascii() and text.isprintable() and "=?" not in text and len(text) < _LINE - 12:
        return text
    return Header(text, "utf-8", maxlinelen=_LINE, header_name="Subject").encode(linesep="\r\n")


def mailbox(name: str, plain: str) -> str:
    """Return a name with its address."""
    if not name:
        return plain
    if _ATOM.match(name) and "=?" not in name and len(name) < _LINE - 12:
        return f"{name} <{plain}>"
    if name.isascii() and name.isprintable() and len(name) < _LINE - 14:
        return quoted(name, plain)
    return f"{words(name)} <{plain}>"


def quoted(name: str, plain: str) -> str:
    """Return a name in quotation marks with its address."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{plain}>'


def message(payload: EmailPayload, message_id: str, now: datetime) -> bytes:
    """Return the whole message; its addresses have gone through `address`, lines end with CRLF.

    Raises:
        ValueError: a header would begin another line.
    """
    head = [
        _folded("From", mailbox(payload.from_name, payload.from_address)),
        _folded("To", mailbox(payload.to_name, payload.to)),
        _folded("Subject", words(payload.subject)),
        header("Date", format_datetime(now)),
        header("Message-ID", message_id),
        header("MIME-Version", "1.0"),
    ]
    if payload.reply_to:
        head.append(header("Reply-To", payload.reply_to))
    head += [header(name, value) for name, value in payload.headers.items()]
    body = _several("alternative", [_part("text/plain", payload.text), _part("text/html", payload.html)])
    if not payload.attachments:
        return b"".join((*head, body))
    parts = [body, *map(_attached, payload.attachments)]
    return b"".join((*head, _several("mixed", parts)))


def _several(kind: str, parts: list[bytes]) -> bytes:
    """Parts as one, with the header that says how they belong together."""
    boundary = f"=_{secrets.token_hex(12)}"
    mark = f"\r\n--{boundary}".encode()
    head = header("Content-Type", f'multipart/{kind}; boundary="{boundary}"')
    return b"".join((head, *(b"%s\r\n%s" % (mark, part) for part in parts), mark, b"--\r\n"))


def _attached(file: Attachment) -> bytes:
    """A file as a part; its name goes by RFC 2231 where it is not ASCII."""
    if file.name.isascii():
        name = header("Content-Disposition", f'attachment; filename="{_UNQUOTED.sub("_", file.name)}"')
    else:
        name = header("Content-Disposition", f"attachment; filename*={encode_rfc2231(file.name, 'utf-8')}")
    kind = f"{file.kind}; charset=utf-8" if file.kind.startswith("text/") else file.kind
    head = (header("Content-Type", kind), name, header("Content-Transfer-Encoding", "base64"))
    encoded = binascii.b2a_base64(file.data, newline=False)
    lines = [encoded[since : since + _LINE] for since in range(0, len(encoded), _LINE)]
    return b"".join((*head, b"\r\n", b"\r\n".join(lines), b"\r\n"))


def new_message_id(number: int, sender: str) -> str:
    """Return a Message-ID of our own; `number` is the attempt's."""
    return f"<{number}.{secrets.token_hex(8)}@{sender.rpartition('@')[2]}>"


def _folded(name: str, value: str) -> bytes:
    """A header whose value `words` may have folded."""
    if any(not line.isprintable() for line in value.split("\r\n ")):
        raise ValueError(f"the header {name} has control characters")
    return f"{name}: {value}\r\n".encode("ascii")


def _part(kind: str, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.isascii() and sum(map(data.count, b"\xd8\xd9")) * 6 > len(data):  # mostly Arabic
        encoding, body = b"base64", _base64(data)
    else:
        encoding = b"quoted-printable"
        body = _quoted_printable(data)
        if len(body) > 2 * len(data) + 200:  # another script with few ASCII letters
            encoding, body = b"base64", _base64(data)
    return b"Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n%s" % (
        kind.encode(),
        encoding,
        body,
    )


def _quoted_printable(data: bytes) -> bytes:
    """Encode text as RFC 2045, section 6.7 has it; HTML by replacing the few bytes that stand for something else."""
    strangers = set(data.translate(None, _AS_IT_IS))
    if len(strangers) > _STRANGERS:
        return binascii.b2a_qp(data, istext=True).replace(b"\n", b"\r\n")
    data = data.replace(b"=", b"=3D")
    for byte in strangers:
        data = data.replace(bytes((byte,)), b"=%02X" % byte)
    data = (data + b"\n").replace(b" \n", b"=20\n").replace(b"\t\n", b"=09\n")[:-1]
    return b"\r\n".join(
        line if len(line) <= _LINE else b"=\r\n".join(_PIECES.findall(line)) for line in data.split(b"\n")
    )


def _base64(data: bytes) -> bytes:
    encoded = binascii.b2a_base64(data.replace(b"\n", b"\r\n"), newline=False)
    return b"\r\n".join(encoded[since : since + _LINE] for since in range(0, len(encoded), _LINE))
