"""What must hold of a World, each as a function that raises Broken with the invariant's number and a sentence.

I1  the same records live here and there          I6  written values stand once in the CRM, without echo
I2  every mapped field is equal                   I7  the number of calls and logins is bounded
I3  no duplicates; a merge's loser is its winner  I8  bad rows are listed with a reason, their neighbours stored
I4  no record becomes older                       I9  who was erased never returns
I5  no cursor passes what was not applied         I10 one connection does not hold up another

I5 shows in a plain run after the trouble: without comparing all ids, it must bring whatever the trouble hid.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from crm.models import Consent, Identifier, Profile, SourceRecord, SyncReject, SyncRun, WrittenRecord
from tests.crm.sync.harness import PAGE, Row, World

SHOWN = 5
ATTEMPTS = 7  # of one request
AROUND = 14  # requests of a run that fetch no page of records
LOGINS = 2
FIELDS = ("first_name", "last_name", "email", "city")


class Broken(AssertionError):
    """An invariant does not hold; `number` says which."""

    def __init__(self, number: str, message: str):
        super().__init__(f"{number}: {message}")
        self.number = number


def _some(items: Iterable[Any]) -> str:
    found = sorted(map(str, items))
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _rejected(world: World) -> set[str]:
    rejects = SyncReject.objects.filter(
        connection=world.connection, object=world.crm.object, resolved_at=None
    )
    return set(rejects.values_list("record_id", flat=True))


def live(world: World) -> set[str]:
    """Ids of the records that are live here."""
    held = SourceRecord.objects.filter(
        connection=world.connection, object=world.crm.object, state=SourceRecord.State.LIVE
    )
    return set(held.values_list("record_id", flat=True))


def _kind(world: World) -> str:
    return f"{world.connection.slug}:{world.crm.object}"


def same_records(world: World, rows: dict[str, Row], but: Iterable[str] = (), number: str = "I1") -> None:
    """The live records here are those of the CRM, except for what was rejected and for `but`."""
    but = set(but)
    there = {row.id for row in rows.values() if not row.archived} - world.erased
    here, rejected = live(world), _rejected(world)
    lost, left = there - here - rejected - but, here - there - but
    if lost:
        raise Broken(number, f"{len(lost)} records of the CRM are not here: {_some(lost)}")
    if left:
        raise Broken(number, f"{len(left)} records that the CRM has not are live here: {_some(left)}")


def same_fields(world: World, rows: dict[str, Row], but: Iterable[str] = (), number: str = "I2") -> None:
    """Every record's fields are those of the CRM."""
    here = live(world) - set(but)
    people = dict(Identifier.objects.filter(kind=_kind(world)).values_list("value", "profile_id"))
    profiles = Profile.objects.in_bulk(set(people.values()))
    consents = {
        row.profile_id: row.state == Consent.State.SUBSCRIBED
        for row in Consent.objects.filter(kind="topic", key="newsletter", source="crm")
    }
    rejected = _rejected(world)
    wrong = []
    for record_id in sorted(here - rejected):
        row, profile = rows.get(record_id), profiles.get(people.get(record_id, 0))
        if row is None or row.archived:
            continue
        if profile is None:
            wrong.append(f"{record_id} is nobody")
            continue
        held = {name: getattr(profile, name) or None for name in FIELDS}
        held |= {"points": profile.attributes.get("loyalty_points"), "newsletter": consents.get(profile.pk)}
        for name in held.keys() - world.unmapped:
            value = held[name]
            if value != row.values[name] and not (name == "newsletter" and row.values[name] is None):
                wrong.append(f"{record_id}.{name} is {value!r} and not {row.values[name]!r}")
    if wrong:
        raise Broken(number, f"{len(wrong)} fields differ: {_some(wrong)}")


def no_duplicates(world: World, rows: dict[str, Row]) -> None:
    """One profile for each live record; losers of merges are their winners."""
    here = live(world)
    found = list(Identifier.objects.filter(kind=_kind(world)).values_list("value", "profile_id"))
    names, people = [value for value, _ in found], [profile_id for _, profile_id in found]
    if len(set(people)) != len(people) or len(set(names)) != len(names):
        raise Broken("I3", f"{len(found)} ids lead to {len(set(people))} profiles")
    # The winner of a merge that was rejected itself is known as its loser's heir.
    differing = (set(names) ^ here) - (_rejected(world) - here)
    if differing:
        raise Broken("I3", f"records and people differ: {_some(differing)}")
    held = {
        row.record_id: row
        for row in SourceRecord.objects.filter(connection=world.connection, object=world.crm.object)
    }
    for row in rows.values():
        for loser in row.merged:
            known = held.get(loser)
            if known is None:
                continue
            if known.state == SourceRecord.State.LIVE:
                raise Broken("I3", f"{loser} was merged into {row.id} and is still here")
            if world.crm.tells_merges and not row.archived:
                if known.state not in (SourceRecord.State.MERGED, SourceRecord.State.ERASED):
                    raise Broken("I3", f"{loser} was merged into {row.id}, and here it is {known.state}")
                end = known.merged_into
                while end in held and held[end].state == SourceRecord.State.MERGED:
                    end = held[end].merged_into
                if end != row.id:
                    raise Broken("I3", f"{loser} was merged into {row.id}, and here into {end}")


def nothing_older(world: World) -> None:
    """No stored time of change has ever gone back."""
    if world.regressions:
        raise Broken("I4", _some(world.regressions))


def nothing_passed(world: World, rows: dict[str, Row]) -> None:
    """After a plain run everything is here that a plain run can find."""
    same_records(world, rows, world.hidden_changes, "I5")
    same_fields(world, rows, world.hidden_changes, "I5")


def complete_until(world: World, rows: dict[str, Row]) -> None:
    """Whatever changed up to the time that the connection says it knows is here."""
    until = world.connection.synced_until
    if until is None:
        return
    rejected = _rejected(world)
    held = {
        row.record_id: row.modified_at
        for row in SourceRecord.objects.filter(connection=world.connection, object=world.crm.object)
    }
    second = timedelta(seconds=1)
    passed = [
        row.id
        for row in rows.values()
        if not row.archived
        and row.id not in world.hidden_changes | rejected | world.erased
        and row.modified <= until - second
        and (row.id not in held or held[row.id] < row.modified.replace(microsecond=0))
    ]
    if passed:
        raise Broken("I5", f"complete until {until}, it says, but without {_some(passed)}")


def written_back(world: World, rows: dict[str, Row]) -> None:
    """Scores and unsubscriptions stand in the CRM as they are here."""
    here = live(world) - _rejected(world)
    people = dict(Identifier.objects.filter(kind=_kind(world)).values_list("value", "profile_id"))
    profiles = Profile.objects.in_bulk(set(people.values()))
    left = set(
        Consent.objects.filter(kind="channel", state=Consent.State.UNSUBSCRIBED)
        .exclude(source="crm")  # what the CRM told us it knows itself
        .values_list("profile_id", flat=True)
    )
    refused = set(
        WrittenRecord.objects.filter(connection=world.connection)
        .exclude(error="")
        .values_list("record_id", flat=True)
    )
    wrong = []
    for record_id in sorted(here - refused):
        row, profile = rows.get(record_id), profiles.get(people.get(record_id, 0))
        if row is None or row.archived or profile is None:
            continue
        score, known = profile.attributes.get("score"), world.crm.written(row, world.crm.score)
        if (score or 0) != (known or 0):
            wrong.append(f"{record_id} has score {known} and not {score}")
        gone, known = profile.pk in left, bool(world.crm.written(row, world.crm.unsubscribed))
        if gone != known:
            wrong.append(f"{record_id} is told unsubscribed: {known} and not {gone}")
    if wrong:
        raise Broken("I6", f"{len(wrong)} values differ in the CRM: {_some(wrong)}")


def quiet(world: World, report: SyncRun) -> None:
    """A run without changes finds nothing new and writes nothing."""
    if report.state != SyncRun.State.SUCCEEDED:
        raise Broken("I6", f"the quiet run failed: {report.error}")
    news = {name: getattr(report, name) for name in ("created", "updated", "deleted", "merged", "written")}
    asked = written_requests(world, report)
    if any(news.values()) or asked:
        raise Broken("I6", f"nothing has changed, and yet {news} with {asked} requests that write")


def written_requests(world: World, report: SyncRun) -> int:
    """How many requests of a run wrote records."""
    return sum(bool(re.search(world.crm.writes, f"{r['method']} {r['path']}")) for r in _requests(report))


def bounded(world: World, report: SyncRun, pages: int | None = None) -> None:
    """A run makes no more calls than its pages and a few attempts need, and hardly logs in."""
    requests = _requests(report)
    logins = sum(bool(re.search(world.crm.logins, request["path"])) for request in requests)
    if logins > LOGINS:
        raise Broken("I7", f"{logins} logins in one run")
    people = len(world.crm.rows())
    most = ATTEMPTS * (pages or 2 * (people // PAGE + 1) + people // 100 + AROUND)
    if len(requests) > most:
        raise Broken("I7", f"{len(requests)} calls in one run for {people} records; {most} would do")


def _requests(report: SyncRun) -> Sequence[dict[str, Any]]:
    return report.requests  # type: ignore[attr-defined]


def bad_rows(world: World, rows: dict[str, Row]) -> None:
    """Exactly the bad rows are rejected, each with a reason."""
    bad = {row.id for row in rows.values() if not row.archived and row.bad} - world.erased
    rejected = _rejected(world) & {row.id for row in rows.values() if not row.archived}
    if bad != rejected:
        raise Broken(
            "I8", f"bad but taken: {_some(bad - rejected)}; good but refused: {_some(rejected - bad)}"
        )
    silent = SyncReject.objects.filter(connection=world.connection, resolved_at=None, detail="").count()
    if silent:
        raise Broken("I8", f"{silent} rejects without a reason")


def erased_stay_away(world: World) -> None:
    """Nothing of the erased is left but their ids."""
    held = SourceRecord.objects.filter(
        connection=world.connection, object=world.crm.object, record_id__in=world.erased
    ).exclude(state=SourceRecord.State.ERASED)
    if held:
        raise Broken("I9", f"erased, and here as {_some(f'{row.record_id} ({row.state})' for row in held)}")
    back = Identifier.objects.filter(kind=_kind(world), value__in=world.erased)
    if back:
        raise Broken("I9", f"erased, and people again: {_some(row.value for row in back)}")


def each_run(world: World, report: SyncRun) -> None:
    """What holds after every run, however it ended."""
    parts = ("created", "updated", "unchanged", "rejected", "deleted", "held")
    total = sum(getattr(report, name) for name in parts)
    unread = report.held if report.sweep else 0  # what a list of ids does not show is held without being read
    if not total - unread <= report.read <= total:
        raise Broken("I1", f"{report.read} records read, and {parts} do not add up to it")
    if report.state == SyncRun.State.FAILED and (not report.error or "unexpected" in report.error):
        raise Broken("I8", f"a failed run without a sentence: {report.error!r}")
    nothing_older(world)
    bounded(world, report)


def nothing_gone(world: World, before: set[str]) -> None:
    """Whoever was live before is so still."""
    if before - live(world):
        raise Broken("I1", f"{len(before - live(world))} of {len(before)} records went at once")


def settle(world: World) -> None:
    """End all trouble, sync until nothing moves, and check everything."""
    world.calm()
    # A run that goes on with an interrupted one may leave what came since to the next.
    last = SyncRun.objects.filter(connection=world.connection).order_by("-pk")[0]
    for _ in range(1 + (last.state == SyncRun.State.FAILED)):
        world.later()
        report = world.run()
        if report.state != SyncRun.State.SUCCEEDED:
            raise Broken("I5", f"without trouble the run failed: {report.error}")
        each_run(world, report)
    erased_stay_away(world)
    rows = world.crm.rows()
    nothing_passed(world, rows)
    complete_until(world, rows)
    each_run(world, world.run(sweep=True))
    report = world.run()
    each_run(world, report)
    quiet(world, report)
    everything(world)


def everything(world: World) -> None:
    """All that can be said of a world at rest."""
    rows = world.crm.rows()
    same_records(world, rows)
    same_fields(world, rows)
    no_duplicates(world, rows)
    nothing_older(world)
    complete_until(world, rows)
    written_back(world, rows)
    bad_rows(world, rows)
    erased_stay_away(world)
