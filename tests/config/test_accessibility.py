"""The central pages against axe-core's rules for WCAG 2.1 A and AA: none may break one seriously.

What axe can't see, such as whether a menu opens by keyboard, is tested here for the frame that all pages share, and
beside each page for the rest.
"""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import reverse
from playwright.sync_api import Page, expect

from analytics.models import Goal
from campaigns.flows import editing
from campaigns.models import Broadcast, Experiment, Flow, Segment
from crm import identity
from crm.models import Connection, Profile
from delivery.models import BrandKit, Message, MessageContent
from delivery.preferences import tokens
from tests.analytics import world
from tests.campaigns.admin.browser import opened
from tests.push.requirements import require

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "resultTypes": ["violations"],
    "preload": False,  # it asks for the stylesheets' imports beside the page, where nothing is
}
DARK = "document.documentElement.classList.add('dark')"


def seriously_broken(page: Page) -> list[tuple[str, str, str]]:
    """What a screen reader or weak eyes would stumble over: (rule, element, what is wrong with it)."""
    found: list[dict[str, Any]] = Axe().run(page, options=RULES).response["violations"]
    return [
        (rule["id"], node["html"][:300], node["failureSummary"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.fixture
def pages(transactional_db) -> dict[str, str]:
    """Address by what is there, each page with something on it."""
    [number] = identity.resolve([identity.Reference(email="ann@example.com")])
    ann = Profile.objects.get(pk=number)
    pushed = world.message()
    world.engages(world.delivery(pushed, ann, at=world.lately(hours=1)), "clicked", world.lately(minutes=30))
    world.count()
    mailed = Message.objects.create(slug="letter", name="Letter")
    blocks = [{"kind": "heading", "text": "Hello"}, {"kind": "text", "text": "First"}]
    MessageContent.objects.create(
        message=mailed, channel="email", content={"subject": "Hi", "blocks": blocks}
    )
    BrandKit.load()
    steps = [
        {"key": "w1", "kind": "wait", "config": {"amount": 1, "unit": "days"}},
        {"key": "m1", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}},
    ]
    trigger = {"kind": "event", "name": "push_subscribed"}
    flow = Flow.objects.create(
        slug="f", name="Welcome", draft={**editing.empty(), "trigger": trigger, "steps": steps}
    )
    rule = {
        "all": [
            {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
            {"kind": "event", "name": "purchase"},
        ]
    }
    segment = Segment.objects.create(slug="poles", name="Poles", rule=rule)
    broadcast = Broadcast.objects.create(name="News", message=pushed, channel="webpush", segment=segment)
    Goal.objects.create(slug="order", name="Order", event="purchase")
    Experiment.objects.create(slug="hold", name="Holdout")
    Connection.objects.create(kind="hubspot", name="Shop", slug="shop")
    admin = {
        "home": reverse("admin:index"),
        "report of messages": reverse("admin:report", args=["messages"]),
        "best hours": reverse("admin:report", args=["heat"]),
        "profiles": reverse("admin:crm_profile_changelist"),
        "person": reverse("admin:crm_profile_change", args=[ann.pk]),
        "push": reverse("admin:delivery_message_change", args=[pushed.pk]),
        "email": reverse("admin:delivery_message_change", args=[mailed.pk]),
        "flow": reverse("admin:campaigns_flow_change", args=[flow.pk]),
        "segment": reverse("admin:campaigns_segment_change", args=[segment.pk]),
        "broadcast": reverse("admin:campaigns_broadcast_change", args=[broadcast.pk]),
        "goal": reverse("admin:analytics_goal_add"),
        "connections": reverse("admin:crm_connection_changelist"),
        "deliveries": reverse("admin:delivery_delivery_changelist"),
        "sending rules": reverse("admin:delivery_sendingrules_changelist"),
    }
    return admin | {"preferences": reverse("preferences:page", args=[tokens.make(ann.pk)])}


def test_no_page_keeps_anybody_out(pages, live_server):
    require("chromium")
    wrong = {}
    with (
        override_settings(NUDGE_PUBLIC_URL=live_server.url),
        opened(live_server.url, User.objects.create_superuser("admin")) as page,
    ):
        for name, address in pages.items():
            answer = page.goto(live_server.url + address)
            assert answer is not None
            assert answer.ok, name
            if name == "flow":
                page.get_by_test_id("step-card").first.click()
                page.get_by_test_id("step-form").wait_for()
            elif name == "email":
                page.locator(".eb-head:visible").first.click()
            if broken := seriously_broken(page):
                wrong[name] = broken
            if name in ("flow", "person"):
                page.evaluate(DARK)
                if broken := seriously_broken(page):
                    wrong[f"{name}, dark"] = broken
        page.context.add_cookies(
            [{"name": settings.LANGUAGE_COOKIE_NAME, "value": "ar", "url": live_server.url}]
        )
        page.set_viewport_size({"width": 390, "height": 844})
        for name in ("home", "segment"):
            page.goto(live_server.url + pages[name])
            expect(page.locator("html")).to_have_attribute("dir", "rtl")
            if broken := seriously_broken(page):
                wrong[f"{name}, in Arabic on a phone"] = broken
    assert wrong == {}


def test_the_menus_of_the_theme_answer_the_keyboard(transactional_db, live_server):
    with opened(
        live_server.url,
        User.objects.create_superuser("admin"),
        viewport={"width": 390, "height": 844},
        locale="en",
    ) as page:
        page.goto(live_server.url + reverse("admin:delivery_delivery_changelist"))
        menu = page.get_by_role("button", name="Menu", exact=True)
        sidebar = page.get_by_role("navigation", name="Menu", exact=True)
        menu.press("Enter")
        expect(menu).to_have_attribute("aria-expanded", "true")
        expect(sidebar.locator("a:focus")).to_have_count(1)
        expect(sidebar.locator("[aria-current=page]")).to_have_text(re.compile("Deliveries"))

        settings_ = sidebar.get_by_role("button", name="Settings")
        settings_.press("Enter")
        expect(settings_).to_have_attribute("aria-expanded", "true")
        expect(sidebar.get_by_role("link", name="Audit log", exact=True)).to_be_visible()

        account = sidebar.get_by_role("button", name="admin")
        account.press(" ")
        expect(account).to_have_attribute("aria-expanded", "true")
        expect(sidebar.get_by_role("button", name="Light", exact=True)).to_be_focused()
        page.keyboard.press("Escape")
        expect(account).to_be_focused()
        expect(account).to_have_attribute("aria-expanded", "false")

        sidebar.get_by_role("button", name="Close").press("Enter")
        expect(sidebar).to_be_hidden()
        expect(menu).to_be_focused()

        filters = page.get_by_role("button", name="Filters")
        filters.press("Enter")
        expect(page.locator("#changelist-filter :focus")).to_have_count(1)
        page.keyboard.press("Escape")
        expect(page.locator("#changelist-filter")).to_be_hidden()
        expect(filters).to_be_focused()
