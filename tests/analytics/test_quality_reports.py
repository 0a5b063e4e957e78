"""Deliverability, when people react, and what sources are worth."""

import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.reports import deliverability, figures, heat, kept, sources
from analytics.reports.definitions import Comparison, Figures
from analytics.reports.deliverability import Line
from analytics.reports.filters import Filters
from analytics.reports.periods import Period
from crm import consent
from crm.models import Connection, Device, Identifier, IdentityConflict, ListImport, SyncReject, SyncRun
from tests.analytics import sheets, world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
WEEK = {"from": "2026-03-01", "to": "2026-03-07"}
PERIOD = Period(NOW.date() - DAY, NOW.date() + 5 * DAY)
REASONS = ("bounced: 550 no ann@example.com", "bounced: 550 no ben@example.com", "failed: 421 later")


def mail(number: int, provider: str, *happened: str, at=NOW, channel: str = "email", **sent: str) -> None:
    """So many emails by one provider, to each of whom all of this happened."""
    for _ in range(number):
        made = world.delivery(letter(), world.person(), at=at, channel=channel, logged=False)
        world.happens(
            made.profile, "message_sent", at, delivery=made.pk, channel=channel, provider=provider, **sent
        )
        for name in happened:
            world.happens(made.profile, f"message_{name}", at + DAY, delivery=made.pk)


def letter():
    return world.Message.objects.filter(slug="letter").first() or world.message("letter")


class TestDeliverability:
    def test_carriers_add_up_and_what_is_told_of_one_address_is_told_of_none(self):
        chance = random.Random(4)
        told: Counter[str] = Counter()
        for _ in range(12):
            provider = chance.choice(("gmail.com", "wp.pl", ""))
            made = world.delivery(letter(), world.person(), channel="email", logged=False)
            world.happens(made.profile, "message_sent", delivery=made.pk, provider=provider)
            if chance.random() < 0.7:
                reason = chance.choice(REASONS)
                told[reason.partition(": ")[0]] += 1
                world.happens(made.profile, "message_failed", delivery=made.pk, reason=reason, state="failed")
        Device.objects.create(
            profile=world.person(), endpoint="https://fcm.googleapis.com/x", state="gone", changed_at=NOW
        )
        world.count()
        sheet = sheets.build("deliverability", **WEEK)
        whole = figures.total(PERIOD)
        for slug in ("channels", "carriers"):
            for column in ("sent", "lost", "bounced"):
                found = sheets.rows(sheet, slug, column).values()
                assert sum(found) == getattr(whole, column) == sheet.figures.values[column]
        assert sheets.rows(sheet, "carriers", "gone")["webpush/google"] == 1
        causes = sheets.table(sheet, "causes").rows
        assert {row.key: row.values["number"] for row in causes} == {
            "hard/550 no …": told["bounced"],
            "soft/421 later": told["failed"],
        }
        assert "example" not in str(causes)
        about_one = sheets.build("deliverability", message="letter", **WEEK)
        assert set(sheets.rows(about_one, "channels", "gone").values()) == {None}, "they are of no message"

    def test_it_warns_from_what_mailbox_providers_demand_on(self, monkeypatch):
        monkeypatch.setattr(deliverability, "ENOUGH", 20)
        mail(19, "wp.pl")
        mail(1, "wp.pl", "complained")
        world.count()
        [warning] = sheets.build("deliverability", **WEEK).warnings
        assert "wp.pl" in warning
        assert "0.3 %" in warning
        assert "1 of 20 " in warning
        row = sheets.table(sheets.build("deliverability", **WEEK), "carriers").rows[0]
        assert row.narrows == {"channel": "email", "provider": "wp.pl"}
        assert row.note

    @given(
        sent=st.integers(0, 5000),
        shares=st.tuples(st.floats(0, 0.01), st.floats(0, 0.1)),
        channel=st.sampled_from(("email", "sms")),
    )
    @settings(deadline=None, max_examples=25)
    def test_the_gravest_limit_that_is_reached_counts(self, sent, shares, channel):
        complained, bounced = (int(sent * share) for share in shares)
        now = Figures(sent=sent, complained=complained, bounced=bounced)
        found = {
            each.figure: each.limit.share
            for each in deliverability.excesses(Line(channel, "x", Comparison(now, Figures())))
        }
        expected = {}
        if channel == "email" and sent >= 200:
            for name, number, limits in (
                ("complained", complained, (0.001, 0.003)),
                ("bounced", bounced, (0.02, 0.05)),
            ):
                reached = [limit for limit in limits if number / sent >= limit]
                expected |= {name: max(reached)} if reached else {}
        assert found == expected

    def test_gmail_is_silent(self):
        mail(1, "gmail.com")
        world.count()
        assert any("Postmaster" in note for note in sheets.build("deliverability", **WEEK).notes)

    def test_the_number_of_queries_is_fixed(self):
        mail(1, "wp.pl")
        world.count()
        before = sheets.queries("deliverability", **WEEK)
        for provider in ("gmail.com", "gmx.de", "web.de"):
            mail(1, provider, "bounced")
        world.count()
        assert sheets.queries("deliverability", **WEEK) == before == 6


CELLS = st.lists(st.tuples(st.integers(0, 4000), st.floats(0, 1)), min_size=168, max_size=168)


def made(cells) -> list[list[Figures]]:
    flat = [Figures(sent=sent, clicked=int(sent * share)) for sent, share in cells]
    return [flat[day * 24 : day * 24 + 24] for day in range(7)]


class TestHeat:
    @given(cells=CELLS)
    @settings(deadline=None, max_examples=5)
    def test_only_hours_with_enough_messages_compete(self, cells):
        week = made(cells)
        found = heat.best(week, "click_rate")
        assert len(found) == sum(sent >= heat.ENOUGH for sent, _ in cells)
        assert [one.low for one in found] == sorted((one.low for one in found), reverse=True)
        everybody = sum(cell.sent for day in week for cell in day)
        clicked = sum(cell.clicked for day in week for cell in day)
        for one in found:
            cell = week[one.weekday - 1][one.hour]
            assert (one.sent, one.share) == (cell.sent, cell.clicked / cell.sent)
            assert one.low <= one.share + 1e-9
            others = everybody - cell.sent
            if one.certain and others:
                assert one.share > (clicked - cell.clicked) / others

    def test_chance_names_no_hour(self):
        chance = random.Random(1)
        named = 0
        for _ in range(20):
            week = [
                [
                    Figures(sent=400, clicked=sum(chance.random() < 0.05 for _ in range(400)))
                    for _ in range(24)
                ]
                for _ in range(7)
            ]
            named += any(one.certain for one in heat.best(week, "click_rate"))
        assert named <= 3, "at most every twentieth time"
        week[2][18] = Figures(sent=400, clicked=60)
        best = heat.best(week, "click_rate")[0]
        assert (best.weekday, best.hour, best.certain) == (3, 18, True)

    def test_conversions_count_by_the_persons_clock(self):
        ann = world.person()
        made = world.delivery(world.message(goal_event="purchase"), ann, logged=False)
        world.happens(ann, "message_sent", NOW, delivery=made.pk, zone="Asia/Kolkata")
        world.engages(made, "clicked", NOW)
        world.happens(ann, "purchase", NOW + timedelta(hours=1))
        world.count()
        sheet = sheets.build("heat", figure="conversions", **WEEK)
        cells = {
            (row.key, hour): value
            for row in sheets.table(sheet, "week").rows
            for hour, value in row.values.items()
            if value
        }
        assert cells == {("1", "15"): 1}, "10:00 UTC of a Monday is 15:30 there"
        clicked = sheets.build("heat", **WEEK)
        assert sheets.rows(clicked, "week", "14")["1"] == 1.0
        assert "No hour has 100 messages yet" in clicked.notes[0]
        assert sheets.queries("heat", figure="conversions", **WEEK) == 2


def test_any_period_may_be_asked_for(settings):
    settings.TIME_ZONE = "Europe/Warsaw"
    mail(1, "wp.pl", "bounced")
    world.count()
    for slug in ("deliverability", "heat", "audience", "optins", "coupons", "revenue", "sources"):
        sheets.build(slug, period="all")
        sheets.build(slug, **{"from": "2000-01-01", "to": "2999-12-31"})


class TestSources:
    @pytest.fixture(autouse=True)
    def _always_anew(self, monkeypatch):
        monkeypatch.setattr(kept, "SLOW", float("inf"))

    def test_each_has_its_people_and_what_came_of_them(self):
        crm = Connection.objects.create(kind="sandbox", name="Shop CRM", slug="shop")
        told = {"email": ["api", NOW.isoformat()], "phone": ["sdk", (NOW - DAY).isoformat()]}
        ann = world.person(email="ann@example.com", sources=told)
        ben = world.person(email="ben@example.com", phone="+48600000000", sources=told)
        world.person()
        Identifier.objects.create(kind="shop:contacts", value="7", profile=ben)
        Identifier.objects.create(kind="shop:leads", value="8", profile=ben)
        consent.record([consent.Change(ben.pk, "channel", "email", "subscribed", "crm", NOW)])
        for who in (ann, ben):
            sent = world.delivery(world.message(f"to{who.pk}", goal_event="purchase"), who)
            world.engages(sent, "clicked", NOW)
            world.happens(who, "purchase", NOW + DAY, total=who.pk, currency="EUR")
        world.happens(ben, "message_bounced", delivery=sent.pk)
        run = SyncRun.objects.create(
            connection=crm,
            state="succeeded",
            queued_at=NOW,
            finished_at=NOW,
            read=10,
            created=1,
            rejected=1,
        )
        SyncReject.objects.create(
            connection=crm,
            run=run,
            object="contacts",
            record_id="9",
            code="invalid_email",
            field="Email",
            detail="x",
            raw={},
        )
        IdentityConflict.objects.create(first_id=ann.pk, second_id=ben.pk, source="shop:contacts")
        world.count()
        found = {(one.slug, one.name): one for one in sources.report(PERIOD)}
        assert set(found) == {("shop", "Shop CRM"), ("sdk", ""), ("", "")}
        shop, sdk = found["shop", "Shop CRM"], found["sdk", ""]
        assert (shop.people, shop.email, shop.phone, shop.consent, shop.rejected, shop.duplicates) == (1,) * 6
        assert (shop.sent, shop.clicked, shop.bounced, shop.conversions) == (1, 1, 1, 1)
        assert shop.earned == {"EUR": Decimal(ben.pk)}
        assert (sdk.people, sdk.sent, sdk.bounced, sdk.earned) == (1, 1, 0, {"EUR": Decimal(ann.pk)})
        assert found["", ""].people == 1
        sheet = sheets.build("sources", **WEEK)
        assert sheets.rows(sheet, "rejects", "number") == {f"{crm.pk}/contacts/invalid_email/Email": 1}
        assert sheets.rows(sheet, "syncs", "read", "created", "refused") == {str(crm.pk): (10, 1, 1)}
        assert any("last sync" in warning for warning in sheet.warnings)
        assert any("10%" in warning for warning in sheet.warnings)
        ListImport.objects.create(kind="consents", name="fair.csv", line=9, taken=8, rejected=1)
        ListImport.objects.update(created_at=NOW)
        imports = sheets.table(sheets.build("sources", **WEEK), "imports").rows
        assert [(row.label, row.values["taken"], row.values["invalid"]) for row in imports] == [
            ("fair.csv", 8, 1)
        ]
        before = sheets.queries("sources", **WEEK)
        Connection.objects.create(kind="sandbox", name="Other", slug="other")
        assert sheets.queries("sources", **WEEK) == before == 7
        quiet = sources.report(PERIOD, Filters(channel="sms"))
        assert all(one.sent == one.conversions == 0 for one in quiet)
