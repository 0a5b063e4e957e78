"""The mail providers against the suite of all providers."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from delivery.email.content import EmailPayload
from delivery.providers import anymail, smtp
from delivery.providers.base import Call
from tests.delivery.email.sink import running
from tests.delivery.email.test_anymail import basic
from tests.delivery.provider_conformance import (
    BAD,
    BROKEN,
    BUSY,
    CUT,
    GONE,
    OK,
    REFUSED,
    SILENT,
    ProviderConformance,
)


class Mail(ProviderConformance):
    channel = "email"

    def payload(self) -> EmailPayload:
        return EmailPayload(subject="Hi", html="<p>Hi</p>", text="Hi")


class TestSmtp(Mail):
    kind = "smtp"
    credentials = {"password": "hush-hush"}
    secrets = ("hush-hush",)
    answers = (OK, BAD, GONE, BROKEN, REFUSED, SILENT, CUT)
    said = {
        OK: ("", ""),
        BAD: ("", "554 5.7.1 spam"),
        GONE: ("550 5.1.1 nobody", ""),
        BROKEN: ("", "451 4.3.0 full"),
        REFUSED: ("530 5.7.0 who are you", ""),
        SILENT: ("", "silent"),
        CUT: ("", "cut"),
    }

    @pytest.fixture(autouse=True)
    def _service(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        self.monkeypatch = monkeypatch
        with running() as self.sink:
            self.config = {
                "host": "127.0.0.1",
                "port": self.sink.port,
                "security": "none",
                "from_address": "n@s.example",
            }
            yield
            smtp.pool.clear()

    def serve(self, answer: str) -> None:
        self.monkeypatch.setattr("delivery.email.smtp.FINAL", 0.3 if answer == SILENT else 20)
        self.sink.everybody = self.said[answer]

    def received(self) -> list[Any]:
        return self.sink.mails


class TestAnymail(Mail):
    kind = "anymail"
    credentials = {"api_key": "key-hush", "webhook_secret": "nudge:hush"}
    secrets = ("key-hush", "nudge:hush")
    answers = (OK, BAD, BUSY, BROKEN, REFUSED, SILENT, CUT)
    statuses = {OK: 200, BAD: 422, BUSY: 429, BROKEN: 503, REFUSED: 401}

    @pytest.fixture(autouse=True)
    def _service(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        self.monkeypatch = monkeypatch
        self.taken: list[Any] = []
        self.answer, waking = OK, threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.answer == SILENT:
                    waking.wait(5)
                if outer.answer in (SILENT, CUT):
                    return
                if outer.answer == OK:
                    outer.taken.append(call)
                self.send_response(outer.statuses[outer.answer])
                self.send_header("Retry-After", "7")
                self.end_headers()
                number = f"id-{len(outer.taken)}-{call['To']}"
                said = {"ErrorCode": 300 if outer.answer == BAD else 0, "Message": "OK", "To": call["To"]}
                self.wfile.write(json.dumps({**said, "MessageID": number}).encode())

            def do_GET(self) -> None:
                known = self.path == "/server" and self.headers["X-Postmark-Server-Token"] == "key-hush"
                self.send_response(200 if known else 401)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        settings.NUDGE_PROVIDER_HOSTS_TRUSTED = [host]
        self.config = {"service": "postmark", "from_address": "n@s.example", "api_url": f"http://{host}/"}
        yield
        waking.set()
        server.shutdown()
        server.server_close()

    def serve(self, answer: str) -> None:
        self.monkeypatch.setattr(anymail, "TIMEOUT", (8, 0.3 if answer == SILENT else 20))
        self.answer = answer

    def received(self) -> list[Any]:
        return self.taken

    def genuine(self, provider_id: str) -> list[Call]:
        told = [
            {"RecordType": "Delivery", "DeliveredAt": "2026-03-02T09:00:00Z", "Recipient": "a@example.com"},
            {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "ID": 3, "Email": "a@example.com"},
        ]
        return [self.call({**each, "MessageID": provider_id}) for each in told]

    def forged(self, call: Call) -> list[Call]:
        headers = [{}, {"authorization": basic("nudge:guess")}, {"authorization": "Basic !"}]
        return [
            msgspec.structs.replace(call, headers={"content-type": "application/json", **h}) for h in headers
        ]

    def strange(self) -> list[Call]:
        return [self.call({"RecordType": "News", "MessageID": "x"}), self.call([]), self.call("x")]

    def call(self, body: Any) -> Call:
        headers = {"content-type": "application/json", "authorization": basic("nudge:hush")}
        return Call("POST", self.sender().callback, headers, {}, json.dumps(body).encode())
