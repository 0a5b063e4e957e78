#!/usr/bin/env python
"""Django's command line: `python manage.py help`."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import ProgrammingError

UNDEFINED_TABLE = "42P01"  # PostgreSQL, appendix A


def main() -> None:
    """Run the command; a wrong setting is answered with its sentence, not with a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"nudge: {error}")
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", "") != UNDEFINED_TABLE:
            raise
        sys.exit(
            "nudge: this database has no tables yet. NUDGE_DATA and DATABASE_URL must be those of the product that"
            " runs; for a new one, `make run` or `manage.py prepare` makes the tables."
        )


if __name__ == "__main__":
    main()
