"""From a ready segment to its overview, in a real browser on a phone."""

import uuid

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from campaigns.models import Segment
from campaigns.segments import refresh
from crm import log
from crm.models import Profile

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_ready_segment_is_used_and_looked_at(live_server, settings):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    cache.clear()
    ann, _bob = Profile.objects.create(first_name="Ann"), Profile.objects.create()
    now = timezone.now()
    log.append([log.NewEvent(uuid.uuid4(), ann.pk, "purchase", now, {"total": 30}, "test")])
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin", "admin@example.com", "secret"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": 390, "height": 800}, locale="en"
        )
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
        )
        page, errors = context.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(15_000)
        page.goto("/admin/campaigns/segment/gallery/")
        expect(page.locator("#size-buyers")).to_have_text("1 person")
        page.get_by_role("link", name="Use this: Buyers", exact=True).click()
        expect(page.get_by_label("Name", exact=True)).to_have_value("Buyers")
        assert not Segment.objects.exists()
        page.get_by_role("button", name="Save segment").click()
        expect(page.get_by_text("“Buyers” is saved")).to_be_visible()
        refresh.refresh(Segment.objects.get(slug="buyers"))
        page.get_by_role("link", name="Overview").click()
        expect(page.get_by_test_id("size")).to_have_text("1")
        expect(page.get_by_test_id("state")).to_have_text("up to date")
        page.wait_for_function("() => !!window.Chart?.getChart(document.querySelector('canvas'))")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert errors == []
        browser.close()
