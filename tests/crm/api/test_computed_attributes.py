"""Computed attributes over the API."""

import pytest

from campaigns.models import Segment
from crm.models import ComputedAttribute

COUNT = {"kind": "count", "event": "purchase", "last_days": 90}
MISSING = {"kind": "missing", "event": "cart", "property": "total"}
NEW = {"slug": "orders", "name": "Orders", "definition": COUNT}
PATH = "computed-attributes/"


def test_an_attribute_is_defined_read_changed_and_deleted(writer, reader):
    made = writer.post(PATH, NEW)
    assert made.status_code == 201
    assert made.json()["state"] == "backfilling"
    assert reader.get(f"{PATH}orders/").json() == made.json()
    writer.post(PATH, {**NEW, "slug": "draft", "start": False})
    assert [row["slug"] for row in reader.get(PATH).json()["computed_attributes"]] == ["draft", "orders"]
    [draft] = reader.get(f"{PATH}?state=draft").json()["computed_attributes"]
    assert draft["slug"] == "draft"
    changed = writer.send("PATCH", f"{PATH}orders/", {"definition": {**COUNT, "last_days": 30}})
    assert changed.json()["definition"]["last_days"] == 30
    assert writer.send("DELETE", f"{PATH}orders/").status_code == 204
    assert reader.get(f"{PATH}orders/").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"slug": "Orders!"}, 400, "slug"),
        ({"name": ""}, 400, "name"),
        ({"definition": {**COUNT, "kind": "magic"}}, 400, "definition.kind"),
        ({"definition": {**COUNT, "last_days": 0}}, 400, "definition.last_days"),
        ({"definition": {**COUNT, "last_days": "x"}}, 400, "definition.last_days"),
        ({"definition": {**COUNT, "colour": 1}}, 400, "definition.colour"),
        (
            {"definition": {**COUNT, "where": [{"property": "x", "op": "gt", "value": []}]}},
            400,
            "definition.where[0].value",
        ),
        (
            {
                "definition": {
                    **COUNT,
                    "where": [{"property": "x", "op": "within_last", "value": {"days": 1}}],
                }
            },
            400,
            "definition.where[0].op",
        ),
        ({"definition": {"kind": "missing", **NEW}}, 400, "definition.slug"),
        ({"colour": 1}, 400, ""),
        ({"name": "a\x00b"}, 400, "name"),
        ({"definition": {**COUNT, "event": "a\x00b"}}, 400, "definition.event"),
        ({"definition": {**COUNT, "kind": "sum", "property": "a..b"}}, 400, "definition.property"),
        ({"definition": {**MISSING, "threshold": 10**400}}, 400, "definition.threshold"),
        ({"definition": {**MISSING, "threshold": -1}}, 400, "definition.threshold"),
        ({"definition": {**COUNT, "last_days": 10**30}}, 400, "definition.last_days"),
        ({"slug": "taken"}, 409, "slug"),
    ],
)
def test_what_is_wrong_is_named(writer, change, status, field):
    ComputedAttribute.objects.create(slug="taken", name="Taken", kind="count", config=COUNT)
    answer = writer.post(PATH, {**NEW, **change})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].get("field", "") == field
    assert ComputedAttribute.objects.count() == 1


def test_what_is_in_use_stays_as_it_is(writer):
    writer.post(PATH, NEW)
    rule = {"kind": "attribute", "field": "computed.orders", "op": "gt", "value": 3}
    Segment.objects.create(slug="loyal", name="Loyal", rule={"any": [{"not": rule}]})
    refused = [
        writer.send("DELETE", f"{PATH}orders/"),
        writer.send("PATCH", f"{PATH}orders/", {"definition": {**COUNT, "last_days": 30}}),
    ]
    assert [answer.status_code for answer in refused] == [409, 409]
    assert all("Loyal" in answer.json()["error"]["detail"] for answer in refused)
    assert writer.send("PATCH", f"{PATH}orders/", {"name": "Orders lately"}).status_code == 200


def test_keys_need_the_scope(writer, reader):
    assert reader.post(PATH, NEW).status_code == 403
    assert writer.get(PATH).status_code == 403
