"""Report figures against a recomputation from the raw log by hand."""

import random
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.reports import flows, messages, overview, periods
from analytics.reports.filters import Filters
from analytics.rollups import audience
from campaigns.models import Enrollment, Flow, FlowVersion
from crm.models import ConsentChange, Event, Profile
from delivery.models import Delivery, Message
from tests.analytics import reference, world
from tests.analytics.world import NOW

HOUR = timedelta(hours=1)
STATES = ("queued", "deferred", "sending", "sent", "sent", "sent", "suppressed", "failed", "expired")
SENT = ("sent", "delivered")


def fill(chance: random.Random) -> None:
    """Some people, messages, deliveries, and a log in no particular order."""
    people = [world.person() for _ in range(3)]
    kinds = [
        world.message("a", goal_window_hours=24),
        world.message("b", goal_window_hours=3),
        world.message("c", goal_event="signed_up", goal_value_property=""),
    ]
    things = []
    for number in range(chance.randrange(12)):
        state = chance.choice(STATES)
        test = chance.random() < 0.1
        one = world.delivery(
            chance.choice(kinds),
            chance.choice(people),
            state,
            NOW + chance.randrange(72) * HOUR,
            locale=chance.choice(("", "ar")),
            origin_type="test" if test else "flow",
            origin_id=7,
            origin_step=chance.choice(("s1", "s2")),
        )
        if state in SENT:
            for name in ("delivered", "opened", "clicked", "dismissed"):
                if chance.random() < 0.5:
                    # Distinct times: of two clicks at one moment neither is the last.
                    at = one.queued_at + chance.randrange(20) * HOUR + timedelta(seconds=number)
                    things.append((one, name, at))
    for number in range(chance.randrange(8)):
        at = NOW + chance.randrange(100) * HOUR + timedelta(minutes=30, seconds=number)
        things.append((chance.choice(people), chance.choice(("purchase", "purchase", "signed_up")), at))
    chance.shuffle(things)
    for thing, name, at in things:
        if isinstance(thing, Delivery):
            world.engages(thing, name, at)
        else:
            total, currency = chance.choice((10, 19.99, "x", None)), chance.choice(("EUR", "PLN"))
            world.happens(thing, name, at, total=total, currency=currency)
        if chance.random() < 0.2:
            world.read(limit=chance.choice((1, 3, 5000)))
    world.read(limit=chance.choice((2, 5000)))


def by_hand(message: Message, since=None, until=None) -> dict:
    """The definitions, followed one event at a time."""
    told = defaultdict(dict)
    for event in Event.objects.filter(
        name__in=["message_delivered", "message_opened", "message_clicked", "message_dismissed"]
    ):
        times = told[event.properties["delivery"]]
        times[event.name] = min(times.get(event.name, event.occurred_at), event.occurred_at)
    everything = {one.pk: one for one in Delivery.objects.select_related("message")}
    # When it was sent or that was given up; what still waits, when it was queued.
    final = {
        event.properties["delivery"]: event.occurred_at
        for event in Event.objects.filter(name__in=["message_sent", "message_suppressed", "message_failed"])
    }
    mine = {
        pk: one
        for pk, one in everything.items()
        if one.message_id == message.pk
        and one.origin_type != "test"
        and (since is None or final.get(pk, one.queued_at) >= since)
        and (until is None or final.get(pk, one.queued_at) < until)
    }
    converted, people, revenue = 0, set(), Counter()
    for goal in Event.objects.exclude(name__startswith="message_"):
        clicks = [
            (told[pk]["message_clicked"], pk)
            for pk, one in everything.items()
            if one.profile_id == goal.profile_id
            and one.origin_type != "test"
            and one.message.goal_event == goal.name
            and "message_clicked" in told[pk]
            and timedelta(0)
            <= goal.occurred_at - told[pk]["message_clicked"]
            < timedelta(hours=one.message.goal_window_hours)
        ]
        if clicks and max(clicks)[1] in mine:
            converted += 1
            people.add(max(clicks)[1])
            amount = goal.properties.get("total") if message.goal_value_property else None
            if isinstance(amount, int | float):
                revenue[goal.properties["currency"]] += Decimal(str(amount))
    states = Counter(one.state for one in mine.values())
    return {
        "audience": len(mine),
        "waiting": states["queued"] + states["deferred"] + states["sending"],
        "sent": states["sent"] + states["delivered"],
        "delivered": sum(bool(told.get(pk)) for pk in mine),
        "opened": sum("message_opened" in told.get(pk, {}) for pk in mine),
        "clicked": sum("message_clicked" in told.get(pk, {}) for pk in mine),
        "dismissed": sum("message_dismissed" in told.get(pk, {}) for pk in mine),
        "suppressed": states["suppressed"],
        "failed": states["failed"],
        "expired": states["expired"],
        "converted": converted,
        "people_converted": len(people),
        "revenue": dict(revenue),
    }


COMPARED = (
    *("audience", "waiting", "sent", "delivered", "opened", "clicked", "dismissed", "suppressed", "failed"),
    *("expired", "converted", "people_converted", "revenue"),
)


def without_reasons(figures: messages.Figures) -> dict:
    return {name: getattr(figures, name) for name in COMPARED}


def by(dimension: str, since=None, until=None, **filters) -> dict:
    return messages.counted(dimension, periods.between(since, until), Filters(**filters))


def added_up(parts) -> dict:
    total: dict = defaultdict(int)
    revenue: Counter = Counter()
    for part in parts:
        for name, value in without_reasons(part).items():
            if name == "revenue":
                revenue.update(value)
            else:
                total[name] += value
    return {**dict.fromkeys(without_reasons(messages.Figures()), 0), **total, "revenue": dict(revenue)}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(seed=st.integers(0, 2**32))
def test_every_figure_equals_a_recomputation_from_the_log(seed):
    reference.empty()
    fill(random.Random(seed))
    since, until = NOW.replace(hour=0) + 24 * HOUR, NOW.replace(hour=0) + 72 * HOUR
    for message in Message.objects.all():
        expected = by_hand(message)
        figures = messages.report(message)
        assert without_reasons(figures) == expected
        assert figures.audience == (
            figures.sent + figures.waiting + figures.suppressed + figures.failed + figures.expired
        )
        assert sum(figures.reasons.get("suppressed", {}).values()) == figures.suppressed
        assert without_reasons(messages.report(message, since, until)) == by_hand(message, since, until)
        assert without_reasons(
            by("message", since=since, until=until).get(message.pk, messages.Figures())
        ) == by_hand(message, since, until)
        assert added_up(by("day", message=message.pk).values()) == expected
        assert added_up(by("locale", message=message.pk).values()) == expected
    steps = messages.by_step(7)
    assert added_up(steps.values()) == added_up(by("message").values())


@pytest.mark.django_db(transaction=True)
class TestOverview:
    def test_it_compares_with_as_many_days_before(self):
        ann, wanted = world.person(), world.message()
        since, until = periods.last(7, NOW).bounds()
        assert until - since == timedelta(days=7)
        for at in (since, until - HOUR, since - HOUR, since - timedelta(days=7), since - timedelta(days=8)):
            world.delivery(wanted, ann, at=at)
        world.delivery(wanted, ann, at=since, origin_type="test")
        Profile.objects.update(created_at=since - HOUR)
        world.read()
        audience.keep(NOW)
        found = overview.overview(NOW, 7)
        assert (found.now.sent, found.before.sent) == (2, 2)
        assert (found.now.new_profiles, found.before.new_profiles) == (0, 1)
        assert [day.sent for day in found.series] == [1, 0, 0, 0, 0, 0, 1]
        assert found.series[0].day == since.date().isoformat()

    def test_the_chart_adds_up_to_the_cards(self):
        ann, wanted = world.person(), world.message()
        sent = world.delivery(wanted, ann, at=NOW - HOUR)
        world.engages(sent, "clicked", NOW - HOUR)
        world.happens(ann, "purchase", NOW, total=5, currency="EUR")
        world.read()
        found = overview.overview(NOW, 30)
        for name in ("sent", "opened", "clicked", "converted"):
            assert sum(getattr(day, name) for day in found.series) == getattr(found.now, name) == 1, name
        assert found.now.revenue == {"EUR": 5}

    def test_who_never_agreed_has_not_left(self):
        ann, ben = world.person(), world.person()
        changes = [
            (ann, "subscribed", 3),
            (ann, "unsubscribed", 2),
            (ann, "unsubscribed", 1),
            (ben, "unsubscribed", 1),
        ]
        for who, state, hours in changes:
            ConsentChange.objects.create(
                profile=who,
                kind="channel",
                key="webpush",
                state=state,
                source="t",
                changed_at=NOW - hours * HOUR,
            )
        audience.keep(NOW)
        assert overview.overview(NOW, 7).now.left == 1

    def test_days_are_those_of_the_accounts_time_zone(self, settings):
        settings.TIME_ZONE = "Pacific/Auckland"  # 13 hours ahead: NOW is 22:00 there
        world.delivery(world.message(), world.person(), at=NOW - 23 * HOUR)
        world.read()
        assert [day.sent for day in overview.overview(NOW, 2).series] == [1, 0]
        assert set(by("day", message=Message.objects.get().pk)) == {date(2026, 3, 1)}

    def test_a_day_without_an_hour_is_still_a_day(self, settings):
        settings.TIME_ZONE = "Europe/Warsaw"
        since, until = periods.last(1, NOW.replace(month=3, day=29)).bounds()
        assert (until.timestamp() - since.timestamp()) == 23 * 3600


@pytest.mark.django_db
class TestFunnel:
    def test_inside_is_the_people_at_steps_and_those_of_earlier_versions(self):
        flow = Flow.objects.create(slug="f", name="F")
        steps = [{"key": "w", "kind": "wait", "config": {"amount": 1, "unit": "days"}}]
        version = FlowVersion.objects.create(
            flow=flow, number=1, definition={"trigger": None, "steps": steps}, published_at=NOW
        )
        flow.live_version = version
        flow.save()
        states = [("active", "w"), ("active", "gone"), ("completed", ""), ("exited", "")]
        for state, step in states:
            Enrollment.objects.create(
                flow=flow,
                version=version,
                profile=world.person(),
                run_key="once",
                state=state,
                step=step,
                entered_at=NOW,
                ended_at=None if state == "active" else NOW,
            )
        found = flows.funnel(flow)
        totals = found.totals
        assert (totals.entered, totals.inside, totals.completed, totals.exited) == (4, 2, 1, 1)
        assert ([line.here for line in found.steps], found.elsewhere) == ([1], 1)

    @pytest.mark.parametrize(
        "draft", [{}, {"steps": "nonsense"}, {"steps": [{"key": "x", "kind": "teleport"}]}]
    )
    def test_a_draft_that_makes_no_sense_has_no_steps(self, draft):
        assert flows.funnel(Flow.objects.create(slug="f", name="F", draft=draft)).steps == []
