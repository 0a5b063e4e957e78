"""Experiments and holdouts over REST: what pages show, for programs."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from analytics.experiments import holdouts, judging, planning, words
from campaigns.experiments import life
from campaigns.models import Experiment
from crm import api_keys
from crm.models import Profile
from delivery import exposures
from delivery.models import Message
from tests.analytics.experiments.test_judging import START, offer, people, trial

pytestmark = pytest.mark.django_db


@pytest.fixture
def get(client):
    """Ask as a key that may read; `scope` names another one."""
    keys = {scope: api_keys.create(scope, [scope])[1] for scope in ("read", "write", "browser")}

    def ask(path: str, scope: str = "read", etag: str = "", **query: object):
        headers = {"HTTP_AUTHORIZATION": f"Bearer {keys[scope]}"} if scope else {}
        if etag:
            headers["HTTP_IF_NONE_MATCH"] = etag
        return client.get(f"/api/v1/{path}?{urlencode(query)}", **headers)

    return ask


def test_an_experiment_with_all_that_its_page_shows(get) -> None:
    made = trial("bandit")
    people(made, "a", 300, 10)
    people(made, "b", 300, 60, harmed=90)
    judging.judge(made, START + timedelta(days=9))
    made.refresh_from_db()
    for name in (made.slug, made.pk):
        answer = get(f"experiments/{name}/")
        assert answer.status_code == 200
    body, look = answer.json(), judging.look(made)
    result = body["result"]
    assert result["currency"] == "EUR"
    assert (body["slug"], body["message"], body["mode"]) == ("trial", "offer", "bandit")
    assert [(arm["percent"], arm["closed"]) for arm in body["arms"]] == [(100, None), (0, "unsubscribed")]
    assert result["sentence"] == words.sentence(look.result, made.names, "EUR")
    assert [(arm["people"], arm["converted"], arm["unsubscribed"]) for arm in result["arms"]] == [
        (300, 10, 0),
        (300, 60, 90),
    ]
    for arm, belief in zip(result["arms"], look.result.beliefs, strict=True):
        assert (arm["low"], arm["high"]) == pytest.approx((belief.low, belief.high))
        assert arm["probability_best"] == pytest.approx(belief.probability_best)
    assert result["harmed"][0]["rate"] == pytest.approx(0.3)
    assert result["sample_ratio"]["counts"] == [300, 300]
    assert result["regret"]["against_best"] == pytest.approx(look.regret.against_best)
    assert result["state"] == str(look.result.state)
    assert "exposed" in body["definitions"]


def test_what_nobody_came_into_has_no_figures_and_a_draft_no_result(get) -> None:
    made = trial(metric="value")
    result = get("experiments/trial/").json()["result"]
    assert {arm["mean"] for arm in result["arms"]} == {arm["high"] for arm in result["arms"]} == {None}
    assert result["comparisons"][0]["low"] is None
    assert result["regret"] is None
    life.stop(made.pk)
    Experiment.objects.create(name="Draft", slug="draft")
    assert get("experiments/draft/").json()["result"] is None
    assert get("experiments/gone/").status_code == get("experiments/99999999/").status_code == 404


def test_the_list_goes_by_pages_and_filters(get) -> None:
    for number in range(5):
        Experiment.objects.create(
            name=f"E{number}", slug=f"e{number}", subject=("message", "holdout")[number % 2]
        )
    seen, cursor = [], None
    while True:
        page = get("experiments/", limit=2, **({"cursor": cursor} if cursor else {})).json()
        seen += [each["slug"] for each in page["experiments"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == [f"e{number}" for number in range(5)]
    assert len(get("experiments/", subject="holdout").json()["experiments"]) == 2
    assert get("experiments/", state="draft", subject="step").json()["experiments"] == []
    assert get("experiments/", subject="nonsense").status_code == 400
    assert get("experiments/", cursor="x").status_code == 400


def test_answers_that_did_not_change_are_not_sent_again(get) -> None:
    made = trial()
    for path in ("experiments/", "experiments/trial/", "holdouts/"):
        tag = get(path)["ETag"]
        assert get(path, etag=tag).status_code == 304
    tag = get("experiments/trial/")["ETag"]
    life.stop(made.pk)
    assert get("experiments/trial/", etag=tag).status_code == 200


def test_the_plan_is_that_of_the_page(get) -> None:
    made = Experiment.objects.create(name="Plan", slug="plan", subject="message", message=offer())
    usual = planning.usual(made)
    body = get("experiments/plan/plan/").json()
    assert (body["rate"], body["smallest"], body["deviation"]) == (usual["rate"], usual["smallest"], None)
    asked = {"rate": 3.6, "smallest": 0.5, "daily": 20}
    body, plan = get("experiments/plan/plan/", **asked).json(), planning.plan(made, asked)
    assert (body["total"], body["days"], body["sentence"]) == (
        plan.total,
        plan.days,
        words.plan_sentence(plan),
    )
    assert body["advice"] == words.plan_advice(plan) != ""
    for wrong in (
        {"rate": "x"},
        {"rate": 99, "smallest": 5},
        {"smallest": 0},
        {"daily": "nan"},
        {"rate": -1},
    ):
        assert get("experiments/plan/plan/", **wrong).status_code == 400, wrong
    Experiment.objects.update(metric="value")
    assert get("experiments/plan/plan/").json()["deviation"] > 0
    made.message.variants.all().delete()
    assert get("experiments/plan/plan/").json()["error"]["code"] == "nothing_to_compare"


def test_holdouts_tell_what_messages_bring_page_by_page(get) -> None:
    for number in range(3):
        message = Message.objects.create(slug=f"m{number}", name=f"M{number}", holdout_percent=10)
        for arm, size in (("held_out", 4), ("treated", 36)):
            made = Profile.objects.bulk_create(Profile() for _each in range(size))
            told = [exposures.Exposure(f"holdout:message:{message.pk}", each.pk, arm) for each in made]
            exposures.record(told, holdouts.timezone.now() - timedelta(days=2))
    holdouts.keep()
    lines = {line.holdout.experiment: line for line in holdouts.latest()}
    seen, cursor = [], None
    while True:
        page = get("holdouts/", limit=2, **({"cursor": cursor} if cursor else {})).json()
        seen += page["holdouts"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert [each["key"] for each in seen] == sorted(lines)
    for each in seen:
        line = lines[each["key"]]
        assert (each["lift"]["treated"], each["lift"]["held_out"]) == (36, 4)
        assert each["lift"]["conversions"]["high"] == pytest.approx(line.lift.conversions.high)
        assert each["sentence"] == words.lift_sentence(line.lift, "EUR")
        assert [month["month"] for month in each["months"]] == [month for month, _lift in line.months]
        assert each["lift"]["conversions_per_message"] is None
    assert page["counted_at"]
    assert get("holdouts/", cursor="eA").status_code == 400


@pytest.mark.parametrize(
    "path", ["experiments/", "experiments/trial/", "experiments/trial/plan/", "holdouts/"]
)
def test_only_keys_that_read_see_them(get, path: str) -> None:
    trial()
    assert get(path, scope="").status_code == 401
    assert {get(path, scope=scope).status_code for scope in ("write", "browser")} == {403}
