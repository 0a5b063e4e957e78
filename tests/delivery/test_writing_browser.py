"""A marketer writes a message by mouse and keyboard, in a real browser."""

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from playwright.sync_api import expect, sync_playwright

from crm.models import Identifier
from delivery import dispatch
from delivery.models import Account, Message
from tests.delivery import world

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
            viewport={"width": 1440, "height": 1000},
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


def test_a_message_is_written_with_what_is_offered(page) -> None:
    for number, language in enumerate(["en", "ar", "ar", "pl"], 1):
        ann = world.person(number, language=language, country="SA")
        Identifier.objects.create(kind="email", value=ann.email, profile=ann)
    page.goto("/admin/delivery/message/add/")
    page.locator("#id_name").fill("Welcome")
    page.locator("#id_slug").fill("welcome")
    title = page.locator("[name=contents-webpush-0-title]")
    title.click()
    title.press_sequentially("Hi {{ first_n")
    option = page.get_by_role("option", name="profile.first_name")
    expect(option).to_have_attribute("aria-selected", "true")
    title.press("Enter")
    expect(title).to_have_value("Hi {{ profile.first_name }}")
    expect(page.locator("#message-preview")).to_contain_text("Hi Ann")
    before = page.locator("#message-preview .notification-title").inner_text()
    page.get_by_role("button", name="The next person").click()
    expect(page.locator("#message-preview .notification-title")).not_to_have_text(before)

    page.locator("#words-webpush [data-add-language-menu] summary").click()
    page.locator("[data-add-language-menu] [data-add-language=ar]:visible").click()
    page.locator("[name=contents-webpush-1-title]").fill("Hello مرحبا")
    expect(page.locator(".writing-notes:visible").first).to_contain_text("left to right")

    page.get_by_role("button", name="Add a variant").click()
    expect(page.locator("[data-words]:visible")).to_have_count(2)
    page.locator("[name=contents-webpush-3-title]").fill("أهلا")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/message/")
    contents = Message.objects.get().contents.all()
    assert {(each.variant, each.locale): each.content["title"] for each in contents} == {
        ("a", ""): "Hi {{ profile.first_name }}",
        ("a", "ar"): "Hello مرحبا",
        ("b", ""): "Hi {{ profile.first_name }}",
        ("b", "ar"): "أهلا",
    }
    assert not page.errors


def test_what_was_sent_and_a_list_of_it_fit_a_phone(page) -> None:
    Account.objects.create(name="Mail", slug="mail", channel="email", provider="sandbox")
    ann = world.person(1, channels=["email"])
    html = '<p>Hello</p><a href="https://shop.example.com/a-long-way/to/what-is-on-offer-today">Look</a>'
    message = world.message("letter", "email", {"subject": "Hello", "html": html})
    [delivery] = world.queue(message, [ann], "email")
    dispatch.run(world.NOW)
    page.set_viewport_size({"width": 390, "height": 844})
    for address in (f"{delivery.pk}/change/", ""):
        page.goto(f"/admin/delivery/delivery/{address}")
        expect(page.get_by_text("letter").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if address:
            frame = page.locator("iframe.email-shown-body").bounding_box()
            assert frame["height"] > 400
            assert frame["x"] >= 0
            assert frame["x"] + frame["width"] <= 390
            expect(page.frame_locator("iframe.email-shown-body").get_by_text("Hello")).to_be_visible()
    assert page.errors == []


def test_words_are_not_left_unsaved_unasked_and_a_message_is_copied(page) -> None:
    message = world.message("welcome", "webpush", {"title": "Hello"}, name="Welcome")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(f"/admin/delivery/message/{message.pk}/change/")
    page.locator("[name=contents-webpush-0-title]").fill("Not saved")
    page.get_by_text("Sending rules", exact=True).last.click()
    page.get_by_role("button", name="Rules of this message").click()
    expect(page.locator("[name=contents-webpush-0-title]")).to_have_value("Not saved")
    assert ["not saved yet" in each for each in asked] == [True]

    page.locator("[name=contents-webpush-0-title]").fill("Hello")
    page.get_by_role("button", name="Save and continue editing").click()
    page.wait_for_load_state()
    page.locator(f"[hx-get*='/{message.pk}/duplicate/']:visible").first.click()
    dialog = page.locator("#dialog")
    expect(dialog.locator("[name=copy_name]")).to_have_value("Copy of Welcome")
    dialog.locator("button[type=submit]").click()
    expect(page.locator("#id_name")).to_have_value("Copy of Welcome")
    expect(page.locator("[name=contents-webpush-0-title]")).to_have_value("Hello")
    assert Message.objects.get(slug="copy-of-welcome").contents.get().content["title"] == "Hello"
    assert not page.errors
