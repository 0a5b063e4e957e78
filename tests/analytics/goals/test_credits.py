"""Credits for goals against a recomputation from the log; however it is read, and whatever is done meanwhile."""

import contextlib
import random
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from analytics import projection
from analytics.goals import attribution, own, recompute
from analytics.models import Conversion, Credit, EarnedDay, ExchangeRate, Goal
from analytics.rollups import rebuild
from crm import log, merging, privacy, unmerging
from crm.models import ProfileMerge
from tests.analytics import world
from tests.analytics.goals import reference
from tests.analytics.world import NOW
from tests.reading import settle

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
SPRING = datetime(2026, 3, 28, 20, tzinfo=UTC)  # the clocks of Warsaw go forward the night after
BIG = [{"property": "total", "op": "gte", "value": 10}]


def goal(slug: str = "bought", **fields) -> Goal:
    made = Goal(**{"slug": slug, "name": slug, "event": "purchase", **fields})
    recompute.save(made)
    recompute.run(pause=0)
    made.refresh_from_db()
    return made


def shares(model: str, of: Goal | None = None) -> dict[int, Decimal]:
    found = Credit.objects.filter(model=model, **({"goal": of} if of else {}))
    return dict(found.values_list("delivery_id", "share"))


class History:
    """Random sends to a few people, what they did with them, and what they bought, in no particular order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.people = [world.person() for _ in range(2)]
        wanted = [
            world.message("a", goal_window_hours=chance.choice((4, 30))),
            world.message("b", goal_event="", goal_value_property="none"),
            world.message(
                "c", goal_event=chance.choice(("purchase", "signed_up")), goal_value_property="none"
            ),
        ]
        self.deliveries = [
            world.delivery(
                chance.choice(wanted),
                chance.choice(self.people),
                "sent",
                SPRING,
                logged=False,
                channel=chance.choice(("webpush", "email", "whatsapp")),
                origin_type=chance.choice(("flow", "api", "api", "test")),
            )
            for _ in range(chance.randrange(2, 8))
        ]
        self.events = [event for one in self.deliveries for event in self._touches(one)]
        self.events += [self._buys() for _ in range(chance.randrange(1, 8))]
        chance.shuffle(self.events)

    def at(self) -> datetime:
        return SPRING + self.chance.randrange(24) * HOUR

    def _event(self, profile: int, name: str, **told) -> log.NewEvent:
        return log.NewEvent(uuid.uuid4(), profile, name, self.at(), told, "test")

    def _touches(self, one) -> list[log.NewEvent]:
        names = [
            name
            for name in ("sent", "delivered", "read", "opened", "opened", "clicked", "clicked")
            if self.chance.random() < 0.6
        ]
        found = [
            self._event(one.profile_id, f"message_{name}", delivery=one.pk, **self._about(name))
            for name in names
        ]
        if self.chance.random() < 0.3:
            told = self.chance.sample(("message_opened", "message_clicked"), self.chance.randrange(1, 3))
            found.append(self._event(one.profile_id, "message_withdrawn", delivery=one.pk, names=told))
        return found

    def _about(self, name: str) -> dict[str, str]:
        """Where and with what somebody got it; a trait is sometimes not told."""
        told = {"device": self.chance.choice(("", "phone", "desktop"))} if name != "delivered" else {}
        if name == "sent":
            told |= {"locale": self.chance.choice(("", "pl")), "country": self.chance.choice(("", "SA"))}
        return told

    def _buys(self) -> log.NewEvent:
        told = {"total": self.chance.choice((0.01, 10, 33.33, 1000))} if self.chance.random() < 0.9 else {}
        currency = self.chance.choice(("", "USD", "JPY"))
        told |= {"currency": currency} if currency else {}
        name = self.chance.choice(("purchase", "purchase", "purchase", "signed_up"))
        return self._event(self.chance.choice(self.people).pk, name, **told)

    def merge(self) -> None:
        if len(self.people) > 1:
            loser, winner = self.people.pop(), self.people[0]
            merging.merge([(loser.pk, winner.pk)], "test", NOW)
            for event in self.events:
                event.profile_id = winner.pk


def killed(monkeypatch) -> None:
    """The reader dies when all is written, just before it is kept; all of it comes again."""
    follow = attribution.follow

    def dies(*told) -> None:
        follow(*told)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(attribution, "follow", dies)
        projection.read(3)


def some_rules(chance: random.Random) -> dict:
    return {
        "where": chance.choice(([], BIG)),
        "click_hours": chance.choice((1, 5, 30)),
        "open_hours": chance.choice((0, 4, 30)),
        "view_hours": chance.choice(({}, {"webpush": 6}, {"email": 30, "whatsapp": 2, "webpush": 30})),
        "counting": chance.choice(("every", "once")),
        "currency": chance.choice(("", "USD")),
    }


@pytest.mark.slow
@examples(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a smaller seed is no smaller history
)
@given(seed=st.integers(0, 2**32))
def test_increments_and_recomputation_are_what_the_log_says(settings, monkeypatch, seed):
    reference.empty()
    chance = random.Random(seed)
    settings.TIME_ZONE = chance.choice(("UTC", "Europe/Warsaw"))
    monkeypatch.setattr(recompute, "EVENTS", chance.choice((1, 3)))
    monkeypatch.setattr(rebuild, "CHUNK", 2)
    ExchangeRate.objects.create(day=date(2026, 3, 28), currency="USD", rate=Decimal("0.9137"))
    first, second = (Goal(slug=slug, name=slug, event="purchase", **some_rules(chance)) for slug in "ab")
    recompute.save(first)
    calm = chance.random() < 0.6  # nothing is made anew, so that only increments can be right
    if calm:
        recompute.save(second)
        recompute.run(pause=0)
    history = History(chance)
    while history.events:
        log.append([history.events.pop() for _ in range(min(len(history.events), chance.randrange(1, 9)))])
        what = chance.random()
        if what < 0.2:
            killed(monkeypatch)
        elif what < 0.5:
            world.read(chance.choice((1, 3, 50)))
        elif what < 0.65:
            history.merge()
        elif calm:
            continue
        elif what < 0.75:
            for name, value in some_rules(chance).items():
                setattr(first, name, value)
            recompute.save(first)
        elif what < 0.85:
            recompute.save(second)
        else:
            recompute.step()
            if chance.random() < 0.3:
                rebuild.start()
            rebuild.step()
    world.read(chance.choice((1, 4, 5000)))
    if not calm:
        recompute.run(pause=0)
    expected = reference.credited()
    assert reference.stored() == expected
    rebuild.run(pause=0)
    assert reference.kept() == reference.earned()
    for _ in range(4):
        reference.check_figures(expected, chance, settings.TIME_ZONE)
    settings.TIME_ZONE = "Pacific/Auckland"
    recompute.plan()
    assert rebuild.check()
    recompute.run(pause=0)
    rebuild.run(pause=0)
    assert reference.stored() == expected
    assert reference.kept() == reference.earned()
    sums: dict = {}
    for (goal_id, event, model, _delivery), (share, *_rest) in expected.items():
        sums[(goal_id, event, model)] = sums.get((goal_id, event, model), 0) + share
    assert set(sums.values()) <= {1}


class TestModels:
    @pytest.fixture
    def ann(self):
        return world.person()

    def touched(self, ann, *hours: int, channel: str = "webpush", own: str = ""):
        about = world.message(goal_event=own)
        made = [world.delivery(about, ann, at=NOW, channel=channel) for _ in hours]
        for one, hour in zip(made, hours, strict=True):
            world.engages(one, "clicked", NOW + hour * HOUR)
        return [one.pk for one in made]

    def test_each_model_divides_three_clicks_in_its_own_way(self, ann):
        goal()
        one, two, three = self.touched(ann, 1, 2, 3)
        world.happens(ann, "purchase", NOW + 4 * HOUR, total=10, currency="EUR")
        world.read()
        assert shares("last_click") == shares("last_touch") == {three: 1}
        assert shares("first_touch") == {one: 1}
        assert shares("position") == {one: Decimal("0.4"), two: Decimal("0.2"), three: Decimal("0.4")}
        assert [float(share) for share in shares("linear").values()] == pytest.approx([1 / 3] * 3)
        assert sum(shares("linear").values()) == 1
        values = [row.value for row in Credit.objects.filter(model="linear").order_by("delivery_id")]
        assert values == [Decimal("3.33"), Decimal("3.34"), Decimal("3.33")]

    def test_who_only_saw_a_message_counts_where_nobody_clicked(self, ann):
        goal(view_hours={"webpush": 2})
        made = world.delivery(world.message(goal_event=""), ann)
        world.engages(made, "delivered", NOW)
        for hours in (1, 2):
            world.happens(ann, "purchase", NOW + hours * HOUR)
        world.read()
        assert Credit.objects.get().model == "view_through"
        world.engages(made, "clicked", NOW + HOUR / 2)
        world.read()
        assert not Credit.objects.filter(model="view_through").exists()
        assert Credit.objects.filter(model="last_click").count() == 2

    @pytest.mark.parametrize(
        ("after", "counts"),
        [
            (timedelta(0), True),
            (timedelta(microseconds=-1), False),
            (3 * HOUR - timedelta(microseconds=1), True),
            (3 * HOUR, False),
        ],
    )
    def test_a_window_begins_with_the_click_and_ends_before_its_length(self, ann, after, counts):
        goal(click_hours=3, open_hours=0)
        self.touched(ann, 0)
        world.happens(ann, "purchase", NOW + after)
        world.read()
        assert Credit.objects.exists() == counts

    def test_an_earlier_purchase_that_comes_late_is_the_one_that_counts_once(self, ann):
        goal(counting="once")
        self.touched(ann, 0)
        world.happens(ann, "purchase", NOW + 3 * HOUR)
        world.read()
        early = world.happens(ann, "purchase", NOW + HOUR)
        world.read()
        assert set(Credit.objects.values_list("event_id", flat=True)) == {early.id}

    def test_a_click_of_a_machine_gives_its_credit_back(self, ann):
        bought = goal(open_hours=0)
        one, two = self.touched(ann, 1, 2, own="purchase")
        world.happens(ann, "purchase", NOW + 3 * HOUR)
        world.read()
        assert shares("last_click") == {two: 1}
        assert Conversion.objects.get().delivery_id == two
        world.happens(ann, "message_withdrawn", NOW, delivery=two, names=["message_clicked"])
        world.read()
        assert shares("last_click") == shares("linear", bought) == {one: 1}
        assert shares("linear", own.goal()) == {one: Decimal("0.5"), two: Decimal("0.5")}, "both were opened"
        assert Conversion.objects.get().delivery_id == one

    def test_nothing_is_left_of_what_was_all_a_machine_s(self, ann):
        goal()
        [one] = self.touched(ann, 1)
        world.happens(ann, "purchase", NOW + 3 * HOUR, total=3)
        world.read()
        assert Credit.objects.exists()
        names = ["message_opened", "message_clicked"]
        world.happens(ann, "message_withdrawn", NOW, delivery=one, names=names)
        world.read()
        assert not Credit.objects.exists()
        assert reference.kept() == {}

    def test_two_who_turn_out_to_be_one_share_their_story(self, ann):
        goal()
        [one] = self.touched(ann, 1)
        ben = world.person()
        world.happens(ben, "purchase", NOW + 3 * HOUR, total=3)
        world.read()
        assert not Credit.objects.exists()
        merging.merge([(ben.pk, ann.pk)], "test", NOW)
        world.read()
        assert shares("last_click") == {one: 1}
        assert reference.stored() == reference.credited()
        assert reference.kept() == reference.earned()
        unmerging.undo(ProfileMerge.objects.get().pk, NOW + HOUR)
        world.read()
        assert not Credit.objects.exists()
        assert reference.kept() == {}

    def test_what_is_no_goal_any_more_is_taken_back(self, ann):
        bought = goal()
        self.touched(ann, 0)
        world.happens(ann, "purchase", NOW + HOUR, total=5)
        world.read()
        assert EarnedDay.objects.filter(value=5, currency="", model="last_click").exists()
        bought.event = "cart_updated"
        assert recompute.save(bought)
        recompute.run(pause=0)
        assert not Credit.objects.exists()
        assert reference.kept() == {}
        bought.name = "Another name"
        assert not recompute.save(bought)

    def test_who_is_erased_has_bought_what_they_bought(self, ann):
        bought = goal(where=[{"property": "shop", "op": "eq", "value": "north"}])
        self.touched(ann, 1, 2)
        world.happens(ann, "purchase", NOW + 3 * HOUR, total=10, shop="north")
        world.read()
        before = reference.stored()
        privacy.erase([ann.pk], "request", NOW + 4 * HOUR)
        world.read()
        recompute.plan([bought.pk])
        recompute.run(pause=0)
        assert reference.stored() == before != {}
        assert reference.kept() == reference.earned()

    def test_a_message_that_gets_another_goal_has_the_credit_for_that(self, ann):
        about = world.message(goal_window_hours=24)
        world.engages(world.delivery(about, ann), "clicked", NOW)
        world.happens(ann, "purchase", NOW + HOUR, total=5)
        joined = world.happens(ann, "signed_up", NOW + 2 * HOUR, total=7)
        world.read()
        assert not recompute.check(), "it is as it was credited"
        assert set(Credit.objects.values_list("value", flat=True)) == {5}
        about.goal_event = "signed_up"
        about.save()
        assert recompute.check()
        recompute.run(pause=0)
        assert not recompute.check()
        assert set(Credit.objects.values_list("event_id", "value")) == {(joined.id, 7)}
        assert reference.kept() == reference.earned()

    def test_the_account_may_have_another_currency(self, ann, settings):
        goal()
        self.touched(ann, 0)
        world.happens(ann, "purchase", NOW + HOUR, total=5, currency="usd")
        world.read()
        assert Credit.objects.filter(account_value=None, currency="USD", value=5).count() == 5
        settings.NUDGE_CURRENCY = "USD"
        assert recompute.check()
        assert not recompute.check()
        recompute.run(pause=0)
        assert Credit.objects.filter(account_value=5, account_currency="USD").count() == 5
        assert reference.kept() == reference.earned()


def test_the_number_of_queries_does_not_depend_on_how_much_is_read():
    goal()
    goal("big", where=BIG, counting="once", view_hours={"webpush": 2})
    about = world.message()
    world.read()

    def queries(count: int) -> int:
        for _ in range(count):
            ann = world.person()
            sent = world.delivery(about, ann)
            world.engages(sent, "clicked")
            world.happens(ann, "purchase", NOW + HOUR, total=12)
        settle()
        with CaptureQueriesContext(connection) as captured:
            projection.read()
        return len(captured)

    queries(1)
    assert queries(2) == queries(15)
    goal("third", where=BIG)
    assert queries(2) == queries(1)
