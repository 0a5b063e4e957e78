"""The block editor in a real browser: by keyboard and pointer, with undo, saved as blocks."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect, sync_playwright

from crm import identity
from crm.models import Profile
from delivery.email import images
from delivery.models import BrandKit, MessageContent
from tests.delivery import world
from tests.delivery.email.test_images import picture

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_an_email_is_put_together_of_blocks(
    live_server: Any, client: Any, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT, settings.NUDGE_PUBLIC_URL = tmp_path, live_server.url
    images.store(picture(size=(300, 120)), "cup.png", "A cup")
    BrandKit.load()
    [number] = identity.resolve([identity.Reference(email="ann@example.com")])
    Profile.objects.filter(pk=number).update(first_name="Ann1")
    message = world.message(
        channel="email", content={"subject": "Hi", "blocks": [{"kind": "text", "text": "First"}]}
    )
    client.force_login(User.objects.create_superuser("boss", password="x"))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1500, "height": 1100})
        context.set_default_timeout(30_000)
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{live_server.url}/admin/delivery/message/{message.pk}/change/")
        editor = page.locator(".eb:visible").first
        heads = editor.locator(".eb-head")
        expect(heads).to_have_count(1)
        add = editor.get_by_role("button", name="Add a block here")
        add.first.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowDown")  # from text to heading
        page.keyboard.press("Enter")
        page.keyboard.type("Hello {{ profile.first_name }}")
        page.keyboard.press("Escape")
        expect(heads).to_have_count(2)
        add.last.click()
        editor.get_by_role("menuitem", name="Picture").click()
        editor.get_by_role("button", name="Choose a picture").click()
        editor.get_by_role("dialog").get_by_role("button", name="A cup").click()
        expect(heads).to_have_count(3)
        heads.nth(2).click()
        page.keyboard.press("Alt+ArrowUp")
        expect(heads.nth(1)).to_contain_text("Picture")
        page.keyboard.press("Control+d")
        expect(heads).to_have_count(4)
        page.keyboard.press("Delete")
        page.keyboard.press("Delete")
        expect(heads).to_have_count(2)
        page.keyboard.press("Control+z")
        expect(heads).to_have_count(3)
        heads.first.drag_to(heads.nth(2))
        expect(heads.first).to_contain_text("Picture")
        frame = page.frame_locator(".email-shown-body")
        expect(frame.get_by_role("heading", name="Hello Ann1")).to_be_visible()
        expect(frame.get_by_text("Unsubscribe")).to_be_visible()
        if folder := os.environ.get("TEST_PICTURES"):
            page.screenshot(path=Path(folder) / "email-editor.png")
        page.locator("[name=_continue]").click()
        expect(page.locator(".eb:visible .eb-head")).to_have_count(3)
        browser.close()
    kinds = [block["kind"] for block in MessageContent.objects.get().content["blocks"]]
    assert kinds == ["image", "heading", "text"]
    # htmx complains about its own questions that newer ones have replaced.
    assert not [told for told in complaints if not told.startswith("htmx:")]
