"""nudge.push in Chromium. Its push service cannot be reached, so `pushManager` hands out made-up subscriptions; the
real ones are a matter of the end-to-end test in Firefox."""

import json

import pytest
from playwright.sync_api import BrowserContext, Error, Page

from tests.push.loopthread import WAIT
from tests.sdk.stub import VAPID_KEY, Answer, Stub

pytestmark = pytest.mark.browser
CONFIG = "/api/v1/push/config/"
SUBSCRIPTIONS = "/api/v1/subscriptions/"
OTHER_KEY = (
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"  # RFC 8291, 5
)

# Subscriptions outlive pages, as real ones do; permission prompts and subscriptions are counted.
_FAKE = """
const key = 'fake.subscription';
const read = () => {
  const made = JSON.parse(localStorage.getItem(key));
  return made && {
    endpoint: made.endpoint,
    options: {applicationServerKey: new Uint8Array(made.key).buffer},
    toJSON: () => ({endpoint: made.endpoint, keys: {p256dh: 'p', auth: 'a'}}),
    unsubscribe: async () => { localStorage.removeItem(key); return true; },
  };
};
window.prompts = 0;
Notification.requestPermission = async () => { window.prompts += 1; return window.choice || 'granted'; };
Object.defineProperty(Notification, 'permission', {get: () => window.choice || 'granted'});
PushManager.prototype.getSubscription = async () => read();
PushManager.prototype.subscribe = async ({applicationServerKey, userVisibleOnly}) => {
  if (!userVisibleOnly) throw new Error('userVisibleOnly is demanded');
  const number = Number(localStorage.getItem('fake.count')) + 1;
  localStorage.setItem('fake.count', number);
  const endpoint = 'https://push.example/' + number;
  localStorage.setItem(key, JSON.stringify({endpoint, key: [...applicationServerKey]}));
  return read();
};
"""


@pytest.fixture
def shop(visitor, api: Stub) -> Page:
    """A page of a visitor who has not been asked yet."""
    context: BrowserContext = visitor(locale="pl-PL", timezone_id="Europe/Warsaw")
    context.add_init_script(_FAKE)
    page = context.new_page()
    page.goto(f"{api.origin}/page")
    page.wait_for_function("nudge.anonymousId")
    return page


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("nudge.anonymousId")


def test_nothing_is_asked_or_registered_on_its_own(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.track('x'); nudge.identify({email: 'a@example.com'}); nudge.flush()")
    assert shop.evaluate("nudge.push.state()") == "unsubscribed"
    assert shop.evaluate("prompts") == 0
    assert shop.evaluate("navigator.serviceWorker.getRegistration().then(Boolean)") is False
    assert api.sent(CONFIG) == api.sent(SUBSCRIPTIONS) == []


def test_subscribing(shop: Page, api: Stub) -> None:
    shop.evaluate("window.states = []; nudge.on('push', (state) => states.push(state)); 0")
    assert shop.evaluate("nudge.push.subscribe({topics: ['offers']})") == "subscribed"
    sent = dict(api.sent(SUBSCRIPTIONS)[0].body)
    assert 0 <= sent.pop("agreed_seconds_ago") < WAIT
    assert sent == {
        "profile": {"anonymous_id": shop.evaluate("nudge.anonymousId()")},
        "subscription": {"endpoint": "https://push.example/1", "keys": {"p256dh": "p", "auth": "a"}},
        "language": "pl-PL",
        "timezone": "Europe/Warsaw",
        "topics": ["offers"],
    }
    key = shop.evaluate("JSON.parse(localStorage['fake.subscription']).key")
    assert len(key) == 65
    assert key[0] == 4  # an uncompressed point
    assert shop.evaluate("states") == ["subscribed"]
    assert shop.evaluate("prompts") == 1
    scope = "navigator.serviceWorker.getRegistration().then((r) => [r.scope, r.active.scriptURL])"
    assert shop.evaluate(scope) == [f"{api.origin}/", f"{api.origin}/nudge-sw.js"]


def test_a_refusal_is_a_state_not_an_error(shop: Page, api: Stub) -> None:
    shop.evaluate("window.choice = 'denied'")
    assert shop.evaluate("nudge.push.subscribe()") == "denied"
    shop.evaluate("window.choice = 'default'")
    assert shop.evaluate("nudge.push.subscribe()") == "unsubscribed"
    assert [r.path for r in api.requests if r.path != "/api/v1/inbox/"] == []


def test_the_subscription_follows_the_person(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    shop.evaluate("nudge.identify({email: 'a@example.com'})")
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 2)
    shop.evaluate("nudge.reset()")
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 3)
    first, signed_in, signed_out = [request.body["profile"] for request in api.sent(SUBSCRIPTIONS)]
    assert signed_in == {**first, "email": "a@example.com"}
    assert set(signed_out) == {"anonymous_id"}
    assert signed_out != first


def test_an_old_yes_is_told_as_old(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    shop.evaluate("""(() => {
      const wanted = JSON.parse(localStorage['nudge.push.wanted']);
      localStorage['nudge.push.wanted'] = JSON.stringify({...wanted, at: wanted.at - 3600e3});
    })()""")
    shop.evaluate("nudge.identify({email: 'a@example.com'})")
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 2)
    assert 3600 <= api.sent(SUBSCRIPTIONS)[1].body["agreed_seconds_ago"] < 3600 + WAIT


def test_a_later_page_says_nothing_new(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    reload(shop)
    shop.evaluate("nudge.track('x'); nudge.flush()")
    api.wait(lambda: api.events())
    shop.evaluate("nudge.flush()")
    assert len(api.sent(SUBSCRIPTIONS)) == len(api.sent(CONFIG)) == 1


def test_a_new_server_key_makes_a_new_subscription(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    api.vapid_key = OTHER_KEY
    shop.evaluate("nudge.push.subscribe()")
    endpoints = [request.body["subscription"]["endpoint"] for request in api.sent(SUBSCRIPTIONS)]
    assert endpoints == ["https://push.example/1", "https://push.example/2"]
    assert VAPID_KEY != OTHER_KEY


def test_a_lost_subscription_is_renewed_by_the_next_page(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    shop.evaluate("localStorage.removeItem('fake.subscription')")
    reload(shop)
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 2)
    assert api.sent(SUBSCRIPTIONS)[1].body["subscription"]["endpoint"] == "https://push.example/2"
    assert shop.evaluate("prompts") == 0


def test_a_server_that_is_down_hears_of_it_later(shop: Page, api: Stub) -> None:
    api.answer(SUBSCRIPTIONS, Answer(503))
    assert shop.evaluate("nudge.push.subscribe()") == "subscribed"
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 2)
    first, second = api.sent(SUBSCRIPTIONS)
    ages = [request.body.pop("agreed_seconds_ago") for request in (first, second)]
    assert first.body == second.body
    assert ages[0] < ages[1]


def test_a_refused_subscription_is_undone(shop: Page, api: Stub) -> None:
    api.answer(SUBSCRIPTIONS, Answer(400, {"detail": "unknown push host"}))
    with pytest.raises(Error, match="unknown push host"):
        shop.evaluate("nudge.push.subscribe()")
    assert shop.evaluate("nudge.push.state()") == "unsubscribed"
    shop.evaluate("nudge.flush()")
    assert len(api.sent(SUBSCRIPTIONS)) == 1


def test_without_the_server_key_nothing_is_subscribed(shop: Page, api: Stub) -> None:
    api.answer(CONFIG, Answer(500))
    with pytest.raises(Error, match="push/config"):
        shop.evaluate("nudge.push.subscribe()")
    assert shop.evaluate("nudge.push.state()") == "unsubscribed"


def test_a_revoked_key_takes_nobody_off_the_list(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    api.answer(SUBSCRIPTIONS, Answer(401, {"detail": "revoked"}))
    with shop.expect_console_message(lambda m: "revoked" in m.text):
        shop.evaluate("nudge.identify({email: 'a@example.com'})")
    assert shop.evaluate("nudge.push.state()") == "subscribed"


def test_unsubscribing(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    assert shop.evaluate("nudge.push.unsubscribe()") == "unsubscribed"
    removed = api.sent(SUBSCRIPTIONS)[-1]
    assert (removed.method, removed.body) == ("DELETE", {"endpoint": "https://push.example/1"})
    reload(shop)
    shop.evaluate("nudge.flush()")
    assert len(api.sent(SUBSCRIPTIONS)) == 2


def test_unsubscribing_reaches_a_server_that_was_down(shop: Page, api: Stub) -> None:
    shop.evaluate("nudge.push.subscribe()")
    api.answer(SUBSCRIPTIONS, Answer(503))
    assert shop.evaluate("nudge.push.unsubscribe()") == "unsubscribed"
    api.wait(lambda: len(api.sent(SUBSCRIPTIONS)) == 3)
    assert [request.method for request in api.sent(SUBSCRIPTIONS)] == ["POST", "DELETE", "DELETE"]


def test_a_browser_without_push(visitor, api: Stub) -> None:
    context = visitor()
    context.add_init_script("delete window.PushManager")
    page = context.new_page()
    page.goto(f"{api.origin}/page")
    page.wait_for_function("nudge.anonymousId")
    state = page.evaluate(
        "nudge.push.state().then((state) => [nudge.push.supported(), nudge.push.permission(), state])"
    )
    assert json.dumps(state) == '[false, "unsupported", "unsupported"]'
    with pytest.raises(Error, match="no web push"):
        page.evaluate("nudge.push.subscribe()")
