"""A sync that is killed anywhere loses nobody and makes nobody twice."""

import os
import random
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.db import connection as database

from crm.models import Identifier, Profile, SourceRecord, SyncReject, SyncRun
from crm.sandbox.inprocess import running_sandbox
from crm.sync.engine import run
from tests.crm.crm_sandbox import connect, later


@pytest.mark.django_db(transaction=True)
def test_killed_at_random_points_and_still_complete(settings):
    with running_sandbox(contacts=300, seed=3, vendors=["hubspot"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        connection = connect()
        address = database.settings_dict
        url = (
            f"postgresql://{address['USER']}:{address['PASSWORD']}@/{address['NAME']}"
            f"?host={address['HOST']}&port={address['PORT']}"
        )
        random.seed(20)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.crm.sync.dying",
                "shop",
                *(str(random.randint(12, 90)) for _ in range(8)),
            ],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": url, "NUDGE_SANDBOX_URL": sandbox.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) >= 5, done.stderr
        later(sandbox, 60)
        assert run(connection).state == "succeeded"
        source = {str(record.id) for record in sandbox.hubspot.contacts.live()}
        rejected = set(SyncReject.objects.filter(resolved_at=None).values_list("record_id", flat=True))
        live = set(SourceRecord.objects.filter(state="live").values_list("record_id", flat=True))
        assert live == source - rejected
        assert live == set(Identifier.objects.filter(kind="shop:contacts").values_list("value", flat=True))
        assert Profile.objects.count() == len(live)
        assert not SyncRun.objects.filter(state="running").exists()
