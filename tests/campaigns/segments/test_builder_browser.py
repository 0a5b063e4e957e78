"""A marketer builds a segment by clicking, in a real browser."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from campaigns.models import Segment
from crm import log
from crm.models import Profile

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(live_server, settings):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    cache.clear()
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin", "admin@example.com", "secret"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": 1440, "height": 900}, locale="en"
        )
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
        )
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on(
            "console", lambda message: page.errors.append(message.text) if "Refused" in message.text else None
        )
        page.set_default_timeout(15_000)
        yield page
        browser.close()


@pytest.fixture
def people(transactional_db):
    """Three in Poland, of whom two bought something, one of them long ago; and one buyer elsewhere."""
    now = timezone.now()
    rows = [("Ola", "PL", 3), ("Jan", "PL", 60), ("Ewa", "PL", None), ("Huda", "SA", 2)]
    for name, country, days in rows:
        person = Profile.objects.create(
            first_name=name, country=country, email=f"{name.lower()}@example.com", attributes={"plan": "pro"}
        )
        if days:
            at = now - timedelta(days=days)
            log.append([log.NewEvent(uuid.uuid4(), person.pk, "purchase", at, {"amount": 10 * days}, "test")])


def settled(page) -> None:
    """Wait until the tree is drawn anew."""
    expect(page.locator("#segment-tree.htmx-request")).to_have_count(0)


def test_build_and_save_a_segment(page, people):
    page.goto("/admin/campaigns/segment/add/")
    expect(page.locator(".sg-figure")).to_have_text("4")
    page.fill("#id_name", "Buyers in Poland")
    expect(page.locator("#id_slug")).to_have_value("buyers-in-poland")

    page.get_by_role("button", name="Add: Profile field").click()
    settled(page)
    country = page.get_by_role("group", name="Profile field 1")
    expect(page.locator(".sg-note")).to_contain_text("not finished")
    country.get_by_label("Value").select_option("PL")
    expect(page.locator(".sg-figure")).to_have_text("3")

    page.get_by_role("button", name="Add: Event").click()
    settled(page)
    event = page.get_by_role("group", name="Event 2")
    event.get_by_label("Event", exact=True).select_option("purchase")
    settled(page)
    event.get_by_label("How many").fill("30")
    expect(page.locator(".sg-figure")).to_have_text("1")
    expect(page.locator(".sg-people")).to_contain_text("Ola")
    expect(page.locator(".sg-sentence")).to_contain_text(
        "country is Poland and did “purchase” in the last 30 days"
    )
    expect(country.locator(".sg-count")).to_have_text("3")
    expect(event.locator(".sg-count")).to_have_text("2")

    page.get_by_label("Is this person in it").fill("jan@example.com")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".sg-verdict")).to_have_text("cancelJan is not in.")

    page.get_by_role("button", name="Save segment").click()
    expect(page.get_by_text("“Buyers in Poland” is saved")).to_be_visible()
    assert Segment.objects.get().rule == {
        "all": [
            {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
            {
                "kind": "event",
                "name": "purchase",
                "within": {"last": {"days": 30}},
                "count": {"op": "gte", "value": 1},
            },
        ]
    }
    assert page.errors == []


def test_nested_groups_properties_and_removal(page, people):
    page.goto("/admin/campaigns/segment/add/")
    page.get_by_role("button", name="Add: Group").click()
    settled(page)
    group = page.locator(".sg-group .sg-group")
    group.get_by_role("button", name="Add: Profile field").click()
    settled(page)
    row = group.get_by_role("group", name="Profile field 1")
    row.get_by_label("Comparison").select_option("in")
    settled(page)
    row.locator("summary").click()
    row.get_by_label("Poland").check()
    row.get_by_label("Saudi Arabia").check()
    expect(row.locator("[data-chosen]")).to_have_text("Poland, Saudi Arabia")
    page.keyboard.press("Escape")
    group.get_by_role("button", name="Add: Event").click()
    settled(page)
    event = group.get_by_role("group", name="Event 2")
    event.get_by_label("How often").select_option("never")
    settled(page)
    event.get_by_role("button", name="property").click()
    settled(page)
    event.get_by_label("Property", exact=True).select_option("amount")
    settled(page)
    event.get_by_label("Comparison").select_option("gt")
    settled(page)
    event.get_by_label("Value").fill("100")
    expect(page.locator(".sg-figure")).to_have_text("4")
    group.get_by_role("radio", name="all", exact=True).check()
    settled(page)
    expect(page.locator(".sg-joint")).to_have_text("AND")
    expect(page.locator(".sg-figure")).to_have_text("4")  # the 60 days old purchase lies outside the window
    event.get_by_label("When").select_option("ever")
    settled(page)
    expect(page.locator(".sg-figure")).to_have_text("3")
    row.get_by_role("button", name="Duplicate").click()
    settled(page)
    expect(group.locator(".sg-condition")).to_have_count(3)
    group.get_by_role("button", name="Remove: Profile field 2").click()
    expect(group.locator(".sg-condition")).to_have_count(2)
    assert page.errors == []


def test_mistakes_are_told_beside_the_condition(page, people):
    page.goto("/admin/campaigns/segment/add/")
    page.fill("#id_name", "Unfinished")
    page.get_by_role("button", name="Add: Profile field").click()
    settled(page)
    page.wait_for_selector(".sg-condition")
    page.get_by_role("button", name="Save segment").click()
    expect(page.get_by_role("group", name="Profile field 1")).to_contain_text("A value is missing.")
    expect(page.locator("#id_name")).to_have_value("Unfinished")
    assert not Segment.objects.exists()
