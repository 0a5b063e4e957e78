"""One part of the sync's benchmark in a process of its own; prints one JSON object of contacts per second.

python -m benchmarks.sync_worker plain|consents|whole|loop CONTACTS
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

GROUP = 2_000  # records stored together, as `crm.sync.pages` does it
ROUNDS = 3  # of up to ROUND_LIMIT contacts; more are measured once
ROUND_LIMIT = 50_000
LOOP = 400
BLOCK = 1 << 16

Rates = dict[str, float]
# Table -> the columns that the sync writes.
TABLES = {
    "crm_profile": "id, external_id, email, phone, first_name, last_name, language, timezone, country, city, latitude,"
    " longitude, birthday, lifecycle_stage, attributes, created_at, updated_at",
    "crm_identifier": "kind, value, profile_id",
    "crm_sourcerecord": "connection_id, object, record_id, modified_at, content_hash, empty, consent, local, state,"
    " synced_at",
    "crm_consent": "profile_id, kind, key, state, source, wording, changed_at",
    "crm_consentchange": "profile_id, kind, key, state, source, wording, changed_at",
}


def main(part: str, contacts: int) -> None:
    """Measure one part and print it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    parts = {"plain": stage, "consents": stage, "whole": whole, "loop": loop}
    print(json.dumps(parts[part](contacts, part == "consents")))


def stage(contacts: int, consents: bool) -> Rates:
    """The apply stage and COPY take turns; medians, and the peak memory of this process in MB before any COPY."""
    found: dict[str, list[float]] = {}
    memory = 0.0
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as folder:
        for _ in range(ROUNDS if contacts <= ROUND_LIMIT else 1):
            _empty()
            run, mapping = _run(consents)
            for name in ("first", "again"):
                found.setdefault(name, []).append(contacts / _apply(run, mapping, contacts))
            memory = memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            for name, seconds in _copies(Path(folder)).items():
                found.setdefault(name, []).append(contacts / seconds)
    return {name: statistics.median(rates) for name, rates in found.items()} | {"memory": memory}


def _run(consents: bool):
    from benchmarks.sync_records import CONSENT, FIELDS
    from crm.models import Connection, SyncRun
    from crm.sync import mapping

    connection = Connection.objects.create(kind="hubspot", name="bench", slug="bench")
    run = SyncRun.objects.create(connection=connection, state=SyncRun.State.RUNNING)
    return run, mapping.parse({"fields": FIELDS, "consent": CONSENT if consents else {}})


def _apply(run, mapping, contacts: int) -> float:
    """Seconds to store that many contacts; making them is not counted."""
    from django.utils import timezone

    from benchmarks.sync_records import groups
    from crm.sync.apply import apply

    took = 0.0
    for pages in groups(contacts, GROUP):
        with _timed() as seconds:
            apply(run, pages, mapping, "person", timezone.now())
        took += seconds[0]
    return took


def _copies(folder: Path) -> Rates:
    """Seconds of COPY of all rows that are there now into the same tables, the first of them, and bare ones."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table, columns in TABLES.items():
            with (
                cursor.copy(f"COPY {table} ({columns}) TO STDOUT") as source,
                open(folder / table, "wb") as kept,
            ):
                for block in source:
                    kept.write(block)
        bare = 0.0
        for table, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE bare (LIKE {table} INCLUDING DEFAULTS INCLUDING IDENTITY)")
            bare += _copy(cursor, "bare", columns, folder / table)
            cursor.execute("DROP TABLE bare")
        cursor.execute("TRUNCATE crm_profile, crm_sourcerecord CASCADE")
        each = [_copy(cursor, table, columns, folder / table) for table, columns in TABLES.items()]
    return {"same": sum(each), "profile": each[0], "bare": bare}


def _copy(cursor, table: str, columns: str, source: Path) -> float:
    with (
        open(source, "rb") as rows,
        _timed() as seconds,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as target,
    ):
        while block := rows.read(BLOCK):
            target.write(block)
    return seconds[0]


def whole(contacts: int, consents: bool) -> Rates:
    """From the sandbox through HubSpot's own client, everything twice."""
    from crm.models import SyncRun
    from crm.sync import engine, setup

    _empty()
    connection = setup.create("hubspot", "bench", "bench", {"server": "sandbox"}, {"access_token": "pat"})
    connection.mapping = {"contacts": connection.mapping["contacts"]}
    connection.save()
    found = {}
    for name in ("first", "again"):
        with _timed() as seconds:
            run = engine.run(connection, SyncRun.Mode.FULL)
        if run.state != SyncRun.State.SUCCEEDED:
            raise RuntimeError(run.error)
        found[name] = run.read / seconds[0]
    return found


def loop(contacts: int, consents: bool) -> Rates:
    """What one would write first: no identifiers, no memory of records, no rejects, and every value is trusted."""
    from benchmarks.sync_records import FIELDS, groups
    from crm.models import Profile
    from crm.sync.mapping import ATTRIBUTE

    _empty()
    pages = next(groups(LOOP, LOOP))
    found = {}
    for name in ("loop_new", "loop_again"):
        with _timed() as seconds:
            for record in (record for page in pages for record in page.records):
                values = {target: record.fields[field] for field, target in FIELDS.items()}
                own = {key: values.pop(key) for key in list(values) if key.startswith(ATTRIBUTE)}
                values["birthday"] = None
                Profile.objects.update_or_create(
                    external_id=record.id, defaults={**values, "last_name": "x", "attributes": own}
                )
        found[name] = LOOP / seconds[0]
    return found


def _empty() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE crm_profile, crm_connection CASCADE")


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Seconds of the block, as the list's only item once it is over."""
    seconds: list[float] = []
    began = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
