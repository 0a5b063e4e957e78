"""The home and the reports, as a marketer sees them."""

import re
from pathlib import Path

import pytest
import unfold
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import reverse
from django.utils import translation

from analytics.admin.figures import compared, figure
from analytics.reports.overview import DEFINITIONS
from analytics.written import amounts, count, money, percent
from campaigns.models import Enrollment, Flow, FlowVersion
from crm import alerts
from crm.models import Connection, Device, SyncRun
from tests.analytics import world
from tests.analytics.world import lately

pytestmark = pytest.mark.django_db
HOME = "/admin/"


@pytest.fixture(autouse=True)
def _fresh():
    cache.clear()


@pytest.fixture
def marketer(client):
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@pytest.fixture
def clerk(client):
    """Staff without any permission; `allow` gives one."""
    user = User.objects.create_user("clerk", "", "pw", is_staff=True)

    def allow(*codenames: str) -> None:
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)

    client.allow = allow
    client.force_login(user)
    return client


@pytest.fixture
def campaign():
    """A flow whose message was sent to some, refused to others, and earned something."""
    wanted, flow = world.message(), Flow.objects.create(slug="series", name="Series <b>", state="live")
    steps = [{"key": "hello", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}}]
    flow.live_version = FlowVersion.objects.create(
        flow=flow, number=1, definition={"trigger": None, "steps": steps}, published_at=lately()
    )
    flow.save()
    origin = {"origin_type": "flow", "origin_id": flow.pk, "origin_step": "hello"}
    for number, state in enumerate(("delivered", "sent", "suppressed", "failed", "expired", "queued")):
        ann = world.person()
        one = world.delivery(wanted, ann, state, lately(hours=number), **origin)
        Enrollment.objects.create(
            flow=flow,
            version=flow.live_version,
            profile=ann,
            run_key="once",
            state="completed",
            entered_at=lately(),
            ended_at=lately(),
        )
        if state == "delivered":
            world.engages(one, "clicked", lately())
            world.happens(ann, "purchase", lately(), total=1234.5, currency="EUR")
    flow.message = wanted
    world.count()
    return flow


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def figure_of(text: str, name: str) -> str:
    """The card's figure."""
    card = text.partition(f'data-testid="figure-{name}"')[2].partition("</dd>")[0]
    return re.search(r"<bdi>(.*?)</bdi>", card.partition("<dd>")[2]).group(1)


def term_of(text: str, name: str) -> int:
    part = text.partition(f'data-testid="term-{name}"')[2].partition("</dd>")[0].partition("<dd>")[2]
    return int(re.sub(r"<.*?>", "", part))


class TestHome:
    def test_an_empty_product_says_what_to_do_first(self, marketer):
        text = text_of(marketer.get(HOME))
        assert 'data-testid="first-steps"' in text
        for name in ("crm_connection_add", "crm_apikey_add", "delivery_message_add", "campaigns_flow_add"):
            assert reverse(f"admin:{name}") in text
        assert "Nothing was sent in these days" in text

    def test_steps_that_are_done_are_ticked_and_go_in_the_end(self, marketer, campaign):
        text = text_of(marketer.get(HOME))
        assert text.count('class="is-done"') == 2
        Connection.objects.create(kind="hubspot", name="CRM", slug="crm")
        Device.objects.create(
            profile=world.person(), endpoint="https://push.example.com/1", p256dh="p", auth="a"
        )
        assert "first-steps" not in text_of(marketer.get(HOME))

    def test_figures_of_the_chosen_days(self, marketer, campaign):
        text = text_of(marketer.get(HOME, {"period": "7"}))
        assert figure_of(text, "sent") == "2"
        assert figure_of(text, "clicked") == "1"
        assert figure_of(text, "converted") == "1"
        assert figure_of(text, "revenue") == "€1,234.50"
        assert "Last 7 days" in text
        assert "Last 30 days" in text_of(marketer.get(HOME, {"period": "all"})), "what can't be chosen"

    def test_every_figure_has_its_definition(self, marketer, campaign):
        text = text_of(marketer.get(HOME))
        described = re.findall(r'aria-describedby="(def-[^"]+)"', text)
        assert len(described) > 12
        for target in described:
            assert text.count(f'id="{target}"') == 1, target
        assert str(DEFINITIONS["reachable"]) in text

    def test_what_needs_somebody_is_on_it(self, marketer, campaign):
        alerts.raise_alert("k", "The <key> was refused", "Look at it")
        Flow.objects.update(error="It broke")
        crm = Connection.objects.create(kind="hubspot", name="Our CRM", slug="crm")
        for state, error in (("succeeded", ""), ("failed", "401")):
            SyncRun.objects.create(connection=crm, state=state, error=error, read=26, rejected=1)
        text = text_of(marketer.get(HOME))
        assert "The &lt;key&gt; was refused" in text
        assert "It broke" in text
        assert "Series &lt;b&gt;" in text
        assert "Our CRM" in text
        assert "401" in text
        alerts.resolve("k")
        assert 'data-testid="alerts"' not in text_of(marketer.get(HOME))

    def test_everybody_sees_only_what_they_may(self, clerk, campaign):
        alerts.raise_alert("k", "A secret", "")
        text = text_of(clerk.get(HOME))
        for part in ("figure-sent", "running-flows", "syncs", "best-messages", "A secret"):
            assert part not in text
        clerk.allow("view_message")
        text = text_of(clerk.get(HOME))
        assert figure_of(text, "sent") == "2"
        assert "running-flows" not in text

    def test_the_number_of_queries_is_fixed(self, marketer, campaign, django_assert_max_num_queries):
        marketer.get(HOME)
        for number in range(8):
            wanted = world.message(f"m{number}")
            world.delivery(wanted, world.person(), at=lately())
            Flow.objects.create(slug=f"f{number}", name=f"F{number}", state="live")
            crm = Connection.objects.create(kind="hubspot", name=f"C{number}", slug=f"c{number}")
            SyncRun.objects.create(connection=crm)
        with django_assert_max_num_queries(24):
            marketer.get(HOME)

    def test_slow_figures_are_kept_for_a_while(self, marketer, campaign, monkeypatch):
        monkeypatch.setattr("analytics.admin.home.SLOW", -1)
        marketer.get(HOME)
        world.delivery(campaign.message, world.person(), at=lately())
        world.count()
        assert figure_of(text_of(marketer.get(HOME)), "sent") == "2"
        cache.clear()
        assert figure_of(text_of(marketer.get(HOME)), "sent") == "3"


class TestMessageReports:
    def test_the_list(self, marketer, campaign, django_assert_max_num_queries):
        for number in range(8):
            world.message(f"m{number}")
        with django_assert_max_num_queries(10):
            text = text_of(marketer.get(reverse("admin:reports_messages")))
        assert text.count('data-testid="message-') == 1 + 9
        assert "€1,234.50" in text

    def test_the_equation_adds_up(self, marketer, campaign):
        text = text_of(marketer.get(reverse("admin:reports_message", args=[campaign.message.pk])))
        parts = ("sent", "waiting", "suppressed", "failed", "expired")
        assert term_of(text, "audience") == sum(term_of(text, name) for name in parts) == 6
        assert "has not agreed" in text, "reasons in words"
        assert "1 person, 50% of those sent" in text

    @pytest.mark.parametrize("period", ["7", "30", "90", "all", "", "nonsense"])
    def test_periods(self, marketer, campaign, period):
        url = reverse("admin:reports_message", args=[campaign.message.pk])
        assert figure_of(text_of(marketer.get(url, {"period": period})), "sent") == "2"
        old = world.message("old")
        world.delivery(old, world.person(), at=lately(days=40))
        world.count()
        text = text_of(marketer.get(reverse("admin:reports_message", args=[old.pk]), {"period": period}))
        assert ('data-testid="empty"' in text) == (period in ("7", "30"))

    def test_links_lead_to_the_deliveries_that_were_counted(self, marketer, campaign):
        url = reverse("admin:reports_message", args=[campaign.message.pk])
        other = world.delivery(world.message("other"), world.person(), "failed", lately())
        text = text_of(marketer.get(url, {"period": "7"}))
        part = text.partition('data-testid="term-failed"')[2]
        link = re.search(r'href="([^"]+)"', part).group(1).replace("&amp;", "&")
        response = marketer.get(link)
        shown = [row.pk for row in response.context["cl"].queryset]
        assert shown == list(campaign.message.deliveries.filter(state="failed").values_list("pk", flat=True))
        assert other.pk not in shown

    def test_one_query_count_for_any_audience(self, marketer, campaign, django_assert_max_num_queries):
        for number in range(30):
            world.delivery(campaign.message, world.person(), at=lately(), locale=f"x{number}")
        with django_assert_max_num_queries(14):
            marketer.get(reverse("admin:reports_message", args=[campaign.message.pk]))

    def test_nothing_to_report_says_what_to_do(self, marketer):
        assert reverse("admin:delivery_message_add") in text_of(
            marketer.get(reverse("admin:reports_messages"))
        )


class TestFlowReports:
    def test_the_funnel(self, marketer, campaign):
        text = text_of(marketer.get(reverse("admin:reports_flow", args=[campaign.pk])))
        parts = ("inside", "completed", "exited")
        assert term_of(text, "entered") == sum(term_of(text, name) for name in parts) == 6
        assert 'data-testid="step-hello"' in text
        assert "€1,234.50" in text
        assert "Series &lt;b&gt;" in text

    def test_the_list(self, marketer, campaign, django_assert_max_num_queries):
        for number in range(8):
            Flow.objects.create(slug=f"f{number}", name=f"F{number}")
        with django_assert_max_num_queries(10):
            text = text_of(marketer.get(reverse("admin:reports_flows")))
        assert text.count('data-testid="flow-') == 1 + 9

    def test_a_flow_nobody_entered(self, marketer):
        flow = Flow.objects.create(slug="f", name="F")
        assert "has never been live" in text_of(marketer.get(reverse("admin:reports_flow", args=[flow.pk])))
        Flow.objects.all().delete()
        assert reverse("admin:campaigns_flow_add") in text_of(marketer.get(reverse("admin:reports_flows")))


@pytest.mark.parametrize(
    ("name", "permission"),
    [
        ("reports_messages", "view_message"),
        ("reports_message", "view_message"),
        ("reports_flows", "view_flow"),
        ("reports_flow", "view_flow"),
    ],
)
def test_reports_are_for_those_who_may_see_what_they_are_about(clerk, campaign, name, permission):
    args = {"reports_message": [campaign.message.pk], "reports_flow": [campaign.pk]}.get(name, [])
    url = reverse(f"admin:{name}", args=args)
    assert clerk.get(url).status_code == 403
    clerk.allow(permission)
    assert clerk.get(url).status_code == 200
    assert clerk.post(url).status_code == 405
    if args:
        assert clerk.get(reverse(f"admin:{name}", args=[args[0] + 1000])).status_code == 404
    clerk.logout()
    assert clerk.get(url).status_code == 302


def test_the_frame_differs_from_the_themes_only_in_its_landmarks():
    theirs = (Path(unfold.__file__).parent / "templates/admin/base.html").read_text()
    ours = Path("templates/admin/base.html").read_text()
    skip = '    <a class="nudge-skip" href="#main-content">{% translate "Skip to the content" %}</a>\n'
    assert ours.count(skip) == 1
    ours = ours.replace(skip, "").replace(
        '<main id="main-content" tabindex="-1" class="@container px-4 pb-4 grow">',
        '<div class="@container px-4 pb-4 grow">',
    )
    assert ours.replace("</main>", "</div>") == theirs


class TestWriting:
    @pytest.mark.parametrize(("language", "written"), [("en", "€12,345.50"), ("pl", "12\xa0345,50\xa0€")])
    def test_money(self, language, written):
        with translation.override(language):
            assert money(12345.5, "EUR") == written

    def test_what_is_no_currency_is_written_as_it_came(self):
        assert money(5, "") == "5.00"
        assert money(5, "€") == "5.00 €"
        assert money(5, "zzz") == "ZZZ5.00"
        assert amounts({"PLN": 1, "EUR": 2}) == ["€2.00", "PLN1.00"]

    def test_shares(self):
        assert percent(None) == "–"
        assert percent(0.1234) == "12.3%"
        assert percent(1) == "100%"
        assert count(1234567) == "1,234,567"

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
    def test_changes(self, now, before, change, tone):
        shown = compared(figure("sent", now, DEFINITIONS), now, before)
        assert (shown.change, shown.tone) == (change, tone)
        opposite = {"good": "bad", "bad": "good", "": ""}[tone]
        assert compared(figure("left", now, DEFINITIONS), now, before, rising_is="bad").tone == opposite
