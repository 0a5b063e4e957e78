"""What holds for every address below /api/."""

import pytest


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "HEAD"])
def test_an_address_without_its_slash_names_the_right_one(server, method):
    response = server.send(method, "profiles", {"email": "ada@example.com"} if method == "POST" else None)
    assert response.status_code == 404
    if method != "HEAD":
        assert "/api/v1/profiles/" in response.json()["error"]["detail"]


def test_head_is_get_without_its_body(reader):
    assert reader.send("HEAD", "profiles/?limit=5").status_code == 200
    assert reader.send("HEAD", "profiles/?limit=x").status_code == 400
    assert reader.send("HEAD", "profiles/").content == b""


def test_options_tells_the_methods_to_anybody(stranger):
    response = stranger.send("OPTIONS", "profiles/")
    assert (response.status_code, response["Allow"]) == (204, "GET, POST, HEAD, OPTIONS")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("emial=a", "unknown_parameter", "emial"),
        ("limit=", "invalid_value", "limit"),
        ("limit=1&limit=2", "invalid_value", "limit"),
        ("&".join(f"p{n}=1" for n in range(10_001)), "bad_request", None),
    ],
)
def test_queries_that_nobody_can_mean(reader, query, code, field):
    error = reader.get(f"profiles/?{query}").json()["error"]
    assert (error["code"], error.get("field")) == (code, field)


def test_other_media_types_are_not_given(reader):
    response = reader.get("profiles/", HTTP_ACCEPT="text/html")
    assert (response.status_code, response.json()["error"]["code"]) == (406, "not_acceptable")
