"""Mail services by their APIs: what is posted, what answers mean, and whose calls are believed."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from delivery import providers
from delivery.channels.base import Address, Outcome, Parcel
from delivery.email.content import EmailPayload
from delivery.providers.anymail import AnymailConfig, AnymailCredentials
from delivery.providers.base import Call, NotGenuine, ProviderError, Reported, Sender
from delivery.providers.django_backend import BackendConfig, BackendCredentials

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HEADERS = {
    "List-Unsubscribe": "<https://n.example/x/>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}


class Service:
    """Answers like a mail service: `answers` by recipient are (status, body), or None to hang up.

    Whoever asks by GET is told `status`; `asked` is by what path and with what headers.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.status = 200


@pytest.fixture
def service(settings: Any) -> Any:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.calls.append({"path": self.path, "key": self.headers["X-Postmark-Server-Token"], **call})
            status, body = found.answers.get(call["To"], (200, None)) or (0, None)
            if not status:
                self.close_connection = True
                return
            said = json.dumps(
                body or {"ErrorCode": 0, "To": call["To"], "MessageID": f"id-{call['To']}", "Message": "OK"}
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

        def do_GET(self) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(found.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/"  # type: ignore[attr-defined]
    settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [f"127.0.0.1:{server.server_port}"]
    yield found
    server.shutdown()
    server.server_close()
    thread.join(5)


def sender(kind: str = "postmark", url: str = "", **secrets: str) -> Sender:
    config = AnymailConfig(
        service=kind, from_address="news@shop.example", from_name="Kahwa, Ltd", api_url=url
    )  # type: ignore[arg-type]
    credentials = AnymailCredentials(**{"api_key": "key-1", **secrets})
    return Sender(1, "Mail", config, credentials, "https://n.example/callbacks/abc/")


def parcel(number: int, address: str = "") -> Parcel:
    payload = EmailPayload(subject="Zażółć", html="<p>Hi</p>", text="Hi", headers=dict(HEADERS))
    return Parcel(number, SimpleNamespace(pk=number), Address(address or f"p{number}@example.com"), payload)  # type: ignore[arg-type]


def test_a_message_reaches_the_service_with_its_headers(service: Any) -> None:
    results = {
        r.number: r for r in providers.get("email", "anymail").send(sender(url=service.url), [parcel(1)], NOW)
    }
    assert (results[1].outcome, results[1].provider_id) == (Outcome.ACCEPTED, "id-p1@example.com")
    [call] = service.calls
    assert call["key"] == "key-1"
    assert (call["Subject"], call["From"]) == ("Zażółć", '"Kahwa, Ltd" <news@shop.example>')
    assert (call["HtmlBody"], call["TextBody"]) == ("<p>Hi</p>", "Hi")
    assert {each["Name"]: each["Value"] for each in call["Headers"]} == HEADERS


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((401, {"ErrorCode": 10, "Message": "Bad token"}), Outcome.CONFIGURATION),
        ((429, {"Message": "slowly"}), Outcome.RETRY),
        ((503, {"Message": "away"}), Outcome.RETRY),
        ((500, {"Message": "oops"}), Outcome.STARTED),
        ((400, {"Message": "no"}), Outcome.REFUSED),
        (None, Outcome.STARTED),
    ],
)
def test_what_a_service_answers(service: Any, answer: Any, outcome: Outcome) -> None:
    service.answers["p2@example.com"] = answer
    send = providers.get("email", "anymail").send
    results = {
        r.number: r.outcome for r in send(sender(url=service.url), [parcel(n) for n in (1, 2, 3)], NOW)
    }
    assert results == {1: Outcome.ACCEPTED, 2: outcome, 3: Outcome.ACCEPTED}
    assert [call["To"] for call in service.calls].count("p2@example.com") == 1, "asked once, whatever happens"


@pytest.mark.parametrize(
    ("kind", "path", "header", "value"),
    [
        ("brevo", "/v3/account", "api-key", "key-1"),
        ("mailgun", "/v3/domains/shop.example", "authorization", "api:key-1"),
        ("mailjet", "/v3/REST/user", "authorization", "key-1:second"),
        ("postmark", "/v3/server", "x-postmark-server-token", "key-1"),
        ("sparkpost", "/v3/account", "authorization", "key-1"),
    ],
)
def test_a_service_is_asked_whether_it_knows_the_key(
    service: Any, kind: str, path: str, header: str, value: str
) -> None:
    check = providers.get("email", "anymail").check
    by = sender(kind, f"{service.url}v3", second_key="second" if kind == "mailjet" else "")
    assert "knows the key" in check(by)
    [(asked, headers)] = service.asked
    assert (asked, headers[header]) == (path, basic(value) if ":" in value else value)
    service.status = 401
    with pytest.raises(ProviderError, match="401") as refused:
        check(by)
    assert "key-1" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("sparkpost", 403, "may only send"),
        ("mailgun", 404, "not the domain shop.example"),
        ("postmark", 404, "can't tell"),
        ("postmark", 302, "can't be reached"),
        ("brevo", 500, "can't tell"),
    ],
)
def test_what_a_service_says_of_the_key(service: Any, kind: str, status: int, words: str) -> None:
    service.status = status
    with pytest.raises(ProviderError, match=words):
        providers.get("email", "anymail").check(sender(kind, service.url))
    assert len(service.asked) == 1, "no redirect is followed"


def test_nobody_is_asked_where_only_we_can_reach(service: Any, settings: Any, monkeypatch: Any) -> None:
    check = providers.get("email", "anymail").check
    settings.NUDGE_PROVIDER_HOSTS_TRUSTED = ["127.0.0.1:1"]
    with pytest.raises(ProviderError, match="can't be reached"):
        check(sender(url="http://127.0.0.1:1/"))
    with pytest.raises(ProviderError):
        check(sender(url=service.url))
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: inside)
    with pytest.raises(ProviderError, match="can't be reached"):
        check(sender(url=f"https://api.example.com:{service.url.rpartition(':')[2]}"))
    assert service.asked == []


def test_nothing_is_sent_where_no_connection_comes_about(settings: Any) -> None:
    settings.NUDGE_PROVIDER_HOSTS_TRUSTED = ["127.0.0.1:1"]
    [result] = providers.get("email", "anymail").send(sender(url="http://127.0.0.1:1/"), [parcel(1)], NOW)
    assert result.outcome == Outcome.RETRY
    settings.NUDGE_PROVIDER_HOSTS_TRUSTED = []
    with pytest.raises(ProviderError):
        list(providers.get("email", "anymail").send(sender(url="http://127.0.0.1:1/"), [parcel(1)], NOW))


def test_a_name_that_cannot_be_looked_up_costs_no_message() -> None:
    provider = providers.get("email", "anymail")
    [result] = provider.send(sender(url="https://nothing.invalid/"), [parcel(1)], NOW)
    assert result.outcome == Outcome.RETRY


def test_a_name_that_leads_inside_is_not_called(service: Any, settings: Any, monkeypatch: Any) -> None:
    port = service.url.rpartition(":")[2]
    settings.NUDGE_PROVIDER_HOSTS_TRUSTED = []
    inside = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: inside)
    provider = providers.get("email", "anymail")
    [result] = provider.send(sender(url=f"https://api.example.com:{port}"), [parcel(1)], NOW)
    assert (result.outcome, service.calls) == (Outcome.CONFIGURATION, [])
    assert "not public" in result.detail


def call(body: Any, **headers: str) -> Call:
    return Call(
        "POST",
        "https://n.example/callbacks/abc/",
        {"content-type": "application/json", **headers},
        {},
        json.dumps(body).encode(),
    )


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(secret.encode()).decode()


def test_calls_are_believed_that_know_the_secret() -> None:
    hear = providers.get("email", "anymail").hear
    bounce = {
        "RecordType": "Bounce",
        "Type": "HardBounce",
        "ID": 42,
        "MessageID": "id-1",
        "Email": "p1@example.com",
        "BouncedAt": "2026-03-02T09:00:00Z",
        "Description": "unknown user",
    }
    by = sender(webhook_secret="nudge:secret")
    [report] = hear(by, call(bounce, authorization=basic("nudge:secret"))).reports
    assert (report.kind, report.provider_id, report.address) == (Reported.BOUNCED, "id-1", "p1@example.com")
    [again] = hear(by, call(bounce, authorization=basic("nudge:secret"))).reports
    assert again.key == report.key
    soft = {**bounce, "Type": "SoftBounce", "ID": 43}
    assert hear(by, call(soft, authorization=basic("nudge:secret"))).reports[0].kind == Reported.FAILED
    for odd in ({"RecordType": "Something new", "MessageID": "id-1"}, {}, []):
        assert hear(by, call(odd, authorization=basic("nudge:secret"))).reports == []
    for wrong in ({}, {"authorization": basic("nudge:guess")}):
        with pytest.raises(NotGenuine):
            hear(by, call(bounce, **wrong))
    with pytest.raises(NotGenuine):
        hear(sender(), call(bounce, authorization=basic("")))


def test_a_signature_is_looked_at() -> None:
    hear = providers.get("email", "anymail").hear
    by = sender("mailgun", webhook_secret="signing")
    stamp, token = "1772442000", "t" * 50
    event = {
        "event": "complained",
        "id": "e1",
        "timestamp": 1772442000.5,
        "recipient": "p1@example.com",
        "message": {"headers": {"message-id": "1@mg.example"}},
    }
    right = hmac.new(b"signing", f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    body = {"signature": {"timestamp": stamp, "token": token, "signature": right}, "event-data": event}
    [report] = hear(by, call(body)).reports
    assert (report.kind, report.provider_id) == (Reported.COMPLAINED, "<1@mg.example>")
    body["signature"] = {**body["signature"], "signature": "0" * 64}
    for wrong in (body, None, [], 1, "x", {"signature": 3}, {"signature": {"token": 1}}):
        with pytest.raises(NotGenuine):
            hear(by, call(wrong))


def test_a_secret_is_made_and_shown_where_the_service_has_none() -> None:
    provider, credentials = providers.get("email", "anymail"), {}
    provider.complete({"service": "brevo"}, credentials)
    [(_label, address)] = provider.facts(sender("brevo", **credentials))
    assert address == f"https://{credentials['webhook_secret']}@n.example/callbacks/abc/"
    provider.complete({"service": "mailgun"}, signed := {})
    assert signed == {}


def test_any_backend_that_is_allowed(settings: Any, mailoutbox: list[Any]) -> None:
    path = "django.core.mail.backends.locmem.EmailBackend"
    by = Sender(1, "x", BackendConfig(backend=path, from_address="n@s.example"), BackendCredentials(), "")
    provider = providers.get("email", "django")
    with pytest.raises(ProviderError):
        list(provider.send(by, [parcel(1)], NOW))
    settings.NUDGE_EMAIL_BACKENDS = [path]
    [result] = provider.send(by, [parcel(1)], NOW)
    [mail] = mailoutbox
    assert result.outcome == Outcome.ACCEPTED
    message = mail.message()
    assert message["Message-ID"] == result.provider_id
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [part.get_content_type() for part in message.get_payload()] == ["text/plain", "text/html"]
