"""Calls to the CRMs' addresses by anybody: whatever is sent, nothing breaks, is told or is kept."""

import pytest

from crm.models import AccessToken, Connection, SyncHint

SETTINGS = {
    "hubspot": ({"server": "hubspot"}, {"access_token": "a", "client_secret": "s3cret"}),
    "salesforce": (
        {"domain": "acme.my.salesforce.com", "hook_key": "k3y"},
        {"client_id": "id", "client_secret": "s3cret"},
    ),
    "zoho": ({"server": "eu"}, {"client_id": "id", "client_secret": "s3cret", "refresh_token": "r"}),
    "file": ({"upload": 1}, {}),
}
ZOHO = b'{"module": "Contacts", "operation": "delete", "ids": ["1"], "token": %s}'
BODIES = {
    "nothing": b"",
    "no UTF-8": ZOHO % b'"\xff\xfe"',
    "half a character": ZOHO % rb'"\ud800"',
    "another alphabet": ZOHO % '"ключ"'.encode(),
    "no text": ZOHO % b"null",
    "deep": b'{"a":' + b"[" * 300_000,
    "many": b'{"module": "Contacts", "operation": "x", "token": "t", "ids": [' + b"1," * 400_000 + b"1]}",
    "entities": b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>',
}


@pytest.fixture(params=SETTINGS)
def stored(request, db):
    config, credentials = SETTINGS[request.param]
    return Connection.objects.create(
        kind=request.param,
        name=request.param,
        slug=request.param,
        config=config,
        credentials=credentials,
        mapping={"contacts": {}, "Contact": {}},
    )


def call(client, slug, body=b"{}", query="", **headers):
    address = f"/hooks/crm/{slug}/{query}"
    return client.post(address, body, content_type="application/json", headers=headers)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_forged_body_is_refused_cheaply(client, stored, body, django_assert_max_num_queries):
    with django_assert_max_num_queries(1):
        reply = call(client, stored.slug, body)
    assert reply.status_code == 401
    assert not SyncHint.objects.exists()
    assert not AccessToken.objects.exists()
    stored.refresh_from_db()
    assert stored.called_at is None


@pytest.mark.parametrize("body", [b"{}", b" " * (1024 * 1024 + 1)], ids=["small", "huge"])
def test_nobody_learns_which_connections_there_are(client, stored, body):
    known, unknown = call(client, stored.slug, body), call(client, "nobody", body)
    Connection.objects.update(state="draft")
    draft = call(client, stored.slug, body)
    assert len({(reply.status_code, reply.content) for reply in (known, unknown, draft)}) == 1
    assert known.status_code in (401, 413)
