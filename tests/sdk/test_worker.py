"""nudge-sw.js in Chromium: pushes handed to it through the DevTools protocol, clicks and closes as made-up events."""

from collections.abc import Iterator
from datetime import datetime
from time import monotonic
from typing import Any

import pytest

from tests.push.chromium import Chromium
from tests.push.loopthread import WAIT
from tests.push.requirements import require
from tests.sdk.stub import Answer, Stub

pytestmark = pytest.mark.browser
TRACK = "/t/push/"


@pytest.fixture(scope="module")
def chromium(stub: Stub) -> Iterator[Chromium]:
    """A browser whose page has the worker installed."""
    require("chromium")
    with Chromium(grant=[stub.origin]) as browser:
        browser.open(f"{stub.origin}/empty")
        browser.evaluate(
            "navigator.serviceWorker.register('/nudge-sw.js').then(() => navigator.serviceWorker.ready)"
        )
        browser.page.wait_for_function("navigator.serviceWorker.controller")  # clients.claim()
        yield browser


@pytest.fixture
def worker(chromium: Chromium, api: Stub) -> Chromium:
    """The browser with nothing on its screen."""
    chromium.evaluate("""navigator.serviceWorker.ready.then(async (registration) => {
      for (const one of await registration.getNotifications()) one.close();
    })""")
    return chromium


def payload(api: Stub, title: str, **more: Any) -> dict[str, Any]:
    """A push as Nudge sends it."""
    return {
        "title": title,
        "body": "b",
        "token": f"token of {title}",
        "track": f"{api.origin}{TRACK}",
        **more,
    }


def reports(api: Stub) -> list[tuple[str, str]]:
    """What the worker reported: kind and token."""
    return [(request.body["kind"], request.body["token"]) for request in api.sent(TRACK)]


def show(worker: Chromium, api: Stub, title: str, **more: Any) -> None:
    """Delivers a push and returns when it is on the screen and reported."""
    worker.deliver_push(payload(api, title, **more))
    worker.notification(title)
    api.wait(lambda: ("shown", f"token of {title}") in reports(api))


def kept(worker: Chromium) -> int:
    """How many reports wait in the worker's database."""
    count: int = worker.evaluate("""() => new Promise((resolve) => {
      const opening = indexedDB.open('nudge', 1);
      opening.onsuccess = () => {
        const counting = opening.result.transaction('reports').objectStore('reports').count();
        counting.onsuccess = () => { opening.result.close(); resolve(counting.result); };
      };
    })""")
    return count


def until_kept(worker: Chromium, number: int) -> None:
    """Return when so many reports wait."""
    deadline = monotonic() + WAIT
    while kept(worker) != number:
        assert monotonic() < deadline
        worker.page.wait_for_timeout(100)


def test_a_push_is_shown_and_reported(worker: Chromium, api: Stub) -> None:
    parts = {"icon": "/icon.png", "image": "/image.png", "badge": "/badge.png", "tag": "offer"}
    actions = [{"action": "buy", "title": "Buy", "url": "/buy"}, {"title": "no action: left out"}]
    worker.deliver_push(
        payload(api, "Fresh beans", url="/p", data={"n": 1}, renotify=True, actions=actions, **parts)
    )
    shown = worker.notification("Fresh beans")
    assert shown["body"] == "b"
    assert (shown["tag"], shown["renotify"]) == ("offer", True)
    assert [shown[name] for name in ("icon", "image", "badge")] == [
        f"{api.origin}/{name}.png" for name in ("icon", "image", "badge")
    ]
    assert shown["actions"] == [{"action": "buy", "title": "Buy", "icon": ""}]
    assert shown["data"]["data"] == {"n": 1}
    api.wait(lambda: api.sent(TRACK))
    assert reports(api) == [("shown", "token of Fresh beans")]
    assert datetime.fromisoformat(api.sent(TRACK)[0].body["at"]).tzinfo


@pytest.mark.parametrize(
    "data", ["", "not json", '{"title": ', "[]", "null", '"text"', '{"body": "no title"}']
)
def test_whatever_arrives_something_neutral_is_shown(worker: Chromium, api: Stub, data: str) -> None:
    worker.deliver_push(data)
    shown = worker.notification("localhost")
    assert shown["body"] == ""
    assert reports(api) == []


def test_options_a_browser_refuses_do_not_lose_the_words(worker: Chromium, api: Stub) -> None:
    show(worker, api, "Odd", dir="sideways", renotify=True)
    assert worker.notification("Odd")["body"] == "b"


def test_a_click_opens_the_deep_link(worker: Chromium, api: Stub) -> None:
    show(worker, api, "Link", url="/p/1?utm=x", click="c-1.x")
    assert worker.click_notification("Link") == {
        "opened": [f"{api.origin}/p/1?utm=x&nudge_c=c-1.x"],
        "focused": [],
        "errors": [],
    }
    assert worker.notifications() == []
    api.wait(lambda: len(api.sent(TRACK)) == 2)
    assert sorted(reports(api)) == [("clicked", "token of Link"), ("shown", "token of Link")]


def test_a_click_goes_to_the_tab_that_has_it_open(worker: Chromium, api: Stub) -> None:
    show(worker, api, "Open", url="/empty", click="c-1.x")
    assert worker.click_notification("Open")["focused"] == [f"{api.origin}/empty"]


def test_a_button_opens_its_own_address(worker: Chromium, api: Stub) -> None:
    actions = [
        {"action": "buy", "title": "Buy", "url": "https://shop.example/buy"},
        {"action": "more", "title": "More"},
    ]
    show(worker, api, "Buttons", url="/p", actions=actions, click="c-1.x")
    assert worker.click_notification("Buttons", "buy")["opened"] == ["https://shop.example/buy"]
    show(worker, api, "Buttons", url="/p", actions=actions)
    assert worker.click_notification("Buttons", "more")["opened"] == [f"{api.origin}/p"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "http://[", None])
def test_no_click_leads_off_the_web(worker: Chromium, api: Stub, url: str | None) -> None:
    show(worker, api, "Bad", url=url)
    assert worker.click_notification("Bad")["opened"] == [f"{api.origin}/"]


def test_closing_is_a_dismissal_but_not_after_a_click(worker: Chromium, api: Stub) -> None:
    show(worker, api, "Closed")
    worker.dismiss_notification("Closed")
    api.wait(lambda: len(api.sent(TRACK)) == 2)
    assert ("dismissed", "token of Closed") in reports(api)

    show(worker, api, "Clicked")
    worker.worker().evaluate("self.registration.getNotifications().then((all) => { self.kept = all[0]; })")
    worker.click_notification("Clicked")
    worker.worker().evaluate("""async () => {
      const waiting = [];
      const event = new NotificationEvent('notificationclose', {notification: self.kept});
      Object.defineProperty(event, 'waitUntil', {value: (promise) => waiting.push(promise)});
      self.dispatchEvent(event);
      await Promise.all(waiting);
    }""")
    assert [kind for kind, token in reports(api) if token == "token of Clicked"] == ["shown", "clicked"]


def test_a_failed_report_is_tried_again(worker: Chromium, api: Stub) -> None:
    api.answer(TRACK, Answer(503))
    worker.deliver_push(payload(api, "Again"))
    api.wait(lambda: len(api.sent(TRACK)) == 2)
    first, second = api.sent(TRACK)
    assert first.body == second.body


def test_a_report_that_keeps_failing_is_sent_with_the_next_push(worker: Chromium, api: Stub) -> None:
    api.answer(TRACK, *[Answer(503)] * 3)
    worker.deliver_push(payload(api, "Kept"))
    api.wait(lambda: len(api.sent(TRACK)) == 3)
    until_kept(worker, 1)
    worker.deliver_push(payload(api, "Next"))
    api.wait(lambda: len(api.sent(TRACK)) == 5)
    assert sorted(reports(api)[3:]) == [("shown", "token of Kept"), ("shown", "token of Next")]
    until_kept(worker, 0)


def test_a_report_is_kept_until_it_has_its_answer(worker: Chromium, api: Stub) -> None:
    api.answer(TRACK, *[Answer(503)] * 3)
    worker.deliver_push(payload(api, "Slow"))
    api.wait(lambda: len(api.sent(TRACK)) == 3)
    until_kept(worker, 1)
    api.delay = WAIT
    worker.deliver_push("no report of its own")
    api.wait(lambda: len(api.sent(TRACK)) == 4)
    assert kept(worker) == 1  # a worker that is stopped here has lost nothing
    api.delay = 0
    until_kept(worker, 0)


def test_a_refused_report_is_not_repeated(worker: Chromium, api: Stub) -> None:
    api.answer(TRACK, Answer(400), Answer(503))
    worker.deliver_push(payload(api, "Refused"))
    api.wait(lambda: api.sent(TRACK))
    worker.deliver_push(payload(api, "After"))
    api.wait(
        lambda: reports(api).count(("shown", "token of After")) == 2
    )  # by then the other would be repeated too
    assert reports(api).count(("shown", "token of Refused")) == 1


def test_a_changed_subscription_is_renewed_with_the_same_options(worker: Chromium, api: Stub) -> None:
    subscribed_with = worker.worker().evaluate("""async () => {
      const waiting = [];
      let options;
      const registration = self.registration;
      registration.pushManager.subscribe = async (given) => {
        options = given;
        return {toJSON: () => ({endpoint: 'https://push.example/new', keys: {}})};
      };
      const key = new Uint8Array([4, 1, 2]).buffer;
      const event = Object.assign(new Event('pushsubscriptionchange'), {
        oldSubscription: {endpoint: 'https://push.example/old', options: {applicationServerKey: key}},
        newSubscription: null,
        waitUntil: (promise) => waiting.push(promise),
      });
      self.dispatchEvent(event);
      await Promise.all(waiting);
      return {userVisibleOnly: options.userVisibleOnly, key: [...new Uint8Array(options.applicationServerKey)]};
    }""")
    assert subscribed_with == {"userVisibleOnly": True, "key": [4, 1, 2]}
    assert [request.body for request in api.sent("/t/push/changed/")] == [
        {
            "old_endpoint": "https://push.example/old",
            "subscription": {"endpoint": "https://push.example/new", "keys": {}},
        }
    ]


def test_a_subscription_that_ended_is_told_as_such(worker: Chromium, api: Stub) -> None:
    worker.worker().evaluate("""async () => {
      const waiting = [];
      self.dispatchEvent(Object.assign(new Event('pushsubscriptionchange'), {
        oldSubscription: {endpoint: 'https://push.example/old', options: {}},
        newSubscription: null,
        waitUntil: (promise) => waiting.push(promise),
      }));
      await Promise.all(waiting);
    }""")
    assert api.sent("/t/push/changed/")[0].body == {
        "old_endpoint": "https://push.example/old",
        "subscription": None,
    }
