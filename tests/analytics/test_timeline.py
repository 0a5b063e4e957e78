"""One person's story."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from analytics.reports.journey import after, journey
from analytics.reports.timeline import GROUPS, timeline
from campaigns.flows.definition import parse
from campaigns.models import Decision, Enrollment, Flow, FlowVersion, Segment, SegmentMembership
from crm import consent, log
from crm.models import Product
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    return world.person()


@pytest.fixture
def viewer(client):
    user = User.objects.create_user("viewer", "", "pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_profile"))
    client.force_login(user)
    return client


def url(profile) -> str:
    return reverse("admin:profile_timeline", args=[profile.pk])


def follow(client, profile) -> list[str]:
    """All pages' text, as the button leads from one to the next."""
    pages, address = [], url(profile)
    while address:
        text = client.get(address).content.decode()
        pages.append(text)
        _before, found, rest = text.partition('data-testid="timeline-earlier" hx-get="')
        address = rest.partition('"')[0].replace("&amp;", "&") if found else ""
    return pages


def greeted(ann, later: bool = True):
    """A delivery by a flow that went on after it."""
    flow = Flow.objects.create(slug="series", name="Welcome series")
    version = FlowVersion.objects.create(flow=flow, number=1, definition={}, published_at=NOW)
    run = Enrollment.objects.create(flow=flow, version=version, profile=ann, run_key="x", entered_at=NOW)
    facts = [
        ("", "entered", {"event": "push_subscribed"}),
        ("w", "wait:go_on", {"waited_until": NOW.isoformat()}),
        ("m", "message:go_on", {}),
        ("s", "split:go_on", {"branch_name": "Later branch"}),
    ]
    for step, kind, detail in facts:
        Decision.objects.create(
            enrollment=run, flow=flow, profile=ann, step=step, kind=kind, detail=detail, at=NOW
        )
    origin = {"origin_type": "flow", "origin_id": flow.pk, "origin_step": "m"}
    sent = world.delivery(world.message(), ann, logged=False, cause=f"flow:{run.pk}:m", **origin)
    world.happens(ann, "message_sent", NOW + HOUR, message="welcome", delivery=sent.pk)
    return sent


class TestStory:
    def test_pages_neither_skip_nor_repeat_what_happened_at_one_moment(self, ann):
        flow = Flow.objects.create(slug="f", name="F")
        log.append([log.NewEvent(uuid.uuid4(), ann.pk, f"e{n}", NOW, {}, "sdk") for n in range(7)])
        for _ in range(5):
            Decision.objects.create(flow=flow, profile=ann, kind="not_entered", at=NOW)
        for number in range(4):
            world.happens(ann, f"late{number}", NOW + number * HOUR)
        seen, before = [], None
        while True:
            page = timeline(ann.pk, before, limit=3)
            assert len(page.entries) <= 3
            seen += page.entries
            before = page.before
            if before is None:
                break
        assert len(seen) == 16
        assert [entry.at for entry in seen] == sorted((entry.at for entry in seen), reverse=True)
        assert len({entry.name for entry in seen if entry.by == "person"}) == 11

    def test_why_tells_what_led_to_the_message_and_nothing_later(self, ann):
        consent.record(
            [consent.Change(ann.pk, consent.CHANNEL, "webpush", consent.SUBSCRIBED, "sdk", NOW - HOUR)]
        )
        greeted(ann)
        [sent] = [entry for entry in timeline(ann.pk).entries if entry.name == "message_sent"]
        assert sent.title == "Sent: Welcome"
        words = " ".join(sent.why)
        assert "“Welcome series” by “push_subscribed”" in words
        assert "They waited until" in words
        assert "They agreed to this channel" in words
        assert "Later branch" not in words

    def test_a_refusal_tells_its_reason(self, ann):
        sent = world.delivery(world.message(), ann, "suppressed", logged=False)
        world.happens(ann, "message_suppressed", delivery=sent.pk, message="welcome", reason="no consent")
        [entry] = timeline(ann.pk).entries
        assert "no consent" in entry.why[-1]

    def test_the_number_of_queries_does_not_depend_on_what_happened(self, ann, django_assert_max_num_queries):
        greeted(ann)
        for number in range(20):
            world.happens(ann, "message_sent", NOW + HOUR, message=f"m{number}", delivery=number)
        with django_assert_max_num_queries(12):
            timeline(ann.pk)


class TestPage:
    def test_it_is_grouped_by_day_over_all_pages(self, viewer, ann):
        for number in range(120):
            world.happens(
                ann, "product_viewed", NOW + number * timedelta(minutes=20), product=f"Coffee {number}"
            )
        pages = follow(viewer, ann)
        text = "".join(pages)
        assert len(pages) == 3
        assert text.count('data-testid="entry"') == 120
        assert text.count('class="nudge-day"') == 3, "one heading a day, though pages end within days"
        assert "Coffee 119" in pages[0]

    def test_what_customers_send_is_text(self, viewer, ann):
        world.happens(ann, "<script>alert(1)</script>", comment='"><img src=x onerror=alert(1)>')
        text = viewer.get(url(ann)).content.decode()
        assert "<script>" not in text
        assert "<img" not in text
        assert "&lt;script&gt;" in text

    def test_nothing_happened_yet(self, viewer, ann):
        assert "timeline-empty" in viewer.get(url(ann)).content.decode()

    @pytest.mark.parametrize("before", ["x", "~~", "2026-01-01~1~1", "2026-01-01T00:00:00Z~1~-5", "9999~1~1"])
    def test_a_made_up_place_is_refused(self, viewer, ann, before):
        assert viewer.get(url(ann), {"before": before}).status_code == 400

    def test_only_for_those_who_may_see_profiles(self, client, viewer, ann):
        assert viewer.get(reverse("admin:profile_timeline", args=[ann.pk + 1])).status_code == 404
        assert viewer.post(url(ann)).status_code == 405
        client.force_login(User.objects.create_user("clerk", "", "pw", is_staff=True))
        assert client.get(url(ann)).status_code == 403
        client.logout()
        assert client.get(url(ann)).status_code == 302

    def test_days_and_times_are_the_persons_own(self, viewer):
        late = datetime(2026, 11, 1, 20, 30, tzinfo=UTC)
        person = world.person(timezone="Asia/Tokyo")
        world.happens(person, "product_viewed", late)
        text = viewer.get(url(person)).content.decode()
        assert "Nov. 2, 2026" in text
        assert "5:30 a.m." in text
        assert "Asia/Tokyo" in text


class TestGroups:
    def test_each_line_is_in_the_groups_it_belongs_to_and_pages_stay_in_one(self, viewer, ann):
        flow = Flow.objects.create(slug="f", name="F")
        wanted = world.message()
        waits = world.delivery(wanted, ann, "queued")
        world.delivery(wanted, ann, "deferred", reason="quiet hours")
        world.happens(ann, "product_viewed", product="Cup")
        world.happens(ann, "message_sent", message="welcome", delivery=waits.pk)
        for name in ("message_machine_opened", "message_bounced", "message_withdrawn", "message_read"):
            world.happens(ann, name, message="welcome", delivery=waits.pk)
        world.happens(ann, "message_received", text="Hello")
        world.happens(ann, "consent_changed", key="webpush", state="subscribed", source="sdk")
        world.happens(ann, "price_dropped", sku="Cup", price=9, old_price=10, currency="EUR", reason="saved")
        Decision.objects.create(flow=flow, profile=ann, kind="not_entered", detail={"event": "x"}, at=NOW)
        Decision.objects.create(flow=flow, profile=ann, kind="wait:wait", detail={}, at=NOW)

        def names(only):
            return sorted(entry.name for entry in timeline(ann.pk, only=only).entries)

        assert names("did") == ["message_received", "product_viewed"]
        assert names("messages") == [
            *(
                "message_bounced",
                "message_deferred",
                "message_machine_opened",
                "message_queued",
                "message_read",
            ),
            *("message_received", "message_sent", "message_withdrawn"),
        ]
        assert names("refused") == ["message_deferred", "not_entered"]
        assert names("flows") == ["not_entered", "price_dropped", "wait:wait"]
        assert names("consent") == ["consent_changed"]
        assert len(names("all")) == 12
        titles = [entry.title for entry in timeline(ann.pk).entries]
        assert "Looked at Cup" in titles
        assert "Wrote to us" in titles
        assert any(title.startswith("Opened by a machine: ") for title in titles)
        assert "Cheaper: Cup, €9.00 instead of €10.00" in titles
        for name in GROUPS:
            assert viewer.get(url(ann), {"only": name}).status_code == 200
        assert viewer.get(url(ann), {"only": "nothing"}).status_code == 400

    def test_a_cursor_keeps_its_group(self, viewer, ann):
        for number in range(60):
            world.happens(ann, "product_viewed", NOW + number * HOUR, product=f"Cup {number}")
            world.happens(ann, "consent_changed", NOW + number * HOUR, key="webpush", state="subscribed")
        first = viewer.get(url(ann), {"only": "did"}).content.decode()
        assert "only=did" in first.partition("timeline-earlier")[2]
        assert "consent_changed" not in first

    def test_odd_properties_break_no_line(self, ann):
        for name in (
            "purchase",
            "cart_updated",
            "page_viewed",
            "search",
            "location",
            "price_dropped",
            "product_viewed",
        ):
            for odd in (
                {},
                {"items": 5, "total": "x", "currency": 7},
                {"items": [1, {"name": 3}], "total": 1e300},
            ):
                world.happens(ann, name, **odd)
        assert len(timeline(ann.pk).entries) == 21


STEPS = [
    {"key": "a", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
    {
        "key": "s",
        "kind": "split",
        "config": {"name": "Which?"},
        "branches": [
            {"name": "one", "steps": [{"key": "b", "kind": "message", "config": {"message": "welcome"}}]},
            {"name": "two", "steps": [{"key": "x", "kind": "exit", "config": {}}]},
        ],
    },
    {"key": "c", "kind": "wait", "config": {"amount": 2, "unit": "hours"}},
]


class TestJourney:
    def test_what_comes_after_a_step(self):
        steps = parse({"steps": STEPS}).steps
        found = {
            key: tuple(step and step.key for step in after(steps, key))
            for key in ("a", "s", "b", "x", "c", "?")
        }
        assert found == {
            "a": ("a", "s"),
            "s": ("s", "c"),
            "b": ("b", "c"),
            "x": ("x", None),
            "c": ("c", None),
            "?": (None, None),
        }

    def test_where_they_are_and_what_waits_in_as_many_queries_for_many_runs(
        self, viewer, ann, django_assert_max_num_queries
    ):
        wanted = world.message()
        for number in range(6):
            flow = Flow.objects.create(slug=f"f{number}", name=f"Flow {number}")
            version = FlowVersion.objects.create(
                flow=flow, number=1, definition={"steps": STEPS}, published_at=NOW
            )
            Enrollment.objects.create(
                flow=flow, version=version, profile=ann, run_key="x", step="b", entered_at=NOW, due_at=NOW
            )
        world.delivery(wanted, ann, "queued")
        segment = Segment.objects.create(slug="s", name="Friends", rule={})
        SegmentMembership.objects.create(segment=segment, profile=ann, entered_at=NOW)
        with django_assert_max_num_queries(4):
            found = journey(ann.pk)
        assert [(run.here.title, run.next.title) for run in found.inside[:1]] == [
            ("Message: Welcome", "Wait: 2 hours")
        ]
        assert len(found.waiting) == 1
        text = viewer.get(reverse("admin:profile_journey", args=[ann.pk])).content.decode()
        assert "Flow 5" in text
        text = viewer.get(reverse("admin:profile_segments", args=[ann.pk])).content.decode()
        assert "Friends" in text


def test_products_and_profiles_are_named_as_a_reader_knows_them(ann):
    Product.objects.create(sku="cezve", name="Copper cezve")
    world.happens(ann, "product_viewed", product_id="cezve")
    world.happens(ann, "product_saved", product_id="unknown")
    world.happens(ann, "back_in_stock", sku="cezve")
    world.happens(ann, "profile_merged", merged=7, reason="admin")
    world.happens(ann, "profile_unmerged", parted=7)
    Segment.objects.create(slug="cold", name="Cold", rule={"all": []})
    world.happens(ann, "segment_entered", segment="cold", cause="time")
    world.happens(ann, "segment_left", segment="cold", cause="event", event="purchase")
    told = {entry.name: entry for entry in timeline(ann.pk).entries}
    assert told["product_viewed"].title == "Looked at Copper cezve"
    assert told["product_saved"].title == "Saved unknown"
    assert told["back_in_stock"].title == "Back in stock: Copper cezve"
    assert told["profile_merged"].title == "Joined with profile 7"
    assert told["profile_merged"].why == ["Somebody joined them by hand."]
    assert told["profile_unmerged"].title == "Parted again from profile 7"
    assert told["segment_entered"].title == "Entered the segment Cold"
    assert told["segment_entered"].why == ["Because time went by."]
    assert told["segment_left"].why == ["Because of “purchase”."]


def test_to_be_part_of_a_comparison_is_nothing_that_somebody_did(ann):
    world.happens(ann, "experiment_exposed", NOW, experiment="holdout:global", arm="treated")
    [told] = timeline(ann.pk).entries
    assert told.by == "us"
    assert "holdout:global" in told.title
    assert not timeline(ann.pk, only="did").entries
