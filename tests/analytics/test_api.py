"""Reports over REST."""

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from analytics.reports import messages
from campaigns.models import Enrollment, Flow, FlowVersion
from crm import api_keys
from tests.analytics import world
from tests.analytics.world import NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def get(client):
    """Ask as a key that may read; `scope` names another one."""
    keys = {scope: api_keys.create(scope, [scope])[1] for scope in ("read", "write", "browser")}

    def ask(path: str, scope: str = "read", **query: object):
        headers = {name: query.pop(name) for name in list(query) if name.startswith("HTTP_")}
        headers |= {"HTTP_AUTHORIZATION": f"Bearer {keys[scope]}"} if scope else {}
        return client.get(f"/api/v1/reports/{path}?{urlencode(query)}", **headers)

    return ask


@pytest.fixture
def welcome():
    wanted = world.message()
    clicked = world.delivery(wanted, world.person(), "delivered")
    world.delivery(wanted, world.person(), "sent", NOW + timedelta(days=2))
    world.delivery(wanted, world.person(), "suppressed")
    world.delivery(wanted, world.person(), "queued")
    world.delivery(wanted, world.person(), "sent", origin_type="test")
    world.engages(clicked, "clicked")
    for value, currency in ((59.9, "EUR"), (0.1, "EUR"), (100, "PLN"), (None, "")):
        world.happens(clicked.profile, "purchase", total=value, currency=currency)
    world.count()
    return wanted


def error(response) -> dict:
    body = response.json()
    assert set(body) == {"error"}
    return body["error"]


def test_one_message(get, welcome):
    response = get("messages/welcome/")
    assert response.status_code == 200
    body = response.json()
    assert body["message"] == {"slug": "welcome", "name": "Welcome"}
    assert (body["since"], body["until"]) == (None, None)
    assert body["figures"] == {
        "audience": 4,
        "waiting": 1,
        "sent": 2,
        "delivered": 1,
        "opened": 1,
        "clicked": 1,
        "dismissed": 0,
        "read": 0,
        "bounced": 0,
        "complained": 0,
        "unsubscribed": 0,
        "lost": 0,
        "machine_opened": 0,
        "machine_clicked": 0,
        "converted": 4,
        "people_converted": 1,
        "revenue": [{"currency": "EUR", "value": 60.0}, {"currency": "PLN", "value": 100.0}],
        "suppressed": 1,
        "failed": 0,
        "expired": 0,
        "delivery_rate": 0.5,
        "open_rate": 0.5,
        "click_rate": 0.5,
        "conversion_rate": 0.5,
        "bounce_rate": 0.0,
        "complaint_rate": 0.0,
        "unsubscribe_rate": 0.0,
    }
    assert body["reasons"] == {"suppressed": {"no consent": 1}}
    assert set(body["definitions"]) == set(messages.DEFINITIONS)
    assert set(body["figures"]) <= set(body["definitions"]), "each figure says what it is"


@pytest.mark.parametrize(
    ("since", "until", "sent"),
    [
        ("2026-03-02T00:00:00Z", "", 2),
        ("2026-03-02T09:00:01Z", "", 2),
        ("2026-03-03T00:00:00Z", "", 1),
        ("2026-03-02T10:00:00+01:00", "2026-03-04T00:00:00Z", 1),
        ("", "2026-03-04T00:00:00.000001Z", 2),
    ],
)
def test_the_period_is_whole_days_and_its_end_is_not_in_it(get, welcome, since, until, sent):
    body = get(
        "messages/welcome/", **{key: text for key, text in [("since", since), ("until", until)] if text}
    ).json()
    assert body["figures"]["sent"] == sent
    assert (body["since"] is None) == (since == "")


def test_a_plus_that_was_not_encoded_is_understood(get, welcome, client):
    key = api_keys.create("raw", ["read"])[1]
    response = client.get(
        "/api/v1/reports/messages/welcome/?since=2026-03-02T10:00:00+01:00",
        HTTP_AUTHORIZATION=f"Bearer {key}",
    )
    assert response.json()["since"] == "2026-03-02T09:00:00Z"


def test_nothing_sent_has_no_rates(get):
    world.message()
    figures = get("messages/welcome/").json()["figures"]
    assert (figures["sent"], figures["open_rate"], figures["revenue"]) == (0, None, [])


@pytest.mark.parametrize("path", ["messages/welcome/", "overview/"])
def test_what_has_not_changed_is_not_told_again(get, welcome, path):
    first = get(path)
    again = get(path, HTTP_IF_NONE_MATCH=first["ETag"])
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    welcome.name = "Hello"
    welcome.save()
    assert get(path, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 200


def test_a_flow(get, welcome):
    flow = Flow.objects.create(slug="series", name="Series", state="live")
    steps = [{"key": "hello", "kind": "message", "config": {"message": "welcome", "channel": "webpush"}}]
    flow.live_version = FlowVersion.objects.create(
        flow=flow, number=1, definition={"trigger": None, "steps": steps}, published_at=NOW
    )
    flow.save()
    Enrollment.objects.create(
        flow=flow,
        version=flow.live_version,
        profile=world.person(),
        run_key="x",
        step="hello",
        entered_at=NOW,
    )
    body = get("flows/series/").json()
    assert body["flow"] == {"slug": "series", "name": "Series", "state": "live"}
    assert body["totals"] == {"entered": 1, "inside": 1, "completed": 0, "exited": 0}
    [step] = body["steps"]
    assert (step["key"], step["kind"], step["here"], step["depth"]) == ("hello", "message", 1, 1)
    assert step["message"]["sent"] == 0
    assert {"entered", "here", "sent"} <= set(body["definitions"])


def test_the_overview(get, welcome):
    body = get("overview/", days=7).json()
    assert (body["days"], len(body["series"])) == (7, 7)
    assert set(body["now"]) == set(body["before"])
    assert body["profiles"] == 5
    assert len(get("overview/").json()["series"]) == 30


@pytest.mark.parametrize("days", ["0", "367", "-1", "x", "1.5", "99999999999", "٣"])
def test_days_are_a_number(get, days):
    response = get("overview/", days=days)
    assert response.status_code == 400
    assert error(response)["field"] == "days"


@pytest.mark.parametrize("path", ["messages/welcome/"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-03-02"}, "since"),
        ({"since": "2026-03-02T09:00:00"}, "since"),
        ({"until": "\x00"}, "until"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"since": "2026-03-02T09:00:00Z", "until": "2026-03-02T09:00:00Z"}, "until"),
    ],
)
def test_a_period_that_is_none(get, welcome, path, query, field):
    response = get(path, **query)
    assert response.status_code == 400
    assert error(response)["field"] == field
    assert error(response)["code"] in ("invalid_time", "invalid_value")


@pytest.mark.parametrize("path", ["messages/unknown/", "flows/unknown/", "nothing/"])
def test_what_is_not_there(get, path):
    response = get(path)
    assert response.status_code == 404
    assert error(response)["code"] == "not_found"


@pytest.mark.parametrize(
    "path",
    ["", "messages/", "messages/people/", "messages/welcome/", "flows/welcome/", "overview/", "channels/"],
)
def test_only_keys_that_may_read(get, welcome, path):
    assert get(path, scope="").status_code == 401
    for scope in ("write", "browser"):
        response = get(path, scope=scope)
        assert (response.status_code, error(response)["code"]) == (403, "scope_missing")


def test_the_documents_examples_have_the_shape_of_the_answers(get, welcome):
    from drf_spectacular.generators import SchemaGenerator

    document = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
    answers = {
        "/api/v1/reports/": get(""),
        "/api/v1/reports/{slug}/": get("messages/"),
        "/api/v1/reports/messages/{slug}/": get("messages/welcome/"),
        "/api/v1/reports/overview/": get("overview/"),
    }
    for path, answer in answers.items():
        media = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        [example] = media["examples"].values()
        assert set(example["value"]) == set(answer.json()), path
    figures = document["components"]["schemas"]["MessageFigures"]["properties"]
    assert set(figures) == set(get("messages/welcome/").json()["figures"])
