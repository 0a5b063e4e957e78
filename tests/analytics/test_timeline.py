"""One person's story."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from analytics.reports.timeline import timeline
from campaigns.models import Decision, Enrollment, Flow, FlowVersion
from crm import consent, log
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
    sent = world.delivery(
        world.message(), ann, cause=f"flow:{run.pk}:m", origin_type="flow", origin_id=flow.pk, origin_step="m"
    )
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
        sent = world.delivery(world.message(), ann, "suppressed")
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
