"""The home, as those see it who may, and the figures behind it."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from analytics.admin.home_cards import Card, changed, points, rate_changed, share, trend
from analytics.admin.home_lift import lift
from analytics.admin.home_messages import leaves
from analytics.experiments.arms import Arm
from analytics.experiments.holdouts import Holdout, Line
from analytics.experiments.lift import lift as measured
from analytics.models import RollupState
from analytics.reports import figures, overview, periods, ranking, running, today
from analytics.reports.definitions import Figures
from analytics.reports.filters import Filters
from analytics.reports.freshness import freshness
from campaigns.models import Broadcast, Enrollment, Flow, FlowVersion, Segment
from config import roles
from crm import alerts, log
from crm.models import Connection, Device, SyncRun
from tests.analytics import world
from tests.analytics.world import NOW, lately

pytestmark = pytest.mark.django_db
HOME = "/admin/"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _fresh():
    cache.clear()


@pytest.fixture
def marketer(client):
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@pytest.fixture
def clerk(client):
    """Staff without any permission; `allow` gives some, `become` a role."""
    user = User.objects.create_user("clerk", "", "pw", is_staff=True)

    def allow(*codenames: str) -> None:
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)

    def become(role: str) -> None:
        roles.ensure()
        user.groups.set([Group.objects.get(name=role)])
        client.force_login(user)

    client.allow, client.become = allow, become
    client.force_login(user)
    return client


@pytest.fixture
def flow():
    made = Flow.objects.create(slug="series", name="Series <b>", state="live")
    made.live_version = FlowVersion.objects.create(
        flow=made, number=1, definition={"trigger": None, "steps": []}, published_at=lately()
    )
    made.save()
    return made


@pytest.fixture
def campaign(flow):
    """A flow whose message was sent to two, refused to others, and earned something."""
    flow.message = world.message()
    origin = {"origin_type": "flow", "origin_id": flow.pk, "origin_step": "hello"}
    for state in ("delivered", "sent", "suppressed", "failed"):
        ann = world.person()
        one = world.delivery(flow.message, ann, state, lately(), **origin)
        enrolled(flow, ann, state="completed", ended_at=lately())
        if state == "delivered":
            world.engages(one, "clicked", lately())
            world.happens(ann, "purchase", lately(), total=1234.5, currency="EUR")
    world.count()
    return flow


def enrolled(flow: Flow, ann, **fields) -> Enrollment:
    usual = {"run_key": "once", "entered_at": lately()}
    return Enrollment.objects.create(flow=flow, version=flow.live_version, profile=ann, **(usual | fields))


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def figure_of(text: str, name: str) -> str:
    """The card's figure."""
    card = text.partition(f'data-testid="figure-{name}"')[2].partition("</dd>")[0]
    return re.search(r"<bdi>(.*?)</bdi>", card.partition("<dd>")[2]).group(1)


class TestThePage:
    def test_an_empty_product_says_what_to_do_first(self, marketer):
        text = text_of(marketer.get(HOME))
        assert 'data-testid="first-steps"' in text
        for name in ("crm_connection_add", "crm_apikey_add", "delivery_message_add", "campaigns_flow_add"):
            assert reverse(f"admin:{name}") in text
        assert "Nothing was sent in these days" in text
        assert "Nobody is held out" in text
        assert reverse("admin:delivery_sendingrules_changelist") in text

    def test_steps_that_are_done_are_ticked_and_go_in_the_end(self, marketer, campaign):
        assert text_of(marketer.get(HOME)).count('class="is-done"') == 2
        Connection.objects.create(kind="hubspot", name="CRM", slug="crm")
        Device.objects.create(
            profile=world.person(), endpoint="https://push.example.com/1", p256dh="p", auth="a"
        )
        assert "first-steps" not in text_of(marketer.get(HOME))

    @pytest.mark.parametrize("period", ["today", "7", "30", "90"])
    def test_figures_of_the_chosen_days(self, marketer, campaign, period):
        text = text_of(marketer.get(HOME, {"period": period}))
        expected = {
            "sent": "2",
            "delivered": "50%",
            "opened": "50%",
            "clicked": "50%",
            "converted": "50%",
            "unsubscribed": "0%",
            "revenue": "€1,234.50",
            "revenue_per_message": "€617.25",
        }
        assert {name: figure_of(text, name) for name in expected} == expected
        for name in ("best-messages", "worst-messages", "running-flows", "audience", "chart", "lift"):
            assert f'data-testid="{name}"' in text
        assert reverse("admin:reports_message", args=[campaign.message.pk]) + f"?period={period}" in text

    def test_what_can_t_be_shown_is_as_usual(self, marketer, campaign):
        text = text_of(marketer.get(HOME, {"period": "all", "show": "'", "by": "luck", "machines": "yes"}))
        assert "Last 30 days" in text
        assert 'aria-checked="false"' in text

    def test_every_figure_has_its_definition(self, marketer, campaign):
        text = text_of(marketer.get(HOME))
        described = re.findall(r'aria-describedby="(def-[^"]+)"', text)
        assert len(described) > 20
        for target in described:
            assert text.count(f'id="{target}"') == 1, target

    def test_choices_are_remembered_in_the_address(self, marketer, campaign):
        text = text_of(marketer.get(HOME, {"period": "7", "show": "revenue", "machines": "1"}))
        assert 'href="?period=90&amp;show=revenue&amp;machines=1"' in text
        assert 'href="?period=7&amp;show=clicked&amp;machines=1"' in text
        assert 'href="?period=7&amp;show=revenue"' in text, "machines off again"
        assert 'aria-checked="true"' in text

    def test_what_needs_somebody_is_on_it(self, marketer, campaign):
        alerts.raise_alert("k", "The <key> was refused", "Look at it")
        Flow.objects.update(error="It broke")
        crm = Connection.objects.create(kind="hubspot", name="Our CRM", slug="crm")
        for state, error in (("succeeded", ""), ("failed", "401")):
            SyncRun.objects.create(connection=crm, state=state, error=error, read=26, rejected=1)
        text = text_of(marketer.get(HOME))
        for words in ("The &lt;key&gt; was refused", "It broke", "Series &lt;b&gt;", "Our CRM", "401"):
            assert words in text
        alerts.resolve("k")
        assert 'data-testid="alerts"' not in text_of(marketer.get(HOME))

    def test_everybody_sees_only_what_they_may(self, clerk, campaign):
        alerts.raise_alert("k", "A secret", "")
        parts = ("figure-sent", "running-flows", "syncs", "best-messages", "audience", "lift", "A secret")
        text = text_of(clerk.get(HOME))
        assert [part for part in parts if part in text] == []
        assert "An administrator can give it a role" in text
        clerk.allow("view_message")
        text = text_of(clerk.get(HOME))
        assert [part for part in parts if f'="{part}"' in text] == ["figure-sent", "best-messages"]
        clerk.allow("view_flow")
        text = text_of(clerk.get(HOME))
        assert "€1,234.50" not in text, "what messages earned is for those who may see messages"

    @pytest.mark.parametrize(
        ("role", "sees", "does_not"),
        [
            (
                "Analyst",
                ["figure-sent", "running-flows", "audience", "lift", "live-broadcasts"],
                ["A secret"],
            ),
            ("Marketer", ["figure-sent", "running-flows", "audience", "lift", "live-broadcasts"], []),
            ("Developer", ["figure-sent", "audience", "syncs"], ["running-flows", "lift", "live-broadcasts"]),
        ],
    )
    def test_roles(self, clerk, campaign, role, sees, does_not):
        clerk.become(role)
        text = text_of(clerk.get(HOME))
        assert [part for part in sees if f'data-testid="{part}"' not in text] == []
        assert [part for part in does_not if f'data-testid="{part}"' in text] == []

    @pytest.mark.parametrize(("period", "most"), [("30", 31), ("today", 34)])
    def test_the_number_of_queries_is_fixed(
        self, marketer, campaign, django_assert_max_num_queries, period, most
    ):
        marketer.get(HOME, {"period": period})
        segment = Segment.objects.create(slug="all", name="All")
        for number in range(6):
            wanted = world.message(f"m{number}")
            world.delivery(wanted, world.person(), at=lately())
            Flow.objects.create(slug=f"f{number}", name=f"F{number}", state="live")
            crm = Connection.objects.create(kind="hubspot", name=f"C{number}", slug=f"c{number}")
            SyncRun.objects.create(connection=crm)
            Broadcast.objects.create(
                name=f"B{number}", message=wanted, segment=segment, state="paused", audience=1,
                launched_at=lately(), started_at=lately(),
            )  # fmt: skip
        world.count()
        with django_assert_max_num_queries(most):
            marketer.get(HOME, {"period": period})

    def test_slow_figures_are_kept_for_a_while(self, marketer, campaign, monkeypatch):
        monkeypatch.setattr("analytics.admin.home_kept.SLOW", -1)
        upto = marketer.get(reverse("admin:home_live"))["Nudge-Upto"]
        world.delivery(campaign.message, world.person(), at=lately())
        world.count()
        assert figure_of(text_of(marketer.get(HOME)), "sent") == "2"
        assert marketer.get(reverse("admin:home_live"))["Nudge-Upto"] == upto, "and says how old they are"
        cache.clear()
        assert figure_of(text_of(marketer.get(HOME)), "sent") == "3"


class TestFollowing:
    def test_nothing_new_is_told_in_no_words(self, marketer, campaign):
        url = reverse("admin:home_live")
        # The page's forms have a token that is another each time.
        first = marketer.get(url, {"period": "7"})
        assert 'id="home-live"' in text_of(first)
        again = marketer.get(url, {"period": "7"}, headers={"If-None-Match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert datetime.fromisoformat(again["Nudge-Upto"]) <= timezone.now()
        world.delivery(campaign.message, world.person(), at=lately())
        world.count()
        changed = marketer.get(url, {"period": "7"}, headers={"If-None-Match": first["ETag"]})
        assert figure_of(text_of(changed), "sent") == "3"

    def test_it_is_for_those_who_may_see_the_home_and_only_to_look(self, clerk, client):
        url = reverse("admin:home_live")
        assert "figure-sent" not in text_of(clerk.get(url))
        assert clerk.post(url).status_code == 405
        clerk.logout()
        assert clerk.get(url).status_code == 302

    def test_it_says_how_far_figures_are(self, marketer, campaign):
        RollupState.objects.update(stage=RollupState.Stage.COUNTING, position=43, upto=100)
        assert "counted anew: 43%" in text_of(marketer.get(HOME))

    def test_figures_are_as_of_the_first_event_that_they_lack(self):
        log.start_at_end("analytics")
        now = timezone.now()
        assert freshness(now).upto == now
        assert not freshness(now).behind
        world.happens(world.person(), "viewed")
        found = freshness(now + timedelta(seconds=40))
        assert 39 < found.lag <= 41
        assert found.behind


class TestDays:
    def test_the_sums_are_those_of_the_reports(self):
        ann, wanted = world.person(), world.message()
        for days in (0, 1, 6, 7, 13, 14):
            one = world.delivery(wanted, ann, "delivered", NOW - timedelta(days=days))
            world.engages(one, "clicked", NOW - timedelta(days=days) + HOUR)
            if days % 2:
                world.happens(
                    ann, "purchase", NOW - timedelta(days=days) + 2 * HOUR, total=10, currency="EUR"
                )
        world.count()
        found = overview.home(7, NOW)
        expected = figures.compare(periods.last(7, NOW))
        for told, right in ((found.now, expected.now), (found.before, expected.before)):
            for name in ("sent", "delivered", "opened", "clicked", "opens", "conversions", "earned"):
                assert getattr(told, name) == getattr(right, name), name
        assert (found.now.sent, found.before.sent) == (3, 2)
        assert [point.now.sent for point in found.points] == [1, 0, 0, 0, 0, 1, 1]
        assert [point.before.sent for point in found.points] == [1, 0, 0, 0, 0, 0, 1]


class TestToday:
    """NOW is nine o'clock; a week before, everything from midnight to nine counts as it stood at nine."""

    WEEK = timedelta(days=7)

    def test_last_week_had_as_much_time_as_today(self):
        ann, wanted = world.person(), world.message()
        for when, clicks in ((2 * HOUR, [HOUR]), (HOUR, [-HOUR]), (-HOUR, [-2 * HOUR])):
            one = world.delivery(wanted, ann, "delivered", NOW - self.WEEK - when)
            for click in clicks:
                world.engages(one, "clicked", NOW - self.WEEK - click)
        world.happens(ann, "purchase", NOW - self.WEEK - HOUR / 2, total=5, currency="EUR")
        world.happens(ann, "purchase", NOW - self.WEEK + HOUR, total=7, currency="EUR")
        world.delivery(wanted, ann, "delivered", NOW - HOUR)
        world.count()
        found = overview.home(0, NOW)
        assert (found.now.sent, found.before.sent) == (1, 2), "one was sent after nine"
        assert found.before.clicked == 1, "one was clicked after nine"
        assert found.before.earned == {"EUR": Decimal(5)}
        assert found.before.people_converted == 1
        assert [point.at for point in found.points if point.now is None] == list(range(10, 24))
        assert sum(point.before.sent for point in found.points) == 3, "the line goes on to midnight"

    def test_machines_count_where_they_are_asked_for(self):
        one = world.delivery(world.message(), world.person(), at=NOW - self.WEEK - HOUR)
        world.engages(one, "machine_opened", NOW - self.WEEK - HOUR / 2)
        world.engages(one, "opened", NOW - self.WEEK + HOUR)
        world.count()
        assert today.a_week_before(NOW).total.opened == 0
        assert today.a_week_before(NOW, Filters(machines=True)).total.opened == 1

    def test_the_day_is_the_account_s(self, settings):
        settings.TIME_ZONE = "Pacific/Auckland"  # 13 hours ahead: NOW is 22:00 there
        world.delivery(world.message(), world.person(), at=NOW - 21 * HOUR)
        world.delivery(world.message("later"), world.person(), at=NOW - 23 * HOUR)
        world.count()
        assert overview.home(0, NOW).now.sent == 1


@st.composite
def sendings(draw):
    """Figures of some messages by their numbers."""
    found = {}
    for pk in range(1, draw(st.integers(1, 12))):
        sent = draw(st.integers(0, 5000))
        clicked = draw(st.integers(0, sent))
        found[pk] = Figures(
            sent=sent,
            clicked=clicked,
            unsubscribed=draw(st.integers(0, sent)),
            revenue={"EUR": Decimal(draw(st.integers(0, 10_000)))},
        )
    return found


class TestRanking:
    @given(found=sendings(), by=st.sampled_from(sorted(ranking.DEFINITIONS)))
    def test_nobody_is_best_and_worst(self, found, by):
        ranked = ranking.rank(found, by, "EUR")
        assert not set(ranked.best) & set(ranked.worst)
        assert max(len(ranked.best), len(ranked.worst)) <= ranking.SHOWN
        each = ranking.measure(by, "EUR")
        sign = -1 if by in ranking.LOWER_IS_BETTER else 1
        for pk in ranked.best:
            assert found[pk].sent >= ranked.least
            assert sign * (each(found[pk]) / found[pk].sent - ranked.average) >= -1e-6
        for pk in ranked.worst:
            assert sign * (each(found[pk]) / found[pk].sent - ranked.average) < 0

    def test_luck_with_a_few_does_not_win(self):
        found = {
            1: Figures(sent=30, clicked=3),  # 10 %
            2: Figures(sent=2000, clicked=160),  # 8 %
            3: Figures(sent=950, clicked=10),
            4: Figures(sent=5, clicked=5),
        }
        ranked = ranking.rank(found, "clicks")
        assert ranked.best == [2, 1]
        assert ranked.worst == [3]
        assert ranked.least == 30, "a hundredth of what was sent"

    def test_two_without_a_click_are_no_bad_message(self):
        found = {1: Figures(sent=200, clicked=20), 2: Figures(sent=2), 3: Figures(sent=50)}
        assert ranking.rank(found, "clicks").worst == [3]

    def test_a_message_that_many_leave_by_stands_out(self):
        everything = Figures(sent=10_000, unsubscribed=40)
        assert leaves(Figures(sent=1000, unsubscribed=20), everything)
        assert not leaves(Figures(sent=1000, unsubscribed=4), everything)
        assert not leaves(Figures(sent=10, unsubscribed=3), everything), "too few to say"


def card() -> Card:
    return Card(key="k", label="K", value="", definition="")


class TestChanges:
    @pytest.mark.parametrize(
        ("now", "before", "change", "tone"),
        [
            (110, 100, "+10%", "good"),
            (50, 100, "−50%", "bad"),
            (5, 0, "new", "good"),
            (0, 0, "", ""),
            (7, 7, "0%", ""),
        ],
    )
    def test_numbers_change_in_per_cent(self, now, before, change, tone):
        shown = changed(card(), now, before)
        assert (shown.change, shown.tone) == (change, tone)
        assert changed(card(), now, before, better="").tone == ""

    def test_rates_change_in_points_and_chance_has_no_tone(self):
        shown = rate_changed(card(), (4200, 10_000), (4000, 10_000))
        assert (shown.change, shown.tone) == ("+2.0 pp", "good")
        assert "40%" in shown.change_words
        small = rate_changed(card(), (42, 100), (40, 100))
        assert (small.change, small.tone) == ("+2.0 pp", "")
        assert "chance" in small.change_words

    def test_more_who_leave_is_bad(self):
        shown = rate_changed(card(), (200, 10_000), (100, 10_000), better="down")
        assert (shown.change, shown.tone) == ("+1.0 pp", "bad")
        assert rate_changed(card(), (100, 10_000), (200, 10_000), better="down").tone == "good"

    def test_without_anything_sent_there_is_no_rate_to_compare(self):
        assert rate_changed(card(), (1, 10), (0, 0)).change == ""
        assert share(None) == "–"

    def test_small_rates_keep_their_digits(self):
        assert (share(0.0012), share(0.12)) == ("0.12%", "12%")
        assert (points(0.0004), points(0.021)) == ("0.04", "2.1")

    def test_a_course_needs_two_points(self):
        assert trend([1.0]) == trend([0.0, 0.0]) == ""
        assert trend([0.0, None, 4.0]) == "0.0,22.0 100.0,2.0"


class TestRunning:
    def test_those_in_trouble_come_first(self, marketer, flow):
        Flow.objects.create(slug="a", name="A fine one", state="live")
        enrolled(flow, world.person(), due_at=lately(hours=1))
        enrolled(flow, world.person(), due_at=lately(minutes=1))
        enrolled(flow, world.person(), state="exited", ended_at=lately(), entered_at=lately(days=9))
        text = text_of(marketer.get(HOME, {"period": "7"}))
        assert text.index("Series &lt;b&gt;") < text.index("A fine one")
        assert "1 run is stuck" in text
        found = running.people([flow.pk], periods.last(7))[flow.pk]
        assert (found.inside, found.entered, found.stuck) == (2, 2, 1)

    def test_what_is_paused_is_not_stuck(self, flow):
        enrolled(flow, world.person(), due_at=lately(hours=1))
        Flow.objects.update(state="paused")
        assert running.people([flow.pk], periods.last(7))[flow.pk].stuck == 0

    def test_many_failures_are_trouble(self):
        assert running.failing(Figures(sent=100, failed=30))
        assert not running.failing(Figures(sent=3, failed=3))
        assert not running.failing(Figures(sent=10_000, failed=30))

    def test_broadcasts_by_what_is_done(self, marketer):
        segment = Segment.objects.create(slug="all", name="All")
        wanted = world.message()
        usual = {"message": wanted, "segment": segment, "launched_at": lately()}
        planned = Broadcast.objects.create(name="Soon", state="scheduled", starts_at=lately(), **usual)
        one = Broadcast.objects.create(name="Now", state="sending", audience=4, started_at=lately(), **usual)
        Broadcast.objects.create(name="Long ago", state="finished", audience=4, started_at=lately(), **usual)
        for state in ("sent", "sent", "suppressed"):
            world.delivery(wanted, world.person(), state, lately(), origin_type="broadcast", origin_id=one.pk)
        world.count()
        assert [(row.broadcast, row.done, row.percent) for row in running.broadcasts(9)] == [
            (one, 3, 75),
            (planned, 0, None),
        ]
        text = text_of(marketer.get(HOME))
        assert "3 of 4 done, 2 sent" in text
        assert "Long ago" not in text


def line(kind: str, number: int, treated: tuple[int, int], out: tuple[int, int]) -> Line:
    arms = [
        Arm(key=key, exposed=people, converted=converted)
        for key, (people, converted) in zip(("treated", "out"), (treated, out), strict=True)
    ]
    told = measured(*arms, messages=treated[0], days=61)
    return Line(Holdout(f"{kind}:{number}", kind, f"{kind} {number}", 10, number), told, [("2026-02", told)])


class TestLift:
    def test_flows_add_up_but_all_marketing_is_the_sum_already(self, rf):
        request = rf.get("/")
        request.user = User(is_superuser=True)
        flows = [line("flow", pk, (9000, 900), (1000, 50)) for pk in (1, 2)]
        told = lift(flows, request)
        assert told["figures"][0]["whole"].value == "900", "twice 900 - 9 × 50"
        assert told["figures"][0]["whole"].sure
        assert told["figures"][0]["message"].value == "0.05"
        assert "900" in told["sentence"]
        assert [(month, extra.value) for month, extra, _worth in told["months"]] == [("2026-02", "900")]
        together = lift([*flows, line("global", 0, (18_000, 1800), (2000, 150))], request)
        assert together["figures"][0]["whole"].value == "450"
        assert len(together["rows"]) == 3

    def test_what_may_be_chance_is_said_so(self, rf):
        request = rf.get("/")
        request.user = AnonymousUser()
        told = lift([line("flow", 1, (90, 9), (10, 1))], request)
        assert not told["figures"][0]["whole"].sure
        assert "can't be said" in told["sentence"]
        assert told["rows"][0]["link"] == "", "who may not see flows is not led there"
        assert told["hints"] == []
