"""What went over the wire, taken from urllib3, and its check against HubSpot's OpenAPI documents."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import urllib3
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from werkzeug.datastructures import ImmutableMultiDict

from tests.crm.sandbox import specs

DOCUMENTS = {
    "/crm/v3/objects/contacts": "contacts.json",
    "/crm/v3/objects/companies": "companies.json",
    "/crm/v3/objects/deals": "deals.json",
    "/crm/v3/objects/": "objects.json",
    "/crm/v3/owners/": "owners.json",
    "/crm-object-schemas/": "schemas.json",
    "/crm/v3/properties/": "properties.json",
    "/oauth/v1/": "oauth.json",
    "/crm/v4/": "associations_v4.json",
    "/events/v3/send": "events_send.json",
}


@dataclass
class Exchange:
    """One request and the reply the client got."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    status: int
    reply_headers: dict[str, str]
    reply: bytes


class Recorder:
    """Wraps urllib3's urlopen, which both HubSpot's client and our own calls go through."""

    def __init__(self, monkeypatch) -> None:
        self.exchanges: list[Exchange] = []
        original = urllib3.HTTPConnectionPool.urlopen

        def urlopen(pool, method, url, body=None, headers=None, *rest, **options):
            if isinstance(body, list):  # sent in chunks
                body, sent = iter(body), b"".join(body)
            else:
                sent = body.encode() if isinstance(body, str) else body or b""
            response = original(pool, method, url, body, headers, *rest, **options)
            self.exchanges.append(
                Exchange(
                    method,
                    url,
                    dict(headers or {}),
                    sent,
                    response.status,
                    dict(response.headers),
                    response.data,
                )
            )
            return response

        monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)


@cache
def document(path: str) -> OpenAPI | None:
    """The contract a path belongs to, with the differences between document and service that are known."""
    name = next((file for prefix, file in DOCUMENTS.items() if path.startswith(prefix)), None)
    if name is None:
        return None
    return _openapi(name)


@cache
def _openapi(name: str) -> OpenAPI:
    spec = specs.load("hubspot", name)
    search = spec["components"]["schemas"].get("PublicObjectSearchRequest")
    if search:  # the document lists strings only; the service takes {"propertyName", "direction"} too
        search["properties"]["sorts"]["items"] = {}
    return OpenAPI.from_dict(spec)


def check(exchange: Exchange) -> None:
    """Fail unless the reply, and for an accepted request the request too, fit the contract."""
    url = urlsplit(exchange.url)
    api = document(url.path)
    if api is None or exchange.status in (405, 414):  # not in the document; the front's HTML page
        return
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    request = MockRequest(
        "https://api.hubapi.com",
        exchange.method,
        url.path,
        headers=headers,
        data=exchange.body,
        content_type=headers.get("content-type", "application/json").split(";")[0],
    )
    query = [(key, value.lower() if key == "archived" else value) for key, value in parse_qsl(url.query)]
    request.parameters.query = ImmutableMultiDict(query)
    content_type = exchange.reply_headers.get("Content-Type", "").split(";")[0]
    response = MockResponse(
        exchange.reply, exchange.status, headers=exchange.reply_headers, content_type=content_type
    )
    if exchange.status < 400:
        api.validate_request(request)
    api.validate_response(request, response)
    if exchange.reply:
        check_shape(json.loads(exchange.reply), exchange)


def check_shape(body: Any, exchange: Exchange) -> None:
    """What the documents leave open: values are strings or null, records say whether they are archived."""
    if exchange.status >= 400:
        assert body["status"] == "error" or (
            body["status"].startswith("BAD_") and exchange.url.startswith("/oauth/")
        )
        assert body["message"]
        assert body["correlationId"]
        assert body["category"]
        return
    records = [body, *body.get("results", [])] if isinstance(body, dict) else []
    for record in records:
        if "/objects/" not in exchange.url or "properties" not in record:
            continue
        assert isinstance(record["archived"], bool)
        modified = "lastmodifieddate" if "/objects/contacts" in exchange.url else "hs_lastmodifieddate"
        assert {"hs_object_id", modified} <= set(record["properties"])
        assert all(value is None or isinstance(value, str) for value in record["properties"].values())
