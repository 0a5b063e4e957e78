"""Previews and reasons."""

import json

import pytest

from campaigns.models import Segment
from campaigns.segments import evaluate, lists, plans
from crm import limits
from tests.campaigns.api.conftest import POLES

SECRET = {"kind": "attribute", "field": "email", "op": "contains", "value": "ada"}
BOUGHT = {"kind": "event", "name": "bought"}


def test_a_preview_counts_and_shows(reader, people):
    rule = {"all": [POLES, {"kind": "attribute", "field": "first_name", "op": "eq", "value": "bo"}]}
    found = reader.post("segments/preview/", {"rule": rule, "counts": True}).json()
    assert (found["size"], found["estimated"], found["total"]) == (1, False, 3)
    assert [person["external_id"] for person in found["sample"]] == ["C-bo"]
    assert (found["counts"]["rule.all[0]"], found["counts"]["rule.all[1]"]) == (2, 1)
    assert [step["kept"] for step in found["funnel"]] == [2, 1]
    assert found["plan"]["slow"] is False
    assert "bo" in found["sentence"]
    assert reader.post("segments/preview/", {"rule": {"all": []}}).json()["size"] == 3


def test_what_is_slow_is_told(reader, people, monkeypatch):
    def slow(*_args, **_more):
        raise evaluate.TooSlow

    monkeypatch.setattr(evaluate, "preview", slow)
    answer = reader.post("segments/preview/", {"rule": POLES})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_slow")


def test_a_slow_rule_is_warned_about(reader, people, monkeypatch):
    reason = plans.Reason("all[0]", "no_window", "bought", 10**7)
    monkeypatch.setattr(plans, "plan", lambda rule: plans.Plan(60_000, (reason,), True))
    found = reader.post("segments/preview/", {"rule": {"all": [BOUGHT]}}).json()["plan"]
    assert (found["slow"], found["reasons"][0]["field"]) == (True, "rule.all[0]")
    assert "bought" in found["reasons"][0]["detail"]


def test_a_key_asks_so_much_and_no_more(reader, server, people, settings):
    settings.NUDGE_RATE_LIMITS = {"segment questions": {"address": (1, 100), "key": (0.001, 1)}}
    limits.forget()
    assert reader.post("segments/preview/", {"rule": {"any": 1}}).status_code == 400  # costs nothing
    answers = [caller.post("segments/preview/", {"rule": POLES}) for caller in (reader, reader, server)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert int(answers[1]["Retry-After"]) > 0
    limits.forget()


def test_outlines_for_those_who_see_no_contact_data(analyst, reader, poles, people):
    shown = analyst.post("segments/preview/", {"rule": POLES})
    assert shown.json()["size"] == 2
    near = {"kind": "near", "latitude": 52.2, "longitude": 21, "radius_km": 1}
    for rule in (SECRET, {"not": near}):
        assert analyst.post("segments/preview/", {"rule": rule}).status_code == 403
    members = analyst.get("segments/poles/members/?expand=profile")
    number = people["ada"].pk
    why = analyst.post("segments/poles/explain/", {"profile": {"id": number}})
    assert why.json()["holds"]
    for answer in (shown, members, why):
        assert "ada@example" not in json.dumps(answer.json())
        assert "C-ada" not in json.dumps(answer.json())
    by_name = analyst.post("segments/poles/explain/", {"profile": {"email": "ada@example.com"}})
    assert by_name.json()["error"]["field"] == "profile.email"
    assert "ada@example.com" in json.dumps(reader.get("segments/poles/members/?expand=profile").json())


def test_why_somebody_is_not_in_it(server, people):
    rule = {"all": [POLES, {"not": BOUGHT}]}
    server.post("segments/", {"slug": "idle", "name": "Idle", "rule": rule})
    server.post("events/", {"events": [{"name": "bought", "profile": {"external_id": "C-bo"}}]})
    answer = server.post(
        "segments/idle/explain/", {"profile": {"external_id": "C-bo", "email": "BO@example.com"}}
    )
    found = answer.json()
    assert (found["profile"], found["holds"], found["member"]) == (people["bo"].pk, False, False)
    [country, idle] = found["explanation"]["children"]
    assert (country["path"], country["holds"], idle["holds"]) == ("rule.all[0]", True, False)
    [bought] = idle["children"]
    assert (bought["path"], bought["holds"]) == ("rule.all[1].not", True)
    assert "1" in bought["fact"]


@pytest.mark.parametrize(
    ("profile", "status"),
    [
        ({"email": "nobody@example.com"}, 404),
        ({"id": 10**12}, 404),
        ({"id": -1}, 404),
        ({}, 400),
        ({"email": "ada@example.com", "external_id": 5}, 400),
        ({"shoe": 40}, 400),
        ({"external_id": "\0"}, 400),
        ("ada", 400),
    ],
)
def test_who_is_meant_must_be_clear(reader, poles, profile, status):
    assert reader.post("segments/poles/explain/", {"profile": profile}).status_code == status


def test_how_segments_overlap(reader, server, poles, people):
    server.post("segments/", {"slug": "fair", "name": "Fair", "kind": "list"})
    lists.add(Segment.objects.get(slug="fair"), [people["bo"].pk, people["cy"].pk])
    found = reader.post("segments/overlap/", {"segments": ["poles", "fair"]}).json()
    assert (found["people"], [row["size"] for row in found["segments"]]) == (3, [2, 2])
    [pair] = found["pairs"]
    assert (pair["both"], pair["of_first"]) == (1, 0.5)
    assert {(tuple(cell["inside"]), cell["people"]) for cell in found["cells"]} == {
        (("poles", "fair"), 1),
        (("poles",), 1),
        (("fair",), 1),
    }
    assert reader.post("segments/overlap/", {"segments": ["poles", "poles"]}).status_code == 400
    for unknown in ("nobody", "\0"):
        answer = reader.post("segments/overlap/", {"segments": ["poles", unknown]})
        assert (answer.status_code, answer.json()["error"]["field"]) == (404, "segments[1]")
