"""Definitions, charts and the timeline in a real browser."""

import os
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import expect, sync_playwright

from campaigns.segments import list_work
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
    # Today, also in the first hour of the day.
    at = max(lately(hours=1), lately().replace(hour=0, minute=0, second=0, microsecond=0))
    one = world.delivery(world.message(), ann, at=at)
    world.engages(one, "clicked", max(lately(minutes=30), at))
    world.count()
    return one


def picture(page, name: str) -> None:
    """Keep a screenshot when a folder for them is given."""
    if folder := os.environ.get("NUDGE_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


DRAWN = "!!Chart.getChart(document.querySelector('canvas'))"
ASKS = "document.dispatchEvent(new Event('visibilitychange'))"  # as when the tab is looked at again
# Whether a part of a page that refreshes itself is held back: left alone, and with the focus in it.
HELD_BACK = """() => {
    const part = document.createElement("div");
    part.dataset.quietRefresh = "";
    part.innerHTML = "<button>Inside</button>";
    document.getElementById("content-main").append(part);
    const held = () => !part.dispatchEvent(new CustomEvent("htmx:beforeRequest", {bubbles: true, cancelable: true}));
    const alone = held();
    part.firstChild.focus();
    return [alone, held()];
}"""


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
    expect(words).to_contain_text("Accepted by the push service")
    page.keyboard.press("Escape")
    expect(words).to_be_hidden()
    page.locator("h2").first.click()
    name.click()
    expect(words).to_be_visible()
    page.locator("h2").first.click()
    expect(words).to_be_hidden()
    assert page.errors == []


def test_the_home_follows_what_happens_and_leaves_its_reader_alone(page, sent):
    page.goto("/admin/")
    page.wait_for_function(DRAWN)
    page.get_by_text("The same as a table").click()
    table = page.locator("#home details").get_by_role("group")
    table.focus()
    chart = page.locator("#home-canvas")
    page.evaluate("Chart.getChart('home-canvas').mark = 'the same chart'")
    chart.hover()
    pointed = "Chart.getChart('home-canvas').tooltip.getActiveElements().length > 0"
    page.wait_for_function(pointed)
    picture(page, "home")

    world.delivery(sent.message, sent.profile, at=lately())
    world.count()
    page.evaluate(ASKS)
    expect(page.get_by_test_id("figure-sent").locator(".nudge-figure-value")).to_have_text("2")
    expect(table).to_be_focused()
    assert page.evaluate("Chart.getChart('home-canvas').mark") == "the same chart"
    assert page.evaluate("Math.max(...Chart.getChart('home-canvas').data.datasets[0].data)") == 2
    assert page.evaluate(pointed)
    with page.expect_response(lambda answer: answer.status == 304):
        page.evaluate(ASKS)

    choice = page.get_by_test_id("measures").get_by_role("link", name="Clicks")
    choice.click()
    expect(choice).to_have_attribute("aria-current", "true")
    expect(choice).to_be_focused()
    expect(table).to_be_visible()
    assert page.url.endswith("?show=clicked")
    machines = page.get_by_role("switch")
    machines.press("Space")
    expect(machines).to_have_attribute("aria-checked", "true")
    assert page.url.endswith("?show=clicked&machines=1")

    colour = "Chart.getChart('home-canvas').data.datasets[0].borderColor"
    before = page.evaluate(colour)
    page.evaluate("document.documentElement.classList.add('dark')")
    page.wait_for_function(f"{colour} !== '{before}'")
    assert page.evaluate("Object.keys(Chart.instances).length") == 1, "no chart is left behind"
    assert page.errors == []

    assert page.evaluate(HELD_BACK) == [False, True], (
        "a part that is exchanged as a whole waits while it is in use"
    )
    page.route("**/engagement/home/**", lambda route: route.fulfill(status=503))
    page.evaluate(ASKS)
    expect(page.get_by_text("The server does not answer; trying again.")).to_be_visible()
    page.unroute("**/engagement/home/**")
    page.evaluate(ASKS)
    expect(page.get_by_text("The server does not answer; trying again.")).to_have_count(0)


def test_the_way_from_the_home_to_a_persons_why(page, ann, sent):
    for number in range(60):
        world.happens(ann, f"viewed_{number}", lately(days=2, minutes=number))
    page.goto("/admin/")
    page.get_by_test_id("best-messages").get_by_role("link", name="Welcome").click()
    expect(page.get_by_test_id("report-message")).to_be_visible()
    expect(page.get_by_test_id("figure-sent")).to_contain_text("1")
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


def test_the_people_behind_a_number_are_saved_as_a_list_by_keyboard(page, ann, sent):
    page.goto(f"{reverse('admin:report', args=['messages'])}?period=7")
    page.get_by_test_id("messages-welcome").get_by_role("link", name="1", exact=True).first.click()
    menu = page.get_by_test_id("save-list")
    menu.locator("summary").press("Enter")
    picture(page, "people-save")
    name = menu.get_by_label("Name of the list")
    name.fill("Got the welcome")
    name.press("Enter")
    page.wait_for_url("**/lists/jobs/**")
    list_work.work()
    expect(page.get_by_test_id("state")).to_have_text("Done")
    expect(page.get_by_test_id("added")).to_have_text("1")
    page.get_by_test_id("to-list").click()
    expect(page.get_by_role("link", name="Ann Example")).to_be_visible()
    assert page.errors == []


def test_a_report_is_asked_without_leaving_the_page(page, sent):
    page.goto(reverse("admin:report", args=["message"]))
    page.get_by_label("Message", exact=True).select_option("Welcome")
    expect(page.get_by_role("heading", name="Message: Welcome").first).to_be_visible()
    page.goto(reverse("admin:report", args=["messages"]))
    expect(page.get_by_role("button", name="Show")).to_be_hidden()
    page.evaluate("document.body.dataset.same = '1'")
    page.get_by_label("Period", exact=True).select_option("7")
    page.wait_for_url("**/messages/?period=7")
    expect(page.get_by_label("To", exact=True)).to_be_hidden()
    page.get_by_label("Period", exact=True).select_option("custom")
    expect(page.get_by_label("To", exact=True)).to_be_visible()
    page.wait_for_url("**from=**")
    page.locator(".report-more > summary").click()
    page.get_by_label("Channel").select_option("webpush")
    page.wait_for_url("**channel=webpush**")
    page.get_by_role("link", name="Without the filter “Channel”").click()
    page.wait_for_url(lambda address: "channel" not in address)
    page.get_by_label("From").fill("")
    expect(page.locator("#problem-from")).to_contain_text("Write a day")
    page.wait_for_function(DRAWN)
    with page.expect_download() as told:
        page.get_by_role("button", name="PNG").first.click()
    assert told.value.path().read_bytes().startswith(b"\x89PNG")
    assert page.evaluate("document.body.dataset.same") == "1"
    page.go_back()
    page.wait_for_url("**from=**")
    page.wait_for_function("document.body?.dataset.same !== '1' && document.readyState === 'complete'")
    page.get_by_test_id("messages-welcome").locator("a[href*='column=clicked']").first.click()
    expect(page.get_by_test_id("person")).to_have_count(1)
    assert page.errors == []


@pytest.mark.parametrize("path", ["/admin/", "messages", "message", "heat"])
def test_nothing_is_wider_than_a_phone(page, sent, path):
    if not path.startswith("/"):
        more = f"?message={sent.message_id}" if path == "message" else ""
        path = reverse("admin:report", args=[path]) + more
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_role("main")).to_have_count(1)
    assert page.errors == []
