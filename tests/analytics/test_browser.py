"""Definitions, charts and the timeline in a real browser."""

import os
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import expect, sync_playwright

from tests.analytics import world
from tests.analytics.world import lately

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(live_server):
    get_user_model().objects.create_superuser("admin", "admin@example.com", "secret")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": 1280, "height": 900}, locale="en"
        )
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda told: page.errors.append(told.text) if told.type == "error" else None)
        page.set_default_timeout(15_000)
        page.goto("/admin/")
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", "secret")
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/admin/")
        yield page
        browser.close()


@pytest.fixture
def ann():
    return world.person(first_name="Ann", last_name="Example")


@pytest.fixture
def sent(ann):
    one = world.delivery(world.message(), ann, at=lately(hours=1))
    world.engages(one, "clicked", lately(minutes=30))
    world.count()
    return one


def picture(page, name: str) -> None:
    """Keep a screenshot when a folder for them is given."""
    if folder := os.environ.get("NUDGE_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


DRAWN = "!!Chart.getChart(document.querySelector('canvas[data-nudge-chart]'))"
# Whether the part that refreshes itself would be held back now.
HELD_BACK = """() => !document.getElementById("home-live").dispatchEvent(
    new CustomEvent("htmx:beforeRequest", {bubbles: true, cancelable: true})
)"""


def test_definitions_open_by_mouse_keyboard_and_tap(page, sent):
    page.goto("/admin/")
    name = page.get_by_test_id("figure-sent").get_by_role("button", name="Sent")
    words = page.get_by_test_id("figure-sent").get_by_role("tooltip")
    expect(words).to_be_hidden()
    name.hover()
    expect(words).to_be_visible()
    box = words.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    page.mouse.move(5, 400)
    expect(words).to_be_hidden()
    name.focus()
    expect(words).to_contain_text("accepted by push services")
    page.keyboard.press("Escape")
    expect(words).to_be_hidden()
    page.locator("h2").first.click()
    name.click()
    expect(words).to_be_visible()
    page.locator("h2").first.click()
    expect(words).to_be_hidden()
    assert page.errors == []


def test_the_chart_survives_refreshes_and_theme_changes(page, sent):
    page.goto("/admin/")
    page.wait_for_function(DRAWN)
    page.evaluate("document.getElementById('home-live').dataset.old = '1'")
    world.delivery(sent.message, sent.profile, at=lately())
    world.count()
    with page.expect_response(lambda response: "period=30" in response.url):
        page.evaluate(
            "htmx.ajax('GET', '/admin/?period=30', {target: '#home-live', select: '#home-live', swap: 'outerHTML'})"
        )
    expect(page.locator("#home-live:not([data-old])")).to_have_count(1)
    expect(page.get_by_test_id("figure-sent").locator(".nudge-figure-value")).to_have_text("2")
    page.wait_for_function(DRAWN)
    colour = "Chart.getChart(document.querySelector('canvas[data-nudge-chart]')).data.datasets[0].borderColor"
    before = page.evaluate(colour)
    page.evaluate("document.documentElement.classList.add('dark')")
    page.wait_for_function(f"{colour} !== '{before}'")
    assert page.evaluate("Object.keys(Chart.instances).length") == 1, "no chart is left behind"
    table = page.get_by_text("The same as a table")
    table.click()
    expect(page.locator(".nudge-more tbody tr")).to_have_count(1)
    assert page.errors == []


def test_a_refresh_leaves_its_reader_alone(page, sent):
    page.goto("/admin/")
    page.get_by_text("The same as a table").click()
    page.mouse.move(1, 1)
    assert page.evaluate(HELD_BACK), "a table is open"
    page.get_by_text("The same as a table").click()
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    assert not page.evaluate(HELD_BACK)
    page.get_by_test_id("figure-sent").get_by_role("button").focus()
    assert page.evaluate(HELD_BACK), "something in it has the focus"


def test_the_way_from_the_home_to_a_persons_why(page, ann, sent):
    for number in range(60):
        world.happens(ann, f"viewed_{number}", lately(days=2, minutes=number))
    page.goto("/admin/")
    page.get_by_test_id("best-messages").get_by_role("link", name="Welcome").click()
    expect(page.get_by_test_id("message-report")).to_be_visible()
    expect(page.get_by_test_id("term-sent")).to_contain_text("1")
    page.wait_for_function(DRAWN)
    picture(page, "message_report")
    page.goto(f"/admin/crm/profile/{ann.pk}/change/")
    story = page.get_by_test_id("timeline")
    entry = story.locator("[data-event=message_sent]")
    entry.get_by_text("Why?").focus()
    page.keyboard.press("Enter")
    expect(entry.get_by_test_id("why")).to_contain_text("asked for over the API")
    picture(page, "timeline")
    expect(story.get_by_test_id("entry")).to_have_count(50)
    story.get_by_test_id("timeline-earlier").focus()
    page.keyboard.press("Enter")
    expect(story.get_by_test_id("entry")).to_have_count(63)
    assert page.errors == []


def test_a_lost_session_leads_to_the_login(page, ann, sent):
    for number in range(60):
        world.happens(ann, f"viewed_{number}", lately(days=2, minutes=number))
    page.goto(f"/admin/crm/profile/{ann.pk}/change/")
    earlier = page.get_by_test_id("timeline-earlier")
    expect(earlier).to_be_visible()
    Session.objects.all().delete()
    earlier.click()
    page.wait_for_url("**/admin/login/**")
    assert f"next=%2Fadmin%2Fcrm%2Fprofile%2F{ann.pk}%2Fchange%2F" in page.url


@pytest.mark.parametrize("path", ["/admin/", "reports_messages", "reports_message", "reports_flows"])
def test_nothing_is_wider_than_a_phone(page, sent, path):
    if not path.startswith("/"):
        path = reverse(f"admin:{path}", args=[sent.message_id] if path == "reports_message" else [])
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_role("main")).to_have_count(1)
    assert page.errors == []
