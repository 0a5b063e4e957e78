"""The command line before there is anything to command."""

import os
import subprocess
import sys

from django.conf import settings
from django.db import connection


def test_a_database_without_tables_gets_a_sentence(db, tmp_path):
    host = connection.settings_dict
    address = (
        f"postgresql://{host['USER']}:{host['PASSWORD']}@/template1?host={host['HOST']}&port={host['PORT']}"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "api_key", "list"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": address, "NUDGE_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "no tables yet" in done.stderr
    assert "Traceback" not in done.stderr
