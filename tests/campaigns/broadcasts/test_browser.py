"""A broadcast from its form to its end in a browser."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from campaigns import broadcasts
from campaigns.models import Broadcast, Segment
from delivery.models import Message, MessageContent
from tests.campaigns.admin.browser import opened
from tests.delivery import world

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_from_the_form_to_the_end(transactional_db, live_server):
    admin = User.objects.create_superuser("admin")
    message = Message.objects.create(slug="news", name="News")
    MessageContent.objects.create(message=message, channel="inapp", content={"title": "Hi", "body": "There"})
    Segment.objects.create(slug="all", name="All", rule={"all": []})
    world.person(1, agrees=False)
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:campaigns_broadcast_add"))
        expect(page.get_by_label("Last day")).to_be_hidden()
        page.get_by_label("When", exact=True).select_option("at")
        expect(page.locator("[name=day]")).to_be_visible()
        page.get_by_label("When", exact=True).select_option("now")
        expect(page.locator("[name=day]")).to_be_hidden()
        page.get_by_label("Name").fill("News")
        page.get_by_label("Message").select_option("News")
        page.get_by_label("Channel").select_option("inapp")
        page.get_by_label("Segment").select_option("All")
        page.get_by_role("button", name="Save and continue editing").click()
        page.get_by_test_id("broadcast-launch").click()
        expect(page.get_by_test_id("launch-size")).to_have_text("1")
        page.get_by_role("button", name="Launch now").click()
        expect(page.get_by_test_id("broadcast-countdown")).to_be_visible()
        page.get_by_test_id("broadcast-pause").press("Enter")
        expect(page.get_by_test_id("broadcast-state")).to_have_text("Paused")
        page.get_by_test_id("broadcast-resume").press("Enter")
        expect(page.get_by_test_id("broadcast-state")).to_have_text("Scheduled")
        Broadcast.objects.update(starts_at=timezone.now())
        broadcasts.work()
        expect(page.get_by_test_id("broadcast-state")).to_have_text("Sending")  # by itself
        expect(page.get_by_test_id("broadcast-figures")).to_contain_text("waiting")
