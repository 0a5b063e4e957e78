"""A file is dropped, told about, and tried, in a browser."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from crm.models import Profile
from tests.campaigns.admin.browser import opened
from tests.crm.admin.files import PEOPLE
from tests.crm.admin.pages import page as address

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_file_is_chosen_and_tried(transactional_db, live_server, monkeypatch):
    monkeypatch.setattr("crm.uploads.LIMIT", 1000)
    admin = User.objects.create_superuser("admin")
    with opened(live_server.url, admin) as page:
        page.goto(live_server.url + address("import"))
        file = page.locator("[name=file]")
        file.set_input_files({"name": "all.csv", "mimeType": "text/csv", "buffer": b"x" * 1001})
        page.get_by_text("The file is larger than").wait_for()
        assert file.input_value() == ""
        file.set_input_files({"name": "fair.xlsx", "mimeType": "text/csv", "buffer": b"x"})
        assert page.get_by_label("Encoding of a CSV file").is_hidden()
        file.set_input_files({"name": "fair.csv", "mimeType": "text/csv", "buffer": PEOPLE.encode()})
        page.get_by_text("fair.csv").wait_for()
        page.get_by_test_id("continue").click()
        expect(page.get_by_label("Which column tells the rows apart?")).to_have_value("E-mail")
        page.get_by_test_id("continue").click()
        page.get_by_text("What do the fields").wait_for()
        page.get_by_role("link", name="Try and start").click()
        expect(page.get_by_test_id("would-created")).to_have_text("2")
        page.get_by_text("“nonsense” is not an email address.").wait_for()
    assert not Profile.objects.exists()
