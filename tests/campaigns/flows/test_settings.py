"""A flow's own settings: step conditions, random shares, exit rule, goal, waking, and what they do to messages."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import example, given, settings
from hypothesis import strategies as st

from campaigns.flows import definition, engine, guards, program, reading, shares, windows
from campaigns.flows.definition import Window
from campaigns.flows.steps import registry
from campaigns.flows.steps.base import go_on, wait
from campaigns.models import Decision, Enrollment
from crm.models import Profile
from delivery.models import Delivery
from delivery.policies import verdicts
from tests.campaigns.flows.test_engine import BOUGHT, HELLO, WAIT
from tests.reading import settle

PURCHASE = {"kind": "event", "name": "purchase"}
GOLD = {"kind": "attribute", "field": "attributes.plan", "op": "eq", "value": "gold"}


def ended(person: int) -> tuple[str, str]:
    return Enrollment.objects.values_list("state", "reason").get(profile_id=person)


def judged() -> dict[int, tuple[str, str]]:
    """What the guard says about each person's message."""
    return judged_at(None)


def judged_at(now: datetime | None) -> dict[int, tuple[str, str]]:
    deliveries = list(Delivery.objects.select_related("message"))
    found = guards.hold_back(deliveries, now or datetime.now(UTC))
    return {
        each.profile_id: (str(verdict.state), verdict.reason)
        for each in deliveries
        if (found_ := found.get(each.pk)) and (verdict := verdicts.settled(found_, each))
    }


def is_gold(world, name: str) -> int:
    person = world.person(name)
    Profile.objects.filter(pk=person).update(attributes={"plan": "gold"})
    return person


class TestStepConditions:
    def test_who_does_not_meet_it_skips_this_step_only_and_is_asked_on_arrival_alone(self, world):
        ann, bob = is_gold(world, "ann"), world.person("bob")
        world.flow([{**WAIT, "condition": GOLD}, {**HELLO, "condition": GOLD}, {**HELLO, "key": "all"}])
        for person in (ann, bob):
            world.happens(person, "signed_up")
        world.run()
        assert list(Delivery.objects.values_list("profile_id", "origin_step")) == [(bob, "all")]
        skipped = Decision.objects.filter(kind__endswith=":skipped").order_by("pk")
        assert [(each.step, each.kind, each.detail) for each in skipped] == [
            ("w", "wait:skipped", {"reason": "condition not met"}),
            ("m", "message:skipped", {"reason": "condition not met"}),
        ]
        Profile.objects.filter(pk=ann).update(attributes={})  # while she waits
        world.run(hours=3)
        assert ended(ann) == ("completed", "")
        kinds = Decision.objects.filter(profile_id=ann).order_by("pk").values_list("kind", flat=True)
        assert list(kinds) == ["entered", "wait:wait", "wait:go_on", "message:skipped", "message:go_on"]

    def test_a_whole_group_is_asked_at_once(self, world):
        world.flow([{**WAIT, "condition": GOLD}, {**HELLO, "condition": GOLD}], exit_rule=BOUGHT)
        counts = []
        for number in (1, 12):
            for place in range(number):
                world.happens(is_gold(world, f"p{number}{place}"), "signed_up")
            settle()
            reading.read(world.now)
            with CaptureQueriesContext(connection) as queries:
                assert engine.advance(world.now) == number
            counts.append(len(queries))
            world.now += timedelta(minutes=1)
        assert counts[0] == counts[1]


class TestRandomSplits:
    STEP = {
        "key": "r",
        "kind": "random",
        "config": {},
        "branches": [
            {"name": "a", "percent": 20, "steps": [{**HELLO, "key": "short"}]},
            {"name": "b", "percent": 70, "steps": [{**HELLO, "key": "long"}]},
            {"name": "nobody", "percent": 10},
        ],
    }

    def test_people_go_by_their_place_and_meet_again(self, world):
        people = [world.person(f"p{number}") for number in range(60)]
        world.flow([self.STEP, {**HELLO, "key": "all"}])
        for person in people:
            world.happens(person, "signed_up")
        world.run()
        branch_of = {
            each.profile_id: each.detail["branch_name"]
            for each in Decision.objects.filter(kind="random:go_on")
        }
        expected = {
            person: "a" if place < 20 else "b" if place < 90 else "nobody"
            for person in people
            for place in [shares.place(person, "welcome", "r")]
        }
        assert branch_of == expected
        sent = Delivery.objects.values_list("profile_id", "origin_step")
        steps = {"a": {"short", "all"}, "b": {"long", "all"}, "nobody": {"all"}}
        for person in people:
            assert {step for profile, step in sent if profile == person} == steps[branch_of[person]]

    def test_places_are_evenly_spread_and_independent(self):
        places = [
            (shares.place(number, "f", "one"), shares.place(number, "f", "two")) for number in range(4000)
        ]
        for low in range(0, 100, 10):
            assert 300 < sum(low <= one < low + 10 for one, _two in places) < 500
        both = sum(one < 50 and two < 50 for one, two in places)
        assert 900 < both < 1100


class TestExitRule:
    def test_it_ends_runs_before_the_next_step_and_stops_messages(self, world):
        ann, bob, cid = (world.person(name) for name in ("ann", "bob", "cid"))
        world.flow([WAIT, HELLO], exit_rule=BOUGHT)
        for person in (ann, bob, cid):
            world.happens(person, "signed_up")
        world.run()
        world.happens(ann, "purchase")
        world.run(hours=2)
        assert ended(ann) == ("exited", "exit rule")
        assert world.names(ann)[-1] == "flow_exited"
        assert Decision.objects.get(kind="exited").detail == {"reason": "exit rule"}
        world.happens(bob, "purchase")
        assert judged_at(world.now) == {bob: ("suppressed", "exit: exit rule")}
        assert set(Delivery.objects.values_list("profile_id", flat=True)) == {bob, cid}


class TestGoal:
    GOAL = {"name": "purchase", "within_days": 2, "value": "total", "exit": True}

    def test_it_marks_the_run_once_and_ends_it(self, world):
        ann, bob, cid = (world.person(name) for name in ("ann", "bob", "cid"))
        world.flow(
            [WAIT, HELLO, {**WAIT, "key": "long", "config": {"amount": 9, "unit": "days"}}], goal=self.GOAL
        )
        for person in (ann, bob, cid):
            world.happens(person, "signed_up")
        world.run()
        at = world.now + timedelta(minutes=5)
        world.happens(ann, "purchase", at=at, total=12.5)
        world.happens(ann, "purchase", at=at + timedelta(minutes=1), total=99)
        world.run(hours=2)
        assert ended(ann) == ("exited", "goal")
        run = Enrollment.objects.get(profile_id=ann)
        assert (run.converted_at, run.goal_value) == (at, 12.5)
        converted = Decision.objects.get(kind="converted")
        assert (converted.detail["event"], converted.detail["value"]) == ("purchase", 12.5)
        assert set(Delivery.objects.values_list("profile_id", flat=True)) == {bob, cid}
        world.happens(bob, "purchase", at=world.now, total="much")  # stored, but not read yet
        assert judged_at(world.now) == {bob: ("suppressed", "exit: goal")}
        world.run(days=3)
        assert ended(bob) == ("exited", "goal")
        assert Enrollment.objects.get(profile_id=bob).goal_value is None
        world.happens(cid, "purchase", total=5)  # later than within_days
        world.run()
        assert (ended(cid), Enrollment.objects.get(profile_id=cid).converted_at) == (("active", ""), None)

    def test_without_exit_the_run_goes_on_and_one_that_is_over_counts_too(self, world):
        ann = world.person("ann")
        flow = world.flow([HELLO], goal={**self.GOAL, "exit": False}, reentry={"mode": "always"})
        world.happens(ann, "signed_up")
        world.run()
        assert ended(ann) == ("completed", "")
        world.flow([WAIT], slug="other")
        version = flow.live_version
        type(version).objects.filter(pk=version.pk).update(number=1)
        world.happens(ann, "purchase", at=world.now + timedelta(hours=1))
        assert judged_at(world.now) == {}
        world.run(hours=2)
        assert Enrollment.objects.get(flow=flow).converted_at == world.now - timedelta(hours=1)

    def test_a_late_start_finds_its_goal_reached(self, world):
        ann = world.person("ann")
        world.flow([WAIT, HELLO], goal=self.GOAL)
        world.happens(ann, "purchase")
        world.run()
        world.happens(ann, "signed_up", at=world.now - timedelta(minutes=1))
        world.run(minutes=1)
        assert ended(ann) == ("exited", "goal")


class TestWaking:
    def test_an_event_asks_the_step_again_that_waits_for_it(self, world, monkeypatch):
        """The wait kind stands in for one that listens: it goes on as soon as it is asked a second time."""
        ann, bob = world.person("ann"), world.person("bob")
        kind = registry["wait"]
        monkeypatch.setattr(kind, "wakes", lambda step: frozenset({"opened"} if step.key == "w" else ()))
        monkeypatch.setattr(
            kind,
            "run",
            lambda step, people, now: {
                each.enrollment_id: go_on(context={"seen": step.key})
                if each.state
                else wait(now + timedelta(days=9))
                for each in people
            },
        )
        world.flow([WAIT, {**WAIT, "key": "deaf"}])
        for person in (ann, bob):
            world.happens(person, "signed_up")
        world.run()
        world.happens(ann, "opened")
        world.run(minutes=1)
        assert dict(Enrollment.objects.values_list("profile_id", "step")) == {ann: "deaf", bob: "w"}
        context = Enrollment.objects.get(profile_id=ann).context
        assert (context["seen"], context["event"]["name"]) == ("w", "signed_up")
        world.happens(ann, "opened")
        world.run(minutes=1)
        assert Enrollment.objects.get(profile_id=ann).step == "deaf"


class TestMessages:
    def test_a_flow_says_when_and_how_urgently_and_who_is_still_meant(self, world):
        ann, bob, cid = (is_gold(world, name) for name in ("ann", "bob", "cid"))
        Profile.objects.filter(pk=ann).update(timezone="Asia/Tokyo")  # 19:00 there, 12:00 in Warsaw
        Profile.objects.filter(pk__in=[bob, cid]).update(timezone="Europe/Warsaw")
        parts = {
            "entry": GOLD,
            "recheck_entry": True,
            "window": {"from": "09:00", "to": "18:00"},
            "priority": 1,
        }
        world.flow([HELLO], **parts)
        world.flow([HELLO], slug="skips", trigger="looked", when_limited="skip", **parts)
        for person in (ann, bob, cid):
            world.happens(person, "signed_up")
        world.happens(ann, "looked")
        world.run()
        Profile.objects.filter(pk=cid).update(attributes={})
        assert set(Delivery.objects.values_list("priority", flat=True)) == {1}
        deliveries = list(Delivery.objects.order_by("pk"))
        found = guards.hold_back(deliveries, world.now)
        told = {
            (each.profile_id, each.when_limited): verdicts.settled(found[each.pk], each)
            for each in deliveries
            if each.pk in found
        }
        tomorrow = datetime(2026, 5, 5, 9, tzinfo=ZoneInfo("Asia/Tokyo"))
        late = told[ann, "defer"]
        assert (str(late.state), late.reason, late.until) == ("deferred", guards.OUTSIDE, tomorrow)
        assert (str(told[ann, "skip"].state), told[ann, "skip"].reason) == ("suppressed", guards.OUTSIDE)
        assert told[cid, "defer"].reason == guards.NOT_ENTITLED
        assert len(told) == 3

    def test_the_guard_takes_as_many_queries_for_many_as_for_one(self, world):
        world.flow(
            [HELLO],
            entry=GOLD,
            recheck_entry=True,
            exit_rule=BOUGHT,
            exit_on=[PURCHASE],
            goal=TestGoal.GOAL,
            window={"from": "09:00", "to": "18:00"},
        )
        for number in range(8):
            world.happens(is_gold(world, f"p{number}"), "signed_up")
        world.run()
        deliveries = list(Delivery.objects.all())
        counts = []
        for group in (deliveries[:1], deliveries):
            with CaptureQueriesContext(connection) as queries:
                guards.hold_back(group, world.now)
            counts.append(len(queries))
        assert counts[0] == counts[1]


clocks = st.times().map(lambda at: f"{at.hour:02}:{at.minute:02}")
zones = st.sampled_from(
    [
        "UTC",
        "Europe/Warsaw",
        "America/Santiago",
        "Africa/Cairo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Kathmandu",
    ]
).map(ZoneInfo)


def shows(window: Window, zone: ZoneInfo, now: datetime) -> bool:
    """Whether the clock on the wall is within the window, for moments that come once."""
    local = now.astimezone(zone)
    at, day = f"{local.hour:02}:{local.minute:02}", local.isoweekday()
    if window.start < window.end:
        return window.start <= at < window.end and day in window.days
    return (at >= window.start and day in window.days) or (
        at < window.end and (day + 5) % 7 + 1 in window.days
    )


class TestWindows:
    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC)),
        clocks,
        clocks,
        st.sets(st.integers(1, 7), min_size=1),
        zones,
    )
    @example(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), "02:10", "02:50", {7}, ZoneInfo("Europe/Warsaw"))
    @example(datetime(2026, 10, 25, 1, 10, tzinfo=UTC), "22:00", "02:30", {6}, ZoneInfo("Europe/Warsaw"))
    def test_it_opens_at_the_first_moment_that_the_clock_shows(self, now, start, end, days, zone):
        if start == end:
            return
        window = Window(start, end, sorted(days))
        opens = windows.opening(window, zone, now)
        near_a_change = any(
            (now + timedelta(hours=hours)).astimezone(zone).utcoffset() != now.astimezone(zone).utcoffset()
            for hours in (-25, 25)
        )
        if opens is None:
            assert near_a_change or shows(window, zone, now)
            return
        assert now < opens < now + timedelta(days=16)
        assert windows.opening(window, zone, opens) is None
        assert windows.opening(window, zone, opens - timedelta(microseconds=1)) == opens
        assert near_a_change or not shows(window, zone, now)

    def test_a_window_in_the_hour_that_is_left_out_waits_for_the_next_day_and_one_that_comes_twice_opens_once(
        self,
    ):
        warsaw = ZoneInfo("Europe/Warsaw")
        gap = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # at 01:00 UTC 02:00 becomes 03:00
        assert windows.opening(Window("02:10", "02:50"), warsaw, gap) == datetime(
            2026, 3, 30, 0, 10, tzinfo=UTC
        )
        assert windows.opening(Window("02:10", "05:00"), warsaw, gap) == datetime(2026, 3, 29, 1, tzinfo=UTC)
        fold = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 for the second time
        assert windows.opening(Window("02:10", "02:50"), warsaw, fold) == datetime(
            2026, 10, 26, 1, 10, tzinfo=UTC
        )


def divided(*shares_: tuple[str, int | None]) -> dict:
    branches = [{"name": name, **({} if share is None else {"percent": share})} for name, share in shares_]
    return {**TestRandomSplits.STEP, "branches": branches}


class TestChecking:
    STEPS = [WAIT]

    @pytest.mark.parametrize(
        ("parts", "paths"),
        [
            ({"goal": {"name": ""}}, {"goal.name"}),
            ({"goal": {"name": "purchase", "within_days": 0}}, {"goal.within_days"}),
            ({"goal": {"name": "purchase", "value": "a..b"}}, {"goal.value"}),
            (
                {"window": {"from": "9:00", "to": "25:00", "days": []}},
                {"window.from", "window.to", "window.days"},
            ),
            ({"window": {"from": "09:00", "to": "09:00"}}, {"window.to"}),
            ({"priority": 6}, {"priority"}),
            ({"holdout_percent": 100}, {"holdout_percent"}),
            ({"starts_at": "tomorrow", "ends_at": "2030-01-01T00:00"}, {"starts_at", "ends_at"}),
            ({"starts_at": "2030-01-02T00:00Z", "ends_at": "2030-01-01T00:00Z"}, {"ends_at"}),
            ({"exit_rule": {"kind": "nothing"}}, {"exit_rule.kind"}),
            ({"steps": [{**WAIT, "condition": {"all": [{"kind": "nothing"}]}}]}, {"w.condition.all[0].kind"}),
            ({"steps": [divided(("a", 40), ("b", 40))]}, {"r.branches"}),
            ({"steps": [divided(("", 40), ("b", None))]}, {"r.branches[0].name", "r.branches[1].percent"}),
        ],
    )
    @pytest.mark.django_db
    def test_every_mistake_is_told_at_its_place(self, parts, paths):
        found = definition.check(
            definition.parse({"trigger": {"kind": "event", "name": "go"}, "steps": self.STEPS, **parts})
        )
        assert {problem.path for problem in found} == paths
        assert all(problem.message.endswith(".") and "`" not in problem.message for problem in found)

    def test_a_wrong_type_is_told_in_words(self):
        with pytest.raises(definition.DefinitionError) as error:
            definition.parse({"goal": {"name": "purchase", "within_days": "soon"}})
        assert error.value.problems == [("goal.within_days", "Give a whole number.")]

    def test_settings_do_not_change_how_steps_are_linked(self):
        plain = program.link(definition.parse({"steps": [TestRandomSplits.STEP, WAIT]}))
        assert (plain.first, plain.nodes["r"].branches) == ("r", ["short", "long", "w"])


@pytest.mark.parametrize("key", ["", "x" * 3000, "two words", "a/b"])
def test_keys_that_can_be_no_place_are_refused(db, key):
    """A long one would not fit into the index of all runs, and nobody in its batch could be stored."""
    draft = {"trigger": {"kind": "api"}, "steps": [{"key": key, "kind": "exit"}]}
    assert [path for path, _text in definition.check(definition.parse(draft))] == ["steps"]


def test_what_is_nested_beyond_reading_is_refused():
    draft: dict = {"steps": []}
    for number in range(3000):
        draft = {"steps": [{"key": f"k{number}", "kind": "split", "branches": [{"name": "x", **draft}]}]}
    with pytest.raises(definition.DefinitionError):
        definition.parse(draft)
