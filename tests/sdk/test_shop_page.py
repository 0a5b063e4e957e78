"""The demo shop in Chromium, clicked through as a visitor would."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from django.conf import LazySettings
from django.core.handlers.wsgi import WSGIHandler
from playwright.sync_api import BrowserContext, Page, expect

from tests.sdk import urls

pytestmark = pytest.mark.browser


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing: the test says what went wrong."""


@pytest.fixture
def shop(settings: LazySettings, tmp_path: Path) -> Iterator[str]:
    """The shop on a port of its own; returns its address."""
    settings.NUDGE_DEMO = True
    settings.NUDGE_DATA = tmp_path
    settings.ROOT_URLCONF = "tests.sdk.urls"
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    (tmp_path / "demo_browser_key").write_text("pk_shop")
    server = _Server(("127.0.0.1", 0), _Quiet)
    server.set_app(WSGIHandler())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/demo/shop/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def page(visitor: Callable[..., BrowserContext]) -> Iterator[Page]:
    """A visitor's page; an error or a breach of the CSP fails the test."""
    context = visitor(viewport={"width": 390, "height": 844})
    urls.SENT.clear()
    wrong: list[str] = []
    context.add_init_script("""
      window.prompts = 0;
      Notification.requestPermission = async () => { window.prompts += 1; return 'denied'; };
    """)
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    assert wrong == []


def sent(page: Page, count: int) -> list[dict]:
    """What the visitor did, in its order, once `count` events are here. A page that is left sends with `keepalive`,
    which may arrive after what the next page sends, and again if its answer was lost."""
    for _ in range(300):
        once = {event["id"]: event for event in urls.SENT}
        if len(once) >= count:
            break
        page.wait_for_timeout(100)
    return sorted(once.values(), key=lambda event: event["occurred_at"])


def names(page: Page, count: int) -> list[str]:
    """The names of `sent`."""
    return [event["name"] for event in sent(page, count)]


def test_a_visit_from_first_look_to_order(shop: str, page: Page) -> None:
    page.goto(shop)
    expect(page.get_by_test_id("bell")).to_have_attribute("data-state", "unsubscribed")
    expect(page.get_by_test_id("ask")).to_be_hidden()
    page.get_by_test_id("category-coffee").click()
    page.get_by_test_id("product-huila").click()
    expect(page.get_by_test_id("bell")).to_have_attribute("data-state", "unsubscribed")
    expect(page.get_by_test_id("ask")).to_be_hidden()
    page.get_by_test_id("add-to-cart").click()
    expect(page.get_by_test_id("ask")).to_be_visible()
    assert page.evaluate("prompts") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_test_id("ask-later").click()
    page.get_by_test_id("checkout").click()
    page.get_by_test_id("email").fill("amal@example.com")
    page.get_by_test_id("first-name").fill("Amal")
    page.get_by_test_id("place-order").click()
    expect(page.get_by_test_id("order-id")).to_contain_text("K-")
    expect(page.get_by_test_id("bell")).to_have_attribute("data-state", "unsubscribed")
    expect(page.get_by_test_id("ask")).to_be_hidden()  # the answer is remembered
    expected = ["product_viewed", "cart_updated", "identified", "purchase"]
    assert names(page, 4) == expected
    page.reload()
    page.go_back()
    page.goto(shop)
    page.evaluate("nudge.flush()")
    assert names(page, 4) == expected  # a reload orders nothing twice


def test_the_second_product_brings_the_question_and_yes_asks_the_browser(shop: str, page: Page) -> None:
    page.goto(shop + "huila/")
    page.goto(shop + "cezve/")
    expect(page.get_by_test_id("ask")).to_be_visible()
    page.get_by_test_id("ask-yes").click()
    expect(page.get_by_test_id("ask")).to_be_hidden()
    page.wait_for_function("prompts === 1")


def test_signing_in_and_out_by_keyboard(shop: str, page: Page) -> None:
    page.goto(shop)
    page.get_by_test_id("sign-in-open").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("amal@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type("Amal")
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("visitor")).to_contain_text("Amal")
    expect(page.get_by_test_id("ask")).to_be_visible()
    page.get_by_test_id("ask-later").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("ask")).to_be_hidden()
    assert names(page, 1) == ["identified"]
    known = page.evaluate("nudge.anonymousId()")
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("sign-in-open")).to_be_visible()
    page.wait_for_function("known => nudge.anonymousId && nudge.anonymousId() !== known", arg=known)


def test_what_a_page_could_not_tell_the_next_one_tells(shop: str, page: Page) -> None:
    page.goto(shop + "sign-in/")
    page.route("**/nudge.js", lambda route: route.fulfill(body=""))  # as if left before it came
    page.get_by_label("Email", exact=True).fill("amal@example.com")
    page.get_by_label("First name").fill("Amal")
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("visitor")).to_contain_text("Amal")
    page.unroute("**/nudge.js")
    page.goto(shop + "huila/")
    assert names(page, 2) == ["identified", "product_viewed"]
    assert sent(page, 2)[1]["profile"]["email"] == "amal@example.com"
    with page.context.expect_page() as opened:
        page.evaluate("open('/demo/shop/cezve/')")
    expect(opened.value.get_by_test_id("bell")).to_have_attribute("data-state", "unsubscribed")
    assert names(page, 3)[2:] == ["product_viewed"]  # the other tab says nothing twice
