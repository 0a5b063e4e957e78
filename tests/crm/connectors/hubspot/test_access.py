"""OAuth: one token for many calls, a new one before it ends, and another try with one that was withdrawn."""

from datetime import timedelta

import pytest
from django.utils import timezone

from crm.connectors.base import ConnectorError
from crm.connectors.tokens import Tokens
from tests.crm.connectors.hubspot.sandbox import CONTACTS, read, records

OAUTH = {"client_id": "app-1", "client_secret": "cs-secret", "refresh_token": "rt-secret"}


def connector(crm, tokens=None):
    return crm.connector(OAUTH, tokens, access="oauth")


def logins(crm):
    return crm.calls.count("/oauth/v1/token")


def test_one_token_serves_a_run(few):
    assert {one.id for one in records(read(connector(few)))} == few.ids()
    assert logins(few) == 1


def test_tokens_are_shared(few):
    tokens = Tokens()
    for _ in range(3):
        connector(few, tokens).fields(CONTACTS)
    assert logins(few) == 1


def test_a_token_is_replaced_before_it_ends(few, monkeypatch):
    client = connector(few)
    client.fields(CONTACTS)
    later = timezone.now() + timedelta(minutes=29, seconds=30)
    monkeypatch.setattr("crm.connectors.tokens.timezone.now", lambda: later)
    client.fields(CONTACTS)
    assert logins(few) == 2
    assert not [entry for entry in few.sandbox.control.journal if entry["status"] == 401]


def test_a_token_that_was_withdrawn_is_replaced_in_the_middle_of_a_run(crm):
    pages = connector(crm).pages(CONTACTS, {}, "incremental", ["email"])
    found = {record.id for record in next(pages).records}
    crm.hubspot.expire_tokens()
    found |= {record.id for record in records(pages)}
    assert found == crm.ids()
    assert logins(crm) == 2


def test_an_account_that_refuses_every_token_is_asked_twice(few):
    few.script({"path": "/crm/", "status": 401})
    client = connector(few)
    with pytest.raises(ConnectorError, match="refused the credentials"):
        client.fields(CONTACTS)
    assert client.calls == 4  # two tokens, two calls


def test_a_withdrawn_refresh_token_is_told_plainly(few):
    body = {"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"}
    few.script({"path": "oauth", "status": 400, "body": body})
    with pytest.raises(ConnectorError) as caught:
        connector(few).test()
    assert "Install the app" in str(caught.value)
    assert "secret" not in str(caught.value).replace("client secret", "")


@pytest.mark.parametrize("status", [400, 403, 500])
def test_secrets_that_a_refusal_repeats_are_not_told_on(few, status):
    said = " ".join(["x" * 280, OAUTH["refresh_token"], OAUTH["client_secret"]])
    few.script({"path": "oauth", "status": status, "body": {"message": said}})
    with pytest.raises(ConnectorError) as caught:
        connector(few).test()
    assert not any(part in str(caught.value) for part in ("rt-s", "cs-s"))


def test_a_login_that_fails_at_first_is_tried_again(few):
    few.script({"path": "oauth", "nth": [1, 2], "status": 503})
    assert connector(few).fields(CONTACTS)
    assert logins(few) == 3


def test_a_silent_login_ends(few, monkeypatch):
    monkeypatch.setattr("crm.connectors.hubspot.HURRIED_PATIENCE", 0.2)
    few.script({"path": "oauth", "delay_seconds": 9})
    with pytest.raises(ConnectorError, match="No answer"):
        connector(few).test()
