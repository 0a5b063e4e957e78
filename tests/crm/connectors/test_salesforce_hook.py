"""Salesforce's outbound messages."""

from datetime import UTC, datetime

import pytest

from crm.connectors.base import Hint, HookRefused, HookRequest
from crm.connectors.salesforce import Salesforce
from crm.connectors.tokens import Tokens
from crm.sandbox import salesforce_soap
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.salesforce_crm import KEY, SandboxCrm

URL = f"https://nudge.example/hooks/crm/shop/?key={KEY}"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ORGANIZATION = "00DQy0000004Wxy"


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    with running_sandbox(contacts=10, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


def post(connector, body, url=URL, method="POST"):
    return connector.hook(
        HookRequest(method, url, {}, body if isinstance(body, bytes) else body.encode(), NOW)
    )


def message(crm, kind="Contact", count=2):
    ids = sorted(crm.org.object(kind).table.records)[:count]
    return ids, crm.org.outbound(kind, ids, crm.sandbox.url)


def test_every_record_in_it_becomes_one_hint_and_is_acknowledged(crm):
    ids, body = message(crm, count=3)
    answer = post(crm.connector(), body)
    assert answer.hints == [Hint("Contact", one) for one in ids]
    assert salesforce_soap.acknowledged(answer.body)
    assert answer.content_type.startswith("text/xml")
    (_, opportunity) = message(crm, "Opportunity", 1)
    assert post(crm.connector(), opportunity).hints[0].object == "Opportunity"


def test_repeated_records_and_objects_we_do_not_read_make_no_hints(crm):
    (one,), body = message(crm, count=1)
    begin, end = body.index("<Notification>"), body.index("</notifications>")
    twice = body[:end] + body[begin:end] + body[end:]
    assert post(crm.connector(), twice).hints == [Hint("Contact", one)]
    other = post(crm.connector(), body.replace("sf:Contact", "sf:Account"))
    assert other.hints == []
    assert salesforce_soap.acknowledged(other.body)


def test_ids_of_fifteen_characters_are_made_long(crm):
    (one,), body = message(crm, count=1)
    assert post(crm.connector(), body.replace(one, one[:15])).hints == [Hint("Contact", one)]


def test_calls_cost_no_login_once_the_organisation_is_known(crm):
    tokens = Tokens()
    _, body = message(crm)
    for _ in range(3):
        post(crm.connector(tokens=tokens), body)
    assert crm.logins() == 1


@pytest.mark.parametrize("url", ["?key=wrong", "?key=", "", f"?key={KEY}x", f"?other={KEY}", "?key=é"])
def test_without_the_key_it_is_refused_before_anything_is_looked_at(crm, url):
    _, body = message(crm)
    with pytest.raises(HookRefused):
        post(crm.connector(), body, f"https://nudge.example/hooks/crm/shop/{url}")
    assert crm.logins() == 0


def test_a_connection_without_a_key_takes_no_calls(crm):
    _, body = message(crm)
    for url in (URL, "https://nudge.example/?key=", "https://nudge.example/"):
        with pytest.raises(HookRefused):
            post(crm.connector({"hook_key": ""}), body, url)


def test_another_organisations_message_is_refused(crm):
    _, body = message(crm)
    assert ORGANIZATION in body
    with pytest.raises(HookRefused):
        post(crm.connector(), body.replace(f"{ORGANIZATION}", "00DQy0000004Wxz", 1).replace("MAE<", "<", 1))


def test_it_is_refused_while_the_organisation_can_not_be_learned(crm):
    _, body = message(crm)
    crm.refuse()
    with pytest.raises(HookRefused):
        post(crm.connector(), body)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
LEAK = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace("?>", f"?>{BOMB}", 1),
        lambda body: body.replace("?>", f"?>{LEAK}", 1),
        lambda body: body.replace("?>", '?><!DOCTYPE x SYSTEM "http://10.0.0.1/x.dtd">', 1),
        lambda body: body[: len(body) // 2],
        lambda body: body.replace("UTF-8", "no-such-encoding"),
        lambda body: body.replace("OrganizationId", "Organization"),
        lambda body: "<a>" * 1000 + "</a>" * 1000,
        lambda body: "",
        lambda body: b"\xff\xfe\x00",
    ],
)
def test_bodies_that_are_no_message_are_refused(crm, change):
    _, body = message(crm)
    with pytest.raises(HookRefused):
        post(crm.connector(), change(body))


def test_only_posts_of_a_reasonable_size_are_read(crm):
    _, body = message(crm)
    with pytest.raises(HookRefused):
        post(crm.connector(), body, method="GET")
    with pytest.raises(HookRefused):
        post(crm.connector(), body + " " * 5_000_000)


def test_what_a_hint_names_can_be_read(crm):
    (one,), body = message(crm, count=1)
    connector = crm.connector()
    (hint,) = post(connector, body).hints
    (record,) = connector.read(hint.object, [hint.record_id], ["Email"])
    assert record.id == one
