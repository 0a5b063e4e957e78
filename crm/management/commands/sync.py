"""Sync one CRM connection in the foreground."""

import time

from django.core.management.base import BaseCommand, CommandError

from crm.models import Connection, SyncRun
from crm.sync import engine

COUNTS = ("read", "created", "updated", "unchanged", "rejected", "merged", "deleted", "held", "written")
SHOWN_REJECTS = 10


class Command(BaseCommand):
    """Runs here and now what the schedule runs in the background."""

    help = "Sync one CRM connection now, with progress, and print what came of it."

    def add_arguments(self, parser):
        parser.add_argument("connection", help="The connection's short name or name.")
        parser.add_argument("--full", action="store_true", help="Read everything, not only what changed.")
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="Compare all record ids with the CRM's, to find lost deletions.",
        )

    def handle(self, *args, **options):
        connection = self._find(options["connection"])
        mode = SyncRun.Mode.FULL if options["full"] else None
        self._shown = 0.0
        try:
            run = engine.run(
                connection, mode, progress=self._progress, by="manage.py", sweep=options["sweep"]
            )
        except engine.AlreadyRunningError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped; the next run goes on behind what was stored.") from None
        if self.stdout.isatty():
            self.stdout.write("\r" + " " * 60 + "\r", ending="")
        self.stdout.write(", ".join(f"{getattr(run, name)} {name}" for name in COUNTS) + ".")
        self._report_rejects(run)
        if run.notes:
            self.stdout.write(run.notes)
        if run.state != SyncRun.State.SUCCEEDED:
            raise CommandError(run.error)

    def _find(self, name):
        started = Connection.objects.exclude(state=Connection.State.DRAFT)
        found = started.filter(slug=name).first() or started.filter(name=name).first()
        if found is None:
            known = ", ".join(started.order_by("slug").values_list("slug", flat=True))
            hint = f"There is: {known}." if known else "No CRM is connected yet."
            raise CommandError(f"There is no CRM connection “{name}”. {hint}")
        return found

    def _progress(self, run):
        done = run.expected is not None and run.read >= run.expected
        if time.monotonic() - self._shown < 0.5 and not done:
            return
        self._shown = time.monotonic()
        share = f"{min(100, 100 * run.read // run.expected)} %" if run.expected else "…"
        line = f"{share:>5}  {run.read} read, {run.created} created, {run.updated} updated"
        if self.stdout.isatty():
            self.stdout.write(f"\r{line}", ending="")
            self.stdout.flush()
        else:
            self.stdout.write(line)

    def _report_rejects(self, run):
        rejects = run.rejects.filter(resolved_at=None).order_by("pk")
        for reject in rejects[:SHOWN_REJECTS]:
            self.stdout.write(f"  rejected {reject.object} {reject.record_id}: {reject.detail}")
        more = rejects.count() - SHOWN_REJECTS
        if more > 0:
            self.stdout.write(f"  and {more} more; see Rejected records in the admin.")
