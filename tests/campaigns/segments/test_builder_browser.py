"""A marketer builds a segment by mouse and keyboard, in a real browser."""

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
            base_url=live_server.url,
            viewport={"width": 1440, "height": 900},
            locale="en",
            reduced_motion="reduce",
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


# What the status line says is soon replaced by the next thing, on a busy machine sooner than a test looks.
EVERYTHING_SAID = """() => {
    const status = document.getElementById("segment-status");
    window.said = [];
    new MutationObserver(() => window.said.push(status.textContent)).observe(status, { childList: true });
}"""


def test_build_undo_drag_and_save(page, people):
    page.goto("/admin/campaigns/segment/add/")
    figure, nodes = page.locator(".sg-figure"), page.locator("[data-node]")
    expect(figure).to_have_text("4")
    page.fill("#id_name", "Buyers in Poland")
    expect(page.locator("#id_slug")).to_have_value("buyers-in-poland")

    # A double click adds one. What is wrong stands beside its input, which gets the focus.
    page.get_by_role("button", name="Add: Profile field").dblclick()
    country = page.get_by_role("group", name="Profile field 1")
    expect(page.locator("#segment-panel")).to_contain_text("Profile field 1 A value is missing.")
    expect(nodes).to_have_count(2)
    page.get_by_role("button", name="Save segment").click()
    expect(page.get_by_text("Not saved yet")).to_be_visible()
    expect(country.get_by_label("Value")).to_be_focused()
    expect(country.get_by_label("Value")).to_have_accessible_description("A value is missing.")
    country.get_by_label("Comparison").select_option("in")
    country.locator("summary", has_text="Choose").click()
    expect(country.locator("[data-filter]")).to_be_focused()
    page.keyboard.type("polan")
    page.keyboard.press("Enter")
    expect(country.locator(".sg-chip")).to_have_text("Poland")
    expect(figure).to_have_text("3")

    page.get_by_role("button", name="Add: Event").click()
    event = page.get_by_role("group", name="Event 2")
    event.get_by_label("How many").fill("30")
    expect(figure).to_have_text("1")
    expect(page.locator(".sg-people")).to_contain_text("Ola")
    expect(page.locator(".sg-sentence")).to_contain_text(
        "country is one of Poland and did “purchase” in the last 30 days"
    )
    expect(page.locator(".sg-funnel li")).to_have_text(
        ["All profiles4", "Country is one of Poland3", "Did “purchase” in the last 30 days1"]
    )
    expect(event.locator(".sg-count")).to_contain_text("2")

    # Undone and done again from the keyboard; dragged into a group, and out of it by the keyboard.
    page.evaluate(EVERYTHING_SAID)
    page.locator("#segment-undo").focus()
    page.keyboard.press("Control+z")
    expect(nodes).to_have_count(2)
    page.keyboard.press("Control+Shift+z")
    expect(nodes).to_have_count(3)
    # Pressed while the tree is still being drawn: done when it is.
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    page.wait_for_function(
        "said.filter((text) => text === document.getElementById('segment-history').dataset.redone).length === 2"
    )
    expect(nodes).to_have_count(3)
    page.locator("#n0 > .sg-inside-list > .sg-adds").get_by_role("button", name="Add: Group").click()
    inner = page.locator(".sg-list .sg-list")
    expect(page.locator("#n3-add-attribute")).to_be_focused()
    drag(page, event.locator(".sg-grip"), inner)
    expect(inner.get_by_role("group", name="Event 1")).to_be_focused()
    page.wait_for_function("said.includes('Now 1 of 1, level 2')")
    page.locator(".sg-list .sg-list .sg-grip").press("ArrowUp")
    expect(page.get_by_role("group", name="Event 2")).to_be_visible()
    page.get_by_role("button", name="Remove: group 3").click()
    expect(nodes).to_have_count(3)

    page.get_by_label("Is this person in it").fill("jan")
    page.get_by_role("button", name="jan@example.com").click()
    expect(page.locator(".sg-verdict")).to_contain_text("Jan is not in.")

    page.locator(".sg-result").get_by_role("button", name="Save segment").click()
    expect(page.get_by_text("“Buyers in Poland” is saved")).to_be_visible()
    assert Segment.objects.get().rule == {
        "all": [
            {"kind": "attribute", "field": "country", "op": "in", "value": ["PL"]},
            {
                "kind": "event",
                "name": "purchase",
                "within": {"last": {"days": 30}},
                "count": {"op": "gte", "value": 1},
            },
        ]
    }
    assert page.errors == []


def test_nothing_typed_or_built_is_lost(page, people):
    """Not what is pressed before the scripts came, typed and chosen while the server draws the tree anew, nor a draft
    when the session ends."""
    page.add_init_script("addEventListener('DOMContentLoaded', () => { window.ready = true; })")
    waiting, held = [], [True]
    page.route("**/segment-builder.js", lambda route: waiting.append(route) if held[0] else route.continue_())
    page.goto("/admin/campaigns/segment/add/", wait_until="commit")
    page.get_by_role("button", name="Add: Event").dblclick()
    assert page.evaluate("window.ready") is None
    held[0] = False
    for route in waiting:
        route.continue_()
    event = page.get_by_role("group", name="Event 1")
    event.get_by_role("button", name="sum, average").click()
    expect(event.get_by_label("Value")).to_be_focused()

    waiting, held = [], [True]
    page.route("**/builder/edit/", lambda route: waiting.append(route) if held[0] else route.continue_())
    event.get_by_label("How often").select_option("never")
    page.wait_for_function("document.querySelector('#segment-tree.htmx-request')")
    event.get_by_label("Value").fill("100")
    event.get_by_label("When").select_option("ever")
    event.get_by_role("button", name="property", exact=True).click()
    held[0] = False
    for route in waiting:
        route.continue_()
    expect(event.get_by_label("How many")).to_have_count(0)
    expect(event.get_by_role("group", name="Property 1")).to_be_visible()
    assert event.get_by_label("Value").first.input_value() == ""
    expect(event.get_by_role("group", name="Figure").get_by_label("Value")).to_have_value("100")
    expect(event.get_by_label("How often")).to_have_value("never")
    expect(event.get_by_label("When")).to_have_value("ever")

    page.fill("#id_name", "Draft")
    cookies = page.context.cookies()
    page.context.clear_cookies(name=cookies[0]["name"])
    event.get_by_label("When").select_option("last")
    page.wait_for_url("**/login/**")
    page.context.add_cookies(cookies)
    page.goto("/admin/campaigns/segment/add/")
    expect(page.locator("#id_name")).to_have_value("Draft")
    expect(event.get_by_role("group", name="Figure").get_by_label("Value")).to_have_value("100")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.goto("/admin/campaigns/segment/")
    assert asked == ["beforeunload"]
    assert page.errors == []


def drag(page, handle, place) -> None:
    """As a hand does it, until it lies there: the place moves while the list makes room."""
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 8, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 16, box["y"] + 24, steps=3)
    for step in range(50):
        box = place.bounding_box()
        page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2, steps=4)
        page.wait_for_timeout(100)
        if step >= 2 and place.locator(".sortable-ghost").count():
            break
    page.mouse.up()
