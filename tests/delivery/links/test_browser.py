"""The ledger in a real browser: what is counted and what is being sent arrive after the list."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect, sync_playwright

from delivery.models import Delivery
from tests.delivery import world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_ledger_counts_and_shows_what_is_being_sent(live_server: Any) -> None:
    User.objects.create_superuser("admin", "admin@example.com", "secret")
    message = world.message("sale")
    world.queue(message, [world.person(number) for number in range(3)])
    Delivery.objects.filter(pk=Delivery.objects.earliest("pk").pk).update(state="failed", reason="no")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(
            base_url=live_server.url, viewport={"width": 1280, "height": 800}, locale="en"
        )
        page.set_default_timeout(15_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("/admin/delivery/delivery/")
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", "secret")
        page.press("[name=password]", "Enter")
        expect(page.get_by_test_id("ledger-totals")).to_contain_text("3 in all")
        page.get_by_test_id("ledger-sending").click()
        expect(page.locator("[data-channel=memory]")).to_contain_text("2")
        if shots := os.environ.get("NUDGE_SHOTS"):
            page.screenshot(path=Path(shots) / "ledger.png")
        page.get_by_test_id("resend").click()
        page.get_by_test_id("resend-now").click()
        expect(page.get_by_text("1 message is sent again.")).to_be_visible()
        expect(page.get_by_test_id("ledger-totals")).to_contain_text("4 in all")
        browser.close()
    assert not errors
