"""Take flows from YAML."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns.as_code import importing
from campaigns.as_code.documents import Bundle, read
from campaigns.as_code.problems import BundleError, Problem
from campaigns.as_code.text import MOST_BYTES

ACTOR = "flows_import"


class Command(BaseCommand):
    help = (
        "Make the flows, segments, messages, coupon pools and topics of YAML files, or change them into what the files "
        "tell. Flows become drafts. Each file is taken as a whole or, with an exit code of 1 and a line "
        "file:line:column: message for each mistake, not at all."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which files, and how far to go."""
        parser.add_argument("file", nargs="+", help="A file that flows_export wrote; - is standard input.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; tell what would change, and fail also if a flow could not be published.",
        )
        parser.add_argument(
            "--publish",
            action="store_true",
            help="Publish the flows, too; whoever is inside finishes the version they entered.",
        )

    def handle(self, *args: Any, file: list[str], check: bool, publish: bool, **options: Any) -> None:
        """Take one file after the other."""
        failed = False
        for name in file:
            try:
                bundle = read(_text(name))
                self._take(name, bundle, check, publish)
            except BundleError as error:
                self._tell(name, error.problems)
                failed = True
            except (OSError, UnicodeDecodeError) as error:
                raise CommandError(str(error)) from error
        if failed:
            sys.exit(1)

    def _take(self, name: str, bundle: Bundle, check: bool, publish: bool) -> None:
        if check:
            if problems := importing.check(bundle):
                raise BundleError(problems)
            changes, published = importing.plan(bundle), []
        else:
            applied = importing.apply(bundle, ACTOR, publish=publish)
            changes, published = applied.changes, applied.published
        for change in changes:
            self.stdout.write(f"{change.section}/{change.slug}: {change.state}")
        for slug in published:
            self.stdout.write(f"flows/{slug}: published")

    def _tell(self, name: str, problems: list[Problem]) -> None:
        for problem in problems:
            where = "" if problem.position else " "
            self.stderr.write(f"{name}:{where}{problem}")


def _text(name: str) -> str:
    """The file's text, no more of it than a bundle may have, and a little that shows that there is more."""
    if name == "-":
        return sys.stdin.read(MOST_BYTES + 1)
    with Path(name).open("rb") as content:
        return content.read(MOST_BYTES + 1).decode()
