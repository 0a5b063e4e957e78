"""Make, list and revoke keys of the REST API."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from crm import api_keys, audit
from crm.models import ApiKey


class Command(BaseCommand):
    help = "Make, list and revoke keys of the REST API."

    def add_arguments(self, parser: CommandParser) -> None:
        """`create NAME --scope …`, `list`, `revoke NAME`."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="create | list | revoke")
        create = actions.add_parser("create", help="Make a key and print it. It is shown only now.")
        create.add_argument("name")
        create.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=ApiKey.Scope.values,
            help="What it may do; can be given again.",
        )
        create.add_argument(
            "--origin",
            action="append",
            default=[],
            help="A site that may use a browser key, such as https://shop.example.com; can be given again.",
        )
        actions.add_parser("list", help="Show the keys with what they may do and when they were last used.")
        actions.add_parser("revoke", help="Put a key out of force, for good.").add_argument("name")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        """Run the action named on the command line."""
        getattr(self, f"_{action}")(**options)

    def _create(self, name: str, scope: list[str], origin: list[str], **options: Any) -> None:
        try:
            key, text = api_keys.create(name, scope, origin)
        except ValueError as error:
            raise CommandError(str(error)) from error
        except IntegrityError as error:
            raise CommandError(f"There is a key called {name!r} already; names are used once.") from error
        audit.record("api_key", "key.created", key, scopes=key.scopes)
        self.stdout.write(text)

    def _list(self, **options: Any) -> None:
        for key in ApiKey.objects.order_by("name"):
            state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "in force"
            used = f"last used {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never used"
            columns = (key.name, f"{key.prefix}…", ",".join(key.scopes), state, used)
            self.stdout.write("\t".join(columns))

    def _revoke(self, name: str, **options: Any) -> None:
        if not api_keys.revoke(name):
            raise CommandError(f"There is no key in force called {name!r}.")
        audit.record("api_key", "key.revoked", ApiKey.objects.get(name=name))
        self.stdout.write(f"Revoked {name}.")
