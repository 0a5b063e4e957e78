"""Coupons, revenue and lift: against what happened, followed one by one."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from analytics.experiments import holdouts
from analytics.models import Credit, Goal
from analytics.reports import attributed, coupons, figures
from analytics.reports.filters import Filters
from analytics.reports.periods import Period
from crm import log
from delivery import coupons as giving
from delivery import exposures
from delivery.models import CouponCode, CouponPool, Message
from tests.analytics import sheets, world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
PERIOD = Period(date(2026, 3, 1), date(2026, 3, 10))
ASKED = {"from": "2026-03-01", "to": "2026-03-10"}


class TestCoupons:
    def order(self, who, code, at, **properties):
        """An order that names a code, as the reader of the log takes it."""
        event = world.happens(who, "purchase", at, coupon=code, **properties)
        told = log.LoggedEvent(event.id, 1, 1, who.pk, event.name, at, at, event.properties, "test")
        giving.redeem([told], list(CouponPool.objects.all()))

    @given(seed=st.integers(0, 2**32))
    @examples(deadline=None, max_examples=3)
    def test_codes_and_their_orders_are_those_that_were_given_in_the_period(self, seed):
        with sheets.rolled_back():
            chance = random.Random(seed)
            own = CouponPool.objects.create(slug="own", name="Own")
            same = CouponPool.objects.create(slug="same", name="Same", kind="fixed", code="SPRING")
            giving.add(own, [f"CODE{number}" for number in range(8)])
            expected = {own.pk: [0, 0, Decimal(0)], same.pk: [0, 0, Decimal(0)]}
            for _ in range(6):
                who, pool = world.person(), chance.choice((own, same))
                at = NOW + chance.randrange(-14, 10) * DAY
                code = giving.give(pool, [(who.pk, f"test:{who.pk}")], at)[who.pk]
                inside = PERIOD.first <= at.date() <= PERIOD.last
                expected[pool.pk][0] += inside
                if chance.random() < 0.6:
                    amount = chance.randrange(1, 100)
                    buyer = chance.choice((who, world.person())) if pool is own else who
                    told = chance.choice((code, ["OTHER", f" {code} "]))
                    self.order(buyer, told, at + DAY, total=amount, currency="eur")
                    self.order(buyer, code, at + 2 * DAY, total=1000)
                    expected[pool.pk][1] += inside
                    expected[pool.pk][2] += amount if inside else 0
            found = {line.pool: line for line in coupons.report(PERIOD, "USD", NOW + 10 * DAY)}
            for pool, (given_now, used, amount) in expected.items():
                line = found[pool]
                assert (line.now.given, line.now.used) == (given_now, used)
                assert line.now.revenue == ({"EUR": amount} if amount else {})
            assert found[same.pk].left is None
            assert (
                found[own.pk].left == 8 - CouponCode.objects.filter(pool=own, given_at__isnull=False).count()
            )

    def test_it_warns_of_pools_that_run_out(self):
        for slug, codes, given_away in (("soon", 11, 4), ("late", 40, 2), ("empty", 2, 2)):
            pool = CouponPool.objects.create(slug=slug, name=slug.title())
            giving.add(pool, [f"{slug}{number}" for number in range(codes)])
            for _ in range(given_away):
                giving.give(pool, [(world.person().pk, f"{slug}:{_}")], world.lately(days=2, hours=1))
        sheet = sheets.build("coupons")
        assert [sentence.split("”")[0] for sentence in sorted(sheet.warnings)] == ["“Empty", "“Soon"]
        pace, days = sheets.rows(sheet, "pools", "pace", "days")[str(CouponPool.objects.get(slug="soon").pk)]
        assert (pace, days) == (Decimal("2.0"), Decimal("3.6"))
        assert sheet.figures.values["given"] == 8
        before = sheets.queries("coupons")
        CouponPool.objects.create(slug="more", name="More")
        assert sheets.queries("coupons") == before == 2


def lives(chance: random.Random, people: int = 3) -> list[Message]:
    """People who are sent messages, open and click some, and buy now and then."""
    messages = [world.message(slug, goal_event="purchase") for slug in "ab"]
    for _ in range(people):
        who = world.person()
        for hours in range(chance.randrange(1, 4)):
            at = NOW + timedelta(hours=hours, days=chance.randrange(4))
            made = world.delivery(
                chance.choice(messages),
                who,
                at=at,
                channel=chance.choice(("webpush", "email")),
                variant=chance.choice(("a", "b")),
                origin_type=chance.choice(("flow", "broadcast", "api")),
                origin_id=7,
            )
            if chance.random() < 0.8:
                world.engages(made, chance.choice(("clicked", "opened")), at)
        for _ in range(chance.randrange(3)):
            currency = chance.choice(("EUR", "EUR", "USD"))
            at = NOW + timedelta(days=chance.randrange(6), minutes=chance.randrange(1440))
            world.happens(who, "purchase", at, total=chance.randrange(1, 50), currency=currency)
    world.count()
    return messages


class TestRevenue:
    @given(seed=st.integers(0, 2**32), model=st.sampled_from(("", *Goal.Model.values)))
    @examples(deadline=None, max_examples=3)
    def test_each_way_to_break_it_down_has_all_of_it(self, seed, model):
        with sheets.rolled_back():
            lives(random.Random(seed))
            whole = figures.total(PERIOD, Filters(model=model))
            by = {
                name: sheets.build("revenue", by=name, model=model, **ASKED)
                for name in ("message", "channel", "day", "origin", "variant")
            }
            for name, sheet in by.items():
                table = sheets.table(sheet, f"by_{name}")
                assert sum(row.values["conversions"] for row in table.rows) == pytest.approx(
                    whole.conversions
                )
                earned: dict[str, Decimal] = defaultdict(Decimal)
                for row in table.rows:
                    for currency, amount in row.values["earned"].items():
                        earned[currency] += amount
                assert dict(earned) == whole.earned == sheet.figures.values["earned"]
                shares = [row.values["share"] for row in table.rows if row.values["share"] is not None]
                assert not shares or sum(shares) == pytest.approx(1)
            assert bool(by["day"].warnings) == ("USD" in whole.earned)
            self.beside(model)
            self.newest(model)

    @staticmethod
    def beside(model):
        sheet = sheets.build("revenue", models="all", model=model, **ASKED)
        table = sheets.table(sheet, "by_message_and_model")
        for name in Goal.Model.values:
            found = figures.by("message", PERIOD, Filters(model=name))
            for row in table.rows:
                one = found.get(int(row.key), figures.Figures())
                assert row.values[f"{name}_conversions"] == pytest.approx(one.conversions)
                assert row.values[f"{name}_earned"] == one.earned

    @staticmethod
    def newest(model):
        goal = Goal.everything.get(own=True)
        wanted = Credit.objects.filter(goal=goal, model=model or goal.default_model)
        wanted = wanted.filter(occurred_at__lt=datetime(2026, 3, 11, tzinfo=UTC))
        sheet = sheets.build("revenue", model=model, **ASKED)
        rows = {row.key: row.values for row in sheets.table(sheet, "latest").rows}
        assert set(rows) == {str(event) for event in wanted.values_list("event_id", flat=True)}
        for event, values in rows.items():
            touches = Credit.objects.filter(goal=goal, event_id=event)
            assert values["touches"] == touches.values("delivery_id").distinct().count()
            amount = sum(
                each.value if each.account_value is None else each.account_value
                for each in touches
                if each.model == (model or goal.default_model)
            )
            assert sum(values["value"].values()) == amount
            assert values["path"].count("→") == values["touches"] - 1
        moments = [values["at"] for values in rows.values()]
        assert moments == sorted(moments, reverse=True)

    def test_a_path_tells_who_did_what_and_filters_are_heeded(self):
        ann = world.person()
        first, last = (world.message(slug, goal_event="purchase") for slug in ("first", "last"))
        for message, hours, name in ((first, 5, "opened"), (last, 2, "clicked")):
            at = NOW - timedelta(hours=hours)
            world.engages(world.delivery(message, ann, at=at), name, at)
        world.happens(ann, "purchase", NOW, total=30, currency="EUR")
        world.count()
        sheet = sheets.build("revenue", model="linear", **ASKED)
        [row] = sheets.table(sheet, "latest").rows
        assert row.values["took"] == 5 * 3600
        opened, clicked = row.values["path"].split(" → ")
        assert opened.startswith("First (Web push, opened 5")
        assert opened.endswith(": 50%")
        assert "clicked 2" in clicked
        assert row.link == (f"/admin/crm/profile/{ann.pk}/change/", "crm.view_profile")
        only = sheets.build("revenue", model="linear", message="first", **ASKED)
        assert only.figures.values["earned"] == {"EUR": Decimal(15)}
        assert only.figures.values["each"] == {"EUR": Decimal(30)}
        assert "by each message" not in only.notes[0]
        assert "all alike" in only.notes[0]

    def test_without_messages_with_a_goal_it_is_about_the_first_one_with_amounts(self):
        Goal.objects.create(slug="signed_up", name="A sign-up", event="signed_up", value_property="")
        Goal.objects.create(slug="order", name="Order", event="purchase")
        world.message(goal_event="")
        assert "Goal: Order." in sheets.build("revenue", **ASKED).notes[0]

    def test_the_number_of_queries_is_fixed(self):
        counts = []
        for number in range(2):
            for kind in ("flow", "broadcast"):
                who, message = world.person(), world.message(f"{kind}{number}", goal_event="purchase")
                made = world.delivery(message, who, origin_type=kind, origin_id=number)
                world.engages(made, "clicked")
                world.happens(who, "purchase", NOW + DAY, total=5, currency="EUR")
            world.count()
            one = {sheets.queries("revenue", by=by, **ASKED) for by in ("message", "flow", "broadcast")}
            counts.append((one, sheets.queries("revenue", models="all", **ASKED)))
        assert counts == [({8}, 13)] * 2

    def test_amounts_are_divided_by_conversions(self):
        assert attributed.ratio({"EUR": Decimal(9)}, 2, "EUR") == {"EUR": Decimal("4.5")}
        assert attributed.ratio({"EUR": Decimal(9)}, 0, "EUR") == attributed.ratio({}, 2, "EUR") == {}


class TestLift:
    def test_nobody_is_held_out(self):
        sheet = sheets.build("lift")
        assert "set a holdout" in sheet.notes[0]
        assert not sheet.charts

    def test_each_holdout_has_its_lift_and_leads_to_what_it_is_about(self):
        message = world.message(holdout_percent=10)
        for number in range(40):
            who = world.person()
            at = world.lately(days=40)
            arm = "held_out" if number % 4 == 0 else "treated"
            exposures.record([exposures.Exposure(f"holdout:message:{message.pk}", who.pk, arm)], at)
            if number % 4:
                world.happens(who, "purchase", at + DAY, total=10)
        [line] = holdouts.report()
        sheet = sheets.build("lift")
        [row] = sheets.table(sheet, "holdouts").rows
        assert row.leads == ("message", {"message": str(message.pk)})
        assert row.note
        values = row.values
        assert (values["treated"], values["holdout"], values["percent"]) == (30, 10, 10)
        assert values["conversions"] == round(line.lift.conversions.estimate, 1) == 30.0
        assert values["conversions_low"] <= 30 <= values["conversions_high"]
        assert sheet.figures.values["conversions"] == 30.0
        pace = sheets.rows(sheet, "pace", "month_conversions", "per_conversions")[row.key]
        assert pace == (round(line.lift.conversions_per_month.estimate, 2), None), "nothing was sent"
        assert len(sheets.table(sheet, "months").rows) == len(line.months) == 1
        before = sheets.queries("lift")
        Message.objects.create(slug="other", name="Other", holdout_percent=5)
        assert sheets.queries("lift") == before
