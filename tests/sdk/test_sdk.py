"""nudge.js in Chromium against the stand-in API: what arrives, once, in order, whatever the network does."""

import gzip
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.sdk.stub import KEY, Answer, Stub

pytestmark = pytest.mark.browser
EVENTS = "/api/v1/events/"
QUEUED = "Object.keys(localStorage).filter((key) => key.startsWith('nudge.event.')).length"
TRACK_MANY = "count => { for (let i = 0; i < count; i++) nudge.track('step', {i}); }"


def opened(context: BrowserContext, api: Stub, query: str = "") -> Page:
    """A page with the SDK, loaded."""
    page = context.new_page()
    page.goto(f"{api.origin}/page?{query}")
    return page


def test_it_is_small(client) -> None:
    served = client.get("/sdk/nudge.js", headers={"Accept-Encoding": "br, gzip"})
    assert served["Content-Encoding"] == "gzip"
    assert len(served.content) < 6000
    assert b"anonymous_id" in gzip.decompress(served.content)


def test_calls_made_before_it_loads_are_kept_in_order(visitor, api: Stub) -> None:
    before = """
      nudge.track('first', {n: 1});
      nudge.identify({email: 'a@example.com'}, {first_name: 'Amal'});
      nudge.page();
    """
    page = opened(visitor(), api, f"before={quote(before)}")
    api.wait(lambda: len(api.events()) == 3)

    first, identified, viewed = api.events()
    anonymous = page.evaluate("nudge.anonymousId()")
    assert [e["name"] for e in api.events()] == ["first", "identified", "page_viewed"]
    assert first["profile"] == {"anonymous_id": anonymous}
    assert first["properties"] == {"n": 1}
    assert identified["profile"] == viewed["profile"] == {"anonymous_id": anonymous, "email": "a@example.com"}
    assert identified["properties"] == {"traits": {"first_name": "Amal"}}
    assert viewed["properties"]["path"] == "/page"
    assert all(uuid.UUID(event["id"]).version == 4 for event in api.events())
    assert abs(datetime.fromisoformat(first["occurred_at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert api.sent(EVENTS)[0].headers["authorization"] == f"Bearer {KEY}"


def test_it_leaves_no_global_but_its_own(visitor, api: Stub) -> None:
    page = opened(visitor(), api, "bare")
    page.wait_for_function("nudge.anonymousId")
    elsewhere = visitor().new_page()
    elsewhere.goto(f"{api.origin}/empty")
    names = "Object.getOwnPropertyNames(window).filter((name) => isNaN(name))"
    assert set(page.evaluate(names)) - set(elsewhere.evaluate(names)) == {"nudge"}


def test_init_instead_of_attributes(visitor, api: Stub) -> None:
    page = opened(visitor(), api, "bare")
    page.wait_for_function("nudge.anonymousId")
    page.evaluate("nudge.track('early')")
    page.evaluate("api => nudge.init({key: 'pk_other', api: api + '/'})", api.origin)
    api.wait(lambda: api.events())
    assert api.events()[0]["name"] == "early"
    assert api.sent(EVENTS)[0].headers["authorization"] == "Bearer pk_other"


def test_a_retry_repeats_ids_and_times(visitor, api: Stub) -> None:
    api.answer(EVENTS, Answer(503))
    page = opened(visitor(), api)
    page.evaluate("nudge.track('purchase', {total: 12.5})")
    api.wait(lambda: len(api.batches()) == 2)
    first, second = api.batches()
    assert first == second
    page.wait_for_function(f"{QUEUED} === 0")


def test_a_server_that_dies_with_the_request_gets_it_again(visitor, api: Stub) -> None:
    api.answer(EVENTS, Answer(0), Answer(0))
    page = opened(visitor(), api)
    page.evaluate("nudge.track('purchase', {total: 12.5})")
    page.wait_for_function(f"{QUEUED} === 0")
    first, *more = api.batches()
    assert more
    assert all(batch == first for batch in more)


def test_retry_after_is_respected(visitor, api: Stub) -> None:
    api.answer(EVENTS, Answer(429, {"detail": "slow down"}, {"Retry-After": "2"}))
    page = opened(visitor(), api)
    page.evaluate("nudge.track('one')")
    api.wait(lambda: api.batches())
    page.evaluate("nudge.flush()")
    page.evaluate("nudge.track('two')")
    api.wait(lambda: len(api.batches()) >= 2)
    first, second = api.sent(EVENTS)[:2]
    assert second.at - first.at > 1.9
    assert [e["name"] for e in second.body["events"]] == ["one", "two"]


def test_refused_for_good_is_dropped_and_said(visitor, api: Stub) -> None:
    api.answer(EVENTS, Answer(403, {"detail": "this key may not write events"}))
    page = opened(visitor(), api)
    with page.expect_console_message(lambda m: m.type == "warning") as warning:
        page.evaluate("nudge.track('lost')")
    assert "403" in warning.value.text
    assert "this key may not write events" in warning.value.text
    page.evaluate("nudge.track('kept')")
    api.wait(lambda: len(api.batches()) == 2)
    assert [e["name"] for e in api.batches()[1]] == ["kept"]


def test_a_rejected_event_of_an_accepted_batch_is_said(visitor, api: Stub) -> None:
    rejected = [{"index": 0, "code": "reserved_name", "detail": "system event", "field": "name"}]
    api.answer(EVENTS, Answer(202, {"accepted": 0, "duplicates": 0, "rejected": rejected}))
    page = opened(visitor(), api)
    with page.expect_console_message(lambda m: "reserved_name" in m.text):
        page.evaluate("nudge.track('message_sent')")
    page.wait_for_function(f"{QUEUED} === 0")
    assert len(api.batches()) == 1


def test_offline_events_wait_and_arrive_once(visitor, api: Stub) -> None:
    context = visitor()
    page = opened(context, api)
    page.wait_for_function("nudge.anonymousId")
    context.set_offline(True)
    page.evaluate(TRACK_MANY, 3)
    page.evaluate("nudge.flush()")
    assert page.evaluate(QUEUED) == 3
    assert api.batches() == []
    context.set_offline(False)
    api.wait(lambda: api.batches())
    page.wait_for_function(f"{QUEUED} === 0")
    assert [event["properties"]["i"] for event in api.events()] == [0, 1, 2]


def test_a_later_page_sends_what_an_earlier_one_could_not(visitor, api: Stub) -> None:
    api.answer(EVENTS, Answer(503), Answer(503))
    page = opened(visitor(), api)
    page.evaluate("nudge.track('on the first page')")
    api.wait(lambda: api.batches())
    page.goto(f"{api.origin}/page")
    api.wait(lambda: len(api.batches()) >= 3)
    assert len({event["id"] for event in api.events()}) == 1


def test_leaving_the_page_sends_at_once(visitor, api: Stub) -> None:
    page = opened(visitor(), api)
    page.wait_for_function("nudge.anonymousId")
    page.evaluate(
        """url => setTimeout(() => {
      nudge.track('last words', {text: 'ü'.repeat(1000)});
      location.href = url;
    })""",
        f"{api.origin}/empty",
    )
    page.wait_for_url("**/empty")
    api.wait(lambda: api.events())  # the next page has no SDK: nothing else could send it
    assert api.events()[0]["name"] == "last words"


def test_two_tabs_send_one_queue_once(visitor, api: Stub) -> None:
    context = visitor()
    api.delay = 0.3
    tabs = [opened(context, api), opened(context, api)]
    for tab in tabs:
        tab.wait_for_function("nudge.anonymousId")
    for tab in tabs:
        tab.evaluate(TRACK_MANY, 120)
    for tab in tabs:
        tab.evaluate("nudge.flush()")
    assert tabs[0].evaluate(QUEUED) == 0
    ids = [event["id"] for event in api.events()]
    assert len(ids) == len(set(ids)) == 240
    assert max(len(batch) for batch in api.batches()) == 100


def test_large_events_are_split_by_size(visitor, api: Stub) -> None:
    page = opened(visitor(), api)
    page.evaluate(
        "for (let i = 0; i < 4; i++) nudge.track('big', {text: 'م'.repeat(12000)})"
    )  # two bytes a letter
    api.wait(lambda: len(api.events()) == 4)
    assert [len(batch) for batch in api.batches()] == [2, 2]


def test_the_queue_is_capped_at_its_newest(visitor, api: Stub) -> None:
    page = opened(visitor(), api, "bare")
    page.wait_for_function("nudge.anonymousId")
    page.evaluate(TRACK_MANY, 1010)
    assert page.evaluate(QUEUED) == 1000
    page.evaluate("nudge.init({key: 'pk'})")
    api.wait(lambda: len(api.events()) == 1000)
    assert [event["properties"]["i"] for event in api.events()] == list(range(10, 1010))


def test_reset_makes_a_stranger(visitor, api: Stub) -> None:
    page = opened(visitor(), api)
    page.evaluate("nudge.identify({external_id: 7, email: 'a@example.com'})")
    before = page.evaluate("nudge.anonymousId()")
    page.evaluate("nudge.reset(); nudge.track('after')")
    api.wait(lambda: len(api.events()) == 2)
    assert api.events()[0]["profile"] == {
        "anonymous_id": before,
        "external_id": "7",
        "email": "a@example.com",
    }
    stranger = api.events()[1]["profile"]
    assert set(stranger) == {"anonymous_id"}
    assert stranger["anonymous_id"] != before


def test_another_person_on_the_device_is_not_merged_with_the_first(visitor, api: Stub) -> None:
    page = opened(visitor(), api)
    ids = [
        page.evaluate(f"nudge.identify({reference}); nudge.anonymousId()")
        for reference in (
            "{email: 'a@example.com'}",
            "{email: 'a@example.com', external_id: '1'}",
            "{external_id: '1', email: 'new@example.com'}",  # the same person has a new address
            "{external_id: '2'}",
        )
    ]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    api.wait(lambda: len(api.events()) == 4)
    assert api.events()[3]["profile"] == {"anonymous_id": ids[3], "external_id": "2"}


def test_without_local_storage_a_cookie_keeps_the_visitor(visitor, api: Stub) -> None:
    context = visitor()
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked'); }})"
    )
    page = opened(context, api)
    page.wait_for_function("nudge.anonymousId")
    first = page.evaluate("nudge.track('works'); nudge.anonymousId()")
    api.wait(lambda: api.events())
    page.goto(f"{api.origin}/page?again")
    page.wait_for_function("nudge.anonymousId")
    assert page.evaluate("nudge.anonymousId()") == first


def test_a_server_on_another_origin(visitor, api: Stub) -> None:
    with Stub() as other:
        page = opened(visitor(), api, f"api={quote(other.origin)}")
        page.evaluate("nudge.track('far')")
        other.wait(lambda: other.events())
        page.wait_for_function(f"{QUEUED} === 0")
    assert api.events() == []


def test_a_listener_hears_and_can_stop(visitor, api: Stub) -> None:
    page = opened(visitor(), api)
    page.wait_for_function("nudge.anonymousId")
    page.evaluate("""async () => {
      window.heard = [];
      const stop = nudge.on('track', (event) => heard.push(event.name));
      nudge.on('sent', ({count}) => heard.push(count));
      nudge.track('a');
      stop();
      nudge.track('b');
      await nudge.flush();
    }""")
    assert page.evaluate("heard") == ["a", 2]


@pytest.mark.parametrize(
    "call", ["nudge.track('')", "nudge.identify({})", "const x = {}; x.x = x; nudge.track('loop', x)"]
)
def test_a_wrong_call_is_said_and_does_not_throw(visitor, api: Stub, call: str) -> None:
    page = opened(visitor(), api)
    page.wait_for_function("nudge.anonymousId")
    with page.expect_console_message(lambda m: m.type == "warning" and "nudge" in m.text):
        page.evaluate(f"{{ {call} }}")
    page.evaluate("nudge.flush()")
    assert api.batches() == []
