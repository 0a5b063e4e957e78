"""Write flows as YAML."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns.as_code import exporting


class Command(BaseCommand):
    help = (
        "Write flows with the segments, messages, coupon pools and topics that they need as one YAML text, which "
        "flows_import reads. The same flows always give the same text."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which flows, and where to."""
        parser.add_argument("slug", nargs="*", help="Short names of flows; none: all of them.")
        parser.add_argument("--out", type=Path, help="A file to write; otherwise it goes to standard output.")
        parser.add_argument(
            "--alone", action="store_true", help="Only the flows, without what they refer to."
        )

    def handle(self, *args: Any, slug: list[str], out: Path | None, alone: bool, **options: Any) -> None:
        """Write them."""
        try:
            text = exporting.write(slug or None, with_references=not alone)
        except LookupError as error:
            raise CommandError(f"There is no flow {error}.") from error
        if out is None:
            self.stdout.write(text, ending="")
            return
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(str(error)) from error
