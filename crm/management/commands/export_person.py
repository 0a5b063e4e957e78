"""manage.py export_person 42 person.zip: all that is known about one person."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from crm import audit, portability
from crm.models import Profile


class Command(BaseCommand):
    help = "Writes all that is known about one person into a ZIP file."

    def add_arguments(self, parser: CommandParser) -> None:
        """The person's number and the file."""
        parser.add_argument("profile", type=int, help="Number of the profile.")
        parser.add_argument("file", type=Path, nargs="?", help="Default: person-<number>-<day>.zip here.")

    def handle(self, *args: object, **options: object) -> None:
        """Write it; a file that is there already is left alone."""
        profile = Profile.objects.filter(pk=int(str(options["profile"]))).first()
        if profile is None:
            raise CommandError(f"There is no profile {options['profile']}.")
        path = Path(str(options["file"] or portability.file_name(profile)))
        audit.record("export_person", "profile.exported", profile)
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                for piece in portability.archive(profile):
                    file.write(piece)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.") from error
        self.stdout.write(str(path))
