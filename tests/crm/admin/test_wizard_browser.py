"""A marketer connects the HubSpot sandbox by clicking, from the empty list to profiles."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from crm.models import Connection, Profile
from crm.sandbox import faults
from crm.sync.engine import run
from tests.campaigns.admin.browser import opened
from tests.crm.admin.pages import page as address

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def admin(transactional_db) -> User:
    return User.objects.create_superuser("admin")


def onwards(page) -> None:
    page.get_by_test_id("continue").click()


def test_hubspot_is_connected_by_clicking(sandbox, admin, live_server):
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + address("add"))
        page.get_by_test_id("kind-hubspot").click()

        expect(page.get_by_label("Access by")).to_be_visible()
        expect(page.get_by_label("Refresh token")).to_be_hidden()
        page.get_by_label("Access by").select_option("oauth")
        page.get_by_label("Refresh token").wait_for()
        page.get_by_label("Access by").select_option("private")
        page.get_by_label("Account", exact=False).first.select_option("sandbox")
        page.get_by_role("button", name="Test connection").click()
        page.get_by_text("Fill in first: Access token.").wait_for()
        page.get_by_label("Access token").fill("pat-anything")
        page.get_by_role("button", name="Test connection").click()
        page.get_by_text("120 contacts can be read").wait_for()
        sandbox.control.faults = faults.parse([{"path": ".", "status": 401}])
        onwards(page)
        expect(page.get_by_text("HubSpot refused the credentials")).to_be_in_viewport()
        expect(page.get_by_label("Access token")).to_have_value("pat-anything")
        sandbox.control.faults = []
        onwards(page)

        page.get_by_label("Deals").check()
        onwards(page)

        search = page.get_by_role("searchbox", name="Search fields")
        search.fill("job")
        expect(page.locator("#map-email")).to_be_hidden()
        expect(page.locator("#map-jobtitle")).to_be_visible()
        search.fill("newsletter")
        consent = page.locator("#map-newsletter_opt_in")
        consent.select_option("consent:channel:email:inverted")
        page.get_by_text("A yes means: send nothing.").locator("visible=true").wait_for()
        expect(page.locator("[name=win-newsletter_opt_in]")).to_be_hidden()
        search.fill("")
        page.locator("[name=win-city]").select_option("ours")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_test_id("preview")).to_have_count(10)
        onwards(page)

        page.get_by_label("If the field").select_option("dealstage")
        page.get_by_label("closedwon").check()
        onwards(page)

        expect(page.get_by_test_id("preview")).to_have_count(10)
        onwards(page)
        expect(page.get_by_test_id("preview")).to_have_count(10)
        onwards(page)

        page.get_by_label("Lifecycle stage").wait_for()
        page.get_by_label("opened a message").check()
        onwards(page)

        expect(page.get_by_test_id("summary")).to_contain_text("A purchase is what has dealstage = closedwon")
        assert Connection.objects.get().state == "draft"
        page.get_by_test_id("start").click()
        expect(page.get_by_test_id("sync-state")).to_have_text("waiting")

        connection = Connection.objects.get()
        mapping = connection.mapping["contacts"]
        assert mapping["consent"]["newsletter_opt_in"] == {
            "kind": "channel",
            "key": "email",
            "inverted": True,
        }
        assert mapping["ours"] == ["city"]
        assert mapping["activities"] == ["message_opened"]
        assert connection.mapping["deals"]["won"] == {"field": "dealstage", "equals": "closedwon"}

        run(connection)  # what the worker does; the page notices by itself
        expect(page.get_by_test_id("sync-state")).to_have_text("up to date")
        people = f"{Profile.objects.count()}"
        expect(page.get_by_test_id("records-contacts")).to_have_text(people)
