"""Experiments that run are judged: the first answer stands, a winner gets everybody once, a bandit keeps a floor."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from analytics.experiments import bandit, judging, words
from analytics.experiments.arms import Metric
from campaigns.experiments import life, shares
from campaigns.models import Broadcast, Experiment, Segment
from crm import log
from crm.models import Alert, AuditEntry, Profile
from delivery import exposures
from delivery.models import Message, MessageContent, MessageVariant

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PLAIN = dict.fromkeys(map(ord, "\u2068\u2069"))  # the marks that keep directions apart


def offer() -> Message:
    made = Message.objects.create(slug="offer", name="Offer")
    for key in "ab":
        MessageContent.objects.create(message=made, channel="memory", variant=key, content={"text": key})
        MessageVariant.objects.create(message=made, key=key, weight=50)
    return made


def trial(mode: str = "winner", **fields) -> Experiment:
    made = Experiment.objects.create(
        **{"name": "Trial", "slug": "trial", "subject": "message", "message": offer(), "mode": mode, **fields}
    )
    return life.start(made.pk, now=START)


def people(experiment: Experiment, arm: str, number: int, bought: int, harmed: int = 0) -> None:
    made = Profile.objects.bulk_create(Profile() for _each in range(number))
    exposures.record([exposures.Exposure(experiment.key, each.pk, arm) for each in made], START + DAY)
    at = START + DAY + timedelta(hours=1)
    log.append(
        [log.NewEvent(uuid.uuid4(), each.pk, "purchase", at, {"total": 10}, "test") for each in made[:bought]]
    )
    left = {"state": "unsubscribed"}
    log.append(
        [log.NewEvent(uuid.uuid4(), each.pk, "consent_changed", at, left, "test") for each in made[:harmed]]
    )


def weights() -> dict[str, int]:
    return dict(MessageVariant.objects.order_by("key").values_list("key", "weight"))


def test_the_winner_gets_everybody_once() -> None:
    made = trial()
    people(made, "a", 300, 10)
    people(made, "b", 300, 120)
    assert judging.judge_all(START + 3 * DAY) == 0  # too few days
    assert weights() == {"a": 50, "b": 50}
    assert judging.judge_all(START + 9 * DAY) == 1
    assert weights() == {"a": 0, "b": 10_000}
    made.refresh_from_db()
    assert (made.state, made.decision["state"], made.decision["choice"]) == ("decided", "winner", "b")
    assert Alert.objects.get(key=life.alert_key(made)).resolved_at is None
    MessageVariant.objects.filter(key="a").update(weight=1)
    assert judging.judge_all(START + 10 * DAY) == 0
    assert not life.decide(made.pk, "winner", "a", apply=True)
    assert weights()["a"] == 1
    assert AuditEntry.objects.filter(action="experiment.decide").count() == 1
    assert judging.look(made, START + 20 * DAY).result.arm("b").converted == 120


def test_one_that_only_measures_changes_nothing() -> None:
    made = trial("measure")
    people(made, "a", 300, 10)
    people(made, "b", 300, 120)
    assert judging.judge(made, START + 9 * DAY)
    assert weights() == {"a": 50, "b": 50}


def test_a_winner_that_drives_people_away_waits_for_a_person() -> None:
    made = trial()
    people(made, "a", 300, 10)
    people(made, "b", 300, 120, harmed=100)
    judging.judge(made, START + 9 * DAY)
    made.refresh_from_db()
    assert (made.state, made.decision["state"]) == ("running", "harmful")
    assert weights() == {"a": 50, "b": 50}
    assert life.decide(made.pk, "chosen", "a", apply=True)
    assert weights() == {"a": 10_000, "b": 0}


def test_what_a_person_chose_and_could_not_be_used_then_is_used_later(monkeypatch) -> None:
    made = trial("measure")

    def refused(*args) -> None:
        raise shares.SharesError("not now")

    with monkeypatch.context() as busy:
        busy.setattr(shares, "change", refused)
        assert not life.decide(made.pk, "chosen", "b", apply=True)
        assert judging.judge_all(START + DAY) == 0
    assert weights() == {"a": 50, "b": 50}
    assert judging.judge_all(START + DAY) == 1
    assert weights() == {"a": 0, "b": 10_000}


def test_sizes_that_cannot_be_chance_stop_every_decision() -> None:
    made = trial()
    people(made, "a", 150, 5)
    people(made, "b", 450, 200)
    judging.judge(made, START + 9 * DAY)
    made.refresh_from_db()
    assert made.alarmed_at == START + 9 * DAY
    assert (made.state, made.decision, weights()) == ("running", None, {"a": 50, "b": 50})


def test_a_bandit_gives_better_arms_more_and_every_arm_some() -> None:
    made = trial("bandit")
    people(made, "a", 300, 10)
    people(made, "b", 300, 60)
    judging.judge(made, START + 9 * DAY)
    made.refresh_from_db()
    assert weights() == {"a": round(10_000 * bandit.FLOOR), "b": round(10_000 * (1 - bandit.FLOOR))}
    assert (made.state, len(made.periods)) == ("running", 2)
    # Those who came before are measured by the shares of then.
    assert not judging.look(made, START + 10 * DAY).result.check.alarm
    assert judging.look(made, START + 10 * DAY).regret.people == 600
    judging.judge(made, START + 10 * DAY)
    made.refresh_from_db()
    assert len(made.periods) == 2


@pytest.mark.parametrize("days", [2, 9])
def test_a_bandit_closes_an_arm_that_drives_people_away_for_good(days: int) -> None:
    made = trial("bandit")
    people(made, "a", 300, 10)
    people(made, "b", 300, 60, harmed=90)
    judging.judge(made, START + days * DAY)
    made.refresh_from_db()
    assert weights() == {"a": 10_000, "b": 0}
    assert (made.state, made.closed) == ("running", {"b": "unsubscribed"})
    # What is seen later opens it no more, and its share of nought is no sign of wrong sizes.
    people(made, "a", 100, 5, harmed=90)
    judging.judge(made, START + 12 * DAY)
    made.refresh_from_db()
    assert weights() == {"a": 10_000, "b": 0}
    look = judging.look(made, START + 12 * DAY)
    assert not look.result.check.alarm
    assert "“b” gets nobody any more" in words.sentence(look.result).translate(PLAIN)


def test_a_bandit_that_watches_no_harm_goes_on() -> None:
    made = trial("bandit", guard_rails=False)
    people(made, "a", 300, 10)
    people(made, "b", 300, 60, harmed=90)
    judging.judge(made, START + 9 * DAY)
    assert weights()["b"] > 9_000


def test_an_audience_is_judged_by_all_people_of_its_arm_and_told_by_those_it_addresses() -> None:
    message = offer()
    segment = Segment.objects.create(slug="all", name="All", rule={"all": []})
    news = Broadcast.objects.create(name="News", message=message, segment=segment, channel="memory")
    arms = [
        {"key": "arm1", "name": "Everybody", "percent": 50.0, "segment": ""},
        {"key": "arm2", "name": "Few", "percent": 50.0, "segment": "all"},
    ]
    made = Experiment.objects.create(name="Whom", slug="whom", subject="audience", broadcast=news, arms=arms)
    made = life.start(made.pk, now=START)
    people(made, "arm1", 400, 40)
    people(made, "arm2", 100, 30)
    people(made, "arm2~", 310, 4)
    look = judging.look(made, START + 9 * DAY)
    assert [(arm.key, arm.exposed, arm.converted) for arm in look.result.arms] == [
        ("arm1", 400, 40),
        ("arm2", 410, 34),
    ]
    assert [(arm.exposed, arm.converted) for arm in look.addressed] == [(400, 40), (100, 30)]
    assert look.result.check.counts == [400, 410]
    assert not look.result.check.alarm
    said = words.audience_sentence(look.result.arms, look.addressed, Metric.CONVERSION, made.names)
    assert said.translate(PLAIN) == (
        "“Everybody” addresses 100% of its people: 10% of those addressed reach the goal, 10% of all. "
        "“Few” addresses 24% of its people: 30% of those addressed reach the goal, 8.3% of all."
    )


def test_what_took_long_to_count_is_shown_for_a_while_and_not_beyond_a_change(monkeypatch) -> None:
    made = trial()
    people(made, "a", 3, 1)
    monkeypatch.setattr(judging, "BLINK", float("inf"))
    first, at = judging.recent(made)
    assert judging.recent(made)[1] > at
    monkeypatch.setattr(judging, "BLINK", -1.0)
    first, at = judging.recent(made)
    with CaptureQueriesContext(connection) as seen:
        assert judging.recent(made) == (first, at)
    assert not seen.captured_queries
    life.stop(made.pk)
    made.refresh_from_db()
    assert judging.recent(made)[1] > at


def test_only_one_runs_on_the_same_thing_and_it_starts_once() -> None:
    made = trial()
    again = Experiment.objects.create(name="Again", slug="again", subject="message", message=made.message)
    with pytest.raises(life.LifeError):
        life.start(again.pk)
    with pytest.raises(life.LifeError):
        life.start(made.pk)
    life.stop(made.pk)
    assert life.start(again.pk).state == "running"
