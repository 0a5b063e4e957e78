"""Keys, scopes, sites, and the one error body."""

import json

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from crm import api_keys
from crm.models import ApiKey
from tests.crm.api.conftest import Caller

EVENT = {"events": [{"name": "looked", "profile": {"anonymous_id": "a"}}]}
SHOP = "https://shop.example.com"


def error(response, status):
    """The error's code, after checking the shape of the body."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert body["error"]["detail"]
    return body["error"]["code"]


class TestKeys:
    def test_without_a_key(self, stranger):
        response = stranger.post("events/", EVENT)
        assert error(response, 401) == "not_authenticated"
        assert response["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        "header",
        [
            "Bearer sk_wrong",
            "bearer ",
            "Bearer",
            "Bearer a b",
            "Bearer \x00",
            "Bearer ż",
            "Bearer " + "x" * 9999,
        ],
    )
    def test_an_unknown_key(self, stranger, header):
        assert error(stranger.post("events/", EVENT, HTTP_AUTHORIZATION=header), 401) == "invalid_key"

    def test_other_schemes_are_no_key(self, stranger):
        assert error(stranger.get("profiles/", HTTP_AUTHORIZATION="Basic dTpw"), 401) == "not_authenticated"

    def test_a_revoked_key(self, writer):
        assert writer.post("events/", EVENT).status_code == 202
        assert api_keys.revoke("writer")
        assert error(writer.post("events/", EVENT), 401) == "invalid_key"

    def test_use_is_noted_but_not_every_time(self, writer):
        writer.post("events/", EVENT)
        first = ApiKey.objects.get(name="writer").last_used_at
        writer.post("events/", EVENT)
        assert timezone.now() >= first == ApiKey.objects.get(name="writer").last_used_at

    def test_only_a_digest_is_kept(self, db):
        key, text = api_keys.create("k", ["read"])
        stored = ApiKey.objects.filter(pk=key.pk).values_list("prefix", "digest", "name", "scopes").get()
        assert text not in str(stored)
        assert bytes(stored[1]) != text.encode()

    @pytest.mark.parametrize("scopes", [[], ["admin"], ["browser", "write"]])
    def test_no_such_combination_of_scopes(self, db, scopes):
        with pytest.raises(ValueError):
            api_keys.create("k", scopes)

    @pytest.mark.parametrize(
        "site", ["shop.example.com", "ftp://shop.example.com", "https://a/b", "https://u@a", "*"]
    )
    def test_no_such_site(self, db, site):
        with pytest.raises(ValueError):
            api_keys.create("k", ["browser"], [site])


class TestScopes:
    # Which keys get past the check; what comes then (400 for an empty body) does not matter.
    @pytest.mark.parametrize(
        ("method", "path", "may"),
        [
            ("POST", "events/", {"writer", "browser"}),
            ("POST", "profiles/", {"writer"}),
            ("POST", "profiles/bulk/", {"writer"}),
            ("GET", "profiles/", {"reader"}),
            ("GET", "profiles/1/", {"reader"}),
            ("POST", "subscriptions/", {"writer", "browser"}),
            ("DELETE", "subscriptions/", {"writer", "browser"}),
            ("GET", "push/config/", {"reader", "writer", "browser"}),
        ],
    )
    def test_each_key_may_do_its_own(self, writer, reader, browser, method, path, may):
        for name, caller in {"writer": writer, "reader": reader, "browser": browser}.items():
            response = caller.send(method, path, {})
            if name in may:
                assert response.status_code in (200, 400, 404), (name, response.content)
            else:
                assert error(response, 403) == "scope_missing"

    def test_a_key_may_have_two_scopes(self, db):
        caller = Caller(api_keys.create("both", ["read", "write"])[1])
        assert caller.get("profiles/").status_code == 200
        assert caller.post("events/", EVENT).status_code == 202


class TestSites:
    @pytest.mark.parametrize("path", ["events/", "subscriptions/", "push/config/"])
    def test_a_preflight_needs_no_key(self, stranger, path):
        response = stranger.send(
            "OPTIONS",
            path,
            HTTP_ORIGIN=SHOP,
            HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST",
            HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization,content-type",
        )
        assert response.status_code == 204
        assert response["Access-Control-Allow-Origin"] == SHOP
        assert {"authorization", "content-type"} <= set(response["Access-Control-Allow-Headers"].split(", "))
        assert ("GET" if path == "push/config/" else "POST") in response["Access-Control-Allow-Methods"]

    def test_other_endpoints_answer_no_preflight(self, stranger):
        response = stranger.send(
            "OPTIONS", "profiles/", HTTP_ORIGIN=SHOP, HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST"
        )
        assert (response.status_code, response["Allow"]) == (204, "GET, POST, HEAD, OPTIONS")
        assert "Access-Control-Allow-Origin" not in response

    @pytest.mark.parametrize(
        "site", [None, SHOP, "https://SHOP.example.com:443", "http://testserver", settings.NUDGE_PUBLIC_URL]
    )
    def test_the_keys_sites_and_our_own(self, browser, site):
        response = browser.post("events/", EVENT, **({"HTTP_ORIGIN": site} if site else {}))
        assert response.status_code == 202
        if site:
            assert response["Access-Control-Allow-Origin"] == site
            assert "Origin" in response["Vary"]

    @pytest.mark.parametrize(
        "site",
        ["https://evil.example.com", "http://shop.example.com", "https://shop.example.com:8443", "null", "x"],
    )
    def test_other_sites_are_told_why_not(self, browser, site):
        response = browser.post("events/", EVENT, HTTP_ORIGIN=site)
        assert error(response, 403) == "origin_not_allowed"
        assert response["Access-Control-Allow-Origin"] == site

    def test_the_site_matters_for_public_keys_only(self, writer):
        assert writer.post("events/", EVENT, HTTP_ORIGIN="https://anywhere.example").status_code == 202


class TestErrors:
    @pytest.mark.parametrize("path", ["events/", "profiles/", "profiles/bulk/", "subscriptions/"])
    def test_too_large(self, writer, path):
        body = json.dumps({"x": "y" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE})
        assert error(writer.post(path, body), 413) == "too_large"

    @pytest.mark.parametrize("path", ["events/", "profiles/", "profiles/bulk/", "subscriptions/"])
    @pytest.mark.parametrize(
        "body",
        [" ", "{", "\xff", '{"events": NaN}', "[" * 50_000, '{"a":' * 50_000, "[]", "1", '"x"', "{}", "null"],
    )
    def test_no_such_body(self, writer, path, body):
        assert error(writer.post(path, body.encode("latin-1")), 400).startswith(("invalid", "missing"))

    def test_not_json(self, writer):
        response = writer.post("events/", "a=b", content_type="application/x-www-form-urlencoded")
        assert error(response, 415) == "unsupported_media_type"
        assert error(writer.post("profiles/", EVENT, HTTP_CONTENT_ENCODING="gzip"), 415)

    def test_wrong_method(self, writer):
        response = writer.send("PUT", "events/", EVENT)
        assert error(response, 405) == "method_not_allowed"
        assert response["Allow"] == "GET, POST, HEAD, OPTIONS"

    def test_nothing_there(self, writer):
        assert error(writer.get("nothing/"), 404) == "not_found"

    def test_unexpected_errors_do_not_tell_more(self, writer, monkeypatch):
        def fail(*args, **kwargs):
            raise DatabaseError("password=hunter2")

        monkeypatch.setattr("crm.ingest.take", fail)
        response = writer.post("events/", EVENT)
        assert error(response, 500) == "server_error"
        assert b"hunter2" not in response.content

    def test_pages_outside_the_api_keep_their_own_404(self, client, db):
        assert client.get("/nothing/")["Content-Type"].startswith("text/html")


class TestHealth:
    def test_well(self, client, db):
        response = client.get("/healthz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})

    def test_without_a_database(self, client, db, monkeypatch):
        class Broken:
            def cursor(self):
                raise DatabaseError("connection to 10.0.0.1 refused")

        monkeypatch.setattr("config.health.connection", Broken())
        response = client.get("/healthz")
        assert response.status_code == 503
        assert b"10.0.0.1" not in response.content

    def test_the_root_leads_to_the_admin(self, client):
        assert client.get("/")["Location"] == "/admin/"
