"""manage.py nudge_rebuild_reports [--from-log]: count everything that reports show anew, while they stay readable."""

from django.core.management.base import BaseCommand, CommandParser

from analytics.models import Engagement
from analytics.rollups import rebuild


class Command(BaseCommand):
    help = "Counts all figures of the reports anew. Reports stay readable, and the rest goes on, meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to begin."""
        parser.add_argument(
            "--from-log",
            action="store_true",
            help="Read the whole event log again first, not only what was learned from it.",
        )

    def handle(self, *args: object, **options: object) -> None:
        """Rebuild to the end; ended before, the workers go on with it."""
        rebuild.start(bool(options["from_log"]))
        rebuild.run(progress=self._tell)
        count = Engagement.objects.count()
        self.stdout.write(f"Counted {count:,} deliveries by days of {rebuild.status().zone}.")

    def _tell(self, state: rebuild.State) -> None:
        self.stderr.write(f"{state.stage or 'done'}: {state.done:.1%}")
