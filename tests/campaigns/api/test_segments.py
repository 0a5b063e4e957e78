"""Segments in and out."""

import pytest

from campaigns.models import Flow, Segment, SegmentVersion
from tests.campaigns.api.conftest import POLES

FRENCH = {**POLES, "value": "FR"}


def error(answer, status):
    assert answer.status_code == status, answer.content
    return answer.json()["error"]


def test_a_segment_from_its_making_to_its_end(server, people):
    made = server.post("segments/", {"slug": "poles", "name": " Poles ", "rule": POLES})
    assert (made.status_code, made.json()["state"]) == (201, "created")
    shown = server.get("segments/poles/").json()
    assert shown == made.json()["segment"]
    assert (shown["name"], shown["kind"], shown["rule"], shown["version"]) == ("Poles", "rule", POLES, 1)
    assert "country" in shown["sentence"]
    assert shown["uses"] == []
    assert SegmentVersion.objects.get().by == "key:server"

    changed = server.send("PATCH", "segments/poles/", {"rule": FRENCH, "version": 1}).json()
    assert (changed["state"], changed["version"], changed["segment"]["name"]) == ("updated", 2, "Poles")
    again = server.send("PATCH", "segments/poles/", {"rule": FRENCH, "name": "Poles"}).json()
    assert (again["state"], again["version"]) == ("unchanged", 2)
    late = error(server.send("PATCH", "segments/poles/", {"rule": POLES, "version": 1}), 409)
    assert (late["code"], late["field"]) == ("version_conflict", "version")

    assert [row["number"] for row in server.get("segments/poles/versions/").json()["versions"]] == [2, 1]
    restored = server.post("segments/poles/versions/1/restore/").json()
    assert (restored["state"], restored["version"], restored["segment"]["rule"]) == ("updated", 3, POLES)
    assert server.post("segments/poles/versions/9/restore/").status_code == 404

    assert server.send("DELETE", "segments/poles/").status_code == 204
    assert server.get("segments/poles/").status_code == 404


def test_put_makes_and_replaces(server, db):
    body = {"name": "Poles", "rule": POLES}
    assert error(server.send("PUT", "segments/poles/", {**body, "version": 1}), 409)["field"] == "version"
    states = [server.send("PUT", "segments/poles/", body) for _ in range(2)]
    assert [(each.status_code, each.json()["state"]) for each in states] == [
        (201, "created"),
        (200, "unchanged"),
    ]
    named = server.send("PUT", "segments/poles/", {**body, "description": "At home"}).json()
    assert (named["version"], named["segment"]["description"]) == (1, "At home")
    assert (
        error(server.send("PUT", "segments/poles/", {"name": "Poles", "kind": "list"}), 409)["code"]
        == "other_kind"
    )
    assert error(server.send("PUT", "segments/poles/", {"name": "Poles"}), 400)["field"] == "rule"


def test_one_and_true_are_not_the_same_rule(server, poles):
    for value in (1, True):
        rule = {"kind": "attribute", "field": "attributes.n", "op": "eq", "value": value}
        answer = server.send("PATCH", "segments/poles/", {"rule": rule}).json()
        assert answer["state"] == "updated"


def test_a_list_has_no_rule(server, db):
    made = server.post("segments/", {"slug": "fair", "name": "Guests", "kind": "list"}).json()["segment"]
    assert (made["kind"], made["rule"], made["sentence"]) == ("list", None, None)
    assert error(server.send("PATCH", "segments/fair/", {"rule": POLES}), 400)["field"] == "rule"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": None}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"description": 5}, "description"),
        ({"slug": "ą"}, "slug"),
        ({"slug": "x" * 51}, "slug"),
        ({"slug": "preview"}, "slug"),
        ({"kind": "magic"}, "kind"),
        ({"rule": None}, "rule"),
        (
            {"rule": {"all": [POLES, {"kind": "attribute", "field": "shoe", "op": "eq", "value": 1}]}},
            "rule.all[1].field",
        ),
        ({"rule": {"kind": "segment", "slug": "nobody"}}, "rule.slug"),
        ({"rule": {"kind": "segment", "slug": "poles"}}, "rule.slug"),
    ],
)
def test_what_is_wrong_is_named(server, change, field):
    body = {"slug": "poles", "name": "Poles", "rule": POLES, **change}
    assert error(server.post("segments/", body), 400)["field"] == field
    assert not Segment.objects.exists()


def test_every_mistake_of_a_rule_is_told(server, db):
    where = [{"property": "total", "op": "eq", "value": [1]}]
    rule = {"any": [{"kind": "what"}, {"kind": "event", "name": "bought", "where": where}]}
    found = error(server.post("segments/", {"slug": "a", "name": "A", "rule": rule}), 400)
    assert found["code"] == "invalid_rule"
    assert [each["field"] for each in found["problems"]] == ["rule.any[0].kind", "rule.any[1].where[0].value"]


def test_a_name_is_given_once(server, poles):
    found = error(server.post("segments/", {"slug": "poles", "name": "Poles", "rule": POLES}), 409)
    assert found["code"] == "slug_taken"


def test_what_is_used_stays(server, poles):
    server.post("segments/", {"slug": "more", "name": "More", "rule": {"kind": "segment", "slug": "poles"}})
    found = error(server.send("DELETE", "segments/poles/"), 409)
    assert (found["code"], len(found["uses"])) == ("in_use", 1)
    assert "More" in server.get("segments/poles/").json()["uses"][0]["text"]
    circle = server.send("PATCH", "segments/poles/", {"rule": {"kind": "segment", "slug": "more"}})
    assert error(circle, 400)["field"] == "rule.slug"


def test_lists_are_filtered_and_paged(server, poles, django_assert_num_queries):
    for number in range(3):
        Segment.objects.create(slug=f"s{number}", name="S", kind="list", state="ready")
    first = server.get("segments/?limit=3").json()
    then = server.get(f"segments/?limit=3&cursor={first['next_cursor']}").json()
    slugs = [row["slug"] for row in first["segments"] + then["segments"]]
    assert (slugs, then["next_cursor"]) == (["poles", "s0", "s1", "s2"], None)
    assert [row["slug"] for row in server.get("segments/?kind=rule&state=ready").json()["segments"]] == [
        "poles"
    ]
    since = Segment.objects.get(slug="s1").updated_at.isoformat().replace("+", "%2B")
    changed = server.get(f"segments/?updated_since={since}").json()["segments"]
    assert [row["slug"] for row in changed] == ["s1", "s2"]
    flow = Flow.objects.create(slug="welcome", name="Welcome")
    rule = {"kind": "flow", "flow": flow.slug, "state": "never"}
    for number in range(3):
        Segment.objects.create(slug=f"f{number}", name="F", rule=rule)
    with django_assert_num_queries(6):  # the key, the segments, and what uses any of them
        server.get("segments/")


def test_who_may_what(reader, writer, analyst, browser, stranger, poles):
    body = {"slug": "b", "name": "B", "rule": POLES}
    assert [
        caller.post("segments/", body).status_code for caller in (reader, analyst, browser, stranger)
    ] == [*(403, 403, 403, 401)]
    assert writer.post("segments/", body).json() == {"slug": "b", "state": "created", "version": 1}
    assert [caller.get("segments/poles/").status_code for caller in (writer, browser, reader)] == [
        403,
        403,
        200,
    ]
    secret = {"kind": "attribute", "field": "email", "op": "contains", "value": "ada"}
    writer.send("PATCH", "segments/b/", {"rule": secret})
    assert reader.get("segments/b/").json()["rule"] == secret
    shown = analyst.get("segments/b/").json()
    assert (shown["rule"], shown["sentence"]) == (None, None)
    assert analyst.get("segments/b/versions/").json()["versions"][0]["rule"] is None


@pytest.mark.parametrize(
    "value",
    [
        "\0",
        "9" * 5000,
        "[" * 3000,
        '{"a":' * 900 + "1" + "}" * 900,
        '"\\ud800"',
        "1e999",
        "9" * 40,
        "null",
        "{}",
    ],
)
def test_hostile_values_are_refused(server, poles, value):
    rules = [
        f'{{"kind":"attribute","field":"attributes.n","op":"eq","value":{value}}}',
        f'{{"kind":"event","name":{value}}}',
        value,
    ]
    for rule in rules:
        for path, body in (
            ("segments/", f'{{"slug":"x","name":"X","rule":{rule}}}'),
            ("segments/preview/", f'{{"rule":{rule}}}'),
        ):
            assert server.post(path, body).status_code in (200, 201, 400, 409), rule[:100]
    assert server.post("segments/poles/explain/", f'{{"profile":{{"id":{value}}}}}').status_code in (400, 404)
