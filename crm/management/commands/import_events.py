"""Import events from a CSV or JSONL file."""

import csv
import gzip
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser

from crm import event_files, event_rows, tables
from crm.event_files import Progress
from crm.event_rows import Shape

_EVERY = 0.5  # seconds between looks at a terminal
_EVERY_LINE = 10.0  # seconds between lines of a log


class Command(BaseCommand):
    help = (
        "Import events from a CSV or JSONL file, which may be packed by gzip. A line of JSONL is an event as in "
        "the API, or an object whose names are mapped like columns. The same file again stores nothing twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """The file, and what its columns mean where the guess is wrong."""
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--map",
            dest="roles",
            action="append",
            default=[],
            metavar="COLUMN=ROLE",
            help=f"What a column is: {', '.join(event_rows.ROLES)}. Can be given again; others are guessed.",
        )
        parser.add_argument("--name", help="The name of all events, where no column has it.")
        parser.add_argument("--zone", default="UTC", help="Of times without one, such as Europe/Warsaw.")
        parser.add_argument("--encoding", choices=[name for name in tables.ENCODINGS if name != "utf-16"])
        parser.add_argument(
            "--rejected", type=Path, help="Where to write the rows that were not taken, as CSV."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only show what the columns would mean.")

    def handle(self, *args: Any, file: Path, dry_run: bool, rejected: Path | None, **options: Any) -> None:
        """Import, telling how it goes on."""
        try:
            with _opened(file) as content:
                shape = self._shape(content, file.name, **options)
                for column, role in shape.columns.roles.items():
                    self.stdout.write(f"{column} → {role}")
                if dry_run:
                    return
                self._import(content, shape, file, rejected)
        except (OSError, EOFError, tables.TableError, ValueError) as error:
            raise CommandError(str(error)) from error

    def _shape(
        self,
        content: IO[bytes],
        file_name: str,
        roles: list[str],
        name: str,
        zone: str,
        encoding: str,
        **rest: Any,
    ) -> Shape:
        shape = event_files.described(content, file_name, event_files.digest_of(content))
        if encoding and encoding != shape.encoding:
            shape.encoding = encoding
            shape.columns = event_rows.guess(event_rows.header(content, shape), file_name)
        held = shape.columns.roles
        for text in roles:
            column, _equals, role = text.rpartition("=")
            if column not in held or role not in event_rows.ROLES:
                raise CommandError(f"--map {text}: the columns are {', '.join(held)}.")
            held |= {other: event_rows.PROPERTY for other, its_role in held.items() if its_role == role}
            held[column] = role
        shape.columns.name, shape.columns.zone = name or shape.columns.name, zone
        event_files.check(shape.columns)
        return shape

    def _import(self, content: IO[bytes], shape: Shape, file: Path, rejected: Path | None) -> None:
        began = told = time.monotonic()
        pause = _EVERY if sys.stderr.isatty() else _EVERY_LINE
        with ExitStack() as stack:
            write = None
            if rejected:
                write = csv.writer(stack.enter_context(rejected.open("w", newline="", encoding="utf-8")))
                names = event_rows.header(content, shape) if shape.format == "csv" else []
                write.writerow(event_files.reject_header(names))

            def tell(progress: Progress, refused: list[dict[str, Any]]) -> None:
                nonlocal told
                if write:
                    write.writerows(event_files.reject_row(**each) for each in refused)
                if time.monotonic() - told >= pause:
                    told = time.monotonic()
                    self._tell(progress, told - began)

            done = event_files.run(content, shape, tell, _size(file, content))
        self.stdout.write(
            f"{done.rows:,} rows in {time.monotonic() - began:.1f} s: {done.stored:,} events stored, "
            f"{done.known:,} known before, {done.rejected:,} rejected."
        )

    def _tell(self, progress: Progress, seconds: float) -> None:
        rate = progress.rows / seconds
        text = f"{progress.rows:,} rows, {rate:,.0f} a second, {progress.rejected:,} rejected"
        if progress.size:
            share = progress.position / progress.size
            text += f", {share:.0%}, {seconds / share - seconds:,.0f} s left"
        self.stderr.write(f"\r{text}   ", ending="" if sys.stderr.isatty() else "\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        with gzip.open(file) if packed else file as content:
            yield cast(IO[bytes], content)


def _size(path: Path, content: IO[bytes]) -> int:
    """Bytes to come; 0, unknown, of what is packed."""
    return 0 if isinstance(content, gzip.GzipFile) else path.stat().st_size
