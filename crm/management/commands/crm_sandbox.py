"""`manage.py crm_sandbox`: serve CRM vendors' APIs over believable seeded people."""

import errno

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from crm.sandbox.server import VENDORS, serve

MOST_WRITES = 10_000


class Command(BaseCommand):
    """Run the CRM sandbox until it is told to stop. It uses no database."""

    help = "Serve CRM vendors' APIs over believable seeded people, for the demo and for trying connectors."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument("--port", type=int, default=9100, help="port to listen on (default 9100)")
        parser.add_argument("--contacts", type=int, default=5000, help="how many people (default 5000)")
        parser.add_argument(
            "--seed", type=int, default=1, help="the same seed gives the same people (default 1)"
        )
        parser.add_argument(
            "--writes-per-second",
            type=float,
            default=0,
            help="how many records to change a second while it runs (default 0)",
        )
        parser.add_argument(
            "--vendors", nargs="+", choices=list(VENDORS), help="which CRMs to serve (default all)"
        )

    def handle(self, *args, host, port, contacts, seed, writes_per_second, vendors, **options):
        if contacts < 0:
            raise CommandError(_("--contacts must not be negative."))
        if not 0 <= writes_per_second <= MOST_WRITES:
            raise CommandError(_("--writes-per-second must be from 0 to %(most)d.") % {"most": MOST_WRITES})
        try:
            serve(
                host,
                port,
                contacts,
                seed,
                vendors=vendors,
                writes_per_second=writes_per_second,
                ready=self.announce,
            )
        except (OSError, OverflowError) as error:
            raise CommandError(self.explain(error, host, port)) from error

    def announce(self, url, contacts):
        """One line once the server listens."""
        line = _("CRM sandbox ready on %(url)s with %(contacts)d contacts")
        self.stdout.write(line % {"url": url, "contacts": contacts})
        self.stdout.flush()

    def explain(self, error, host, port):
        """Why the server cannot listen, in one sentence."""
        where = {"host": host, "port": port}
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            return _("Port %(port)d on %(host)s is already in use; choose another with --port.") % where
        return _("The sandbox cannot listen on %(host)s port %(port)d: %(reason)s.") % {
            **where,
            "reason": error,
        }
