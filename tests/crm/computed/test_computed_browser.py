"""A marketer defines an attribute by its sentence, in a real browser, with the keyboard."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from crm import log
from crm.models import ComputedAttribute, Profile
from tests.campaigns.admin.browser import opened

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def buyers(transactional_db):
    cache.clear()
    now = timezone.now()
    for name, orders in (("Ola", 4), ("هدى", 1), ("Jan", 2)):
        person = Profile.objects.create(first_name=name, email=f"{orders}@example.com")
        log.append(
            [
                log.NewEvent(
                    uuid.uuid4(),
                    person.pk,
                    "purchase",
                    now - timedelta(days=number),
                    {"category": "shoes" if number % 2 == 0 else "hats", "total": 10 * number},
                    "test",
                )
                for number in range(orders)
            ]
        )


def test_a_sentence_is_changed_previewed_and_saved(live_server, settings, buyers):
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    user = User.objects.create_superuser("ana")
    with opened(live_server.url, user, locale="en") as page:
        page.goto(live_server.url + reverse("admin:crm_computedattribute_add"))
        preview = page.locator("#computed-preview")
        expect(preview).to_contain_text("Number of “purchase”")
        page.get_by_label("What to compute").select_option("sum")
        page.locator("[id='d.property']").select_option("total")
        expect(preview).to_contain_text("Sum of total of “purchase”")
        expect(preview.locator("li", has_text="Ola")).to_contain_text("60")
        # What is chosen, typed and pressed while the sentence is drawn anew is not lost.
        waiting, held = [], [True]
        page.route("**/edit/", lambda route: waiting.append(route) if held[0] else route.continue_())
        page.locator("[id='d.add']").press("Enter")
        page.wait_for_function("document.querySelector('#computed-sentence .htmx-request')")
        page.get_by_label("What to compute").select_option("max")
        page.locator("[id='d.days']").fill("60")
        page.locator("[id='d.add']").press("Enter")
        held[0] = False
        for route in waiting:
            route.continue_()
        expect(page.locator("[id='d.where1.property']")).to_be_focused()
        page.get_by_role("button", name="Remove this property").last.click()
        expect(page.locator(".sg-where")).to_have_count(1)
        page.locator("[id='d.where0.property']").select_option("category")
        page.get_by_role("combobox", name="Value").fill(
            "shoes"
        )  # it offers values once the property is known
        expect(preview.locator("li", has_text="Ola")).to_contain_text("20")
        page.get_by_label("Name", exact=True).fill("Spent on shoes")
        expect(page.get_by_label("Short name")).to_have_value("spent_on_shoes")
        page.get_by_role("button", name="Save and compute").press("Enter")
        expect(page.locator("#computed-progress")).to_contain_text("Being computed")
        attribute = ComputedAttribute.objects.get()
        assert attribute.config == {
            "kind": "max",
            "event": "purchase",
            "property": "total",
            "last_days": 60,
            "where": [{"property": "category", "op": "eq", "value": "shoes"}],
        }
        page.set_viewport_size({"width": 390, "height": 900})
        page.context.add_cookies(
            [{"name": settings.LANGUAGE_COOKIE_NAME, "value": "ar", "url": live_server.url}]
        )
        page.goto(live_server.url + reverse("admin:crm_computedattribute_change", args=[attribute.pk]))
        expect(page.locator("#computed-preview li")).to_have_count(3)
        root = "document.documentElement"
        assert page.evaluate(f"{root}.dir") == "rtl"
        assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") <= 0
