"""What every holdout shows is counted at once, however many there are, and kept so that pages need not count."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from analytics.experiments import gathering, holdouts
from analytics.experiments.arms import together
from analytics.experiments.lift import lift
from analytics.models import DayFigures
from crm import log
from crm.models import Profile
from delivery import exposures
from delivery.models import Message, SendingRules
from tests.analytics.experiments.test_gathering import store

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def messages(count: int) -> list[Message]:
    """Each with a goal of its own, and half of the people held out of it."""
    return [
        Message.objects.create(
            slug=f"m{Message.objects.count()}",
            name=f"M{number}",
            holdout_percent=50,
            goal_event=("purchase", "signed_up")[number % 2],
            goal_value_property=("cart.total", "")[number % 2],
            goal_window_hours=24 * (number + 1),
        )
        for number in range(count)
    ]


def lives(about: list[Message]) -> None:
    for number in range(30):
        person = Profile.objects.create()
        for place, message in enumerate(about):
            at = NOW - (20 + 3 * number + place) * DAY
            arm = "held_out" if (number + place) % 3 == 0 else "treated"
            exposures.record([exposures.Exposure(f"holdout:message:{message.pk}", person.pk, arm)], at)
            if (number + place) % 4:
                store(person.pk, at + (number % 5) * DAY, "bought", 10 + number, "")


def log_queries(seen: CaptureQueriesContext) -> int:
    return sum("crm_event" in each["sql"] for each in seen)


def test_all_holdouts_take_one_query_of_the_log_and_what_is_kept_none() -> None:
    counts = []
    for many in (1, 4):
        lives(messages(many))
        with CaptureQueriesContext(connection) as seen:
            report = holdouts.report(NOW)
        assert log_queries(seen) == 1
        assert holdouts.keep(NOW) == len(report)
        with CaptureQueriesContext(connection) as kept:
            latest = holdouts.latest(NOW)
        assert latest == report
        assert log_queries(kept) == 0
        counts.append((len(seen), len(kept)))
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 8


def test_each_line_is_what_one_question_alone_finds() -> None:
    made = messages(3)
    lives(made)
    for message, line in zip(made, holdouts.report(NOW), strict=True):
        question = gathering.Question(
            experiment=f"holdout:message:{message.pk}",
            arms=("held_out", "treated"),
            goal=message.goal_event,
            window=timedelta(hours=message.goal_window_hours),
            value_property=message.goal_value_property,
            since=NOW - 365 * DAY,
            until=NOW,
            now=NOW,
        )
        out, treated = gathering.gather(question).arms
        assert (line.holdout.number, line.lift.holdout, line.lift.treated) == (message.pk, 10, 20)
        assert line.lift.conversions == lift(treated, out).conversions
        assert line.lift.value.estimate == pytest.approx(lift(treated, out).value.estimate)
        [alone] = gathering.by_month([question], "UTC")
        assert [month for month, _lift in line.months] == sorted(alone, reverse=True)
        assert together([arms[1] for arms in alone.values()]).value == treated.value


def test_without_anything_counted_it_is_counted_now() -> None:
    assert holdouts.latest(NOW) == []
    lives(messages(1))
    assert holdouts.counted_at() is None
    assert holdouts.latest(NOW) == holdouts.report(NOW)
    holdouts.keep(NOW)
    assert holdouts.counted_at() == NOW
    with CaptureQueriesContext(connection) as seen:
        holdouts.keep(NOW + timedelta(minutes=10))
    assert not any(each["sql"].startswith(("INSERT", "DELETE")) for each in seen)
    holdouts.keep(NOW + timedelta(hours=2))
    assert holdouts.counted_at() == NOW + timedelta(hours=2)
    lives(list(Message.objects.all()))
    holdouts.keep(NOW + timedelta(hours=2, minutes=5))
    assert holdouts.counted_at() == NOW + timedelta(hours=2, minutes=5)
    assert holdouts.latest(NOW)[0].lift.treated == 40


def test_the_holdout_of_everything_is_told_per_message_of_marketing() -> None:
    SendingRules.objects.filter(pk=SendingRules.of_account().pk).update(global_holdout_percent=5)
    for number in range(20):
        person = Profile.objects.create()
        arm = "held_out" if number < 5 else "treated"
        exposures.record([exposures.Exposure("holdout:global", person.pk, arm)], NOW - 9 * DAY)
        if number % 3:
            log.append(
                [log.NewEvent(log.event_id("x", number), person.pk, "purchase", NOW - 8 * DAY, {}, "test")]
            )
    [line] = holdouts.report(NOW)
    assert line.lift.messages == 0
    assert line.lift.conversions_per_message is None
    assert not DayFigures.objects.exists()
