"""Starting people by the clock: exactly once, however often and late it is asked, and cheaply."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.flows import clock, publish
from campaigns.flows.definition import DefinitionError
from campaigns.models import Decision, Enrollment, Flow, FlowMoment, FlowSchedule, Segment, SegmentMembership
from crm.models import ComputedAttribute, ComputedValue, Profile
from tests.campaigns.flows.conftest import NOW
from tests.campaigns.flows.test_triggers import AGAIN, WAIT

BIRTHDAY = {"kind": "date", "field": "birthday", "yearly": True, "at": "09:00"}
DUE = {"kind": "date", "field": "attributes.due_at", "offset": {"hours": -1}, "at": ""}


def live(world, trigger, slug="welcome", **parts):
    """A flow that is published at the world's time, so that the clock begins there."""
    flow = Flow.objects.create(slug=slug, name=slug, draft={"trigger": trigger, "steps": [WAIT], **parts})
    publish.publish(flow.pk, now=world.now)
    return flow


def person(world, name, **fields):
    pk = world.person(name)
    Profile.objects.filter(pk=pk).update(updated_at=NOW - timedelta(days=9), **fields)
    return pk


def tick(world, **later):
    world.now += timedelta(**later)
    while clock.run(world.now):
        pass


def runs(flow):
    return sorted(Enrollment.objects.filter(flow=flow).values_list("profile_id", "run_key"))


def test_each_starts_at_their_own_time_and_once(world):
    # It is 10:00 UTC on 4 May.
    early = person(world, "early", birthday="1990-05-04", timezone="Europe/Warsaw")  # 9:00 was two hours ago
    soon = person(world, "soon", birthday="1990-05-04", timezone="America/Sao_Paulo")
    later = person(world, "later", birthday="1990-05-04", timezone="America/Los_Angeles")
    nowhere = person(world, "nowhere", birthday="1990-05-05", timezone="Not/AZone", country="XX")
    other = person(world, "other", birthday="1990-06-04", timezone="America/Sao_Paulo")
    flow = live(world, BIRTHDAY, **AGAIN)
    tick(world)
    assert runs(flow) == []
    tick(world, hours=2)
    assert runs(flow) == [(soon, "date:2026")]
    run = Enrollment.objects.get()
    assert run.context["event"]["properties"] == {"field": "birthday", "date": "1990-05-04"}
    assert datetime.fromisoformat(run.context["event"]["occurred_at"]) == datetime(2026, 5, 4, 12, tzinfo=UTC)
    tick(world, hours=4, minutes=1)
    tick(world, hours=17)
    assert {pk for pk, _key in runs(flow)} == {soon, later, nowhere}
    world.run()
    world.run(days=3)
    world.now = datetime(2027, 5, 5, 5, tzinfo=UTC)  # not a day later than any of next year's moments
    tick(world)
    assert Enrollment.objects.filter(flow=flow, profile_id__in=[early, soon]).count() == 1 + 2
    assert not Enrollment.objects.filter(profile_id=other).exists()


@pytest.mark.parametrize("gap", [timedelta(minutes=50), timedelta(hours=23)])
def test_down_time_is_caught_up_with_for_a_day(world, gap):
    people = {
        person(world, str(number), attributes={"due_at": (NOW + timedelta(hours=number)).isoformat()}): number
        for number in range(2, 50, 3)
    }
    flow = live(world, DUE)
    tick(world)
    while world.now < NOW + timedelta(hours=50):
        tick(world, seconds=gap.total_seconds())
    assert runs(flow) == sorted((pk, "once") for pk in people)


def test_what_is_older_than_a_day_is_over(world):
    person(world, "ann", attributes={"due_at": (NOW + timedelta(hours=3)).isoformat()})
    bob = person(world, "bob", attributes={"due_at": (NOW + timedelta(hours=40)).isoformat()})
    flow = live(world, DUE)
    tick(world, days=2)
    assert runs(flow) == [(bob, "once")]


def test_a_date_that_changes_after_the_look_ahead_counts_as_it_is_now(world):
    in_half_an_hour = {"due_at": (NOW + timedelta(minutes=90)).isoformat()}
    moved, gone, stays = (
        person(world, name, attributes=in_half_an_hour) for name in ("moved", "gone", "stays")
    )
    flow = live(world, DUE)
    tick(world)
    assert FlowMoment.objects.count() == 3
    world.now += timedelta(minutes=5)
    new = person(world, "new", attributes=in_half_an_hour)
    for pk, hours in ((moved, 3), (gone, None), (new, 1.5)):
        due = {"due_at": (NOW + timedelta(hours=hours)).isoformat()} if hours else {}
        Profile.objects.filter(pk=pk).update(attributes=due, updated_at=world.now)
    tick(world, minutes=1)
    tick(world, minutes=30)
    assert runs(flow) == sorted([(stays, "once"), (new, "once")])
    tick(world, minutes=90)
    assert runs(flow) == sorted([(stays, "once"), (new, "once"), (moved, "once")])


def test_days_after_a_computed_date_the_latest_value_counts(world):
    last = ComputedAttribute.objects.create(
        slug="last_order",
        name="Last order",
        kind="last",
        config={"kind": "last", "event": "order"},
        state="live",
        served=True,
    )
    lapsed, active = person(world, "lapsed"), person(world, "active")
    for pk in (lapsed, active):
        at = NOW - timedelta(days=29, hours=23, minutes=30)
        ComputedValue.objects.create(profile_id=pk, attribute=last, at=at)
    trigger = {"kind": "date", "field": "computed.last_order", "offset": {"days": 30}}
    flow = live(world, trigger)
    tick(world)
    assert FlowMoment.objects.count() == 2
    ComputedValue.objects.filter(profile_id=active).update(at=NOW)
    tick(world, minutes=40)
    assert runs(flow) == [(lapsed, "once")]
    with pytest.raises(DefinitionError, match="a day after it"):
        live(world, {**trigger, "offset": {"hours": 2}}, slug="soon")


def test_asked_again_about_any_window_it_starts_nobody_twice(world):
    people = [
        person(world, str(number), attributes={"due_at": (NOW + timedelta(minutes=61 + number)).isoformat()})
        for number in range(8)
    ]
    flow = live(world, DUE, **AGAIN)
    tick(world)
    tick(world, minutes=10)
    assert len(runs(flow)) == len(people)
    world.run()
    world.run(days=3)  # all are out again
    world.now = NOW
    for minutes in (0, 3, 10, 20):
        FlowSchedule.objects.update(reached=NOW, changes_seen=NOW)  # as if it had never come so far
        FlowMoment.objects.all().delete()
        tick(world, minutes=minutes)
    assert len(runs(flow)) == len(people)


def test_a_batch_that_died_is_done_once(world, monkeypatch):
    person(world, "ann", attributes={"due_at": (NOW + timedelta(minutes=65)).isoformat()})
    flow = live(world, DUE)
    tick(world)

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patched:
        patched.setattr(clock.FlowMoment.objects, "filter", lambda **_given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            tick(world, minutes=10)
    assert runs(flow) == []
    tick(world)
    tick(world)
    assert len(runs(flow)) == 1


def test_a_pause_is_left_out_and_a_new_trigger_begins_anew(world):
    person(world, "ann", attributes={"due_at": (NOW + timedelta(minutes=65)).isoformat()})
    flow = live(world, DUE)
    tick(world)
    publish.pause(flow.pk)
    tick(world, minutes=30)
    publish.resume(flow.pk, world.now)
    tick(world, minutes=30)
    assert runs(flow) == []
    Flow.objects.filter(pk=flow.pk).update(
        draft={"trigger": {**DUE, "offset": {"hours": 1}}, "steps": [WAIT]}
    )
    publish.publish(flow.pk, now=world.now)
    tick(world)
    assert runs(flow) == []
    tick(world, hours=2)
    assert len(runs(flow)) == 1


class TestSchedules:
    @pytest.fixture
    def members(self, world):
        segment = Segment.objects.create(slug="vips", name="VIPs")
        people = [world.person(str(number)) for number in range(7)]
        SegmentMembership.objects.bulk_create(
            [
                SegmentMembership(segment=segment, profile_id=pk, entered_at=NOW - timedelta(days=1))
                for pk in people
            ]
        )
        return people

    def test_everybody_starts_at_each_time_in_batches(self, world, members, monkeypatch, settings):
        settings.TIME_ZONE = "UTC"
        monkeypatch.setattr(clock, "BATCH", 3)
        flow = live(world, {"kind": "schedule", "cron": "0 */6 * * *", "segment": "vips"}, **AGAIN)
        tick(world, minutes=119)
        assert runs(flow) == []
        tick(world, minutes=1)
        assert len(runs(flow)) == len(members)
        tick(world, minutes=10)
        world.run()
        world.run(days=3)
        tick(world)
        # Of those that were missed, the ones of the last day; each lets in who is not inside.
        keys = {key for _pk, key in runs(flow)}
        assert keys == {"schedule:2026-05-04T12:00:00+00:00", "schedule:2026-05-06T18:00:00+00:00"}
        assert len(runs(flow)) == 2 * len(members)

    def test_a_batch_takes_as_many_queries_whatever_its_size(self, world, members):
        flow = live(world, {"kind": "schedule", "cron": "0 * * * *", "segment": "vips"}, **AGAIN)
        tick(world, minutes=59)
        with CaptureQueriesContext(connection) as queries:
            tick(world, minutes=1)
        assert len(runs(flow)) == len(members)
        assert len(queries) <= 31

    def test_a_flow_that_fails_is_shown_and_the_others_go_on(self, world, members, monkeypatch):
        bad = live(world, {"kind": "schedule", "cron": "0 * * * *", "segment": "vips"}, slug="bad")
        good = live(world, {"kind": "schedule", "cron": "0 * * * *", "segment": "vips"}, slug="good")
        real = clock.entering.enter

        def broken(door, starts, now):
            if door.slug == "bad":
                raise LookupError("no such thing")
            return real(door, starts, now)

        monkeypatch.setattr(clock.entering, "enter", broken)
        tick(world, hours=1)
        bad.refresh_from_db()
        assert "no such thing" in bad.error
        assert len(runs(good)) == len(members)
        monkeypatch.undo()
        tick(world)
        bad.refresh_from_db()
        assert (bad.error, len(runs(bad))) == ("", len(members))


def test_two_processes_do_not_both_work_on_a_flow(world, transactional_db):
    import threading

    people = [
        person(world, str(number), attributes={"due_at": (NOW + timedelta(minutes=61 + number)).isoformat()})
        for number in range(6)
    ]
    flow = live(world, DUE, **AGAIN)
    tick(world)
    world.now += timedelta(minutes=10)

    def other():
        try:
            clock.run(world.now)
        finally:
            connection.close()

    threads = [threading.Thread(target=other) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tick(world)
    assert len(runs(flow)) == len(people)
    assert Decision.objects.filter(flow=flow, kind="entered").count() == len(people)
