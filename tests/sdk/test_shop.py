"""The demo shop's pages and what they hand to the SDK; the addresses of SDK and worker. No database: the session is
in the cookie."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client

from config.demo.catalogue import CATEGORIES, PRODUCTS
from config.demo.shop import browser_key
from crm import proof
from tests.sdk.stub import FOLDER, SERVED

SHOP = "/demo/shop/"
STATIC = FOLDER.parent


@pytest.fixture(autouse=True)
def demo(settings: LazySettings, tmp_path: Path) -> Path:
    """A demo with a browser key; returns its data folder."""
    settings.NUDGE_DEMO = True
    settings.NUDGE_DATA = tmp_path
    settings.ROOT_URLCONF = "tests.sdk.urls"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    (tmp_path / "demo_browser_key").write_text("pk_shop\n")
    return tmp_path


def calls(response: Any) -> list[list[Any]]:
    """The SDK calls that a page makes. It tells the shop so, as shop.js does."""
    found = re.search(
        r'<script id="handover" type="application/json">(.*?)</script>', response.content.decode()
    )
    assert found, response.content.decode()
    handed = json.loads(found[1])["calls"]
    if ids := [one["id"] for one in handed if "id" in one]:
        response.client.cookies["kahwa_made"] = ids[-1]
    return [one["call"] for one in handed]


def asks(response: Any) -> bool:
    """Whether a page may ask about notifications for something the visitor just did."""
    return response.context["handover"]["ask"]


def test_pages_exist_only_in_the_demo(client: Client, settings: LazySettings) -> None:
    assert client.get(SHOP).status_code == 200
    settings.NUDGE_DEMO = False
    for path in ("", "huila/", "cart/", "checkout/", "sign-in/"):
        assert client.get(SHOP + path).status_code == 404
    assert client.post(SHOP + "cart/huila/", {"add": "1"}).status_code == 404


def test_the_list_filters_by_category(client: Client) -> None:
    assert {product.category for product in client.get(SHOP).context["products"]} == set(CATEGORIES)
    brewing = client.get(SHOP, {"category": "brewing"})
    assert {product.category for product in brewing.context["products"]} == {"brewing"}
    assert len(client.get(SHOP, {"category": "<script>"}).context["products"]) == len(PRODUCTS)


@pytest.mark.parametrize("slug", PRODUCTS)
def test_every_product_has_a_page_and_pictures(client: Client, slug: str) -> None:
    assert client.get(f"{SHOP}{slug}/").status_code == 200
    assert (STATIC / "demo" / "products" / f"{slug}.svg").exists()
    # PNG: signature, header chunk, then width and height
    header = (STATIC / "demo" / "products" / f"{slug}.png").read_bytes()[:24]
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (720, 360)


def test_a_product_page_tracks_the_view(client: Client) -> None:
    response = client.get(SHOP + "huila/")
    assert calls(response) == [
        [
            "track",
            "product_viewed",
            {
                "product_id": "huila",
                "name": "Huila Sunrise",
                "category": "coffee",
                "price": 14.2,
                "currency": "EUR",
                "url": "http://testserver/demo/shop/huila/",
                "image": "http://testserver/static/demo/products/huila.png",
            },
        ]
    ]
    assert not asks(response)
    assert client.get(SHOP + "espresso-machine/").status_code == 404


def test_from_cart_to_order(client: Client) -> None:
    client.post(SHOP + "cart/huila/", {"add": "1", "quantity": "2"})
    first = client.get(SHOP + "cart/")
    [[_, name, cart]] = calls(first)
    assert name == "cart_updated"
    client.post(SHOP + "cart/cezve/", {"add": "1"})
    [[_, _, later]] = calls(client.get(SHOP + "cart/"))
    assert later["cart_id"] == cart["cart_id"]
    assert (cart["total"], later["total"], later["currency"]) == (28.4, 60.9, "EUR")
    assert [(item["product_id"], item["quantity"]) for item in later["items"]] == [("huila", 2), ("cezve", 1)]
    assert asks(first)
    assert calls(client.get(SHOP + "cart/")) == []  # handed over once

    thanks = client.post(SHOP + "checkout/", {"email": "a@example.com", "first_name": "Amal"}, follow=True)
    (identify, who, traits), (_, purchase, order) = calls(thanks)
    assert (identify, who, traits) == ("identify", {"email": "a@example.com"}, {"first_name": "Amal"})
    assert purchase == "purchase"
    assert order["total"] == 60.9
    assert order["items"] == later["items"]
    assert order["order_id"] in thanks.content.decode()
    assert client.get(SHOP + "checkout/").url == SHOP + "cart/"  # the cart is empty


def test_calls_are_handed_over_until_a_page_has_made_them(client: Client) -> None:
    client.post(SHOP + "sign-in/", {"email": "a@example.com", "first_name": "Amal"})
    client.get(SHOP)  # left before its scripts ran
    client.post(SHOP + "cart/huila/", {"add": "1"})
    assert [call[0] for call in calls(client.get(SHOP))] == ["identify", "track"]
    assert calls(client.get(SHOP)) == []
    client.post(SHOP + "cart/huila/", {"add": "1"})
    assert [call[1] for call in calls(client.get(SHOP))] == ["cart_updated"]
    for _ in range(60):
        client.post(SHOP + "cart/huila/", {"quantity": "1"})
    assert len(calls(client.get(SHOP))) == 50


def test_quantities_are_set_capped_and_removed(client: Client) -> None:
    for quantity, kept in (("3", 3), ("500", 20), ("many", 1), ("0", None), ("-4", None)):
        client.post(SHOP + "cart/huila/", {"quantity": quantity})
        lines = client.get(SHOP + "cart/").context["lines"]
        assert [line.quantity for line in lines] == ([] if kept is None else [kept])
    assert client.get(SHOP + "cart/huila/").status_code == 405


def test_signing_in_and_out(client: Client) -> None:
    wrong = client.post(SHOP + "sign-in/", {"email": "nobody", "first_name": "Amal"})
    assert wrong.context["form"].errors.keys() == {"email"}
    page = client.post(SHOP + "sign-in/", {"email": "a@example.com", "first_name": "<b>Amal"}, follow=True)
    assert calls(page) == [["identify", {"email": "a@example.com"}, {"first_name": "<b>Amal"}]]
    assert asks(page)
    assert "Hello, &lt;b&gt;Amal" in page.content.decode()
    page = client.post(SHOP + "sign-out/", follow=True)
    assert calls(page) == [["reset"]]
    assert page.context["visitor"] is None


def test_without_a_key_the_page_says_what_to_do(client: Client, demo: Path) -> None:
    assert browser_key() == "pk_shop"
    connected = client.get(SHOP).content.decode()
    assert 'data-key="pk_shop"' in connected
    assert "not connected" not in connected
    (demo / "demo_browser_key").unlink()
    page = client.get(SHOP).content.decode()
    assert browser_key() == ""
    assert "make run" in page
    assert "nudge.js" not in page


def test_pages_have_no_inline_code_and_forbid_it(client: Client) -> None:
    client.post(SHOP + "cart/huila/", {"add": "1"})
    for path in ("", "huila/", "cart/", "checkout/", "sign-in/"):
        response = client.get(SHOP + path)
        page = response.content.decode()
        policy = response["Content-Security-Policy"]
        assert "script-src 'self';" in policy + ";"
        assert "style-src 'self';" in policy + ";"
        assert "no-store" in response["Cache-Control"]
        assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=", page)


def test_the_shop_proves_who_has_signed_in(client: Client, demo: Path) -> None:
    (demo / "demo_identity_secret").write_text("s3cret\n")
    client.post(SHOP + "sign-in/", {"email": "Amal@Example.com", "first_name": "Amal"})
    [[name, reference, _traits]] = calls(client.get(SHOP))
    assert name == "identify"
    assert reference == {
        "email": "Amal@Example.com",
        "proof": proof.sign("s3cret", "email", "amal@example.com"),
    }


def test_the_sdk_and_the_worker_are_served(client: Client) -> None:
    sdk, worker = client.get("/sdk/nudge.js"), client.get("/nudge-sw.js")
    assert sdk.content == SERVED["sdk.js"].encode()
    assert worker.content == SERVED["sw.js"].encode()
    assert sdk["Content-Type"] == worker["Content-Type"] == "text/javascript; charset=utf-8"
    assert worker["Service-Worker-Allowed"] == "/"
    assert worker["Cache-Control"] == "no-cache"
    for response, path in ((sdk, "/sdk/nudge.js"), (worker, "/nudge-sw.js")):
        again = client.get(path, headers={"If-None-Match": response["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"old"'}).status_code == 200
        small = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(small.content) == response.content
        assert small["ETag"] != response["ETag"]
        assert "Accept-Encoding" in small["Vary"]
        assert small["Vary"] == response["Vary"]
        assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "br, gzip;q=0"})
        assert client.post(path).status_code == 405
