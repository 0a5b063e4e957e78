"""Experiments in the admin: who may see, set up, start and stop them."""

import re
import uuid
from datetime import UTC

import pytest
from django.urls import reverse
from django.utils import timezone

from analytics.experiments import judging, planning
from analytics.models import ExchangeRate
from campaigns.experiments import life
from campaigns.models import Broadcast, Experiment, Segment
from campaigns.segments import usage
from crm import log
from crm.models import Profile
from delivery import exposures
from delivery.models import SendingRules
from tests.analytics.experiments.test_judging import START, offer, people, trial
from tests.campaigns.admin.conftest import client_with

pytestmark = pytest.mark.django_db
VIEW, ADD, CHANGE, RUN = (f"campaigns.{what}_experiment" for what in ("view", "add", "change", "run"))


def at(name: str, *args: object) -> str:
    return reverse(f"admin:campaigns_experiment_{name}", args=args)


def test_set_up_plan_start_and_stop() -> None:
    message = offer()
    client = client_with(VIEW, ADD, CHANGE, RUN)
    page = client.post(
        at("add"),
        {
            "name": "Short?", "slug": "short", "subject": "message", "message": message.pk, "mode": "winner",
            "metric": "conversion", "goal_event": "purchase", "window_hours": 72, "value_property": "total",
            "guard_rails": "on", "smallest": "1",
        },
    )  # fmt: skip
    made = Experiment.objects.get(slug="short")
    assert page["Location"] == at("result", made.pk)
    shown = client.get(page["Location"]).content.decode()
    assert 'data-testid="plan"' in shown
    assert 'data-testid="start"' in shown
    for wrong in ({"rate": "five"}, {"smallest": "99"}, {"daily": ""}):
        client.post(at("do", made.pk, "start"), {"rate": "5", "smallest": "1", "daily": "500", **wrong})
        made.refresh_from_db()
        assert made.state == "draft", wrong
    client.post(at("do", made.pk, "start"), {"rate": "5", "smallest": "1", "daily": "500"})
    made.refresh_from_db()
    assert (made.state, made.smallest) == ("running", 1.0)
    assert made.fewest_people > 100
    assert client.get(at("result", made.pk)).status_code == 200
    assert client.get(at("change", made.pk)).status_code == 200
    arms = made.arms
    told = {"name": "Longer?", "subject": "holdout", "goal_event": "other"}
    assert client.post(at("change", made.pk), told).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.subject, made.goal_event, made.arms) == ("Longer?", "message", "purchase", arms)
    remover = client_with(VIEW, "campaigns.delete_experiment")
    assert remover.post(at("delete", made.pk), {"post": "yes"}).status_code == 403
    client.post(at("do", made.pk, "stop"))
    made.refresh_from_db()
    assert made.state == "stopped"
    assert remover.post(at("delete", made.pk), {"post": "yes"}).status_code == 302
    assert not Experiment.objects.exists()


def test_a_plan_for_values_begins_with_what_people_spent_and_warns_of_years() -> None:
    message = offer()
    made = Experiment.objects.create(
        name="Worth", slug="worth", subject="message", message=message, metric="value", value_property="total"
    )
    now = timezone.now()
    ExchangeRate.objects.create(day=now.astimezone(UTC).date(), currency="USD", rate=2)
    for told in ({"total": 10}, {"total": 15, "currency": "usd"}):
        person = Profile.objects.create()
        log.append([log.NewEvent(uuid.uuid4(), person.pk, "purchase", now, told, "test")])
    found = planning.usual(made, now)
    share = planning.USUAL_RATE / 100
    assert found["deviation"] == pytest.approx((share * 500 - (share * 20) ** 2) ** 0.5, abs=0.01)
    assert found["smallest"] == pytest.approx(share * 20 / 5)
    client = client_with(VIEW, RUN)
    shown = client.get(at("result", made.pk)).content.decode()
    assert f'value="{found["deviation"]}"' in shown
    assert "Smallest rise worth knowing, in EUR per person" in shown
    assert "How much it varies from person to person, in EUR" in shown
    shown = client.get(at("result", made.pk), {**found, "daily": 9_000}).content.decode()
    assert 'data-testid="plan"' in shown
    assert 'data-testid="advice"' not in shown
    for for_ever in ({"daily": "1e-320"}, {"deviation": "1e200"}, {"deviation": "1e154", "daily": "1e-9"}):
        shown = client.get(at("result", made.pk), {**found, **for_ever}).content.decode()
        assert "That would take for ever." in shown
    slow = {**found, "daily": 2}
    shown = client.get(at("result", made.pk), slow).content.decode()
    assert "months: test a larger difference, more people or a metric nearer to the message" in shown
    client.post(at("do", made.pk, "start"), slow)
    made.refresh_from_db()
    assert (made.state, made.smallest) == ("running", found["smallest"])
    assert made.tuned_for == round(planning.plan(made, slow).tuned_for)


def test_audiences_are_set_up_line_by_line_and_their_page_tells_what_is_compared() -> None:
    segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
    news = Broadcast.objects.create(name="News", message=offer(), segment=segment, channel="memory")
    fields = {
        "name": "Whom?", "slug": "whom", "subject": "audience", "broadcast": news.pk, "mode": "measure",
        "metric": "conversion", "goal_event": "purchase", "window_hours": 72, "value_property": "total",
    }  # fmt: skip
    client = client_with(VIEW, ADD, CHANGE, RUN)
    for wrong in ("All | 50", "All | 50\nFew | 50 | gone", "All | 50\nFew | 20 | all", "All | x\n| 50 | all"):
        client.post(at("add"), {**fields, "audiences": wrong})
        assert not Experiment.objects.exists(), wrong
    client.post(at("add"), {**fields, "audiences": "All | 50\n| 50 | all"})
    made = Experiment.objects.get()
    assert made.arms == [
        {"key": "arm1", "name": "All", "segment": "", "percent": 50.0},
        {"key": "arm2", "name": "all", "segment": "all", "percent": 50.0},
    ]
    assert "All | 50.0 | \nall | 50.0 | all" in client.get(at("change", made.pk)).content.decode()
    made = life.start(made.pk, now=START)
    people(made, "arm1", 30, 3)
    people(made, "arm2~", 20, 3)
    shown = client.get(at("result", made.pk)).content.decode()
    assert 'data-testid="audiences"' in shown
    assert "Two things are compared." in shown
    assert made in [each for each in Experiment.objects.all() if each.names == {"arm1": "All", "arm2": "all"}]
    assert [each.text for each in usage.uses()["all"]] == ["the broadcast “News”", "the experiment “Whom?”"]


def test_the_result_tells_the_sentence_and_escapes_names() -> None:
    made = trial("bandit", name="<b>Trial</b>")
    people(made, "a", 120, 10)
    people(made, "b", 120, 30)
    shown = client_with(VIEW).get(at("result", made.pk)).content.decode()
    assert 'data-testid="sentence"' in shown
    assert 'data-testid="regret"' in shown
    assert shown.count("<svg") >= 2
    assert 'data-testid="closed"' not in shown
    assert "<b>Trial" not in shown
    assert 'data-testid="stop"' not in shown


def test_values_are_told_in_the_accounts_currency() -> None:
    made = trial("bandit", metric="value")
    people(made, "a", 300, 30)
    people(made, "b", 300, 90)
    shown = client_with(VIEW).get(at("result", made.pk)).content.decode()
    sentence = shown.partition('data-testid="sentence"')[2].partition("</p>")[0]
    assert "€3.00 per person" in sentence
    arm = shown.partition('data-testid="arm-1"')[2].partition("</tr>")[0]
    assert arm.count("€") >= 4, "the mean, both ends of its range in text and picture, and the loss"
    assert "€1.00" in arm
    assert "more came than with equal shares" in shown
    assert "cost about €" in shown
    assert "converted by the rate of the day" in shown


def test_rates_need_no_currency() -> None:
    made = trial("bandit")
    people(made, "a", 300, 30)
    people(made, "b", 300, 90)
    shown = client_with(VIEW).get(at("result", made.pk)).content.decode()
    assert "€" not in shown
    assert "converted by the rate of the day" not in shown


def test_the_page_says_which_arm_was_closed_and_why() -> None:
    made = trial("bandit")
    people(made, "a", 300, 30)
    people(made, "b", 300, 30, harmed=90)
    judging.judge_all()
    shown = client_with(VIEW).get(at("result", made.pk)).content.decode()
    assert shown.count('data-testid="closed"') == 1
    assert "gets nobody any more, because it drives people away" in shown
    assert "You may stop" not in shown


def test_a_bandit_goes_with_messages_only() -> None:
    client = client_with(VIEW, ADD, CHANGE)
    page = client.post(
        at("add"),
        {
            "name": "All", "slug": "all", "subject": "holdout", "mode": "bandit", "metric": "conversion",
            "goal_event": "purchase", "window_hours": 72,
        },
    )  # fmt: skip
    assert page.status_code == 200
    assert not Experiment.objects.exists()


@pytest.mark.parametrize("what", ["start", "stop", "choose"])
def test_who_may_not_run_them_can_not(what: str) -> None:
    made = trial()
    client = client_with(VIEW, ADD, CHANGE)
    assert client.post(at("do", made.pk, what), {"arm": "a"}).status_code == 403
    made.refresh_from_db()
    assert made.state == "running"
    assert client_with(RUN).post(at("do", made.pk, what)).status_code == 403


def test_who_may_not_see_them_sees_nothing() -> None:
    made = trial()
    client = client_with("delivery.view_message")
    for url in (at("changelist"), at("result", made.pk), at("lift"), at("change", made.pk)):
        assert client.get(url).status_code == 403
    assert client_with(VIEW).get(at("do", made.pk, "stop")).status_code == 405


def test_lift_is_shown_for_what_holds_people_out() -> None:
    rules = SendingRules.of_account()
    client = client_with(VIEW)
    assert 'data-testid="empty"' in client.get(at("lift")).content.decode()
    SendingRules.objects.filter(pk=rules.pk).update(global_holdout_percent=10)
    made = Experiment.objects.create(name="All", slug="all", subject="holdout")
    life.start(made.pk, now=START)
    for arm, number, bought in ((exposures.HELD_OUT, 20, 1), (exposures.TREATED, 180, 40)):
        people(made, arm, number, bought)
    shown = client.get(at("lift")).content.decode()
    assert 'data-testid="lift-sentence"' in shown
    assert ">180<" in shown
    assert re.search(r"€310\.00 \(-?€[0-9,.]+ to €[0-9,.]+\)", shown), "40 of 180 beside 1 of 20, 10 each"
    report = client.get(reverse("admin:report", args=["lift"])).content.decode()
    assert "€310.00" in report.partition('data-testid="table-holdouts"')[2]
    shown = client.get(at("result", made.pk)).content.decode()
    assert ">180<" in shown


def test_what_nobody_came_into_shows_no_chances_and_what_has_one_way_no_plan() -> None:
    made = trial("bandit")
    client = client_with(VIEW, RUN)
    shown = client.get(at("result", made.pk)).content.decode()
    assert "50%" not in shown
    assert 'data-testid="regret"' not in shown
    made.message.variants.filter(key="b").delete()
    draft = Experiment.objects.create(name="One", slug="one", subject="message", message=made.message)
    shown = client.get(at("result", draft.pk)).content.decode()
    assert 'data-testid="no-ways"' in shown
    assert 'data-testid="plan-form"' not in shown
    assert 'data-testid="start"' not in shown
