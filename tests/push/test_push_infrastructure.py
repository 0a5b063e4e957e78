"""The browsers show what a sender encrypts: Firefox for the whole way, Chromium for the worker's handlers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.push.chromium import Chromium
from tests.push.client import ClientKeys
from tests.push.firefox import Firefox
from tests.push.requirements import require
from tests.push.screen import xwd_to_png
from tests.push.sender import Sender
from tests.push.service import PushService
from tests.push.site import Site

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def subscription(firefox: Firefox, site: Site, sender: Sender) -> dict:
    """Firefox's subscription after clicks on the page's button and the browser's Allow."""
    firefox.open(f"{site.origin}/?key={sender.public_key}")
    firefox.click("#subscribe")
    firefox.answer_permission_prompt(allow=True)
    firefox.wait_for("document.querySelector('#state').textContent")
    assert firefox.text("#state") == "granted"
    return firefox.evaluate("window.subscription")


class TestFirefox:
    """The last test takes the permission back; the others do not depend on each other."""

    def test_subscribes_at_the_local_service(self, subscription: dict, push_service: PushService) -> None:
        assert subscription["endpoint"].startswith(f"{push_service.origin}/wpush/v2/")
        assert set(subscription["keys"]) == {"p256dh", "auth"}

    def test_types_into_a_field(self, firefox: Firefox, subscription: dict) -> None:
        firefox.fill("#name", "Ada Löfgren")
        assert firefox.evaluate("document.querySelector('#name').value") == "Ada Löfgren"

    def test_shows_a_push_and_opens_its_link(
        self, firefox: Firefox, subscription: dict, push_service: PushService, sender: Sender, site: Site
    ) -> None:
        message = {"title": "Back in stock", "body": "Die Tasse für dich ☕", "icon": "/icon.png"}
        answer = sender.push(subscription, json.dumps(message))
        assert (answer.status_code, answer.headers["TTL"]) == (201, "60")
        shown = firefox.notification("Back in stock")
        assert shown["body"] == "Die Tasse für dich ☕"
        assert shown["icon"].startswith("data:image/png;base64,")
        assert site.origin.removeprefix("http://") in shown["source"]
        version = answer.headers["Location"].rpartition("/")[2]
        assert push_service.acks.wait_for(lambda ack: ack.version == version).code == 100

        page = firefox.tab
        firefox.click_notification("Back in stock")
        report = site.reports.wait_for(lambda report: report["kind"] == "clicked")
        assert report["title"] == "Back in stock"
        assert firefox.switch_to("/landing") == f"{site.origin}/landing"
        assert firefox.wait_for("document.querySelector('h1')?.innerText") == "Landed"
        firefox.tab = page

    def test_reports_dismissal(
        self, firefox: Firefox, subscription: dict, sender: Sender, site: Site
    ) -> None:
        sender.push(subscription, json.dumps({"title": "Dismiss me"}))
        firefox.dismiss_notification("Dismiss me")
        # By title: Firefox sends notificationclose after a click, too.
        assert site.reports.wait_for(lambda r: (r["kind"], r.get("title")) == ("dismissed", "Dismiss me"))
        assert "Dismiss me" not in [shown["title"] for shown in firefox.notifications()]

    def test_keeps_a_push_over_an_outage(
        self, firefox: Firefox, subscription: dict, push_service: PushService, sender: Sender
    ) -> None:
        push_service.stop()
        push_service.start()
        sender.push(subscription, json.dumps({"title": "After the outage"}))
        assert firefox.notification("After the outage")["body"] == ""
        firefox.dismiss_notification("After the outage")

    def test_tells_of_what_it_cannot_decrypt(
        self, firefox: Firefox, subscription: dict, push_service: PushService, sender: Sender
    ) -> None:
        foreign = {"endpoint": subscription["endpoint"], "keys": ClientKeys().to_json()}
        answer = sender.push(foreign, "{}")
        assert answer.status_code == 201
        version = answer.headers["Location"].rpartition("/")[2]
        assert push_service.acks.wait_for(lambda ack: ack.version == version).code == 101

    def test_tells_of_a_failing_worker(
        self, firefox: Firefox, subscription: dict, push_service: PushService, sender: Sender
    ) -> None:
        sender.push(subscription, json.dumps({"fail": True}))
        assert push_service.acks.wait_for(lambda ack: 300 <= ack.code < 400).code == 302

    def test_revoked_permission_ends_the_subscription(
        self, firefox: Firefox, subscription: dict, push_service: PushService, sender: Sender, site: Site
    ) -> None:
        firefox.revoke_notifications(site.origin)
        ended = push_service.registrations.wait_for(lambda registration: registration.code is not None)
        assert (ended.endpoint, ended.code) == (subscription["endpoint"], 202)
        assert sender.push(subscription, "{}").status_code == 410
        firefox.grant_notifications(site.origin)
        change = site.reports.wait_for(lambda report: report["kind"] == "changed")
        assert (change["old"], change["renewed"]) == (subscription["endpoint"], False)


def test_firefox_on_a_screen(push_service: PushService, site: Site, sender: Sender, tmp_path: Path) -> None:
    require("firefox-esr")
    require("Xvfb")
    with Firefox(push_service, headful=True) as firefox:
        firefox.open(f"{site.origin}/?key={sender.public_key}")
        firefox.click("#subscribe")
        firefox.answer_permission_prompt(allow=False)
        assert "NotAllowedError" in firefox.wait_for("document.querySelector('#state').textContent")
        firefox.grant_notifications(site.origin)
        firefox.click("#subscribe")
        sender.push(firefox.wait_for("window.subscription"), json.dumps({"title": "On a screen"}))
        firefox.notification("On a screen")
        firefox.screenshot_screen(tmp_path / "screen.png")
        firefox.screenshot(tmp_path / "page.png")
    for name in ("screen.png", "page.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_foreign_screen_dump_is_refused() -> None:
    with pytest.raises(ValueError, match="version 7"):
        xwd_to_png(bytes(100))


@pytest.fixture(scope="module")
def chromium(site: Site) -> Iterator[Chromium]:
    """Chromium on the site's page, allowed to show notifications."""
    require("chromium")
    with Chromium(grant=[site.origin]) as browser:
        browser.open(f"{site.origin}/")
        yield browser


class TestChromium:
    def test_worker_shows_a_message(self, chromium: Chromium, site: Site) -> None:
        actions = [{"action": "buy", "title": "Buy"}]
        chromium.deliver_push({"title": "From DevTools", "body": "Hello", "tag": "a", "actions": actions})
        shown = chromium.notification("From DevTools")
        assert (shown["body"], shown["tag"], shown["actions"][0]["title"]) == ("Hello", "a", "Buy")
        assert site.reports.wait_for(lambda report: report.get("title") == "From DevTools")["kind"] == "shown"

    def test_worker_opens_the_link_and_closes_the_notification(self, chromium: Chromium, site: Site) -> None:
        chromium.deliver_push({"title": "Click me", "actions": [{"action": "buy", "title": "Buy"}]})
        chromium.notification("Click me")
        result = chromium.click_notification("Click me", action="buy")
        assert result == {"opened": [f"{site.origin}/landing"], "focused": [], "errors": []}
        report = site.reports.wait_for(lambda report: report.get("action") == "buy")
        assert report["title"] == "Click me"
        assert "Click me" not in [shown["title"] for shown in chromium.notifications()]

    def test_worker_reports_dismissal(self, chromium: Chromium, site: Site) -> None:
        chromium.deliver_push({"title": "Close me"})
        chromium.notification("Close me")
        assert chromium.dismiss_notification("Close me")["errors"] == []
        assert site.reports.wait_for(lambda r: (r["kind"], r.get("title")) == ("dismissed", "Close me"))

    def test_clicking_nothing_is_an_error(self, chromium: Chromium) -> None:
        with pytest.raises(LookupError, match="no such notification"):
            chromium.click_notification("Never sent")
