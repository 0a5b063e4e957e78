"""Files to import, and what a browser does with them."""

import io
import re
from typing import Any

import openpyxl
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from crm.models import Connection
from tests.crm.admin.pages import form_of, page

PEOPLE = """E-mail,First name,Points,SMS opt-in
ann@x.com,Ann,5,yes
bob@x.com,Bob,7,no
nonsense,Carl,1,
"""


def csv_file(content: str | bytes = PEOPLE, name: str = "spring fair.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode() if isinstance(content, str) else content)


def excel_file(*lines: Any, name: str = "people.xlsx") -> SimpleUploadedFile:
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    held = io.BytesIO()
    book.save(held)
    return SimpleUploadedFile(name, held.getvalue())


def send(client: Any, file: Any, url: str = "", **data: Any) -> Any:
    """The first step: a file and nothing else."""
    return client.post(url or page("import"), {"file": file, **data})


def agree(client: Any, shown: Any, url: str = "", **data: Any) -> Any:
    """The second step: what the page proposes, but for `data`."""
    form = {name: value for name, value in form_of(shown).items() if name != "file"}
    return client.post(url or page("import"), {**form, **data})


def begun(client: Any, file: Any = None, **data: Any) -> Connection:
    """A draft that came from a file, as proposed."""
    response = agree(client, send(client, file or csv_file(), **data))
    assert response.status_code == 302, re.findall(r'role="alert".*', response.content.decode())
    return Connection.objects.latest("pk")


def exported(client: Any, model: str, query: str = "", **data: Any) -> bytes:
    """The file that an export page gives."""
    url = reverse(f"admin:crm_{model}_export") + query
    response = client.post(url, {"form": "csv", **data})
    assert response.status_code == 200
    assert "attachment" in response["Content-Disposition"], response.content.decode()[:2000]
    return b"".join(response.streaming_content)
