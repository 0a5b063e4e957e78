"""The OpenAPI document and its page."""

import io

import pytest
from django.core.management import call_command


@pytest.fixture(scope="module")
def document():
    from drf_spectacular.generators import SchemaGenerator

    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_valid_and_complete():
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=io.StringIO())


def test_everybody_may_read_it(client, db):
    response = client.get("/api/v1/schema/", HTTP_ACCEPT="application/json")
    assert response.status_code == 200
    assert response.json()["info"]["title"] == "Nudge API"


def test_every_endpoint_says_who_may_call_it_and_how_it_fails(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] in ([{"apiKey": []}], [{"publicKey": []}]), (method, path)
            assert {"401", "403"} <= set(operation["responses"]), (method, path)
            assert operation["summary"], (method, path)


def test_every_body_has_an_example(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                for content in operation["requestBody"]["content"].values():
                    assert content["examples"], (method, path)


def test_the_page_needs_no_inline_script_and_no_other_server(client, db):
    response = client.get("/api/v1/docs/")
    page = response.content.decode()
    assert response.status_code == 200
    assert "https://" not in page
    assert "<script>" not in page
    assert "'unsafe-inline'" not in response["Content-Security-Policy"].split("style-src")[0]
    script = client.get("/api/v1/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
