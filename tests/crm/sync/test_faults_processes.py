"""F5, F15-F17 and I10: tokens that end, processes that die, run twice or wait, and calls from outside in a storm."""

import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import re
import signal
import threading
import time
from contextlib import suppress

import pytest
from django.db import connection as database
from django.db import connections
from django.urls import reverse

from crm import connectors, tasks
from crm.connectors import salesforce_walk
from crm.connectors.base import ConnectorError
from crm.connectors.hubspot import HubSpot
from crm.connectors.salesforce import Salesforce
from crm.models import Connection, Profile, SyncHint, SyncRun
from crm.sync import engine, schedule, setup
from tests.crm.concurrently import run as at_once
from tests.crm.sync import invariants
from tests.crm.sync.harness import CRMS, PAGE, hurry
from tests.crm.sync.harness import world as make
from tests.crm.sync.troubles import ALL

pytestmark = pytest.mark.django_db(transaction=True)

FAILED, SUCCEEDED = SyncRun.State.FAILED, SyncRun.State.SUCCEEDED
KILLS = 4  # processes that die, of each connector
SECONDS = 60.0  # how long to wait for what takes milliseconds

kinds = pytest.mark.parametrize("kind", ALL)


@pytest.fixture
def world(kind, settings, monkeypatch):
    hurry(monkeypatch)
    with make(kind, settings) as made:
        yield made


def run(world, state=SUCCEEDED, **options):
    report = world.run(**options)
    assert report.state == state, report.error
    invariants.each_run(world, report)
    return report


def logins(world):
    return sum(bool(re.search(world.crm.logins, entry["path"])) for entry in world.sandbox.control.journal)


@pytest.mark.parametrize(("kind", "bulk"), [*((kind, False) for kind in ALL), ("salesforce", True)])
def test_f5_tokens_that_end(bulk, world, monkeypatch):
    """In the middle of an import, or of a Bulk job; at every single request; and with the way to a new one closed."""
    if bulk:
        monkeypatch.setattr(Salesforce, "bulk_from", 1)
        monkeypatch.setattr(salesforce_walk, "BULK_PAGE", PAGE)
    world.on_request(lambda number, _path: world.crm.vendor.expire_tokens() if number == 4 else world.write())
    run(world)
    world.on_request(lambda _number, _path: world.crm.vendor.expire_tokens())
    assert re.search("token|credentials", run(world, FAILED).error)
    world.crm.vendor.accepts = set()
    world.on_request(None)
    world.crm.vendor.expire_tokens()
    before = logins(world)
    assert run(world, FAILED).error
    assert logins(world) - before <= invariants.LOGINS
    world.crm.vendor.accepts = None
    invariants.settle(world)


@kinds
def test_f5_two_workers_whose_token_is_refused_fetch_one(world):
    run(world)
    world.crm.vendor.expire_tokens()
    before = logins(world)

    def fields():
        return len(connectors.connector(Connection.objects.get()).fields(world.crm.object))

    assert len(set(at_once(fields, fields))) == 1
    assert logins(world) - before == 1


# F15


def _dying(pk, statements):
    """In a process of its own: sync until killed from outside, or before so many statements of SQL."""
    connections.close_all()  # of the process that we come from; what it has open stays open there
    left = statements

    def count(execute, sql, params, many, context):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    with database.execute_wrapper(count):
        engine.run(Connection.objects.get(pk=pk))
    os._exit(0)


def kill_one(world, statements=0, requests=0, only="."):
    """Run a sync in another process and kill -9 it there: before a statement, or while a request is on its way."""
    database.close()
    process = multiprocessing.get_context("fork").Process(
        target=_dying, args=(world.connection.pk, statements), daemon=True
    )
    left = requests

    def act(_number, path):
        nonlocal left
        if re.search(only, path):
            left -= 1
            if left == 0 and process.pid:
                os.kill(process.pid, signal.SIGKILL)
        world.write()

    world.on_request(act)
    process.start()
    process.join(SECONDS)
    alive = process.is_alive()
    if alive:
        process.kill()
        process.join()
    world.on_request(None)
    assert not alive, "the process neither ended nor died"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # PostgreSQL frees its lock when it notices
        with suppress(engine.AlreadyRunningError), engine.alone(world.connection):
            break
        time.sleep(0.01)
    return process.exitcode == -signal.SIGKILL


@kinds
def test_f15_processes_that_die_anywhere(world):
    """kill -9 at points that the seed chooses: between statements, in the import and after it, and while writing."""
    died = 0
    for number in range(KILLS):
        if number % 2:
            died += kill_one(world, statements=world.rng.randrange(20, 70))
        else:
            died += kill_one(world, requests=world.rng.randrange(3, 8))
        world.write(5)
        world.later(30)
    assert died >= KILLS - 1
    run(world)
    ids = sorted(invariants.live(world))
    world.score(ids, 3)
    written = world.crm.writes.rpartition(" .*")[2]
    only = r"/crm/v8/Contacts$" if world.crm.kind == "zoho" else written
    assert kill_one(world, requests=1, only=only)
    invariants.settle(world)
    rows = world.crm.rows()
    assert {world.crm.written(rows[one], world.crm.score) for one in set(ids) & invariants.live(world)} >= {
        3.0
    }


# F16


@kinds
def test_f16_two_runs_at_once(world):
    """One runs, the other does not; a schedule that fires twice makes one run."""
    run(world)
    world.write(10)
    world.later()
    entered, go = threading.Event(), threading.Event()

    def hold(number, _path):
        if number == 2:
            entered.set()
            go.wait(SECONDS)

    world.on_request(hold)
    pk = world.connection.pk
    Connection.objects.filter(pk=pk).update(next_sync_at=None)

    def first():
        return schedule.run_due(pk)

    def second():
        assert entered.wait(SECONDS)
        try:
            with pytest.raises(engine.AlreadyRunningError):
                engine.run(Connection.objects.get(pk=pk))
            return schedule.run_due(pk)
        finally:
            go.set()

    before = SyncRun.objects.count()
    assert at_once(first, second) == [1, 0]
    assert SyncRun.objects.count() == before + 1
    invariants.settle(world)


# F17


def call(client, world, ids, secret=None, age=0.0, gone=False):
    """Post a call of the CRM's about these records, as the CRM would; the answer's status."""
    path = reverse("crm-hook", args=[world.connection.slug])
    url = f"http://testserver{path}"
    match world.crm.kind:
        case "hubspot":
            kind = "contact.deletion" if gone else "contact.propertyChange"
            body = json.dumps(
                [
                    {
                        "eventId": 1,
                        "portalId": 1,
                        "subscriptionType": kind,
                        "objectId": int(one),
                        "propertyName": "x",
                    }
                    for one in ids
                ]
            )
            stamp = str(int((time.time() - age) * 1000))
            signed = f"POST{url}{body}{stamp}".encode()
            key = (secret or world.crm.credentials["client_secret"]).encode()
            signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
            headers = {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": stamp}
            return client.post(path, body, "application/json", headers=headers).status_code
        case "zoho":
            token = secret or connectors.connector(world.connection)._hook_token()
            told = {
                "module": "Contacts",
                "operation": "delete" if gone else "update",
                "ids": ids,
                "token": token,
            }
            return client.post(path, json.dumps(told), "application/json").status_code
        case _:
            known = [one for one in ids if one in world.crm.table.records]
            body = world.crm.vendor.outbound("Contact", known, world.sandbox.url)
            key = secret or world.crm.config["hook_key"]
            return client.post(f"{path}?key={key}", body, "text/xml").status_code


@kinds
def test_f17_a_storm_of_calls(world, client, settings):
    """Each change is told three times, in any order and with false calls between: each record is looked up once."""
    settings.NUDGE_PUBLIC_URL = "http://testserver"
    run(world)
    ids = world.rng.sample([row.id for row in world.crm.rows().values() if not row.bad], 12)
    for record_id in ids:
        world.update(record_id, city=f"Called {record_id}")
    deleted = ids[0]
    world.delete(deleted)
    posts = [[one] for one in ids for _ in range(3)]
    world.rng.shuffle(posts)
    stranger = world.newcomer()
    world.crm.edit(stranger, archived=True)  # whose deletion is told before it was ever read
    for number, post in enumerate(posts):
        assert call(client, world, post, gone=post == [deleted] and number % 2 == 0) == 200
        assert call(client, world, post, secret="not-the-secret") == 401
        if world.crm.kind == "hubspot":
            assert call(client, world, post, age=360) == 401
    assert call(client, world, [stranger], gone=True) == 200
    assert SyncHint.objects.count() == len(ids) + 1
    before = len(world.sandbox.control.journal)
    run(world, hints_only=True)
    assert len(world.sandbox.control.journal) - before <= 5
    for record_id in ids[1:]:
        assert Profile.objects.get(identifiers__value=record_id).city == f"Called {record_id}"
    assert not SyncHint.objects.exists()
    invariants.settle(world)


# I10


def _sync(pk):
    try:
        schedule.run_due(pk)
    finally:
        connections.close_all()


def test_i10_a_connection_that_hangs_does_not_delay_another(settings, monkeypatch):
    """Each is a task of its own, and one syncs while the other waits for its CRM."""
    hurry(monkeypatch)
    with make("hubspot", settings, people=30, vendors=("hubspot", "zoho")) as hanging:
        crm = CRMS["zoho"](hanging.sandbox)
        other = setup.create("zoho", "Other", "other", crm.config, dict(crm.credentials))
        asked = []
        monkeypatch.setattr(tasks.run_sync, "apply_async", lambda args, **_options: asked.append(args[0]))
        tasks.sync_due()
        assert sorted(asked) == sorted([hanging.connection.pk, other.pk])

        entered, go = threading.Event(), threading.Event()

        def wait(*_arguments):
            entered.set()
            go.wait(SECONDS)
            raise ConnectorError("It hung up.")

        monkeypatch.setattr(HubSpot, "pages", wait)
        hung = threading.Thread(target=_sync, args=(hanging.connection.pk,), daemon=True)
        hung.start()
        assert entered.wait(SECONDS)
        tasks.run_sync(other.pk)
        assert SyncRun.objects.filter(connection=other, state=SUCCEEDED).count() == 1
        assert SyncRun.objects.get(connection=hanging.connection).state == SyncRun.State.RUNNING
        go.set()
        hung.join(SECONDS)
        assert SyncRun.objects.get(connection=hanging.connection).state == FAILED
