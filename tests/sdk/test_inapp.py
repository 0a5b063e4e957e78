"""nudge.js: in-app messages, consent, proofs and links in messages, in Chromium against the stand-in API."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.sdk.stub import Answer, Stub

pytestmark = pytest.mark.browser
INBOX, REPORTS, CONSENTS = "/api/v1/inbox/", "/t/push/", "/api/v1/consents/"
WRONG: list[str] = []
ATTACK = "<img src=x onerror=window.hacked=1>"


def message(**more: Any) -> dict[str, Any]:
    """One message as the server gives it."""
    return {
        "token": "token-1",
        "state": "waiting",
        "expires_at": "2999-01-01T00:00:00Z",
        "locale": "en",
        "title": "Your cart waits",
        "text": "Two beans and a kettle.",
        "button": "Look",
        "url": "/empty",
        "image": "",
        "style": "banner",
        "close": "Close",
        **more,
    }


def opened(context: BrowserContext, api: Stub, query: str = "") -> Page:
    """A page with the SDK, loaded."""
    page = context.new_page()
    page.on("pageerror", lambda error: WRONG.append(str(error)))
    page.on("console", lambda said: WRONG.append(said.text) if "Security Policy" in said.text else None)
    page.goto(f"{api.origin}/page?{query}")
    page.wait_for_function("nudge.anonymousId")
    return page


@pytest.fixture(autouse=True)
def nothing_wrong() -> Iterator[None]:
    """No page broke its policy or had a script fail."""
    WRONG.clear()
    yield
    assert WRONG == []


def reports(api: Stub) -> list[tuple[str, str]]:
    """(token, kind) of what the page told about messages."""
    return [(request.body["token"], request.body["kind"]) for request in api.sent(REPORTS)]


def test_a_banner_under_a_strict_policy(visitor, api: Stub) -> None:
    api.inbox = [message(style="inbox", token="other"), message(title=ATTACK, text=ATTACK)]
    context = visitor()
    page = opened(context, api, "csp")
    page.get_by_role("button", name="Shop").focus()
    banner = page.locator("dialog")
    expect(banner).to_be_visible()
    assert banner.get_by_role("heading").inner_text() == ATTACK
    assert banner.evaluate("box => getComputedStyle(box).position") == "fixed"
    assert page.evaluate("document.activeElement.textContent") == "Shop", "a banner takes no focus"
    api.wait(lambda: reports(api) == [("token-1", "shown")])

    page.reload()  # it stays until it is answered, and is not fetched again at once
    expect(banner).to_be_visible()
    banner.get_by_role("button", name="Close").click()
    expect(banner).to_have_count(0)
    api.wait(lambda: reports(api) == [("token-1", "shown"), ("token-1", "dismissed")])
    page.reload()
    page.wait_for_function("nudge.anonymousId")
    page.evaluate("nudge.flush()")
    assert banner.count() == 0
    assert [one["token"] for one in page.evaluate("nudge.inbox()")] == ["other"]
    assert page.evaluate("window.hacked") is None
    assert len(api.sent(INBOX)) == 1


def test_a_dialog_holds_the_focus_and_gives_it_back(visitor, api: Stub) -> None:
    api.inbox = [
        message(style="modal", locale="ar", title="سلتك بانتظارك", text="حبتان وإبريق", close="أغلق")
    ]
    page = opened(visitor(), api)
    box = page.get_by_role("dialog", name="سلتك بانتظارك")
    expect(box).to_be_visible()
    names = [page.evaluate("document.activeElement.shadowRoot.activeElement.textContent")]
    for _ in range(2):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.shadowRoot?.activeElement?.textContent || ''"))
    assert "Shop" not in names
    assert {"Look", "×"} <= set(names)
    close, title = (box.get_by_role(role).bounding_box() for role in ("button", "heading"))
    assert close["x"] < title["x"] + title["width"] / 2, "Arabic closes on the left"
    page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    api.wait(lambda: reports(api) == [("token-1", "shown"), ("token-1", "dismissed")])


def test_a_click_is_told_and_a_site_may_show_messages_itself(visitor, api: Stub) -> None:
    api.inbox = [message()]
    context = visitor()
    page = opened(context, api)
    page.get_by_role("link", name="Look").click()
    page.wait_for_url("**/empty")
    api.wait(lambda: reports(api) == [("token-1", "shown"), ("token-1", "clicked")])

    api.inbox = [message(token="token-2", url="javascript:alert(1)")]
    before = "nudge.on('inapp', (one) => { window.own = one; return false; });"
    own = opened(visitor(), api, f"before={before}")
    own.wait_for_function("window.own")
    assert own.locator("dialog").count() == 0
    own.evaluate("nudge.report(own, 'clicked')")
    api.wait(lambda: ("token-2", "clicked") in reports(api))
    assert own.evaluate("nudge.inbox().then(([one]) => one.state)") == "clicked"

    leaving = opened(visitor(), api)
    expect(leaving.locator("dialog")).to_be_visible()
    leaving.evaluate("nudge.reset()")
    leaving.get_by_role("button", name="Close").click()
    expect(leaving.locator("dialog")).to_have_count(0)

    foul = opened(visitor(), api)
    expect(foul.locator("dialog")).to_be_visible()
    assert foul.get_by_role("link").count() == 0


def test_consent_is_told_until_it_is_heard(visitor, api: Stub) -> None:
    api.answer(CONSENTS, Answer(503, None, {"Retry-After": "1"}))
    page = opened(visitor(), api)
    page.evaluate("nudge.identify({external_id: 'C-1', proof: 'f00d'})")
    page.evaluate("nudge.consent({channel: 'email', state: 'subscribed', wording: 'May we write?'})")
    api.wait(lambda: len(api.sent(CONSENTS)) == 2)
    first, second = (request.body for request in api.sent(CONSENTS))
    assert first == second
    assert first["profile"] == {
        "anonymous_id": page.evaluate("nudge.anonymousId()"),
        "external_id": "C-1",
        "proof": "f00d",
    }
    [told] = first["consents"]
    assert told.pop("changed_at")
    assert told == {"kind": "channel", "key": "email", "state": "subscribed", "wording": "May we write?"}

    page.evaluate("nudge.consent(false)")
    page.evaluate("nudge.track('unheard')")
    page.evaluate("nudge.consent(true)")
    page.evaluate("nudge.track('heard')")
    api.wait(lambda: [event["name"] for event in api.events()] == ["identified", "heard"])


def test_who_comes_by_a_link_is_told_once(visitor, api: Stub) -> None:
    context = visitor()
    page = opened(context, api, "a=1&nudge_c=c-1.x&b=%20#top")
    assert page.evaluate("location.search + location.hash") == "?a=1&b=%20#top"
    api.wait(lambda: api.events())
    [event] = api.events()
    assert (event["name"], event["properties"]) == ("identified", {"via": "message"})
    assert event["profile"] == {"anonymous_id": page.evaluate("nudge.anonymousId()"), "click": "c-1.x"}
    page.evaluate("nudge.identify({email: 'bob@example.com'}); nudge.flush()")
    page.goto(f"{api.origin}/page?nudge_c=c-2.x")
    page.wait_for_function("nudge.anonymousId")
    assert page.evaluate("location.search") == ""
    page.evaluate("nudge.track('looked')")
    api.wait(lambda: len(api.events()) == 3)
    assert "click" not in str(api.events()[1:]), "a visitor with a name stays who they are"


def test_a_browser_without_keepalive_uses_the_beacon(visitor, api: Stub) -> None:
    context = visitor()
    context.add_init_script("delete Request.prototype.keepalive")
    page = opened(context, api)
    page.evaluate(
        "url => setTimeout(() => { nudge.track('last words'); location.href = url; })", f"{api.origin}/empty"
    )
    page.wait_for_url("**/empty")
    api.wait(lambda: api.sent("/api/v1/events/beacon/"))
    [beacon] = api.sent("/api/v1/events/beacon/")
    opened(context, api)  # it never heard the answer, so it sends once more: the server knows the id
    api.wait(lambda: api.events())
    assert beacon.body["events"] == api.events()
