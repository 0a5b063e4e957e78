"""manage.py erase_person 42 --yes [--crms]: forget one person for good."""

from django.core.management.base import BaseCommand, CommandError, CommandParser

from crm import audit, privacy
from crm.models import Profile


class Command(BaseCommand):
    help = "Erases one person everywhere. There is no way back."

    def add_arguments(self, parser: CommandParser) -> None:
        """The person's number, and that it is meant."""
        parser.add_argument("profile", type=int, help="Number of the profile.")
        parser.add_argument("--yes", action="store_true", help="It is meant.")
        parser.add_argument("--crms", action="store_true", help="Erase their records in CRMs, too.")

    def handle(self, *args: object, **options: object) -> None:
        """Erase; doing it twice does no harm."""
        profile = Profile.objects.filter(pk=int(str(options["profile"]))).first()
        if profile is None:
            raise CommandError(f"There is no profile {options['profile']}.")
        if not options["yes"]:
            raise CommandError("Nothing was erased. Add --yes if it is meant; there is no way back.")
        crms = bool(options["crms"])
        audit.record("erase_person", "profile.erased", profile, crms=crms)
        privacy.erase([profile.pk], "request", crms=crms)
        self.stdout.write(f"Erased profile {profile.pk}.")
