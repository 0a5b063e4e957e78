"""Short lives of a World, each with what brings a certain mistake to light; every one ends with all invariants."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from crm.connectors.base import Hint
from crm.models import SyncRun
from crm.sync import hints, reading
from tests.crm.sync import invariants
from tests.crm.sync.harness import World

Story = Callable[[World], object]


def run(world: World, **options: object) -> SyncRun:
    """A run that has to succeed."""
    report = world.run(**options)
    if report.state != SyncRun.State.SUCCEEDED:
        raise invariants.Broken("I5", f"the run failed: {report.error}")
    invariants.each_run(world, report)
    return report


def synced(world: World) -> None:
    """The first import, undisturbed."""
    run(world)


def now(world: World) -> datetime:
    """The CRM's time, in whole seconds."""
    return datetime.fromtimestamp(world.sandbox.clock.now() // 1000, UTC)


def moving(world: World) -> None:
    """Three changes before every request, in the import and after it."""
    world.busy(3)
    for _ in range(3):
        run(world)
        world.later(20)
    invariants.settle(world)


def shifting(world: World) -> None:
    """Before each page one of those read already goes, so that all others move up."""
    synced(world)
    world.later(3600)
    run(world)
    ids = sorted(world.crm.there())
    for number, record_id in enumerate(ids):
        seconds = number * 3000 // len(ids)  # all before the run looks
        world.update(record_id, now(world) + timedelta(seconds=seconds), city=f"Row {number}")
    world.later(3600)  # so that the run after the next does not look at them again
    first = iter(ids[:9])

    def leave(_number: int, _path: str) -> None:
        if (record_id := next(first, None)) is not None:
            world.delete(record_id)

    world.on_request(leave)
    run(world)
    invariants.settle(world)


def late(world: World) -> None:
    """Changes committed late, stamped eight minutes before the end of what was read."""
    synced(world)
    world.later(3600)
    run(world)
    for record_id in world.rng.sample(world.crm.there(), 5):
        world.update(record_id, now(world) - timedelta(minutes=8), city="Late")
    invariants.settle(world)


def tied(world: World) -> None:
    """A bulk edit gives every record the same stamp; pages end in the middle of them."""
    synced(world)
    world.later(3600)
    run(world)
    at = now(world)
    for record_id in world.crm.there():
        world.update(record_id, at, city="Moved together")
    world.later()
    run(world)
    invariants.settle(world)


def behind(world: World) -> None:
    """The CRM's clock is half an hour behind ours."""
    world.later(-1800)
    synced(world)
    world.later(30)
    run(world)
    world.write(10)
    world.later(30)
    invariants.settle(world)


def crashed(world: World) -> None:
    """A page of the import can't be stored, and the process ends."""
    whole, left = reading.apply, 3

    def broken(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise MemoryError
        return whole(*arguments)

    reading.apply = broken  # type: ignore[assignment]
    try:
        world.run()
    except MemoryError:
        pass
    else:
        raise AssertionError("there were too few pages")
    finally:
        reading.apply = whole
    world.connection.refresh_from_db()
    invariants.settle(world)


def deleted(world: World) -> None:
    """Three records go into the recycle bin."""
    synced(world)
    world.later()
    for record_id in world.rng.sample(world.crm.there(), 3):
        world.delete(record_id)
    invariants.settle(world)


def merged(world: World) -> None:
    """Two records become one, and the CRM calls about the one that is gone."""
    synced(world)
    world.later()
    rows = [row for row in world.crm.rows().values() if not row.bad]
    winner = next(row.id for row in rows if row.values["email"] is None)
    loser = next(row.id for row in rows if row.values["email"] is not None)
    world.merge(winner, loser)
    hints.add(world.connection, [Hint(world.crm.object, loser)])
    run(world, hints_only=True)
    if world.crm.tells_merges:
        now_there = world.crm.rows()
        invariants.same_records(world, now_there)
        invariants.no_duplicates(world, now_there)
    invariants.settle(world)


def erased(world: World) -> None:
    """Somebody is erased for privacy, and a stale copy of the CRM shows them again."""
    synced(world)
    world.later()
    row = next(row for row in world.crm.rows().values() if not row.bad)
    world.erase(row.id, told=True)
    run(world)
    world.crm.resurrect(row)
    world.later()
    run(world)
    invariants.settle(world)


def nothing_to_see(world: World) -> tuple[set[str], SyncRun]:
    """The CRM suddenly shows no record; who was live, and the last run's report. It is not at rest afterwards."""
    synced(world)
    live = invariants.live(world)
    # A reject that can't be read any more leaves the list, and comes back as a record that never came.
    world.hidden_changes |= {row.id for row in world.crm.rows().values() if row.bad}
    world.later()
    world.script(*world.crm.hide_all(True))
    for sweep in (False, True, True):
        report = run(world, sweep=sweep)
        invariants.nothing_gone(world, live)
    return live, report


def scored(world: World) -> None:
    """What is written back changes for twenty people."""
    synced(world)
    world.score(world.rng.sample(sorted(invariants.live(world)), 20), 9)
    run(world)
    invariants.settle(world)
