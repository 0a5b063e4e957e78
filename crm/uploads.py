"""Keeping uploaded files and reading them again."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm.models import Connection, Upload, UploadPart

PART = 1024 * 1024  # bytes
LIMIT = 512 * 1024 * 1024  # bytes of one file
KEPT = timedelta(days=7)  # a file that nothing uses


class UploadError(ValueError):
    """The file can't be kept; the message says why."""


@transaction.atomic
def keep(name: str, chunks: Iterable[bytes], by: str = "") -> Upload:
    """Store a file that comes in pieces of any size.

    Raises:
        UploadError: it is larger than LIMIT.
    """
    upload = Upload.objects.create(name=name, uploaded_by=by)
    held, number = b"", 0
    for chunk in chunks:
        held += chunk
        upload.size += len(chunk)
        if upload.size > LIMIT:
            raise UploadError(_("The file is larger than %d MB; split it.") % (LIMIT // 1024**2))
        while len(held) >= PART:
            UploadPart.objects.create(upload=upload, number=number, content=held[:PART])
            held, number = held[PART:], number + 1
    if held:
        UploadPart.objects.create(upload=upload, number=number, content=held)
    upload.save(update_fields=["size"])
    return upload


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
    """Delete files older than KEPT that no connection reads; return how many."""
    now = now or timezone.now()
    used = {
        connection.config.get("upload")
        for connection in Connection.objects.filter(kind="file").only("config")
    }
    stale = Upload.objects.filter(uploaded_at__lte=now - KEPT).exclude(pk__in=[pk for pk in used if pk])
    count = stale.count()
    stale.delete()
    return count
