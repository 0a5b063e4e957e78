"""What reports ask of the figures: filters, comparison, drill-down, and the reports that are made of them."""

import random
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from analytics.reports import (
    audience,
    cohorts,
    coupons,
    deliverability,
    figures,
    heat,
    kept,
    people,
    periods,
    sources,
)
from analytics.reports.filters import Filters
from analytics.reports.periods import EVER, Period
from analytics.rollups import cohorts as kept_cohorts
from analytics.rollups.columns import ACTIVITY, COHORT, COLUMNS, NOT_SENT
from crm import consent, log
from crm.models import Device
from delivery.models import CouponCode, CouponPool
from tests.analytics import reference, world
from tests.analytics.test_rollups import SPRING, History
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


@pytest.fixture(params=[1, 2, 3])
def history(request, settings):
    settings.TIME_ZONE = "Europe/Warsaw"
    made = History(random.Random(request.param))
    log.append(made.events)
    world.read()
    return made


def counted(made: figures.Figures) -> dict[str, int]:
    return {name: getattr(made, name) for name in COLUMNS if getattr(made, name)}


def expected(dimension: str = "", value: str = "", keep=lambda day, series: True) -> dict[str, int]:
    """The cells of the reference, added up."""
    total = dict.fromkeys(COLUMNS, 0)
    for (kind, name, day, series), counts in reference.figures("Europe/Warsaw").items():
        if (kind, name) == (dimension, value) and keep(day, series):
            for column, number in counts.items():
                total[column] += number
    return {name: number for name, number in total.items() if number}


def test_filters_and_dimensions_are_those_of_the_log(history):
    period = Period(SPRING.date(), SPRING.date() + DAY)
    inside = lambda day, series: period.first <= day <= period.last  # noqa: E731
    assert counted(figures.total(EVER)) == expected()
    assert counted(figures.total(period)) == expected(keep=inside)
    assert counted(figures.total(EVER, Filters(channel="email"))) == expected(
        keep=lambda _, s: s[1] == "email"
    )
    assert counted(figures.total(EVER, Filters(flow=7))) == expected(keep=lambda _, s: s[3:5] == ("flow", 7))
    for country in ("PL", "IN", ""):
        assert counted(figures.total(EVER, Filters(country=country))) == expected("country", country)
        found = figures.by("country", EVER).get(country, figures.Figures())
        assert counted(found) == expected("country", country)
    days = figures.by("day", period)
    assert {day: counted(days.get(day, figures.Figures())) for day in period.dates()} == {
        day: expected(keep=lambda at, _, day=day: at == day) for day in period.dates()
    }
    both = figures.compare(Period(period.last, period.last))
    assert counted(both.before) == expected(keep=lambda day, _: day == period.first)
    hours = figures.hours(period.last).values()
    assert sum(one.sent for one in hours) == figures.total(Period(period.last, period.last)).sent
    week = heat.week(EVER)
    assert sum(cell.opens for day in week for cell in day) == figures.total(EVER).opens


def test_what_is_counted_from_single_deliveries_is_the_same(history):
    period = Period(SPRING.date(), SPRING.date() + 2 * DAY)
    for locale in ("pl", "ar", ""):
        parts = [
            figures.total(period, Filters(locale=locale, country=country)) for country in ("PL", "IN", "")
        ]
        whole = figures.total(period, Filters(locale=locale))
        for column in (*COHORT, *NOT_SENT):
            assert sum(getattr(part, column) for part in parts) == getattr(whole, column), column
        by_country = figures.by("country", period, Filters(locale=locale))
        assert sum(one.sent for one in by_country.values()) == whole.sent


def test_behind_each_number_are_as_many_deliveries(history):
    total = figures.total(EVER)
    for column in COLUMNS:
        found, before = [], None
        while True:
            page = people.page(column, EVER, before=before, limit=2)
            found += page.rows
            before = page.next
            if before is None:
                break
        assert len({row.delivery_id for row in found}) == len(found) == getattr(total, column), column
    with pytest.raises(KeyError):
        people.page("password", EVER)


def test_machines_count_if_they_are_asked_for(history):
    without, with_them = figures.total(EVER), figures.total(EVER, Filters(machines=True))
    assert with_them.opened == without.opened + without.machine_opened
    assert with_them.clicks == without.clicks + without.machine_clicks
    assert len(people.page("opened", EVER, Filters(machines=True)).rows) == with_them.opened


def test_the_number_of_queries_is_fixed(history):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            figures.by_before("step", EVER)
            figures.compare(periods.last(30), Filters(country="PL"))
            people.page("opened", EVER)
        return len(captured)

    before = queries()
    for number in range(5):
        world.delivery(world.message(f"m{number}"), world.person(), origin_type="flow", origin_id=number)
    world.read()
    assert queries() == before == 5


def test_columns_have_definitions():
    fields = set(figures.Figures.__struct_fields__) - {"reasons"} | set(figures.RATES)
    assert fields | {"audience"} == set(figures.DEFINITIONS)
    assert set(COHORT) | set(ACTIVITY) | set(NOT_SENT) <= fields


def test_who_carries_and_what_is_gone():
    ann, wanted = world.person(), world.message()
    world.delivery(wanted, ann)
    Device.objects.create(profile=ann, endpoint="https://fcm.googleapis.com/x", state="gone", changed_at=NOW)
    world.read()
    lines = deliverability.report(EVER).carriers
    assert [(line.channel, line.provider, line.figures.now.sent, line.gone) for line in lines] == [
        ("webpush", "", 1, (0, 0)),
        ("webpush", "google", 0, (1, 0)),
    ]
    assert deliverability.report(EVER, Filters(channel="email")).carriers == []


def test_who_joins_and_leaves_and_can_be_reached():
    ann, ben = world.person(email="ann@example.com"), world.person()
    for who in (ann, ben):
        for state, days in (("subscribed", 3), ("unsubscribed", 2), ("subscribed", 1)):
            consent.record([consent.Change(who.pk, "channel", "email", state, "sdk", NOW - days * DAY)])
    world.audience.keep(NOW)
    found = audience.opt_ins(Period((NOW - 3 * DAY).date(), NOW.date()))["email"].values()
    assert [(one.joined, one.left) for one in found] == [(2, 0), (0, 2), (2, 0), (0, 0)]
    assert [(one.channel, one.agreed, one.reachable) for one in audience.reach()] == [("email", 2, 1)]
    assert audience.growth(periods.last(7, NOW)).profiles == 2
    world.audience.keep(NOW)
    assert audience.growth(periods.last(7, NOW)).profiles == 2, "counting twice changes nothing"


def test_who_comes_back():
    ann, ben = world.person(), world.person()
    for who in (ann, ben):
        world.delivery(world.message(f"to{who.pk}"), who)
        world.happens(who, "purchase", NOW - 40 * DAY)
    world.happens(ann, "page_viewed", NOW + 7 * DAY)
    world.happens(ann, "purchase", NOW)
    world.happens(ben, "message_opened", NOW + 7 * DAY)
    world.read()
    kept_cohorts.keep(NOW + 8 * DAY)
    [one] = cohorts.after_message()
    assert (one.start, one.size, one.returned) == (NOW.date(), 2, [1, 1])
    assert one.share(1) == 0.5
    first = cohorts.by_first_purchase()[0]
    assert (first.size, first.returned) == (2, [2, 0, 1])


def test_coupons_and_where_people_came_from():
    ann = world.person(email="ann@example.com")
    world.delivery(world.message(), ann)
    pool = CouponPool.objects.create(slug="ten", name="Ten")
    CouponCode.objects.create(
        pool=pool, code="A", profile=ann, given_to=ann.pk, given_at=NOW, redeemed_at=NOW
    )
    CouponCode.objects.create(pool=pool, code="B")
    world.read()
    [line] = coupons.report(EVER)
    assert (line.now.given, line.now.used, line.left, line.now.rate) == (1, 1, 1, 1.0)
    [source] = sources.report(EVER)
    assert (source.slug, source.people, source.email, source.sent) == ("", 1, 1, 1)


def test_what_takes_long_is_asked_once_in_a_while(monkeypatch):
    asked: list[int] = []
    answer = partial(kept.kept, "test", (EVER, Filters()), lambda: asked.append(1) or len(asked))
    assert (answer(), answer()) == (1, 2), "what is quick is asked anew"
    monkeypatch.setattr(kept, "SLOW", -1.0)
    monkeypatch.setattr(kept, "RESTS", 1e9)
    assert (answer(), answer()) == (3, 3)
    another = kept.kept("test", (EVER, Filters(machines=True)), lambda: "another")
    assert another == "another"
