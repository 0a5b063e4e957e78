"""Keeping uploaded files and reading them again."""

import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO, Any

from django.utils import timezone
from django.utils.translation import gettext as _

from crm.models import Connection, EventFile, Upload, UploadPart

PART = 1024 * 1024  # bytes
LIMIT = 512 * 1024 * 1024  # bytes of one file
KEPT = timedelta(days=7)  # a file that nothing uses


class UploadError(ValueError):
    """The file can't be kept; the message says why."""


def keep(name: str, chunks: Iterable[bytes], by: str = "", limit: int | None = None) -> Upload:
    """Store a file that comes in pieces of any size.

    Its pieces are committed one by one: a transaction as long as a slow upload would hold up all who read the
    event log. What was stored of a file that is not kept is deleted.

    Args:
        limit: bytes; LIMIT, unless told.

    Raises:
        UploadError: it is larger than `limit`.
    """
    upload = Upload.objects.create(name=name, uploaded_by=by)
    try:
        _store(upload, chunks, LIMIT if limit is None else limit)
    except BaseException:
        upload.delete()
        raise
    upload.save(update_fields=["size"])
    return upload


def _store(upload: Upload, chunks: Iterable[bytes], limit: int) -> None:
    held, number = bytearray(), 0
    for chunk in chunks:
        held += chunk
        upload.size += len(chunk)
        if upload.size > limit:
            raise UploadError(_("The file is larger than %d MB; split it.") % (limit // 1024**2))
        while len(held) >= PART:
            UploadPart.objects.create(upload=upload, number=number, content=bytes(held[:PART]))
            del held[:PART]
            number += 1
    if held:
        UploadPart.objects.create(upload=upload, number=number, content=bytes(held))


class Parts(io.RawIOBase):
    """An uploaded file, read piece by piece from where it is wanted, without a copy of the rest."""

    def __init__(self, upload: Upload):
        self.parts = UploadPart.objects.filter(upload=upload)
        self.size = upload.size
        self.place = 0
        self.number, self.content = -1, b""

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Bytes before the next."""
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = max(0, start + offset)
        return self.place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what is left of one part; 0 at the end."""
        number, start = divmod(self.place, PART)
        if number != self.number:
            found = self.parts.filter(number=number).values_list("content", flat=True).first()
            self.number, self.content = number, bytes(found or b"")
        piece = self.content[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)


@contextmanager
def opened(upload: Upload) -> Iterator[IO[bytes]]:
    """The file, to be read and sought in; a temporary copy that goes with the block."""
    with tempfile.TemporaryFile() as file:
        parts = UploadPart.objects.filter(upload=upload).order_by("number")
        for number in parts.values_list("number", flat=True):
            file.write(parts.values_list("content", flat=True).get(number=number))
        file.seek(0)
        yield file


def forget_unused(now: datetime | None = None) -> int:
    """Delete files older than KEPT that no connection and no import reads; return how many."""
    now = now or timezone.now()
    used = {
        connection.config.get("upload")
        for connection in Connection.objects.filter(kind="file").only("config")
    }
    used |= set(EventFile.objects.filter(state=EventFile.State.RUNNING).values_list("upload", flat=True))
    stale = Upload.objects.filter(uploaded_at__lte=now - KEPT).exclude(pk__in=[pk for pk in used if pk])
    count = stale.count()
    stale.delete()
    return count
