"""Reports about messages and broadcasts, as whoever reads them asks for them."""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.reporting import query, registry
from analytics.reports import launch, links, periods
from analytics.reports.filters import Filters
from campaigns.models import Broadcast, BroadcastPiece, Experiment, Flow, Segment
from crm import masking
from crm.models import Event
from delivery.models import Delivery, LinkHit, Message, MessageVariant
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
SHOP = "https://shop.example.com"
ONCE = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def ask(slug, **params):
    report = registry.reports()[slug]
    return report.build(query.parse(report, params, NOW))


def table(sheet, slug):
    return {row.key: row for row in next(each for each in sheet.tables if each.slug == slug).rows}


def broadcast(wanted, **fields):
    segment, _made = Segment.objects.get_or_create(slug="s", defaults={"name": "S", "rule": {}})
    started = {"state": "finished", "audience": 4, "launched_at": NOW, "started_at": NOW}
    return Broadcast.objects.create(
        **{"name": "B", "message": wanted, "segment": segment, **started, **fields}
    )


@pytest.fixture
def sent():
    """A message by a flow, a broadcast and a program: clicked once, which led to a purchase."""
    wanted, flow = world.message(), Flow.objects.create(slug="f", name="F")
    made = broadcast(wanted)
    ann = world.person()
    one = world.delivery(
        wanted, ann, "delivered", NOW - HOUR, origin_type="flow", origin_id=flow.pk, origin_step="hello"
    )
    world.engages(one, "clicked", NOW)
    world.happens(ann, "purchase", NOW + HOUR, total=5, currency="EUR")
    world.delivery(wanted, world.person(), at=NOW, origin_type="broadcast", origin_id=made.pk, variant="b")
    world.delivery(wanted, world.person(), "suppressed", NOW - HOUR)
    world.delivery(wanted, world.person(), "deferred", NOW - HOUR, reason="quiet hours")
    world.delivery(wanted, world.person(), "failed", NOW - HOUR, reason="no such ann@example.com")
    world.delivery(wanted, world.person(), "failed", NOW - HOUR, reason="no such bob@example.com")
    world.delivery(wanted, world.person(), at=NOW - timedelta(days=40))
    world.count()
    return wanted, flow, made


class TestMessages:
    def test_each_with_the_period_before(self, sent):
        sheet = ask("messages")
        (row,) = sheet.tables[0].rows
        assert (row.key, row.label, row.leads) == ("welcome", "Welcome", ("message", {"message": "welcome"}))
        assert (row.values["sent"], row.before["sent"]) == (2, 1)
        assert row.values["click_rate"] == 0.5
        assert row.values["revenue"] == {"EUR": Decimal(5)}
        assert sheet.tables[0].total.values["sent"] == 2
        assert sum(sheet.charts[0].series[0].values) == 2
        assert ask("messages", compare="0").tables[0].rows[0].before is None

    @pytest.mark.parametrize(
        ("by", "keys"),
        [
            ("variant", {"welcome:a", "welcome:b"}),
            ("origin", {"flow", "broadcast", "api"}),
            ("flow", {"{flow}"}),
            ("broadcast", {"{broadcast}"}),
        ],
    )
    def test_by_what_is_chosen(self, sent, by, keys):
        _message, flow, made = sent
        numbers = {"flow": flow.pk, "broadcast": made.pk}
        assert set(table(ask("messages", by=by), "messages")) == {key.format(**numbers) for key in keys}

    def test_what_a_flow_that_was_deleted_sent_is_still_told(self, sent):
        sent[1].delete()
        (row,) = ask("messages", by="flow").tables[0].rows
        assert (row.values["sent"], row.leads) == (1, None)


class TestMessage:
    def test_the_audience_adds_up_with_reasons_in_words(self, sent):
        sheet = ask("message", message="welcome")
        audience = next(each for each in sheet.tables if each.slug == "audience")
        terms = {row.key: row.values["messages"] for row in audience.rows if not row.depth}
        assert terms == {"sent": 3, "waiting": 1, "suppressed": 1, "failed": 2, "expired": 0}
        assert audience.total.values["messages"] == sum(terms.values())
        reasons = {row.label: row.values["messages"] for row in audience.rows if row.depth}
        assert sum(reasons.values()) == 4
        assert any("quiet hours" in label for label in reasons)
        assert not any("example.com" in label for label in reasons), "who it was is not told"
        assert 2 in reasons.values(), "what differs by the address alone is one reason"

    def test_cards_and_every_table_tell_the_same(self, sent):
        sheet = ask("message", message="welcome")
        assert sheet.figures.values["sent"] == 3
        assert sheet.figures.values["people_converted"] == 1
        assert sheet.figures.before is None, "of all time there is no period before"
        by_slug = {each.slug: each for each in sheet.tables}
        for slug in (
            "by_variant",
            "by_channel",
            "by_locale",
            "by_device",
            "by_country",
            "by_provider",
            "by_origin",
        ):
            rows = by_slug[slug].rows
            assert sum(row.values["sent"] for row in rows) == 3, slug
            assert {tuple(row.values["revenue"].items()) for row in rows} >= {(("EUR", Decimal(5)),)}, slug
        assert {row.label for row in by_slug["by_origin"].rows} == {"F", "B", "API"}

    def test_the_experiment_that_runs_is_one_step_away(self, sent):
        MessageVariant.objects.create(message=sent[0], key="b", name="Short")
        tried = Experiment.objects.create(
            name="Shorter?", slug="e", message=sent[0], state="running", started_at=NOW
        )
        row = table(ask("message", message="welcome"), "by_variant")["b"]
        assert row.label == "B: Short"
        assert row.link == (f"/admin/campaigns/experiment/{tried.pk}/result/", "campaigns.view_experiment")

    def test_one_day_is_told_by_the_hour(self, sent):
        chart = ask("message", message="welcome", **{"from": "2026-03-02", "to": "2026-03-02"}).charts[0]
        assert len(chart.labels) == 24
        by_name = {each.column.key: each.values for each in chart.series}
        assert (by_name["sent"][8], by_name["sent"][9], by_name["clicks"][9]) == (1, 1, 1)

    def test_filters_by_person_leave_the_audience_out_and_say_so(self, sent):
        sheet = ask("message", message="welcome", locale="-")
        assert not any(each.slug == "audience" for each in sheet.tables)
        assert sheet.notes


@ONCE
@given(seed=st.integers(0, 2**32))
def test_links_equal_a_count_hit_by_hit(seed):
    Delivery.objects.all().delete()
    chance = random.Random(seed)
    wanted = Message.objects.filter(slug="welcome").first() or world.message()
    ann, period = world.person(), periods.last(3, NOW)
    since, until = period.bounds()
    people, clicks, anybody = defaultdict(set), Counter(), set()
    for number in range(chance.randrange(25)):
        channel, at = chance.choice(("email", "webpush")), NOW - chance.randrange(120) * HOUR
        own = f"{SHOP}/orders/{number}" if chance.random() < 0.7 else f"{SHOP}/orders"
        test = chance.random() < 0.1
        one = world.delivery(
            wanted,
            ann,
            at=at,
            logged=False,
            channel=channel,
            links=[f"{SHOP}/a?who={number}", own],
            origin_type="test" if test else "api",
        )
        for _hit in range(chance.randrange(4)):
            link = chance.choice((None, 0, 1))
            verdict = chance.choice(("person", "proxy", "machine", ""))
            LinkHit.objects.create(delivery=one, link=link, at=at, verdict=verdict, rules=2)
            if link is not None and verdict in ("person", "proxy") and since <= at < until and not test:
                key = channel, link + 1, one.links[link].partition("?")[0]
                people[key].add(one.pk)
                clicks[key] += 1
                anybody.add(one.pk)
    for channel in ("email", "webpush"):
        of_place = [key for key in people if key[:2] == (channel, 2)]
        if len(of_place) > links.PERSONAL:
            for key in of_place:
                people[channel, 2, f"{SHOP}/…"] |= people.pop(key)
                clicks[channel, 2, f"{SHOP}/…"] += clicks.pop(key)
    found = links.followed(period, Filters(message=wanted.pk))
    told = {(each.channel, each.place, each.address): (each.people, each.clicks) for each in found.lines}
    assert told == {key: (len(who), clicks[key]) for key, who in people.items()}
    assert (found.people, found.clicks, found.partly) == (len(anybody), sum(clicks.values()), False)


def test_only_the_latest_messages_are_looked_at_for_links():
    wanted, ann = world.message(), world.person()
    for hours in range(3):
        one = world.delivery(wanted, ann, at=NOW - hours * HOUR, logged=False, links=[SHOP])
        LinkHit.objects.create(delivery=one, link=0, at=NOW, verdict="person", rules=2)
    found = links.followed(periods.EVER, Filters(message=wanted.pk), most=2)
    assert found.partly
    assert not links.followed(periods.EVER, Filters(message=wanted.pk), most=3).partly


def test_addresses_in_links_are_outlined_for_who_may_not_see_contact_data():
    one = world.delivery(world.message(), world.person(), at=NOW, links=[f"{SHOP}/of/ann@example.com"])
    LinkHit.objects.create(delivery=one, link=0, at=NOW, verdict="person", rules=2)
    ((key, row),) = table(ask("message", message="welcome"), "links").items()
    assert row.label == f"{SHOP}/of/ann@example.com"
    with masking.hiding():
        ((hidden_key, hidden),) = table(ask("message", message="welcome"), "links").items()
    assert hidden_key == key
    assert "ann@" not in f"{hidden_key} {hidden.label}"


class TestBroadcast:
    def test_all_of_them_the_latest_first(self, sent):
        wanted, _flow, made = sent
        later = broadcast(wanted, name="C", started_at=NOW + HOUR)
        sheet = ask("broadcasts")
        assert list(table(sheet, "broadcasts")) == [str(later.pk), str(made.pk)]
        assert [row.values["sent"] for row in sheet.tables[0].rows] == [0, 1]
        assert sheet.tables[0].total.values["sent"] == 1, "what flows have sent is not theirs"

    def test_the_audience_is_that_of_its_beginning(self, sent):
        made = sent[2]
        BroadcastPiece.objects.create(broadcast=made, first=1, size=2, profile_ids=[], state="waiting")
        rows = table(ask("broadcast", broadcast=str(made.pk)), "audience")
        assert {key: row.values["messages"] for key, row in rows.items() if row.values["messages"]} == {
            "sent": 1,
            "unqueued": 2,
            "rest": 1,
        }

    @ONCE
    @given(seed=st.integers(0, 2**32), zone=st.sampled_from(("UTC", "Europe/Warsaw", "Asia/Kathmandu")))
    def test_the_first_hours_equal_a_count_event_by_event(self, seed, zone):
        chance = random.Random(seed)
        for each in (Event, Delivery, Broadcast):
            each.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE analytics_engagement, analytics_series, analytics_dayfigures, analytics_rollupstate"
            )
        there = ZoneInfo(zone)
        with override_settings(TIME_ZONE=zone):
            # The night in which Warsaw's clocks lose an hour, too.
            start = datetime(
                2026, 3, chance.choice((2, 28)), chance.randrange(24), chance.randrange(60), tzinfo=UTC
            )
            wanted = Message.objects.filter(slug="welcome").first() or world.message()
            made = broadcast(wanted, started_at=start)
            expected = {name: Counter() for name in ("sent", "opens", "clicks")}
            for _each in range(chance.randrange(8)):
                at = start + timedelta(minutes=chance.randrange(3000))
                ours = chance.random() < 0.8
                one = world.delivery(
                    wanted,
                    world.person(),
                    at=at,
                    origin_type="broadcast",
                    origin_id=made.pk if ours else made.pk + 1,
                )
                expected["sent"][_hour(at, start, there)] += ours
                if chance.random() < 0.7:
                    did = at + timedelta(minutes=chance.randrange(3000))
                    world.engages(one, "clicked", did)
                    expected["opens"][_hour(did, start, there)] += ours
                    expected["clicks"][_hour(did, start, there)] += ours
            world.count()
            curve = launch.hours(start, Filters(broadcast=made.pk), start + timedelta(days=9))
        assert len(curve) == launch.HOURS
        for name, counts in expected.items():
            assert [getattr(each, name) for _at, each in curve] == [
                counts[place] for place in range(launch.HOURS)
            ]

    def test_hours_that_have_not_come_are_not_told(self):
        curve = launch.hours(NOW, Filters(broadcast=1), NOW + 5 * HOUR)
        assert [at for at, _each in curve] == [NOW + hours * HOUR for hours in range(6)]
        assert launch.until_half(curve, "clicks", 0) is None


@pytest.mark.parametrize(
    ("slug", "params"),
    [
        ("messages", {}),
        ("messages", {"by": "variant"}),
        ("message", {"message": "welcome", "period": "30"}),
        ("broadcasts", {}),
        ("broadcast", {"broadcast": "{broadcast}"}),
        ("channels", {}),
    ],
)
def test_the_number_of_queries_does_not_depend_on_how_much_there_is(sent, slug, params):
    wanted, flow, made = sent
    given_ = {key: text.format(broadcast=made.pk) for key, text in params.items()}
    with CaptureQueriesContext(connection) as few:
        ask(slug, **given_)
    for number in range(3):
        other = broadcast(wanted, name=str(number))
        more = world.message(f"m{number}")
        for channel in ("webpush", "email"):
            world.delivery(
                wanted,
                world.person(),
                "suppressed",
                NOW,
                reason=f"r{number}",
                origin_id=made.pk,
                origin_type="broadcast",
            )
            for origin, pk in (("broadcast", other.pk), ("flow", flow.pk), ("broadcast", made.pk)):
                world.delivery(more, world.person(), at=NOW, channel=channel, variant=str(number), origin_type=origin,
                    origin_id=pk)  # fmt: skip
                one = world.delivery(wanted, world.person(), at=NOW, channel=channel, locale=f"l{number}",
                    origin_type=origin, origin_id=pk, links=[SHOP])  # fmt: skip
                LinkHit.objects.create(delivery=one, link=0, at=NOW, verdict="person", rules=2)
    Event.objects.filter(name="purchase").delete()
    world.count()
    with CaptureQueriesContext(connection) as many:
        ask(slug, **given_)
    assert len(many) <= len(few) <= 40


def _hour(at, start, zone):
    """How many hours a clock on a wall there has gone on."""
    clocks = [each.astimezone(zone).replace(minute=0, second=0, tzinfo=None) for each in (start, at)]
    return (clocks[1] - clocks[0]) // HOUR


@pytest.mark.parametrize(
    ("slug", "params"),
    [
        *(("messages", {"by": by}) for by in ("message", "variant", "broadcast", "flow", "origin")),
        ("message", {"message": "welcome", "period": "30", "links": "all"}),
        ("broadcasts", {}),
        ("broadcast", {"broadcast": "{broadcast}", "period": "7"}),
        ("flows", {}),
        ("flow", {"flow": "f"}),
        ("channels", {}),
    ],
)
def test_every_number_has_a_definition_and_every_row_its_key(sent, slug, params):
    one = Delivery.objects.filter(origin_type="broadcast").get()
    Delivery.objects.filter(pk=one.pk).update(links=[SHOP])
    LinkHit.objects.create(delivery=one, link=0, at=NOW, verdict="person", rules=2)
    sheet = ask(slug, **{key: text.format(broadcast=sent[2].pk) for key, text in params.items()})
    for column in [*sheet.cards, *(each.column for chart in sheet.charts for each in chart.series)]:
        assert column.definition, column.key
    assert {column.key for column in sheet.cards} <= set(sheet.figures.values)
    for each in sheet.tables:
        keys = [row.key for row in each.rows]
        assert len(set(keys)) == len(keys)
        assert "" not in keys, "that is the total's"
        for column in each.columns:
            assert column.definition, column.key
            for row in [*each.rows, *([each.total] if each.total else [])]:
                assert column.key in row.values, (each.slug, row.key, column.key)
