"""Logging in to Salesforce: three ways, few times, and to nobody else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.db import connection as database

from crm.connectors.base import ConnectorError
from crm.connectors.salesforce import Salesforce
from crm.connectors.salesforce_api import Api
from crm.connectors.salesforce_settings import SalesforceConfig, SalesforceCredentials, SalesforceForm, host
from crm.connectors.tokens import StoredTokens, Token, Tokens
from crm.models import Connection
from crm.sandbox.inprocess import running_sandbox
from tests.crm.connectors.salesforce_crm import CONFIG, CREDENTIALS, SandboxCrm

ORGANIZATION = "00DQy0000004WxyMAE"


@pytest.fixture
def crm(settings, monkeypatch):
    monkeypatch.setattr(Salesforce, "backoff_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "poll_seconds", 0.01)
    monkeypatch.setattr(Salesforce, "page_size", 20)
    with running_sandbox(contacts=60, vendors=["salesforce"]) as sandbox:
        settings.NUDGE_SANDBOX_URL = sandbox.url
        yield SandboxCrm(sandbox)


@pytest.fixture(scope="module")
def key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def ids(pages):
    return {record.id for page in pages for record in page.records}


class TestWays:
    def test_secrets_that_a_refusal_repeats_are_not_told_on(self, crm):
        said = f"{'x' * 290} {CREDENTIALS['client_secret']}"
        body = {"error": "invalid_client", "error_description": said}
        crm.script({"path": "oauth2/token", "status": 400, "body": body})
        with pytest.raises(ConnectorError, match="refused the login") as caught:
            crm.connector().test()
        assert CREDENTIALS["client_secret"][:5] not in str(caught.value)

    def test_client_credentials_must_be_right(self, crm):
        crm.org.accepts = {CREDENTIALS["client_secret"]}
        assert "60 contacts" in crm.connector().test()
        with pytest.raises(ConnectorError, match="refused the login.*consumer key"):
            crm.connector(credentials={"client_secret": "wrong"}).test()

    def test_a_refresh_token(self, crm):
        crm.org.accepts = {"5Aep-refresh"}
        refresh = {"auth": "refresh_token"}, {"refresh_token": "5Aep-refresh"}
        assert "60 contacts" in crm.connector(*refresh).test()
        crm.org.sessions.refusing = True
        with pytest.raises(ConnectorError, match="revoked"):
            crm.connector(*refresh).test()

    def test_a_new_refresh_token_takes_the_place_of_the_old_one(self, crm):
        tokens = Tokens()
        config, credentials = {"auth": "refresh_token"}, {"refresh_token": "first"}
        answer = {"access_token": "a", "instance_url": "https://x", "id": "", "refresh_token": "second"}
        crm.script(
            {"path": "oauth2/token", "status": 200, "body": answer, "content_type": "application/json"}
        )
        crm.connector(config, credentials, tokens).test()
        crm.script()
        crm.org.accepts = {"second"}
        assert "60 contacts" in crm.connector(config, credentials, tokens).test()
        crm.org.accepts = {"third"}
        crm.org.expire_tokens()
        with pytest.raises(ConnectorError, match="refused the login"):
            crm.connector(config, credentials, tokens).test()
        entered = crm.connector(config, {"refresh_token": "third"}, tokens)
        assert "60 contacts" in entered.test()

    @pytest.mark.parametrize("mangle", [str, lambda text: text.replace("\n", " ")])
    def test_a_signed_assertion(self, crm, key, mangle):
        crm.org.sessions.public_key = (
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        )
        config = {"auth": "jwt", "username": "integration@sandbox.example"}
        assert "60 contacts" in crm.connector(config, {"private_key": mangle(pem(key))}).test()
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with pytest.raises(ConnectorError, match="invalid assertion.*certificate"):
            crm.connector(config, {"private_key": pem(stranger)}).test()

    def test_an_assertion_follows_salesforces_clock(self, crm, key):
        crm.wait(86_400)
        config = {"auth": "jwt", "username": "integration@sandbox.example"}
        assert "60 contacts" in crm.connector(config, {"private_key": pem(key)}).test()

    @pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----x-----END PRIVATE KEY-----"])
    def test_what_is_no_key_is_told_plainly(self, crm, text):
        config = {"auth": "jwt", "username": "integration@sandbox.example"}
        with pytest.raises(ConnectorError, match="rivate key"):
            crm.connector(config, {"private_key": text}).test()


class TestExpiry:
    def test_a_token_that_ends_amid_a_run_is_renewed_once(self, crm):
        pages = crm.connector().pages("Contact", {}, "full", ["Email"])
        found = [next(pages)]
        crm.org.expire_tokens()
        assert ids([*found, *pages]) == crm.ids()
        assert crm.logins() == 2

    def test_a_token_that_ends_amid_a_bulk_job_is_renewed_and_the_job_goes_on(self, crm, monkeypatch):
        monkeypatch.setattr(Salesforce, "bulk_from", 10)
        monkeypatch.setattr("crm.connectors.salesforce_walk.BULK_PAGE", 20)
        pages = crm.connector().pages("Contact", {}, "full", ["Email"])
        found = [next(pages), next(pages)]
        crm.org.expire_tokens()
        assert ids([*found, *pages]) == crm.ids()
        assert crm.logins() == 2
        assert len(crm.org.bulk.jobs) == 1

    @pytest.mark.parametrize(
        "body", [{"message": "no list"}, [{"message": "Session expired", "errorCode": "INVALID_SESSION_ID"}]]
    )
    def test_a_salesforce_that_refuses_every_token_is_asked_for_two(self, crm, body):
        crm.script({"path": "/services/data", "status": 401, "body": body})
        connector = crm.connector()
        for _ in range(3):
            with pytest.raises(ConnectorError):
                connector.fields("Contact")
        assert crm.logins() <= 2

    def test_sessions_that_keep_ending_end_the_run(self, crm):
        pages = crm.connector().pages("Contact", {}, "full", ["Email"])
        next(pages)
        crm.org.expire_tokens()
        next(pages)
        crm.org.expire_tokens()
        with pytest.raises(ConnectorError, match="as soon as they begin"):
            next(pages)
        assert crm.logins() == 2

    def test_a_token_of_other_settings_is_not_used(self, crm):
        tokens = Tokens()
        extra = {"instance_url": "https://other.my.salesforce.com", "account": "other"}
        tokens.get(lambda old: Token("other", None, extra))
        crm.connector(tokens=tokens).test()
        assert crm.logins() == 1


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_need_a_new_token_at_once_fetch_one(crm):
    connection = Connection.objects.create(kind="salesforce", name="Shop", slug="shop")
    crm.connector(tokens=StoredTokens(connection.pk)).test()
    crm.org.expire_tokens()
    crm.script({"path": "oauth2/token", "delay_seconds": 0.2})
    begin = Barrier(2)

    def process():
        connector = crm.connector(tokens=StoredTokens(connection.pk))
        begin.wait(10)
        try:
            return len(connector.fields("Contact"))
        finally:
            database.close()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(process), pool.submit(process)
        assert first.result(20) == second.result(20) > 0
    assert crm.logins() == 2


class TestHosts:
    @pytest.mark.parametrize(
        "name",
        [
            "acme.my.salesforce.com",
            " https://Acme.my.salesforce.com/ ",
            "acme--dev.sandbox.my.salesforce.com",
            "acme-dev-ed.develop.my.salesforce.com",
            "login.salesforce.com",
            "test.salesforce.com",
        ],
    )
    def test_salesforces_own(self, name):
        assert host(name) == name.strip().lower().removeprefix("https://").rstrip("/")

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "salesforce.com",
            "my.salesforce.com",
            "10.0.0.1",
            "localhost",
            "acme.my.salesforce.com.evil.example",
            "evil.example/acme.my.salesforce.com",
            "evil.example#.my.salesforce.com",
            "user@acme.my.salesforce.com",
            "acme.my.salesforce.com:8443",
            "acme.my.salesforce.com@evil.example",
            "http://acme.my.salesforce.com",
            "acme.lightning.force.com",
            "acme.my.salesforce.com\x00",
        ],
    )
    def test_all_others_are_refused(self, name):
        with pytest.raises(ConnectorError):
            Salesforce({"domain": name}, CREDENTIALS)

    @pytest.mark.parametrize(
        "config",
        [
            {"server": "http://10.0.0.1"},
            {"url": "http://10.0.0.1"},
            {"domain": "login.salesforce.com"},
            {"domain": "acme.my.salesforce.com", "auth": "refresh_token"},
            {"domain": "acme.my.salesforce.com", "auth": "jwt"},
        ],
    )
    def test_settings_that_can_not_work_are_told_plainly(self, config):
        with pytest.raises(ConnectorError):
            Salesforce(config, CREDENTIALS)

    def real(self, crm):
        """An account at Salesforce itself, whose calls end up at the sandbox."""
        config = SalesforceConfig(domain="acme.my.salesforce.com")
        credentials = SalesforceCredentials("id", "secret")
        return Api(config, credentials, Tokens(), crm.sandbox.url, retries=0, backoff=0, patience=5)

    @pytest.mark.parametrize(
        "instance", ["http://acme.my.salesforce.com", "https://evil.example", "https://10.0.0.1", "evil", ""]
    )
    def test_a_token_goes_nowhere_else_even_if_the_answer_says_so(self, crm, instance):
        answer = {"access_token": "00D!token", "instance_url": instance, "id": ""}
        crm.script(
            {"path": "oauth2/token", "status": 200, "body": answer, "content_type": "application/json"}
        )
        with pytest.raises(ConnectorError, match="not Salesforce's"):
            self.real(crm).describe("Contact")
        assert len(crm.sandbox.control.journal) == 1

    def test_the_instance_that_salesforce_names_is_used(self, crm):
        answer = {
            "access_token": "00D!token",
            "instance_url": "https://acme--x.sandbox.my.salesforce.com",
            "id": f"https://login.salesforce.com/id/{ORGANIZATION[:15]}/005Qy0000001AdmAAE",
        }
        crm.script(
            {"path": "oauth2/token", "status": 200, "body": answer, "content_type": "application/json"}
        )
        api = self.real(crm)
        assert api.describe("Contact").fields
        assert api._connected().sf_instance == "acme--x.sandbox.my.salesforce.com"
        assert api.organization() == ORGANIZATION

    def test_a_redirect_does_not_get_the_token(self, crm):
        with running_sandbox(contacts=1, vendors=["salesforce"]) as other:
            there = {"Location": f"{other.url}/services/data/v59.0/query/"}
            crm.script({"path": "/services/data", "status": 302, "headers": there})
            with pytest.raises(ConnectorError):
                crm.connector().test()
            assert not other.control.journal


class TestForm:
    def test_it_asks_for_what_the_chosen_way_needs(self):
        entered = {**CONFIG, **CREDENTIALS, "auth": "jwt"}
        form = SalesforceForm(entered)
        assert not form.is_valid()
        assert set(form.errors) == {"username"}
        key = {"username": "a@b.c", "private_key": "x"}
        assert SalesforceForm({**entered, **key}).is_valid()
        assert SalesforceForm({**entered, "auth": "client_credentials"}).is_valid()
        real = {**entered, **key, "server": "salesforce"}
        assert set(SalesforceForm(real).errors) == {"domain"}
        assert SalesforceForm({**real, "domain": "test.salesforce.com"}).is_valid()

    def test_every_connection_is_proposed_its_own_hook_key(self):
        one, two = (SalesforceForm()["hook_key"].value() for _ in range(2))
        assert one != two
        assert len(one) >= 20


def test_a_token_with_a_time_to_live_is_replaced_in_time(crm):
    answer = {"access_token": "a", "instance_url": "https://x", "expires_in": 30}
    crm.script({"path": "oauth2/token", "status": 200, "body": answer, "content_type": "application/json"})
    tokens = Tokens()
    crm.connector(tokens=tokens).test()
    held = tokens.get(lambda old: old)
    assert held.expires_at < datetime.now(UTC) + timedelta(seconds=31)
    crm.connector(tokens=tokens).test()
    assert crm.logins() == 2
