"""A marketer tries a draft with one person and on the past."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import expect

from campaigns.flows import backtest
from campaigns.models import Flow
from tests.campaigns.admin.browser import opened
from tests.campaigns.flows.test_backtest import shop  # noqa: F401 - a fixture

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_draft_is_tried_with_one_person_and_on_the_past(shop, live_server):  # noqa: F811
    flow = Flow.objects.get()
    with opened(
        live_server.url, User.objects.create_superuser("admin"), viewport={"width": 390, "height": 844}
    ) as page:
        page.goto(live_server.url + reverse("admin:campaigns_flow_walkthrough", args=[flow.pk]))
        page.get_by_test_id("walk-person").fill("ann")
        page.get_by_test_id("walk-person").press("Enter")
        expect(page.get_by_test_id("walk-stop")).to_have_count(3)
        expect(page.get_by_test_id("walk-message")).to_contain_text("Would be sent")
        page.get_by_label("else", exact=True).focus()
        page.keyboard.press("Space")
        expect(page.get_by_test_id("walk-stop")).to_have_count(2)
        expect(page.get_by_label("else", exact=True)).to_be_focused()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

        page.goto(live_server.url + reverse("admin:campaigns_flow_backtest", args=[flow.pk]))
        page.get_by_test_id("backtest-start").click()
        expect(page.get_by_test_id("backtest-cancel")).to_be_visible()
        backtest.work()
        expect(page.get_by_test_id("backtest-figures")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
