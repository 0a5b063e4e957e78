"""Flows in and out."""

import pytest

from campaigns.flows import backtest
from campaigns.models import Flow, FlowSettings
from crm import api_keys
from crm.models import ApiKey, AuditEntry
from tests.crm.api.conftest import Caller

DEFINITION = {
    "trigger": {"kind": "api"},
    "key": "properties.cart",
    "reentry": {"mode": "always"},
    "steps": [{"key": "s1", "kind": "wait", "config": {"amount": 1, "unit": "days"}}],
}
BY_EMAIL = {
    **DEFINITION,
    "entry": {"kind": "attribute", "field": "email", "op": "contains", "value": "ada"},
}


@pytest.fixture
def publisher(db):
    return Caller(api_keys.create("publisher", ["read", "write", "publish"])[1])


@pytest.fixture
def flow(db):
    return Flow.objects.create(slug="welcome", name="Welcome", draft=DEFINITION)


def error(answer, status):
    assert answer.status_code == status, answer.content
    return answer.json()["error"]


def test_a_draft_from_its_making_to_its_end(server):
    made = server.post("flows/", {"slug": "welcome", "name": " Welcome ", "definition": DEFINITION})
    assert (made.status_code, made.json()["state"], made.json()["revision"]) == (201, "created", 0)
    shown = server.get("flows/welcome/").json()
    assert shown == made.json()["flow"]
    assert (shown["name"], shown["state"], shown["definition"]) == ("Welcome", "draft", DEFINITION)
    assert (shown["problems"], shown["version"], shown["changed"]) == ([], None, True)
    assert error(server.post("flows/", {"slug": "welcome", "name": "W"}), 409)["code"] == "slug_taken"

    other = {**DEFINITION, "priority": 2}
    changed = server.send("PATCH", "flows/welcome/", {"definition": other, "revision": 0}).json()
    assert (changed["state"], changed["revision"]) == ("updated", 1)
    again = server.send("PATCH", "flows/welcome/", {"definition": other, "name": "Welcome"}).json()
    assert (again["state"], again["revision"]) == ("unchanged", 1)
    late = error(server.send("PATCH", "flows/welcome/", {"name": "Late", "revision": 0}), 409)
    assert (late["code"], late["field"]) == ("version_conflict", "revision")
    assert [row["slug"] for row in server.get("flows/?state=draft").json()["flows"]] == ["welcome"]
    assert server.get("flows/?state=live").json()["flows"] == []

    assert server.send("DELETE", "flows/welcome/").status_code == 204
    assert server.get("flows/welcome/").status_code == 404
    actions = list(AuditEntry.objects.filter(actor="server").values_list("action", flat=True))
    assert [each for each in actions if each.startswith("flow.")] == [
        "flow.created",
        "flow.changed",
        "flow.deleted",
    ]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"definition": {"steps": [{"kind": "wait"}]}}, "invalid_flow", "definition.steps[0].key"),
        ({"definition": {"stepz": []}}, "invalid_flow", "definition.stepz"),
        ({"definition": {"key": "a\0"}}, "invalid_value", "definition"),
        ({"name": " "}, "missing_field", "name"),
        ({"name": 5}, "invalid_value", "name"),
        ({"slug": "other"}, "invalid_value", ""),
    ],
)
def test_what_is_not_taken(server, flow, body, code, field):
    found = error(server.send("PATCH", "flows/welcome/", body), 400)
    assert (found["code"], found.get("field", "")) == (code, field)
    assert Flow.objects.get().revision == 0


def test_publishing_tells_every_mistake(publisher, flow):
    broken = {"steps": [{"key": "s1", "kind": "wait"}, {"key": "s2", "kind": "nothing"}]}
    publisher.send("PATCH", "flows/welcome/", {"definition": broken})
    found = error(publisher.post("flows/welcome/publish/", {}), 409)
    fields = [each["field"] for each in found["problems"]]
    assert found["code"] == "invalid_flow"
    assert "definition.trigger" in fields
    assert "definition.s2" in fields
    told = publisher.get("flows/welcome/").json()["problems"]
    assert ["definition." + each["field"] for each in told] == fields


def test_the_life_of_a_flow(publisher, flow, people):
    def state(action, body=None):
        answer = publisher.post(f"flows/welcome/{action}/", body or {})
        assert answer.status_code == 200, answer.content
        return answer.json()["state"]

    assert error(publisher.post("flows/welcome/pause/", {}), 409)["code"] == "wrong_state"
    assert error(publisher.post("flows/welcome/publish/", {"revision": 9}), 409)["code"] == "version_conflict"
    assert (
        error(publisher.post("flows/welcome/publish/", {"catch_up_days": 0}), 400)["field"] == "catch_up_days"
    )
    assert (
        error(publisher.post("flows/welcome/enroll/", {"profiles": [{"id": 1}]}), 409)["code"]
        == "wrong_state"
    )
    FlowSettings(approval_required=True).save()
    assert error(publisher.post("flows/welcome/publish/", {}), 409)["code"] == "approval_needed"
    FlowSettings(approval_required=False).save()

    assert state("publish") == "live"
    [version] = publisher.get("flows/welcome/versions/").json()["versions"]
    assert (version["number"], version["live"], version["definition"]) == (1, True, DEFINITION)
    assert error(publisher.send("DELETE", "flows/welcome/"), 409)["code"] == "has_run"

    rows = [{"external_id": "C-ada"}, {"email": "nobody@example.com"}, {"id": people["bo"].pk}, {"id": "x"}]
    body = {"profiles": rows, "key": "cart-7", "context": {"total": 5}}
    enrolled = publisher.post("flows/welcome/enroll/", body).json()
    assert [(row["index"], row["profile"]) for row in enrolled["started"]] == [
        (0, people["ada"].pk),
        (2, people["bo"].pk),
    ]
    assert [row["index"] for row in enrolled["rejected"]] == [1, 3]
    again = publisher.post("flows/welcome/enroll/", {**body, "profiles": rows[:1]}).json()
    assert (again["started"], len(again["rejected"])) == ([], 1)

    funnel = publisher.get("flows/welcome/funnel/").json()
    assert (funnel["entered"], funnel["inside"], funnel["exited"]) == (2, 2, 0)
    [step] = funnel["steps"]
    assert (step["key"], step["kind"], step["reached"], step["here"]) == ("s1", "wait", 2, 2)

    why = publisher.get(f"profiles/{people['ada'].pk}/why/?flow=welcome").json()
    assert (why["inside"], why["runs"][0]["state"]) == (True, "active")
    assert AuditEntry.objects.filter(action="flow.why_asked").count() == 1
    assert error(publisher.get(f"profiles/{people['ada'].pk}/why/?flow=none"), 404)
    assert error(publisher.get(f"profiles/{people['ada'].pk}/why/"), 400)["field"] == "flow"

    assert state("pause") == "paused"
    assert state("resume") == "live"
    assert state("stop", {"people": "finish"}) == "finishing"
    assert state("stop") == "stopped"
    funnel = publisher.get("flows/welcome/funnel/").json()
    assert (funnel["inside"], funnel["exited"], sum(funnel["reasons"].values())) == (0, 2, 2)


def test_a_dry_run(reader, flow, people):
    assert error(reader.post("flows/welcome/backtest/", {"days": 91}), 400)["field"] == "days"
    begun = reader.post("flows/welcome/backtest/", {"days": 2})
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    backtest.work()
    done = reader.get(f"flows/welcome/backtest/{begun.json()['id']}/").json()
    assert (done["state"], done["progress"], done["result"]["entered"]) == ("done", 1, 0)
    assert reader.get("flows/other/backtest/1/").status_code == 404


def test_dry_runs_are_cancelled_and_one_is_in_work(reader, server, flow):
    number = reader.post("flows/welcome/backtest/", {"days": 2}).json()["id"]
    assert error(reader.post("flows/welcome/backtest/", {"days": 2}), 409)["code"] == "busy"
    other = server.post("flows/welcome/backtest/", {"days": 2}).json()["id"]
    assert error(reader.post(f"flows/welcome/backtest/{other}/cancel/", {}), 403)["code"] == "scope_missing"
    for _again in range(2):
        done = reader.post(f"flows/welcome/backtest/{number}/cancel/", {})
        assert (done.status_code, done.json()["state"]) == (200, "cancelled")
    assert server.post(f"flows/welcome/backtest/{other}/cancel/", {}).json()["state"] == "cancelled"
    assert reader.post("flows/other/backtest/1/cancel/", {}).status_code == 404


def test_a_draft_is_put_as_a_whole(server):
    body = {"name": "Put", "description": "As code", "definition": DEFINITION}

    def put(**more):
        answer = server.send("PUT", "flows/put/", {**body, **more})
        return answer.status_code, answer.json()

    assert error(server.send("PUT", "flows/put/", {**body, "revision": 1}), 409)["code"] == "version_conflict"
    assert put()[0] == 201
    status, same = put()
    assert (status, same["state"], same["revision"]) == (200, "unchanged", 0)
    status, changed = put(description="", definition={**DEFINITION, "priority": 2}, revision=0)
    assert (status, changed["state"], changed["revision"]) == (200, "updated", 1)
    assert Flow.objects.get(slug="put").description == ""
    assert put(revision=0)[0] == 409
    assert error(server.send("PUT", "flows/put/", {"name": "Put"}), 400)["code"] == "missing_field"


@pytest.mark.parametrize("action", ["publish", "pause", "resume", "stop"])
def test_who_may_write_may_not_publish(server, flow, action):
    assert error(server.post(f"flows/welcome/{action}/", {}), 403)["code"] == "scope_missing"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "flows/"),
        ("PATCH", "flows/welcome/"),
        ("PUT", "flows/welcome/"),
        ("DELETE", "flows/welcome/"),
        ("POST", "flows/welcome/enroll/"),
    ],
)
def test_who_may_read_may_not_write(reader, browser, flow, method, path):
    for key in (reader, browser):
        assert error(key.send(method, path, {}), 403)["code"] == "scope_missing"


@pytest.mark.parametrize(
    "path", ["flows/", "flows/welcome/", "flows/welcome/funnel/", "flows/welcome/versions/"]
)
def test_who_may_write_may_not_read(writer, flow, path):
    assert error(writer.get(path), 403)["code"] == "scope_missing"


def test_keys_that_see_no_contact_data(analyst, flow, people):
    ApiKey.objects.filter(name="analyst").update(scopes=["read_masked", "write"])
    assert analyst.get("flows/welcome/").json()["definition"] == DEFINITION
    refused = error(analyst.send("PATCH", "flows/welcome/", {"definition": BY_EMAIL}), 403)
    assert (refused["code"], refused["field"]) == ("scope_missing", "definition")
    Flow.objects.update(draft=BY_EMAIL)
    assert analyst.get("flows/welcome/").json()["definition"] is None
    for answer in (
        analyst.get("flows/welcome/funnel/"),
        analyst.post("flows/welcome/backtest/", {"days": 2}),
    ):
        assert error(answer, 403)["code"] == "scope_missing"
    Flow.objects.update(draft=DEFINITION, state=Flow.State.LIVE)
    named = error(analyst.post("flows/welcome/enroll/", {"profiles": [{"email": "ada@example.com"}]}), 403)
    assert named["field"] == "profiles[0].email"
    why = analyst.get(f"profiles/{people['ada'].pk}/why/?flow=welcome")
    assert why.status_code == 200
    assert b"ada@example.com" not in why.content
