"""Refusing files before they reach the disk.

Django reads a form, and puts its files into the temporary folder, before any view can ask who sends them: the
check against forged requests looks for its token there.
"""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

from crm import uploads

FORM = 1024 * 1024  # bytes around a file
PERMISSIONS = ("crm.add_connection", "crm.change_connection", "crm.import_event", "crm.add_listimport")


class UploadLimit(FileUploadHandler):
    """Lets nobody send more than they may keep; to stand before the handlers that keep what comes."""

    def handle_raw_input(self, input_data: Any, meta: Any, content_length: int, *rest: Any) -> None:
        """Judge by the length of the request.

        Raises:
            RequestDataTooBig: it is too long for this user.
        """
        user = getattr(self.request, "user", None)
        may = user is not None and user.is_staff and any(user.has_perm(name) for name in PERMISSIONS)
        most = uploads.LIMIT + FORM if may else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if content_length > most:
            raise RequestDataTooBig("The form is larger than this user may send.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Leave it to the next handler."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave it to the next handler."""
