"""The pages of reports, as those who may see them see them."""

import html
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlparse

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.admin import reporting_charts, reporting_shown
from analytics.reporting import query as asking
from analytics.reporting import registry, writing
from analytics.reporting.shapes import Chart, Column, Kind, Layout, Report, Row, Series, Sheet, Table
from analytics.reporting.writing import change, written
from analytics.rollups import rebuild
from campaigns.models import Flow, FlowVersion, ListJob, Segment, SegmentMembership
from campaigns.segments import list_work
from crm import privacy
from crm.models import AuditEntry, Event, Profile
from tests.analytics import world
from tests.analytics.world import lately

pytestmark = pytest.mark.django_db
CLICKED = Column(
    key="clicked", label="Clicked", definition="They <b>clicked</b>.", counts="clicked", better="up"
)
RATE = Column(key="click_rate", label="Click rate", kind=Kind.SHARE, better="up")
EARNED = Column(key="revenue", label="Revenue", kind=Kind.MONEY)


@pytest.fixture(autouse=True)
def _fresh():
    cache.clear()


@pytest.fixture
def marketer(client):
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


@pytest.fixture
def clerk(client):
    """Staff with the permissions that `allow` gives."""
    user = User.objects.create_user("clerk", "", "pw", is_staff=True)

    def allow(*codenames: str) -> None:
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(user)

    client.allow = allow
    client.force_login(user)
    return client


@pytest.fixture
def sent():
    """A message that two people got by push today, and one of them clicked; a third one got it a month ago."""
    wanted = world.message(name="Welcome <b>")
    ann, bob = world.person(email="ann@example.com", last_name="Example"), world.person(first_name="Bob")
    one = world.delivery(wanted, ann, "delivered", lately(), locale="pl")
    world.engages(one, "clicked", lately())
    world.delivery(wanted, bob, "sent", lately())
    world.delivery(wanted, bob, "sent", lately(days=31))
    world.count()
    return wanted


@pytest.fixture
def invented(monkeypatch):
    """Put a report of the test's own among the others; returns how to say what it finds."""
    found = {"sheet": Sheet()}

    def report(**more):
        return Report(
            slug="invented",
            title="Invented",
            description="For tests",
            group="messages",
            permission="delivery.view_message",
            build=lambda query: found["sheet"],
            **more,
        )

    def make(sheet: Sheet, **more) -> str:
        found["sheet"] = sheet
        monkeypatch.setitem(registry.reports(), "invented", report(**more))
        return reverse("admin:report", args=["invented"])

    return make


def table(rows, columns=(CLICKED,), **more) -> Table:
    return Table(slug="t", title="Table", head="Row", columns=list(columns), rows=rows, **more)


def text_of(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def url(slug: str) -> str:
    return reverse("admin:report", args=[slug])


def figure_of(text: str, name: str) -> str:
    card = text.partition(f'data-testid="figure-{name}"')[2].partition("</dd>")[0]
    return re.search(r"<bdi>(.*?)</bdi>", card.partition("<dd>")[2]).group(1)


def options(text: str, name: str) -> list[str]:
    part = text.partition(f'id="filter-{name}"')[2].partition("</select>")[0]
    return re.findall(r'<option value="([^"]*)"', part)


def names(text: str) -> list[str]:
    return re.findall(r'data-testid="t-([^"]+)"', text)


@pytest.mark.parametrize("asked", ["variant=%00", "country=%00", "message=%00", "channel=%00"])
def test_what_no_text_can_hold_is_refused(marketer, asked):
    text = text_of(marketer.get(f"{url('messages')}?{asked}"))
    assert "without control characters" in text or "Write one of" in text
    people = reverse("admin:report_people", args=["messages"])
    assert marketer.get(f"{people}?column=sent&{asked}").status_code == 404


class TestWhoSeesWhat:
    def test_each_report_has_its_permission(self, clerk, sent):
        index = reverse("admin:reports")
        assert clerk.get(index).status_code == 403
        for report in registry.reports().values():
            address = url(report.slug)
            clerk.allow()
            assert clerk.get(address).status_code == 403, report.slug
            clerk.allow("view_profile")  # of the people's page, which needs the report's, too
            people = reverse("admin:report_people", args=[report.slug])
            expected = 200 if report.permission == "crm.view_profile" else 403
            assert clerk.get(people, {"column": "sent"}).status_code == expected, report.slug
        clerk.allow("view_message")
        text = text_of(clerk.get(index))
        assert 'data-testid="report-messages"' in text
        assert 'data-testid="report-flows"' not in text
        assert 'data-testid="report-message"' not in text, "what is about one row is not in the list"
        address = url("messages")
        assert clerk.post(address).status_code == 405
        assert "people/?" not in text_of(clerk.get(address)), "no links to people without their permission"
        assert clerk.get(url("nonsense")).status_code == 404
        clerk.logout()
        assert clerk.get(address).status_code == 302

    def test_old_addresses_lead_to_the_new_pages(self, clerk, sent):
        flow = Flow.objects.create(slug="f", name="F")
        for name, permission, row, query in (
            ("reports_messages", "view_message", None, "?period=7"),
            ("reports_message", "view_message", sent.pk, f"?message={sent.pk}&period=7"),
            ("reports_flows", "view_flow", None, "?period=7"),
            ("reports_flow", "view_flow", flow.pk, f"?flow={flow.pk}&period=7"),
        ):
            address = reverse(f"admin:{name}", args=[row] if row else [])
            clerk.allow()
            assert clerk.get(address).status_code == 403
            clerk.allow(permission)
            assert clerk.post(address).status_code == 405
            moved = clerk.get(address, {"period": "7"})
            assert moved["Location"] == url(name.removeprefix("reports_")) + query
            assert clerk.get(moved["Location"]).status_code == 200
            if row:
                assert clerk.get(reverse(f"admin:{name}", args=[row + 1000])).status_code == 404


class TestFilters:
    def test_only_those_that_the_report_takes_and_values_that_exist(self, marketer, sent):
        world.message("other")
        text = text_of(marketer.get(url("channels")))
        assert 'id="filter-channel"' not in text
        assert options(text, "message") == ["", str(sent.pk + 1), str(sent.pk)]
        assert options(text, "locale") == ["", "-", "pl"]
        assert "Polish (pl) · 1" in text
        assert options(text_of(marketer.get(url("messages"))), "channel") == ["", "webpush"]

    def test_what_is_active_can_be_taken_away(self, marketer, sent):
        asked = {"message": sent.slug, "locale": "pl", "period": "7", "compare": "0"}
        text = text_of(marketer.get(url("channels"), asked))
        assert figure_of(text, "sent") == "1"
        chips = text.partition('data-testid="chips"')[2].partition("</ul>")[0]
        left = [parse_qs(urlparse(link).query) for link in re.findall(r'<a href="([^"]+)"', chips)]
        left = [{name.removeprefix("amp;"): value for name, value in one.items()} for one in left]
        assert [set(one) for one in left] == [
            {"period", "compare", "locale"},
            {"period", "compare", "message"},
        ]
        assert "Welcome &lt;b&gt;" in chips

    def test_what_is_wrong_stands_beside_its_field_and_the_rest_counts(self, marketer, sent):
        asked = {"locale": "pl", "message": "9999", "from": "2026-02-30", "to": "2026-03-01"}
        text = text_of(marketer.get(url("channels"), asked))
        for name in ("message", "from"):
            assert f'id="problem-{name}" role="alert"' in text
        assert 'id="problem-to" role="alert"' not in text
        assert "2026-02-30" in text, "what was written is still there"
        assert figure_of(text, "sent") == "1", "of the language, in the usual period"

    def test_a_report_about_one_asks_which_one(self, marketer, sent):
        text = text_of(marketer.get(url("message")))
        assert "Which one?" in text
        assert options(text, "message") == ["", str(sent.pk)]
        text = text_of(marketer.get(url("message"), {"message": sent.pk, "period": "7"}))
        assert "Message: Welcome &lt;b&gt;" in text
        assert reverse("admin:delivery_message_change", args=[sent.pk]) in text
        assert figure_of(text, "sent") == "2"

    def test_the_address_shows_what_counts(self, marketer, sent):
        asked = {
            "period": "30",
            "from": "2026-01-01",
            "to": "",
            "compare": "1",
            "channel": "webpush",
            "sort": "-t.x",
        }
        response = marketer.get(url("messages"), asked, headers={"HX-Request": "true"})
        assert response["HX-Push-Url"] == f"{url('messages')}?channel=webpush&sort=-t.x"

    def test_segments_that_tell_what_is_hidden_are_not_offered(self, clerk, sent):
        rule = {"kind": "attribute", "field": "email", "op": "eq", "value": "ann@example.com"}
        telling = Segment.objects.create(slug="telling", name="Telling", rule=rule)
        other = Segment.objects.create(slug="other", name="Other")
        clerk.allow("view_message")
        assert options(text_of(clerk.get(url("channels"))), "segment") == ["", str(other.pk)]
        clerk.allow("view_message", "view_contact_data")
        assert options(text_of(clerk.get(url("channels"))), "segment") == ["", str(other.pk), str(telling.pk)]

    def test_a_segment_is_counted_one_by_one_and_says_so(self, marketer, sent):
        segment = Segment.objects.create(slug="s", name="S")
        text = text_of(marketer.get(url("channels"), {"segment": "s"}))
        assert 'data-testid="exact"' in text
        assert figure_of(text, "sent") == "0"
        profile = sent.deliveries.order_by("pk").first().profile
        SegmentMembership.objects.create(segment=segment, profile=profile, entered_at=lately())
        assert figure_of(text_of(marketer.get(url("channels"), {"segment": "s"})), "sent") == "1"
        assert 'data-testid="exact"' not in text_of(marketer.get(url("channels")))


class TestTables:
    def test_they_are_sorted_by_any_column_and_what_is_unknown_comes_last(self, marketer, invented):
        rows = [
            Row(key=key, label=key, values={"clicked": value})
            for key, value in zip("abcd", (5, None, 50, 7), strict=True)
        ]
        address = invented(Sheet(tables=[table(rows)]))
        assert names(text_of(marketer.get(address))) == ["a", "b", "c", "d"]
        assert names(text_of(marketer.get(address, {"sort": "-t.clicked"}))) == ["c", "d", "a", "b"]
        text = text_of(marketer.get(address, {"sort": "t.clicked"}))
        assert names(text) == ["a", "d", "c", "b"]
        assert 'aria-sort="ascending"' in text
        assert "sort=-t.clicked" in text
        assert names(text_of(marketer.get(address, {"sort": "-t.nonsense"}))) == ["a", "b", "c", "d"]

    def test_long_ones_come_in_parts(self, marketer, invented):
        rows = [Row(key=str(n), label=str(n), values={"clicked": n}) for n in range(450)]
        address = invented(Sheet(tables=[table(rows)]))
        seen, link, pages = [], "", 0
        while link is not None:
            text = text_of(marketer.get(address + link))
            seen += names(text)
            found = re.search(r'<a class="nudge-button is-plain" href="([^"]+)">Next', text)
            link = found.group(1).replace("&amp;", "&") if found else None
            pages += 1
        assert seen == [str(n) for n in range(450)]
        assert pages == 3
        assert names(text_of(marketer.get(address, {"rows": "t.9999999"})))[-1] == "449"
        assert names(text_of(marketer.get(address, {"rows": "t.x"})))[0] == "0"

    def test_the_period_before_stands_beside_each_number(self, marketer, invented):
        columns = (CLICKED, RATE, EARNED)
        now = {"clicked": 12, "click_rate": 0.125, "revenue": {"EUR": 10, "PLN": 5}}
        before = {"clicked": 10, "click_rate": 0.15, "revenue": {"EUR": 20}}
        row = Row(key="a", label="A", values=now, before=before)
        sheet = Sheet(cards=list(columns), figures=row, tables=[table([row], columns, total=row)])
        text = text_of(marketer.get(invented(sheet)))
        assert figure_of(text, "clicked") == "12"
        for words in ("+20%", "−2.5 points", "−50%", "€10.00 · PLN5.00"):
            assert words in text, words
        assert 'class="nudge-change is-bad"' in text
        assert "They &lt;b&gt;clicked&lt;/b&gt;." in text

    @pytest.mark.parametrize(
        ("column", "now", "before", "text", "tone"),
        [
            (CLICKED, 5, 5, "±0", ""),
            (CLICKED, 0, 0, None, None),
            (CLICKED, 5, 0, "new", "good"),
            (CLICKED, 5, 20, "−75%", "bad"),
            (CLICKED, 999, 1000, "±0", ""),
            (RATE, None, 0.2, None, None),
            (RATE, 0.2001, 0.2, "±0", ""),
            (msgspec.structs.replace(RATE, digits=2), 0.2001, 0.2, "+0.01 points", "good"),
            (RATE, 0.21, 0.2, "+1 points", "good"),
            (EARNED, {}, {"EUR": 4}, "−100%", ""),
            (Column(key="x", label="X", kind=Kind.TEXT), "a", "b", None, None),
        ],
    )
    def test_changes(self, column, now, before, text, tone):
        found = change(column, now, before)
        assert (found and found.text, found and found.tone) == (text, tone)

    @pytest.mark.parametrize(
        ("column", "now", "before", "missing", "tone"),
        [
            (CLICKED, 3, 20, 1, ""),
            (CLICKED, 21, 20, 1, "good"),
            (CLICKED, 19, 21, 1 / 7, ""),
            (CLICKED, 17, 21, 1 / 7, "bad"),
            (RATE, 0.1, 0.2, 1, "bad"),
            (
                msgspec.structs.replace(EARNED, better="up"),
                {"EUR": Decimal(9)},
                {"EUR": Decimal(10)},
                1 / 7,
                "",
            ),
            (
                msgspec.structs.replace(EARNED, better="up"),
                {"EUR": Decimal(8)},
                {"EUR": Decimal(10)},
                1 / 7,
                "bad",
            ),
        ],
    )
    def test_a_fall_that_may_still_be_made_up_is_neither_good_nor_bad(
        self, column, now, before, missing, tone
    ):
        assert change(column, now, before, missing).tone == tone

    @pytest.mark.parametrize(
        ("params", "unfinished", "words"),
        [
            ({"period": "yesterday"}, 0, ""),
            ({"period": "last_month"}, 0, ""),
            ({"period": "all"}, None, ""),
            ({"period": "today", "compare": "0"}, 1, ""),
            ({"from": "2026-03-01", "to": "2026-03-07"}, 0, ""),
            (
                {"period": "today"},
                1,
                "Today is not over: it counts until 9 a.m., the day before counts whole. A fall has no colour yet.",
            ),
            (
                {"period": "7"},
                1,
                "Today is not over: it counts until 9 a.m., against a whole day of the period before. A fall has",
            ),
            ({"period": "month"}, 1, "Today is not over"),
            (
                {"from": "2026-03-01", "to": "2026-03-31"},
                24,
                "24 days of this period are not over, against whole ones",
            ),
            ({"from": "2026-04-01", "to": "2026-04-02"}, 2, "2 days of this period are not over"),
        ],
    )
    def test_part_of_a_period_beside_a_whole_one_is_said_to_be(self, params, unfinished, words):
        report = registry.reports()["channels"]
        asked = asking.parse(report, params, datetime(2026, 3, 8, 9, tzinfo=UTC))
        told = writing.unequal(asked)
        assert told.startswith(words)
        assert bool(told) == bool(words)
        if unfinished is not None:
            assert asked.unfinished == unfinished

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 sec"), (59, "59 sec"), (150, "2.5 min"), (3600 * 30, "30 hr"), (86400 * 3, "3 days")],
    )
    def test_durations(self, seconds, text):
        assert written(Column(key="x", label="X", kind=Kind.SECONDS), seconds) == text

    @settings(deadline=None, max_examples=40)
    @given(
        st.lists(st.lists(st.none() | st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=9)
    )
    def test_shades_follow_the_numbers(self, values):
        columns = [Column(key=str(n), label=str(n)) for n in range(3)]
        rows = [
            Row(key=str(n), label="", values={str(at): value for at, value in enumerate(row)})
            for n, row in enumerate(values)
        ]
        shade = reporting_shown.shades(table(rows, columns, layout=Layout.SHADED))
        known = sorted({value for row in values for value in row if value is not None})
        levels = [shade(columns[0], value) for value in known]
        assert shade(columns[0], None) is None
        if known and known[-1]:
            assert all(0 <= level <= 1 for level in levels)
            assert levels == sorted(levels)
            assert levels[-1] == 1

    def test_heat_and_funnels(self, marketer, invented):
        heat = table(
            [Row(key="mon", label="Monday", values={"click_rate": 0.5})], (RATE,), layout=Layout.SHADED
        )
        steps = [
            Row(key=key, label=key, values={"clicked": value}, depth=depth)
            for key, value, depth in (("one", 80, 0), ("two", 60, 0), ("inner", 30, 1))
        ]
        funnel = table(steps, layout=Layout.FUNNEL, bar="clicked")
        text = text_of(marketer.get(invented(Sheet(tables=[heat, funnel]))))
        assert "--level: 1.000" in text
        assert re.findall(r"--share: ([\d.]+)%", text) == ["100.00", "75.00", "37.50"]
        assert text.count("since the step before") == 1
        assert "−25% since the step before" in text

    def test_what_is_all_of_one_kind_is_folded(self, marketer, invented):
        row, total = (
            Row(key="a", label="Push", values={"clicked": 3}),
            Row(key="", label="All", values={"clicked": 3}),
        )
        other = Row(key="", label="All", values={"clicked": 4})
        tables = [table([row], total=total), table([row], total=total), table([row], total=other)]
        text = text_of(marketer.get(invented(Sheet(tables=tables))))
        assert text.count("All of it is “Push”.") == 1, (
            "but not the first one, which is what the report is about"
        )

    def test_nothing_says_so(self, marketer, invented):
        text = text_of(
            marketer.get(
                invented(Sheet(tables=[table([], empty="Send something first.")], warnings=["Look!"]))
            )
        )
        assert "Send something first." in text
        assert "Look!" in text


class TestCharts:
    def test_what_a_chart_draws_is_in_its_table(self):
        chart = Chart(
            slug="c",
            title="C",
            head="Day",
            labels=["1", "2", "3"],
            series=[
                Series(column=CLICKED, values=[1, 0, 3], before=[2, 0, 0]),
                Series(column=EARNED, values=[{}, {}, {"EUR": 5, "PLN": 9}]),
            ],
        )
        drawn = reporting_charts.drawn(chart)
        assert [label for label, _cells in drawn["rows"]] == ["3", "1"], (
            "the latest first, none without anything"
        )
        assert drawn["rows"][0][1] == ["3", "0", "PLN9.00 · €5.00", "–"]
        lines = drawn["data"]["series"]
        assert [line.get("currency") for line in lines] == [None, "PLN", "EUR"]
        assert lines[0]["before"] == [2, 0, 0]
        assert "before" not in lines[1]


def test_today_says_that_it_is_not_over_and_draws_no_hours_to_come(marketer, sent):
    text = text_of(marketer.get(url("channels"), {"period": "today"}))
    note = text.partition('data-testid="unequal"')[2].partition("</p>")[0]
    assert "Today is not over" in note
    assert "same weekday of last week" in note
    assert 'data-testid="unequal"' not in text_of(marketer.get(url("channels"), {"period": "yesterday"}))
    report = registry.reports()["messages"]
    noon = timezone.now().replace(hour=12, minute=30)
    [chart] = report.build(asking.parse(report, {"period": "today"}, noon)).charts
    for series in chart.series:
        assert [value is None for value in series.values] == [False] * 13 + [True] * 11
        assert None not in series.before
    [chart] = report.build(asking.parse(report, {"period": "yesterday"}, noon)).charts
    assert all(None not in series.values for series in chart.series)


class TestPeople:
    def test_they_become_a_list_of_their_own(self, clerk, sent):
        tester, twice = world.person(first_name="Tester"), world.person(first_name="Twice")
        world.delivery(sent, tester, "delivered", lately(), origin_type="test")
        for _time in range(2):
            world.delivery(sent, twice, "sent", lately())
        erased = world.person(first_name="Gone")
        world.delivery(sent, erased, "sent", lately())
        world.count()
        privacy.erase([erased.pk], "request")
        clerk.allow("view_message", "view_profile", "add_segment", "view_segment")
        address = reverse("admin:report_people", args=["channels"])
        text = text_of(clerk.get(address, {"column": "sent", "period": "7", "message": sent.pk}))
        form = text.partition('data-testid="save-list"')[2].partition("</form>")[0]
        posted = dict(re.findall(r'name="(parameters|name)" value="([^"]*)"', form))
        posted = {name: html.unescape(value) for name, value in posted.items()}
        assert posted["name"].startswith("Sent, Welcome <b>, Last 7 days (")
        action = html.unescape(re.search(r'action="([^"]+)"', form).group(1))
        made = clerk.post(action, posted | {"name": "Got it"})
        job = ListJob.objects.get()
        assert made.url == reverse("admin:campaigns_list_job", args=[job.pk])
        world.delivery(sent, world.person(first_name="Later"), "sent", timezone.now() + timedelta(days=1))
        list_work.work()
        job.refresh_from_db()
        assert (job.state, job.added, job.name) == ("done", 3, posted["name"])
        names = Profile.objects.filter(segment_memberships__segment=job.list).values_list(
            "first_name", flat=True
        )
        assert sorted(names) == ["Ann", "Bob", "Twice"]
        assert job.list.name == "Got it"
        assert not Event.objects.filter(name="segment_entered").exists(), "nobody did anything"
        assert "2" in text_of(clerk.get(made.url))
        told = AuditEntry.objects.get(action="list.filled")
        assert told.detail == {
            "mode": "add", "kind": "report", "report": "channels", "column": "sent",
        }  # fmt: skip
        assert AuditEntry.objects.filter(action="admin.added", object_id=str(job.list_id)).exists()

    def test_only_who_may_make_lists_and_see_people_makes_one(self, clerk, sent):
        posted = {"parameters": "column=sent", "name": "Mine"}
        address = reverse("admin:report_people_list", args=["channels"])
        for missing in ("view_message", "view_profile", "add_segment", "view_segment"):
            clerk.allow(*{"view_message", "view_profile", "add_segment", "view_segment"} - {missing})
            assert clerk.post(address, posted).status_code == 403, missing
        clerk.allow("view_message", "view_profile")
        shown = text_of(clerk.get(reverse("admin:report_people", args=["channels"]), {"column": "sent"}))
        assert 'data-testid="save-list"' not in shown
        clerk.allow("view_message", "view_profile", "add_segment", "view_segment")
        assert clerk.get(address).status_code == 405
        assert clerk.post(address, {**posted, "parameters": "column=nobody"}).status_code == 404
        back = clerk.post(address, {**posted, "name": " \x00"}, follow=True)
        assert "Give the list a name." in text_of(back)
        assert not Segment.objects.exists()

    def test_whom_nobody_is_behind_there_is_no_list_of(self, marketer, sent):
        shown = text_of(marketer.get(reverse("admin:report_people", args=["channels"]), {"column": "failed"}))
        assert 'data-testid="save-list"' not in shown

    def test_each_look_is_in_the_audit_log(self, marketer, sent, monkeypatch):
        monkeypatch.setattr("analytics.admin.people.ROWS", 1)
        address = reverse("admin:report_people", args=["channels"])
        text = text_of(marketer.get(address, {"column": "sent", "period": "7"}))
        found = re.search(r'href="([^"]+)" data-testid="people-next"', text).group(1)
        marketer.get(address + html.unescape(found))
        marketer.get(address, {"column": "nobody"})
        entries = AuditEntry.objects.filter(action="report.people_viewed")
        assert [(each.object_type, each.object_id, each.actor) for each in entries] == [
            ("analytics.report", "channels", "boss")
        ] * 2
        assert all(
            each.detail == {"rows": 1, "column": "sent", "parameters": {"period": "7"}} for each in entries
        )
        assert "looked at the people behind a number" in text_of(
            marketer.get(reverse("admin:crm_auditentry_changelist"))
        )

    def test_behind_a_number_are_its_people(self, marketer, sent):
        text = text_of(marketer.get(url("messages"), {"period": "7"}))
        row = text.partition('data-testid="messages-welcome"')[2].partition("</tr>")[0]
        link = next(one for one in re.findall(r'href="([^"]+)"', row) if "column=clicked" in one)
        link = url("messages") + link
        page = text_of(marketer.get(link.replace("&amp;", "&")))
        assert page.count('data-testid="person"') == 1
        assert "ann@example.com" in page
        assert 'data-testid="missing"' not in page
        link = link.replace("&amp;", "&").replace("column=clicked", "column=sent")
        assert text_of(marketer.get(link)).count('data-testid="person"') == 2, "not the one of a month ago"

    def test_contacts_are_masked_for_who_may_not_see_them(self, clerk, sent):
        clerk.allow("view_message", "view_profile")
        page = text_of(clerk.get(reverse("admin:report_people", args=["channels"]), {"column": "clicked"}))
        assert page.count('data-testid="person"') == 1
        assert "ann@example.com" not in page
        assert "Example" not in page
        assert "a•••@e•••.com" in page
        assert "/delivery/delivery/" not in page

    def test_all_of_them_page_by_page_and_those_who_are_gone_are_owned_up_to(
        self, marketer, sent, monkeypatch, django_assert_max_num_queries
    ):
        monkeypatch.setattr("analytics.admin.people.ROWS", 3)
        for number in range(6):
            world.delivery(sent, world.person(first_name=f"P{number}"), at=lately())
        world.count()
        gone = world.person()
        world.delivery(sent, gone, at=lately())
        world.count()
        address = reverse("admin:report_people", args=["channels"])
        link, seen = "?column=sent&period=7&channel=webpush", 0
        while link:
            with django_assert_max_num_queries(12):
                text = text_of(marketer.get(address + link))
            seen += text.count('data-testid="person"')
            found = re.search(r'href="([^"]+)" data-testid="people-next"', text)
            link = found.group(1).replace("&amp;", "&") if found else ""
        assert seen == 9
        monkeypatch.setattr("analytics.admin.people.ROWS", 50)
        gone.deliveries.all().delete()
        text = text_of(marketer.get(f"{address}?column=sent&period=7"))
        assert 'data-testid="missing"' in text
        assert text.count('data-testid="person"') == 8

    @pytest.mark.parametrize(
        "asked",
        [{}, {"column": "nonsense"}, {"column": "sent", "before": "x"}, {"column": "sent", "flow": "9"}],
    )
    def test_what_makes_no_sense_is_not_found(self, marketer, asked):
        assert marketer.get(reverse("admin:report_people", args=["channels"]), asked).status_code == 404


class TestPages:
    @pytest.mark.parametrize("asked", [{"model": "nonsense"}, {"variant": "a\0"}, {"country": "\0"}])
    def test_what_makes_no_sense_is_told_beside_its_field(self, marketer, sent, asked):
        response = marketer.get(url("revenue"), asked)
        assert response.status_code == 200
        assert f'id="problem-{next(iter(asked))}"' in text_of(response)

    def test_every_report_is_shown_and_its_definitions_are_reachable(self, marketer, sent):
        flow = Flow.objects.create(slug="f", name="F", state="live")
        subjects = {"message": sent.pk, "flow": flow.pk}
        for report in registry.reports().values():
            if report.subject == "broadcast":
                continue
            asked = {report.subject: subjects[report.subject]} if report.subject else {}
            text = text_of(marketer.get(url(report.slug), asked))
            described = re.findall(r'aria-describedby="(def-[^"]+)"', text)
            for target in described:
                assert text.count(f'id="{target}"') == 1, (report.slug, target)
            assert len(text) < 250_000, report.slug
            assert "<script>" not in text, "the policy of the page lets none run"

    def test_the_number_of_queries_does_not_depend_on_how_much_there_is(
        self, marketer, sent, django_assert_max_num_queries
    ):
        for number in range(8):
            world.delivery(world.message(f"m{number}"), world.person(), at=lately(), locale=f"x{number}")
            Segment.objects.create(slug=f"s{number}", name=f"S{number}")
        world.count()
        with django_assert_max_num_queries(24):
            text = text_of(marketer.get(url("messages"), {"locale": "x1", "origin": "api"}))
        assert figure_of(text, "sent") == "1"
        with django_assert_max_num_queries(20):
            text_of(marketer.get(url("channels")))

    def test_a_rebuild_is_told(self, marketer, sent):
        assert 'data-testid="rebuild"' not in text_of(marketer.get(url("channels")))
        rebuild.start()
        assert 'data-testid="rebuild"' in text_of(marketer.get(url("channels")))

    def test_files_and_saving_are_offered_to_those_who_may(self, clerk, sent):
        clerk.allow("view_message")
        text = text_of(clerk.get(url("messages")))
        assert "/xlsx/" not in text
        assert 'data-testid="save"' not in text
        clerk.allow("view_message", "export_report", "add_savedreport")
        text = text_of(clerk.get(url("messages"), {"period": "7"}))
        assert 'name="parameters" value="period=7"' in text
        saved = clerk.post(
            reverse("admin:report_save", args=["messages"]), {"parameters": "period=7", "name": "Mine"}
        )
        assert saved.status_code == 302
        assert "Mine" in text_of(clerk.get(url("messages")))


def test_the_funnel_of_a_flow(marketer):
    flow = Flow.objects.create(slug="series", name="Series <b>", state="live")
    steps = [{"key": "hello", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}}]
    flow.live_version = FlowVersion.objects.create(
        flow=flow, number=1, definition={"trigger": None, "steps": steps}, published_at=timezone.now()
    )
    flow.save()
    wanted = world.message()
    for number in range(3):
        world.delivery(
            wanted,
            world.person(),
            at=lately() - timedelta(seconds=number),
            origin_type="flow",
            origin_id=flow.pk,
            origin_step="hello",
        )
    world.count()
    text = text_of(marketer.get(url("flow"), {"flow": "series"}))
    assert "Series &lt;b&gt;" in text
    assert 'data-testid="funnel-hello"' in text
    assert figure_of(text, "sent") == "3"
