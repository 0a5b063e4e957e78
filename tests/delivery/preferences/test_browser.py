"""The preference page in a real browser without JavaScript, in Arabic on a phone."""

import os
from datetime import time
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from crm import consent, identity, preferences
from crm.models import Profile, Topic
from delivery.models import PreferencePage
from delivery.preferences import tokens
from tests.delivery import world

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
SMALL = """[...document.querySelectorAll('button, select, .choice, input[type=time]')]
    .filter(each => each.getBoundingClientRect().height < 44).length"""


@pytest.fixture
def ann():
    [number] = identity.resolve([identity.Reference(email="ann@example.com")])
    Profile.objects.filter(pk=number).update(language="ar")
    ann = Profile.objects.get(pk=number)
    world.answer(ann, "subscribed", ["email", "webpush"])
    words = {"ar": {"name": "العروض", "description": "تخفيضات كل أسبوع"}, "pl": {"name": "Oferty"}}
    Topic.objects.create(slug="offers", name="Offers", description="What is cheaper", translations=words)
    Topic.objects.create(slug="news", name="News", description="Once a month, from our roastery", position=1)
    PreferencePage.objects.create(
        name="Kahwa", accent="#0b6e4f", texts={"en": {"footer": "Kahwa Ltd, London"}}
    )
    return ann


def picture(page, name):
    """Keep a screenshot when a folder for them is given."""
    if folder := os.environ.get("TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"preferences-{name}.png", full_page=True)


def test_a_person_chooses_and_leaves(live_server, ann):
    url = f"{live_server.url}/p/{tokens.make(ann.pk)}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        phone = browser.new_context(viewport={"width": 360, "height": 740}, java_script_enabled=False)
        page = phone.new_page()
        complaints = []
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.goto(url)
        assert page.locator("html").get_attribute("dir") == "rtl"
        picture(page, "phone-ar")
        page.get_by_label("العروض", exact=False).first.uncheck()
        page.get_by_label("من", exact=True).fill("22:00")
        page.get_by_label("إلى", exact=True).fill("07:00")
        page.get_by_label("أقرأ").select_option("en")
        page.get_by_role("button", name="حفظ تفضيلاتي").click()
        expect(page.get_by_role("status")).to_have_text("Your preferences are saved.")
        assert consent.subscribed([ann.pk], "email", "offers") == set()
        assert preferences.of([ann.pk])[ann.pk].quiet_from == time(22)
        picture(page, "phone-en")
        page.get_by_role("button", name="Unsubscribe from everything").click()
        page.get_by_role("heading", name="You are unsubscribed").wait_for()
        assert consent.subscribed([ann.pk], "email") == set()
        assert not phone.cookies()
        assert not complaints

        for name, scheme, width in (("dark", "dark", 360), ("wide", "light", 1100)):
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme, locale="pl"
            )
            page = context.new_page()
            page.goto(f"{url}?lang=pl")
            assert not page.evaluate(WIDE)
            assert page.evaluate(SMALL) == 0
            picture(page, f"{name}-pl")
            page.goto(f"{url}unsubscribe/?lang=ar")
            assert not page.evaluate(WIDE)
            picture(page, f"{name}-leave-ar")
        browser.close()
