"""All that is known about one person, as a ZIP of JSON files that machines can read.

Each part of the product registers what it knows (`register`); the crm's own parts are in `crm.personal_data`. The
archive is made while it is sent: neither the web process nor PostgreSQL holds more than a few thousand rows.
"""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from crm.models import Profile

SCHEMA = "nudge.person/1"
ROWS = 2_000  # fetched at once
_SPILL = 64 * 1024  # bytes collected before they are handed on

Rows = Iterator[Mapping[str, Any]]


class Part(NamedTuple):
    """One file of the archive. `tables` are the labels of the models whose rows about a person are in it."""

    name: str
    about: Any
    rows: Callable[[int], Rows]
    tables: tuple[str, ...]


_parts: dict[str, Part] = {}


def register(name: str, about: Any, rows: Callable[[int], Rows], *tables: str) -> None:
    """Add a file to everybody's archive.

    Args:
        name: the file's name without ending, such as "deliveries".
        about: a sentence (translatable lazily) that says what it holds.
        rows: gives the JSON-able rows about a profile's number, a few thousand in memory at a time.
        tables: the models whose rows these are, such as "delivery.delivery".
    """
    _parts[name] = Part(name, about, rows, tables)


def parts() -> list[Part]:
    """What an archive holds, by name."""
    return sorted(_parts.values())


def columns(model: type[Model], *without: str) -> list[str]:
    """The names of all the columns of a table about people, but for these and the person's own number."""
    left_out = {"id", "profile_id", *without}
    return [field.attname for field in model._meta.concrete_fields if field.attname not in left_out]


def rows(query: QuerySet, *names: str) -> Rows:
    """The rows of a query as dicts of these columns, by a cursor on the server."""
    return query.values(*names).iterator(chunk_size=ROWS)


def table(model: type[Model], *without: str, order: str = "pk") -> Callable[[int], Rows]:
    """The rows of a table about a person, with all columns but these."""
    names = columns(model, *without)

    def found(profile_id: int) -> Rows:
        return rows(model._default_manager.filter(profile_id=profile_id).order_by(order), *names)

    return found


class _Pipe(io.RawIOBase):
    """Takes what is written until somebody fetches it; it can't be sought in, so zipfile streams into it."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.held += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = bytes(self.held)
        self.held.clear()
        return taken


def archive(profile: Profile, now: datetime | None = None) -> Iterator[bytes]:
    """The archive about one person, piece by piece.

    `manifest.json` names the files, what they hold and how many rows; `README.txt` says the same in words.
    """
    now = now or timezone.now()
    pipe = _Pipe()
    files: list[dict[str, Any]] = []
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:
        for part in parts():
            counted = 0
            with target.open(f"{part.name}.json", "w", force_zip64=True) as file:
                file.write(b"[")
                for row in part.rows(profile.pk):
                    file.write((b",\n" if counted else b"\n") + msgspec.json.encode(row))
                    counted += 1
                    if len(pipe.held) > _SPILL:
                        yield pipe.take()
                file.write(b"\n]\n")
            files.append({"file": f"{part.name}.json", "about": str(part.about), "rows": counted})
            yield pipe.take()
        manifest = {
            "schema": SCHEMA,
            "made_at": now,
            "made_by": settings.NUDGE_PUBLIC_URL,
            "profile_id": profile.pk,
            "files": files,
        }
        target.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        target.writestr("README.txt", _readme(files, now))
    yield pipe.take()


def _readme(files: list[dict[str, Any]], now: datetime) -> str:
    lines = [
        _("All that %(site)s knows about one person, as of %(time)s.")
        % {"site": settings.NUDGE_PUBLIC_URL, "time": f"{now:%Y-%m-%d %H:%M} UTC"},
        _(
            "Each file is a JSON list (RFC 8259, UTF-8) of objects; times are ISO 8601 with a zone. manifest.json "
            "holds this list for programs; its schema is %s."
        )
        % SCHEMA,
        "",
        *(f"{file['file']} ({file['rows']}): {file['about']}" for file in files),
    ]
    return "\n".join(lines) + "\n"


def file_name(profile: Profile, now: datetime | None = None) -> str:
    """Such as person-42-2026-11-22.zip."""
    return f"person-{profile.pk}-{now or timezone.now():%Y-%m-%d}.zip"
