"""Products and places over REST."""

import msgspec
import pytest

from crm import api_keys
from crm.models import ApiKey, Place, Product

pytestmark = pytest.mark.django_db


@pytest.fixture
def call(client):
    def key(*scopes):
        return api_keys.create("+".join(scopes), list(scopes))[1]

    keys = {name: key(*name.split("+")) for name in ("read", "write", "read+write")}
    keys["browser"] = api_keys.create("site", ["browser"], ["https://shop.example"])[1]

    def send(method, path, body=None, using="read+write"):
        answer = client.generic(
            method,
            f"/api/v1/{path}",
            b"" if body is None else msgspec.json.encode(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {keys[using]}"},
        )
        return answer.status_code, answer.json() if answer.content else None

    return send


class TestProducts:
    def test_created_read_changed_replaced_and_taken_from_sale(self, call):
        status, answer = call("POST", "products/", {"sku": "a/1", "name": "Cup", "price": "1.5", "stock": 2})
        assert (status, answer["state"], answer["product"]["price"]) == (201, "created", 1.5)
        assert call("PATCH", "products/a/1/", {"stock": 0})[1]["product"]["name"] == "Cup"
        assert call("PUT", "products/a/1/", {"stock": 1})[1]["product"]["name"] == ""
        assert call("PUT", "products/new/", {"name": "New"})[0] == 201
        assert call("DELETE", "products/a/1/") == (204, None)
        assert call("GET", "products/a/1/")[1]["active"] is False
        assert call("GET", "products/?active=false")[1]["products"][0]["sku"] == "a/1"
        assert [call(method, "products/none/", {})[0] for method in ("GET", "PATCH", "DELETE")] == [404] * 3

    def test_a_thousand_at_once_each_judged_alone(self, call, django_assert_max_num_queries):
        rows = [{"sku": f"S{number}"} for number in range(998)]
        with django_assert_max_num_queries(12):
            status, answer = call("POST", "products/bulk/", {"products": [*rows, {"price": 1}, [1]]})
        assert (status, answer["created"]) == (200, 998)
        assert [(row["index"], row["code"]) for row in answer["rejected"]] == [
            (998, "missing_field"),
            (999, "invalid_value"),
        ]
        assert (
            call("POST", "products/bulk/", {"products": [*rows, *rows]})[1]["error"]["code"]
            == "invalid_batch"
        )
        first = call("GET", "products/?limit=600")[1]
        second = call("GET", f"products/?limit=600&cursor={first['next_cursor']}")[1]
        assert len({row["sku"] for page in (first, second) for row in page["products"]}) == 998
        assert second["next_cursor"] is None

    def test_only_keys_with_the_scope(self, call):
        Product.objects.create(sku="A", name="Secret")
        assert call("GET", "products/", using="write")[0] == 403
        assert call("GET", "products/A/", using="browser")[0] == 403
        assert call("PATCH", "products/A/", {}, using="read")[0] == 403
        assert call("PATCH", "products/A/", {}, using="write") == (200, {"sku": "A", "state": "unchanged"})

    def test_refusals_name_the_field(self, call):
        assert call("PATCH", "products/A/", {"sku": "B"})[1]["error"]["field"] == "sku"
        assert call("POST", "products/", {"sku": "A", "stock": "many"})[1]["error"]["field"] == "stock"
        assert call("GET", "products/?color=1")[1]["error"]["code"] == "unknown_parameter"


class TestPlaces:
    def test_created_read_changed_and_deleted(self, call):
        store = {"name": "Old Town", "latitude": 52.2, "longitude": 21}
        status, answer = call("POST", "places/", store)
        assert (status, answer["slug"], answer["place"]["radius"]) == (201, "old-town", 150)
        assert call("POST", "places/", {"name": "Nowhere"})[1]["error"]["field"] == "latitude"
        assert call("PATCH", "places/old-town/", {"radius": 20})[1]["place"]["radius"] == 20
        assert call("PUT", "places/old-town/", store)[1]["place"]["radius"] == 150
        answer = call("POST", "places/bulk/", {"places": [{**store, "name": "New Town"}, {"slug": "x"}]})[1]
        assert (answer["created"], answer["rejected"][0]["field"]) == (1, "name")
        assert call("GET", "places/?kind=store&limit=1")[1]["places"][0]["slug"] == "old-town"
        assert call("DELETE", "places/old-town/")[0] == 204
        assert [place.slug for place in Place.objects.all()] == ["new-town"]
        assert call("GET", "places/", using="browser")[0] == 403
        assert ApiKey.objects.count() == 4
