"""A file of events is dropped, tried and imported, in a browser."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import expect

from crm import event_files
from crm.models import Event
from tests.campaigns.admin.browser import opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CSV = b"what,who,when,total\nbought,a@example.com,2026-03-01 10:00,5\nbought,bad,2026-03-01 10:00,7\n"


def test_columns_are_chosen_and_progress_is_shown(transactional_db, live_server):
    admin = User.objects.create_superuser("admin")
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + reverse("admin:crm_event_changelist"))
        page.get_by_test_id("import").click()
        page.wait_for_load_state()
        page.goto(live_server.url + reverse("admin:crm_eventfile_add"))
        page.locator("[name=file]").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": CSV})
        page.get_by_test_id("continue").click()
        page.get_by_text("Choose the column that tells the person").wait_for()
        for column, role in (("what", "name"), ("who", "email"), ("when", "occurred_at")):
            page.get_by_label(column, exact=True).select_option(role)
        expect(page.get_by_test_id("would-stored")).to_have_text("1")
        page.get_by_test_id("start").click()
        expect(page.get_by_test_id("state")).to_have_text("being imported")
        event_files.work()
        expect(page.get_by_test_id("state")).to_have_text("imported")
        expect(page.get_by_test_id("rejected")).to_have_text("1")
    assert Event.objects.count() == 1
