"""Nothing is lost, doubled or invented, whatever the CRM, the network or our own processes do.

Each fault meets each connector while people go on changing records; then the trouble ends, and everything must be as
if there had been none. See `invariants` for what is checked. F5 and F15-F17 are in
test_faults_processes.py, F12-F14 and F18-F20 in test_faults_records.py.
"""

import re
from datetime import UTC, datetime, timedelta

import pytest

from crm.models import SyncRun
from crm.sandbox import hubspot_search
from tests.crm.sync import invariants, stories
from tests.crm.sync.harness import LARGE, PEOPLE, hurry, impatient
from tests.crm.sync.harness import world as make
from tests.crm.sync.troubles import ALL, TROUBLES

pytestmark = pytest.mark.django_db(transaction=True)

NOT_APPLICABLE = {
    (
        "F12",
        "zoho",
    ): "the connector turns no pages: it asks for what changed since a second, so no token can expire",
}
FAILED, SUCCEEDED = SyncRun.State.FAILED, SyncRun.State.SUCCEEDED

kinds = pytest.mark.parametrize("kind", ALL)


@pytest.fixture
def world(kind, settings, monkeypatch):
    hurry(monkeypatch)
    with make(kind, settings) as made:
        yield made


def rules(world, found):
    return [{"path": world.crm.reads, **rule} for rule in found]


@kinds
@pytest.mark.parametrize("fault", TROUBLES)
def test_scripted_trouble_costs_no_record(fault, world, monkeypatch):
    """F1-F4, F11: the import gets through what passes; what lasts ends a run with a sentence, and nothing is lost."""
    trouble = TROUBLES[fault][world.crm.kind]
    if LARGE and (fault, world.crm.kind) == ("F11", "salesforce"):
        pytest.skip("With pages of 2,000 no run comes to the request that goes wrong.")
    if trouble.slow:
        impatient(monkeypatch)
    world.busy()
    world.script(*rules(world, trouble.passing))
    report = world.run()
    assert report.state == SUCCEEDED, report.error
    invariants.each_run(world, report)

    world.write(max(100, PEOPLE // 4))  # several pages, whatever the size of the world
    world.later()
    world.script(*rules(world, trouble.lasting))
    report = world.run()
    assert report.state == FAILED
    assert re.search(trouble.says, report.error), report.error
    invariants.each_run(world, report)
    pause = world.connection.next_sync_at - report.finished_at
    assert pause >= timedelta(minutes=trouble.parked)
    invariants.settle(world)


@kinds
def test_f6_records_that_move_between_pages(world):
    stories.moving(world)


@kinds
def test_f6_records_that_leave_the_pages_already_read(world):
    stories.shifting(world)


@kinds
def test_f7_a_change_that_appears_below_the_cursor(world):
    stories.late(world)


@kinds
def test_f8_many_records_of_one_moment(world, monkeypatch):
    if not LARGE:
        monkeypatch.setattr(hubspot_search, "WINDOW", 60)
    stories.tied(world)


@kinds
def test_f9_an_index_that_lags(world):
    """Changes show a minute late, under the stamp of when they were made."""
    world.crm.vendor.lag_seconds = 60
    world.busy()
    for _ in range(3):
        report = world.run()
        assert report.state == SUCCEEDED, report.error
        world.later(30)
    invariants.settle(world)


@kinds
def test_f10_clocks_that_are_wrong(world):
    """The CRM's clock jumps ten minutes ahead and back; ours is a day off; Zoho's time zone changes."""
    stories.synced(world)
    for jump, ours in ((600, timedelta(days=1)), (-600, timedelta(days=-1)), (0, None)):
        world.later(jump)
        world.write(8)
        if world.crm.kind == "zoho":
            world.crm.vendor.utc_offset_minutes = 60 if jump > 0 else -330
        now = None if ours is None else datetime.now(UTC) + ours
        report = world.run(now=now)
        assert report.state == SUCCEEDED, report.error
    world.later(600)  # what is stamped in the CRM's future is not known before it is past
    invariants.settle(world)
