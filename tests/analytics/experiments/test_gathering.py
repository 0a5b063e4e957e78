"""What is counted of each arm equals going through all events one by one."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from analytics.experiments import gathering
from analytics.experiments.arms import Arm, History, Metric
from analytics.models import ExchangeRate
from crm import log
from crm.models import Profile
from delivery.exposures import EVENT

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = 72 * HOUR
NOW = START + 10 * 24 * HOUR
ARMS = ("a", "b")

# (hours from the start, what, worth)
happenings = st.lists(
    st.tuples(
        st.integers(-24 * 95, 24 * 9),
        st.sampled_from(["bought", "left", "complained", "a", "b", "other"]),
        st.sampled_from(
            [
                0,
                1,
                25,
                "free",
                None,
                (8, "EUR"),
                (8, "USD"),
                (8, "usd"),
                (8, "GBP"),
                (8, "none"),
                ("8", "USD"),
            ]
        ),
    ),
    max_size=8,
)


def store(person: int, at: datetime, what: str, worth: object, experiment: str) -> None:
    amount, currency = worth if isinstance(worth, tuple) else (worth, None)
    name, facts = {
        "bought": ("purchase", {"cart": {"total": amount}, **({"currency": currency} if currency else {})}),
        "left": ("consent_changed", {"state": "unsubscribed"}),
        "complained": ("message_complained", {}),
    }.get(what, (EVENT, {"experiment": experiment, "arm": what}))
    log.append([log.NewEvent(uuid.uuid4(), person, name, at, facts, "test")])


def in_euros(worth: object) -> float:
    """A dollar is half a euro, and nobody knows what a pound is."""
    number, currency = worth if isinstance(worth, tuple) else (worth, "EUR")
    rate = {"USD": 0.5, "GBP": 0}.get(currency.upper(), 1)
    return number * rate if isinstance(number, int) else 0


def rates_are_known() -> None:
    days = range(-120, 20, 20)
    ExchangeRate.objects.bulk_create(
        ExchangeRate(day=(START + timedelta(days=day)).date(), currency="USD", rate=Decimal("0.5"))
        for day in days
    )


def brute_force(lives: list[list[tuple[int, str, object]]], metric: Metric) -> dict[str, Arm]:
    found = {key: [0] * 10 for key in ARMS}
    for life in lives:
        seen = sorted(
            (each for each in life if each[1] in ("a", "b", "other") and each[0] >= 0), key=lambda e: e[0]
        )
        if not seen or seen[0][1] not in ARMS:
            continue
        at, arm, _worth = seen[0]
        within = [each for each in life if at <= each[0] < at + 72]
        amount = in_euros
        bought = [amount(worth) for _at, what, worth in within if what == "bought"]
        earlier = [
            amount(worth) for when, what, worth in life if what == "bought" and at - 90 * 24 <= when < at
        ]
        past = sum(earlier) if metric is Metric.VALUE else int(bool(earlier))
        row = found[arm]
        for place, number in enumerate(
            [
                1,
                bool(bought),
                sum(bought),
                sum(bought) ** 2,
                any(what == "left" for _at, what, _worth in within),
                any(what == "complained" for _at, what, _worth in within),
                past,
                past**2,
                past * bool(bought),
                past * sum(bought),
            ]
        ):
            row[place] += number
    return {
        key: Arm(
            key=key,
            exposed=row[0],
            converted=row[1],
            value=row[2],
            value_squares=row[3],
            unsubscribed=row[4],
            complained=row[5],
            history=History(total=row[6], squares=row[7], with_converted=row[8], with_value=row[9]),
        )
        for key, row in found.items()
    }


def question(experiment: str, metric: Metric = Metric.CONVERSION) -> gathering.Question:
    return gathering.Question(
        experiment=experiment,
        arms=ARMS,
        goal="purchase",
        window=WINDOW,
        value_property="cart.total",
        metric=metric,
        since=START,
        until=NOW,
        now=NOW,
    )


class Gathering(TestCase):
    @given(st.lists(happenings, min_size=1, max_size=5), st.sampled_from([Metric.CONVERSION, Metric.VALUE]))
    @settings(deadline=None, max_examples=25)
    def test_it_equals_brute_force(self, lives: list, metric: Metric) -> None:
        experiment = f"experiment:{uuid.uuid4()}"
        rates_are_known()
        # Two things at the same hour have an order of their own, which hours can't tell.
        lives = [list({each[0]: each for each in life}.values()) for life in lives]
        for life in lives:
            person = Profile.objects.create()
            for hours, what, worth in life:
                store(person.pk, START + hours * HOUR, what, worth, experiment)
        with CaptureQueriesContext(connection) as seen:
            counted = gathering.gather(question(experiment, metric), [START, START + 100 * HOUR])
        assert len(seen) == 1
        assert {arm.key: arm for arm in counted.arms} == brute_force(lives, metric)
        assert [sum(column) for column in zip(*counted.periods, strict=True)] == [
            arm.exposed for arm in counted.arms
        ]


@pytest.mark.django_db
def test_months_add_up_to_the_whole() -> None:
    experiment = f"experiment:{uuid.uuid4()}"
    for number in range(6):
        person = Profile.objects.create()
        at = START + number * 24 * HOUR
        store(person.pk, at, "ab"[number % 2], None, experiment)
        store(person.pk, at + HOUR, "bought", 10, experiment)
    [found, nothing] = gathering.by_month([question(experiment), question("none")], "Europe/Warsaw")
    assert nothing == {}
    [(month, arms)] = found.items()
    assert month == "2026-03"
    assert [(arm.exposed, arm.converted, arm.value) for arm in arms] == [(3, 3, 30.0), (3, 3, 30.0)]


@pytest.mark.django_db
def test_an_amount_is_converted_by_the_rate_of_its_day_or_the_last_of_the_month_before() -> None:
    for days, rate in ((0, "0.5"), (1, "0.25"), (3, "9")):
        day = (START + timedelta(days=days)).date()
        ExchangeRate.objects.create(day=day, currency="USD", rate=Decimal(rate))
    found = {}
    for days in (-1, 0, 1, 2):
        experiment, person = f"experiment:{uuid.uuid4()}", Profile.objects.create()
        at = START + timedelta(days=days)
        log.append(
            [
                log.NewEvent(
                    uuid.uuid4(), person.pk, EVENT, at, {"experiment": experiment, "arm": "a"}, "test"
                ),
                log.NewEvent(
                    uuid.uuid4(), person.pk, "purchase", at, {"cart": {"total": 8}, "currency": "USD"}, "test"
                ),
            ]
        )
        asked = msgspec.structs.replace(question(experiment), since=START - timedelta(days=2))
        [arm, _other] = gathering.gather(asked).arms
        found[days] = (arm.converted, arm.value)
    assert found == {-1: (1, 0.0), 0: (1, 4.0), 1: (1, 2.0), 2: (1, 2.0)}
