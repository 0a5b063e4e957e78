"""Goals, rates and what they earned, as somebody at the admin sees them."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from analytics.goals import rates, recompute
from analytics.models import Credit, EarnedDay, ExchangeRate, Goal
from analytics.reports import attributed
from analytics.reports.filters import Filters
from analytics.reports.periods import Period
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
DAY = Period(NOW.date(), NOW.date())
FORM = {
    "name": "Bought",
    "slug": "bought",
    "active": "on",
    "event": "purchase",
    "counting": "every",
    "value_property": "total",
    "currency_property": "currency",
    "currency": "",
    "default_model": "linear",
    "click_hours": "72",
    "open_hours": "0",
}


def earned(goal, dimension="", model="", period=DAY, **filters):
    """What the goal brought, by key."""
    found = attributed.by(dimension, period, Filters(goal=goal.pk, model=model, **filters))
    return {key: both.now for key, both in found.items()}


def brought(goal):
    return earned(goal)[()].earned


def bought(**properties):
    """Somebody buys after two messages."""
    ann = world.person()
    sent = [
        world.delivery(world.message(slug), ann, channel=channel)
        for slug, channel in (("one", "webpush"), ("two", "email"))
    ]
    for hours, one in enumerate(sent, start=1):
        world.engages(one, "clicked", NOW + hours * HOUR)
    event = world.happens(ann, "purchase", NOW + 3 * HOUR, **properties)
    world.read()
    return sent, event


class TestGoals:
    def test_a_goal_is_made_from_words_and_shows_what_it_counts(self, admin_client):
        bought(total=9.99, currency="EUR", paid=True)
        page = admin_client.get(reverse("admin:analytics_goal_add"))
        assert b'<option value="purchase">' in page.content
        assert b'<option value="total">' in page.content
        told = FORM | {"property0": "total", "op0": "gte", "value0": "5", "seen_webpush": "6"}
        told |= {"property1": "paid", "op1": "eq", "value1": "true"}
        assert admin_client.post(reverse("admin:analytics_goal_add"), told).status_code == 302
        made = Goal.objects.get()
        assert made.where == [
            {"property": "total", "op": "gte", "value": 5},
            {"property": "paid", "op": "eq", "value": True},
        ]
        assert made.view_hours == {"webpush": 6}
        assert recompute.progress(made).running
        url = reverse("admin:analytics_goal_progress", args=[made.pk])
        assert b"hx-get" in admin_client.get(url).content
        recompute.run(pause=0)
        assert b"hx-get" not in admin_client.get(url).content
        assert Credit.objects.filter(model="linear", goal=made).count() == 2
        page = admin_client.get(reverse("admin:analytics_goal_change", args=[made.pk]))
        assert page.context["adminform"].form.initial["value1"] == "true"
        assert admin_client.get(reverse("admin:analytics_goal_changelist")).status_code == 200

    @pytest.mark.parametrize(
        "wrong",
        [
            {"event": ""},
            {"property0": "total", "op0": "gte", "value0": ""},
            {"op1": "gte", "value1": "5"},
            {"property0": "total", "op0": "gt", "value0": "abc"},
            {"currency": "E1"},
            {"value_property": "a..b"},
            {"click_hours": "0"},
            {"seen_email": "-1"},
        ],
    )
    def test_what_can_not_be_asked_is_not_stored(self, admin_client, wrong):
        page = admin_client.post(reverse("admin:analytics_goal_add"), FORM | wrong)
        assert page.status_code == 200
        assert page.context["adminform"].form.errors
        assert not Goal.objects.exists()

    def test_goals_that_are_deleted_take_along_what_is_credited_to_them(self, admin_client):
        bought(total=9.99, currency="EUR")
        made = [Goal(slug=slug, name=slug, event="purchase") for slug in ("one", "two", "three")]
        for goal in made:
            recompute.save(goal)
        recompute.run(pause=0)
        one, *others = [goal.pk for goal in made]
        credited = set(Credit.objects.values_list("goal_id", flat=True))
        assert credited > {one, *others}
        admin_client.post(reverse("admin:analytics_goal_delete", args=[one]), {"post": "yes"})
        told = {"action": "delete_selected", "_selected_action": others, "post": "yes"}
        admin_client.post(reverse("admin:analytics_goal_changelist"), told)
        left = credited - {one, *others}
        assert set(Credit.objects.values_list("goal_id", flat=True)) == left
        assert set(EarnedDay.objects.values_list("goal_id", flat=True)) == left

    def test_who_may_not_see_goals_sees_no_progress(self, client, django_user_model):
        recompute.save(made := Goal(slug="a", name="A", event="purchase"))
        client.force_login(django_user_model.objects.create_user("bob", is_staff=True))
        assert client.get(reverse("admin:analytics_goal_progress", args=[made.pk])).status_code == 403
        assert client.get(reverse("admin:analytics_exchangerate_changelist") + "paste/").status_code in (
            403,
            404,
        )


class TestPreview:
    def test_what_a_rule_would_count_is_shown_beside_what_the_saved_one_counts(self, admin_client):
        ann, at = world.person(), world.lately(hours=3)
        for slug in ("one", "two"):
            world.engages(world.delivery(world.message(slug), ann), "clicked", at)
        for total, currency in ((4, "EUR"), (20, "EUR"), (7, "USD")):
            world.happens(ann, "purchase", at + HOUR, total=total, currency=currency)
        world.read()
        recompute.save(goal := Goal(slug="bought", name="Bought", event="purchase", open_hours=0))
        url = reverse("admin:analytics_goal_preview")
        alone = admin_client.post(url, FORM)
        [side] = alone.context["sides"]
        assert (side["events"], side["credited"], side["people"]) == ("3", "3", "1 person")
        assert (side["value"], side["unconverted"]) == ("€24.00", ["$7.00"])
        assert [message["value"] for message in side["messages"]] == ["€12.00", "€12.00"]
        changed = FORM | {"property0": "total", "op0": "gte", "value0": "5", "default_model": "last_click"}
        form, saved = admin_client.post(f"{url}?goal={goal.pk}", changed).context["sides"]
        assert (form["events"], form["value"]) == ("2", "€20.00")
        assert (saved["events"], saved["value"]) == ("3", "€24.00")
        assert Goal.objects.get().where == [], "nothing is stored"
        assert b"alert" not in admin_client.post(url, FORM | {"click_hours": "x"}).content
        assert not Credit.objects.filter(goal=goal).exists()

    def test_who_may_only_look_sees_the_saved_one_alone(self, client, django_user_model):
        recompute.save(goal := Goal(slug="bought", name="Bought", event="purchase"))
        url = reverse("admin:analytics_goal_preview")
        bob = django_user_model.objects.create_user("bob", is_staff=True)
        client.force_login(bob)
        assert client.get(f"{url}?goal={goal.pk}").status_code == 403
        bob.user_permissions.add(Permission.objects.get(codename="view_goal"))
        assert client.post(url, FORM).status_code == 403
        [side] = client.post(f"{url}?goal={goal.pk}", FORM | {"event": "signed_up"}).context["sides"]
        assert side["words"] == "As it is saved"
        assert client.get(url).status_code == 403


class TestRates:
    def test_pasted_rates_convert_what_was_earned_before(self, admin_client):
        recompute.save(Goal(slug="a", name="A", event="purchase"))
        bought(total=10, currency="USD")
        recompute.run(pause=0)
        goal = Goal.objects.get()
        assert brought(goal) == {"USD": 10}
        url = reverse("admin:analytics_exchangerate_paste")
        assert admin_client.get(url).status_code == 200
        wrong = admin_client.post(url, {"pasted": f"{DAY.first},USD,0.9\nmonday,USD,1\n2026-03-01,USD,-1"})
        assert len(wrong.context["form"].errors["pasted"]) == 2
        assert not ExchangeRate.objects.exists()
        lines = f"day;currency;rate\n{DAY.first - timedelta(days=1)};usd;0.9137\n"
        assert admin_client.post(url, {"pasted": lines}).status_code == 302
        recompute.run(pause=0)
        assert brought(goal) == {"EUR": Decimal("9.14")}
        row = ExchangeRate.objects.get()
        told = {"day": row.day, "currency": "USD", "rate": "2"}
        change = reverse("admin:analytics_exchangerate_change", args=[row.pk])
        assert admin_client.post(change, told).status_code == 302
        recompute.run(pause=0)
        assert brought(goal) == {"EUR": 20}
        admin_client.post(reverse("admin:analytics_exchangerate_delete", args=[row.pk]), {"post": "yes"})
        recompute.run(pause=0)
        assert brought(goal) == {"USD": 10}

    def test_a_rate_is_too_old_after_a_month(self):
        recompute.save(Goal(slug="a", name="A", event="purchase"))
        rates.store([rates.Rate(DAY.first - timedelta(days=31), "USD", Decimal(2))])
        bought(total=10, currency="USD")
        assert set(Credit.objects.values_list("account_value", flat=True)) == {None}
        rates.store([rates.Rate(DAY.first - timedelta(days=30), "USD", Decimal(2))])
        recompute.run(pause=0)
        assert brought(Goal.objects.get()) == {"EUR": 20}

    @pytest.mark.parametrize(
        "line", ["2026-03-02,EUR,1", "2026-03-02,USD,NaN", "2026-03-02,USD", "2026-03-02,US,1"]
    )
    def test_what_is_no_rate_is_refused(self, line):
        with pytest.raises(rates.BadRates, match="Line 1"):
            rates.read(line)


class TestReports:
    def test_earnings_add_up_however_they_are_told_apart(self):
        recompute.save(goal := Goal(slug="a", name="A", event="purchase", open_hours=0))
        sent, event = bought(total=9.99, currency="EUR")
        for dimension in ("message", "variant", "channel", "origin", "day"):
            found = earned(goal, dimension, "linear").values()
            assert sum(each.earned["EUR"] for each in found) == Decimal("9.99"), dimension
            assert sum(each.conversions for each in found) == 1
        assert earned(goal, "channel", "linear").keys() == {"webpush", "email"}
        last = earned(goal, "message")
        assert {key: each.earned["EUR"] for key, each in last.items()} == {
            sent[1].message_id: Decimal("9.99")
        }
        assert earned(goal, model="linear", channel="email")[()].earned["EUR"] == Decimal("4.99")
        assert earned(goal, "flow") == {}
        for model, shares in (("position", [Decimal("0.5")] * 2), ("last_click", [0, 1])):
            [told] = attributed.latest(goal, DAY, Filters(model=model))
            assert (told.event, told.occurred_at) == (event.id, NOW + 3 * HOUR)
            assert [touch.message for touch in told.touches] == ["One", "Two"]
            assert [touch.share for touch in told.touches] == shares

    def test_a_day_outside_has_nothing(self):
        recompute.save(goal := Goal(slug="a", name="A", event="purchase"))
        bought(total=1)
        assert earned(goal, period=Period(date(2026, 1, 1), date(2026, 1, 2))) == {}
