"""Reports about flows, against a count by hand."""

import random
from collections import Counter, defaultdict
from datetime import timedelta
from statistics import median

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.reporting import query, registry
from analytics.reports import periods, runs
from campaigns.models import Decision, Enrollment, Flow, FlowVersion, Segment, SegmentMembership
from delivery.models import Message
from tests.analytics import world
from tests.analytics.world import NOW
from tests.campaigns.flows.conftest import World

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
STEPS = [
    {"key": "hello", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}},
    {"key": "w", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
    {
        "key": "s",
        "kind": "split",
        "branches": [
            {
                "name": "yes",
                "steps": [{"key": "deep", "kind": "wait", "config": {"amount": 1, "unit": "days"}}],
            },
            {"name": "no", "steps": []},
        ],
    },
]
KEYS = ("hello", "w", "s", "deep")


def ask(slug, **params):
    report = registry.reports()[slug]
    return report.build(query.parse(report, params, NOW))


def table(sheet, slug):
    return {row.key: row for row in next(each for each in sheet.tables if each.slug == slug).rows}


@pytest.fixture
def flow():
    made = Flow.objects.create(slug="f", name="F", state="live")
    for number in (1, 2):
        made.live_version = FlowVersion.objects.create(
            flow=made, number=number, definition={"trigger": None, "steps": STEPS}, published_at=NOW
        )
    made.save()
    return made


def fill(flow, chance, people):
    """Runs that take some steps, are moved, skip, hang or leave; the log of decisions in the order of happening."""
    versions = list(FlowVersion.objects.filter(flow=flow).order_by("number"))
    for number in range(chance.randrange(1, 12)):
        at = NOW - chance.randrange(1, 240) * HOUR
        state = chance.choice(("active", "completed", "exited"))
        run = Enrollment.objects.create(
            flow=flow,
            version=chance.choice(versions),
            profile=chance.choice(people),
            run_key=str(number),
            state=state,
            step="" if state == "completed" else chance.choice(KEYS),
            reason=chance.choice(("purchase", "exit rule", "goal")) if state == "exited" else "",
            entered_at=at,
            ended_at=None if state == "active" else at + chance.randrange(300) * HOUR,
            holdout=chance.random() < 0.1,
            converted_at=at if chance.random() < 0.3 else None,
            goal_value=10 if chance.random() < 0.2 else None,
        )
        told = [("", "entered", {})]
        for step in KEYS[: chance.randrange(5)]:
            kind = {"hello": "message", "s": "split"}.get(step, "wait")
            if chance.random() < 0.2:
                told.append((step, f"{kind}:skipped", {}))
                continue
            if kind == "wait":
                told.append((step, "wait:wait", {}))
            if chance.random() < 0.2:
                told.append((step, "moved", {"from_step": chance.choice(("w", step)), "to_step": step}))
            if chance.random() < 0.8:
                facts = {"branch_name": chance.choice(("yes", "no"))} if kind == "split" else {}
                told.append((step, f"{kind}:{chance.choice(('go_on', 'go_on', 'leave'))}", facts))
        if state == "exited":
            told.append((run.step, "exited", {"reason": run.reason}))
        for step, kind, facts in told:
            at += chance.randrange(20) * HOUR
            Decision.objects.create(
                enrollment=run, flow=flow, profile=run.profile, step=step, kind=kind, detail=facts, at=at
            )


def by_hand(flow, since, until):
    """Run by run and decision by decision."""
    reached, left, won, here, skipped = defaultdict(set), Counter(), Counter(), Counter(), defaultdict(set)
    times, branches, states, ends = defaultdict(list), defaultdict(Counter), Counter(), []
    for run in Enrollment.objects.filter(flow=flow):
        if not since <= run.entered_at < until:
            continue
        if run.holdout:
            states["held_out"] += 1
            continue
        ended = "won" if run.reason == "goal" and run.converted_at else run.state
        states[ended] += 1
        states["goals"] += run.converted_at is not None
        if run.state == "completed":
            ends.append((run.ended_at - run.entered_at).total_seconds())
        left[run.step] += ended == "exited"
        won[run.step] += ended == "won"
        here[run.step] += run.state == "active"
        came = run.entered_at
        for each in run.decisions.order_by("at", "pk"):
            outcome = each.kind.partition(":")[2]
            if each.kind != "exited":
                reached[each.step].add(run.pk)
            if outcome == "skipped":
                skipped[each.step].add(run.pk)
            if outcome in ("go_on", "leave"):
                times[each.step].append((each.at - came).total_seconds())
            if each.kind == "split:go_on":
                branches[each.step][each.detail["branch_name"]] += 1
            moved = each.kind == "moved" and each.detail["from_step"] != each.detail["to_step"]
            if outcome in ("go_on", "leave", "skipped") or moved:
                came = each.at
    return states, reached, left, won, here, skipped, times, branches, ends


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(seed=st.integers(0, 2**32))
def test_steps_equal_a_count_decision_by_decision(flow, seed):
    Enrollment.objects.all().delete()
    fill(flow, random.Random(seed), [world.person()])
    period = periods.last(5, NOW)
    states, reached, left, won, here, skipped, times, branches, ends = by_hand(flow, *period.bounds())
    found = runs.of_flow(flow.pk, period)
    total = found.total
    assert (total.inside, total.completed, total.exited) == (
        states["active"],
        states["completed"],
        states["exited"],
    )
    assert (total.goals, total.won, total.held_out) == (states["goals"], states["won"], states["held_out"])
    assert found.duration == (pytest.approx(median(ends)) if ends else None)
    for key in KEYS:
        line = found.steps.get(key, runs.Passing())
        assert (line.reached, line.left, line.won, line.here, line.skipped) == (
            len(reached[key]),
            left[key],
            won[key],
            here[key],
            len(skipped[key]),
        )
        assert line.branches == dict(branches[key])
        spent = times[key]
        assert line.median == (pytest.approx(median(spent)) if spent else None)
        assert line.slow == (pytest.approx(np.percentile(spent, 90)) if spent else None)
    assert sum(each.entered for each in found.days.values()) == total.entered
    assert sum(each.entered for each in found.versions.values()) == total.entered
    assert runs.by_flow(period).get(flow.pk, runs.Totals()) == total
    assert sum(found.reasons.values()) == total.exited


def test_the_funnel_is_in_the_order_of_the_live_version(flow):
    fill(flow, random.Random(7), [world.person() for _ in range(3)])
    sheet = ask("flow", flow="f")
    rows = table(sheet, "funnel")
    assert list(rows) == ["hello", "w", "s", "s:yes", "deep", "s:no"]
    for key, row in rows.items():
        if ":" not in key:
            assert row.values["drop_off"] == (
                row.values["left"] / row.values["reached"] if row.values["reached"] else None
            )


class TestFlow:
    @pytest.fixture(autouse=True)
    def _filled(self, flow):
        world.message()
        fill(flow, random.Random(7), [world.person() for _ in range(3)])

    def test_parts_add_up_to_those_who_entered(self):
        sheet = ask("flow", flow="f")
        total = sheet.figures.values
        assert total["entered"] == sum(total[name] for name in ("inside", "completed", "won", "exited")) > 0
        assert total["entered"] == sum(row.values["entered"] for row in table(sheet, "versions").values())
        assert total["entered"] == sum(sheet.charts[0].series[0].values)
        assert total["exited"] == sum(row.values["left"] for row in table(sheet, "left_early").values())
        assert table(ask("flows"), "flows")["f"].values["entered"] == total["entered"]

    def test_one_version_by_itself(self, flow):
        rows = table(ask("flow", flow="f"), "versions")
        for choice, number in (("live", "2"), ("earlier", "1")):
            sheet = ask("flow", flow="f", version=choice)
            assert list(table(sheet, "versions")) == [number]
            assert sheet.figures.values["entered"] == rows[number].values["entered"]

    def test_the_period_before_stands_beside_it(self, flow):
        Enrollment.objects.update(entered_at=NOW - timedelta(days=40))
        sheet = ask("flow", flow="f")
        assert (sheet.figures.values["entered"], sheet.figures.before["entered"] > 0) == (0, True)
        assert sum(sheet.charts[0].series[0].before) == sheet.figures.before["entered"]
        assert ask("flow", flow="f", period="all").figures.before is None

    def test_only_people_of_a_segment(self, flow):
        who = Enrollment.objects.filter(holdout=False).first().profile
        chosen = Segment.objects.create(slug="s", name="S", rule={})
        SegmentMembership.objects.create(segment=chosen, profile=who, entered_at=NOW)
        expected = flow.enrollments.filter(profile=who, holdout=False).count()
        assert ask("flow", flow="f", segment="s").figures.values["entered"] == expected
        assert table(ask("flows", segment="s"), "flows")["f"].values["entered"] == expected

    def test_a_message_step_tells_what_it_sent(self, flow):
        one = world.delivery(
            Message.objects.get(),
            world.person(),
            at=NOW,
            origin_type="flow",
            origin_id=flow.pk,
            origin_step="hello",
        )
        world.engages(one, "clicked", NOW)
        world.count()
        rows = table(ask("flow", flow="f"), "funnel")
        assert rows["hello"].values["click_rate"] == 1.0
        assert rows["hello"].leads == (
            "message",
            {"message": "welcome", "flow": str(flow.pk), "step": "hello"},
        )
        assert rows["w"].values["sent"] is None
        assert list(table(ask("flow", flow="f", step="hello"), "funnel")) == ["hello"]

    def test_of_many_runs_some_are_looked_at(self, flow, monkeypatch):
        monkeypatch.setattr(runs.of_flow, "__defaults__", (None, None, 2))
        sheet = ask("flow", flow="f")
        assert any("estimated" in note for note in sheet.notes)
        assert all(
            not row.values["drop_off"] or row.values["drop_off"] <= 1
            for row in table(sheet, "funnel").values()
        )

    @pytest.mark.parametrize("slug", ["flow", "flows"])
    def test_the_number_of_queries_does_not_depend_on_how_many_there_are(self, flow, slug):
        params = {"flow": "f"} if slug == "flow" else {}
        with CaptureQueriesContext(connection) as few:
            ask(slug, **params)
        for number in range(3):
            other = Flow.objects.create(slug=f"f{number}", name="X", state="live")
            for each in (flow, other):
                version = FlowVersion.objects.create(
                    flow=each, number=number + 3, definition={"steps": STEPS}, published_at=NOW
                )
                people = [world.person() for _ in range(4)]
                Enrollment.objects.bulk_create(
                    Enrollment(flow=each, version=version, profile=who, run_key=str(number), state="exited",
                        step=f"gone{number}", reason=f"r{number}", entered_at=NOW - HOUR, ended_at=NOW)
                    for who in people
                )  # fmt: skip
        with CaptureQueriesContext(connection) as many:
            ask(slug, **params)
        assert len(many) <= len(few) <= 24


@pytest.mark.parametrize("draft", [{}, {"steps": "nonsense"}, {"steps": [{"key": "x", "kind": "teleport"}]}])
def test_a_draft_that_makes_no_sense_is_told_all_the_same(draft):
    Flow.objects.create(slug="g", name="G", draft=draft)
    sheet = ask("flow", flow="g")
    assert sheet.figures.values["entered"] == 0


@pytest.mark.django_db(transaction=True)
def test_what_the_engine_did_is_told_as_it_was():
    """Two people: one waits two hours and goes on, one leaves meanwhile."""
    shop = World()
    hold = {"key": "hold", "kind": "wait", "config": {"amount": 2, "unit": "hours"}}
    later = {"key": "later", "kind": "wait", "config": {"amount": 30, "unit": "days"}}
    shop.flow([hold, later], exit_on=[{"name": "bought"}])
    ann, ben = shop.person("ann"), shop.person("ben")
    shop.happens(ann, "signed_up")
    shop.happens(ben, "signed_up")
    shop.run(minutes=1)
    shop.happens(ben, "bought", shop.now + HOUR)
    shop.run(hours=1, minutes=1)
    shop.run(hours=2)
    report = registry.reports()["flow"]
    sheet = report.build(query.parse(report, {"flow": "welcome"}, shop.now))
    rows = table(sheet, "funnel")
    seen = {key: [row.values[name] for name in ("reached", "here", "left")] for key, row in rows.items()}
    assert seen == {"hold": [2, 0, 1], "later": [1, 1, 0]}
    assert 7200 <= rows["hold"].values["median"] <= 3 * 3600 + 60
    assert rows["later"].values["median"] is None
    assert list(table(sheet, "left_early")) == ["hold:bought"]
