"""Services on 127.0.0.1 that hold requests to their published shapes and keep a journal of what they took.

Twilio's is held to Twilio's own library (names of fields, answers), Meta's to its reference:
https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages
"""

import base64
import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twilio.http.http_client import HttpClient
from twilio.http.response import Response as TwilioResponse
from twilio.rest import Client as TwilioClient

CUT = (0, {}, b"")  # the connection ends without an answer

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {
            name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()
        }

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """`answer` says what a request gets; what it does not take is told by AssertionError, which a test sees."""

    answer: Callable[[Request], Answer]
    requests: list[Request] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    host: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[Service]:
    """A service that gives these answers."""
    service = Service(answer)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _take(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, url.path, query, headers, body)
            with lock:
                service.requests.append(request)
            try:
                status, more, content = service.answer(request)
            except AssertionError as error:
                service.wrong.append(str(error) or repr(request))
                status, more, content = 400, {}, b"{}"
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | more).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET = do_PUT = _take  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
    assert not service.wrong, service.wrong


class _Capture(HttpClient):
    """Keeps what Twilio's library would send."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    def request(self, *args: Any, **kwargs: Any) -> TwilioResponse:
        self.sent = kwargs.get("data") or args[3]
        return TwilioResponse(201, "{}")


@cache
def twilio_fields() -> frozenset[str]:
    """All fields that Twilio's Messages API takes, as its library calls them."""
    capture = _Capture()
    messages = TwilioClient("AC0", "t", http_client=capture).messages
    names = [name for name in inspect.signature(messages.create).parameters if name != "self"]
    lists = {"media_url", "persistent_action"}
    messages.create(**{name: ["x"] if name in lists else "x" for name in names})
    return frozenset(capture.sent)


SID, TOKEN = "AC" + "0" * 32, "12345678901234567890123456789012"


class Twilio:
    """Answers like Twilio; `troubles` holds (status, code) by number, or CUT."""

    def __init__(self) -> None:
        self.troubles: dict[str, Any] = {}
        self.taken: list[dict[str, str]] = []
        self.contents: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> Answer:
        expected = base64.b64encode(f"{SID}:{TOKEN}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return _json(401, {"code": 20003, "message": "Authenticate", "status": 401})
        if request.method == "GET" and request.path == f"/2010-04-01/Accounts/{SID}.json":
            return _json(200, {"sid": SID, "status": "active", "friendly_name": "Roastery"})
        if request.path == "/v1/ContentAndApprovals":
            return self._contents(request)
        assert (request.method, request.path) == ("POST", f"/2010-04-01/Accounts/{SID}/Messages.json")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        form = request.form
        assert set(form) <= twilio_fields(), set(form) - twilio_fields()
        assert re.fullmatch(r"(whatsapp:)?\+[1-9]\d{6,14}", form["To"]), form["To"]
        assert ("From" in form) != ("MessagingServiceSid" in form)
        assert ("Body" in form) != ("ContentSid" in form)
        assert len(form.get("Body", "")) <= 1600
        assert form["StatusCallback"].startswith("http")
        if "ContentSid" in form:
            assert re.fullmatch("HX[0-9a-f]{32}", form["ContentSid"])
            assert all(isinstance(value, str) for value in json.loads(form["ContentVariables"]).values())
        trouble = self.troubles.get(form["To"])
        if trouble == CUT:
            self.taken.append(form)
            return CUT
        if trouble:
            status, code = trouble
            more = {"Retry-After": "60"} if status == 429 else {}
            return _json(status, {"code": code, "message": "No", "more_info": "", "status": status}, more)
        self.taken.append(form)
        parts = "0" if "MessagingServiceSid" in form else "2"
        sid = f"SM{len(self.taken):032x}"
        return _json(201, {"sid": sid, "status": "queued", "num_segments": parts, "error_code": None})

    def _contents(self, request: Request) -> Answer:
        """Two pages."""
        page = int(request.query.get("Page", 0))
        following = (
            "https://elsewhere.example/v1/ContentAndApprovals?PageSize=100&Page=1" if page == 0 else None
        )
        return _json(200, {"contents": self.contents[page : page + 1], "meta": {"next_page_url": following}})


PHONE_ID, BUSINESS_ID, ACCESS = "106540352242922", "102290129340398", "EAAG-token"


class Meta:
    """Answers like the Cloud API; `troubles` holds (status, code) by number without its plus, or CUT."""

    def __init__(self) -> None:
        self.troubles: dict[str, Any] = {}
        self.taken: list[dict[str, Any]] = []
        self.templates: list[dict[str, Any]] = []

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {ACCESS}":
            return _json(401, {"error": {"message": "Invalid OAuth", "type": "OAuthException", "code": 190}})
        if request.path == f"/v23.0/{PHONE_ID}":
            return _json(200, {"display_phone_number": "+1 555", "verified_name": "Roastery", "id": PHONE_ID})
        if request.path == f"/v23.0/{BUSINESS_ID}/message_templates":
            page = int(request.query.get("after") or 0)
            paging: dict[str, Any] = {"cursors": {"before": "x", "after": str(page + 1)}}
            if page + 1 < len(self.templates):
                paging["next"] = "https://elsewhere.example/"
            return _json(200, {"data": self.templates[page : page + 1], "paging": paging})
        assert (request.method, request.path) == ("POST", f"/v23.0/{PHONE_ID}/messages")
        assert request.headers["content-type"] == "application/json"
        message = request.json
        check_message(message)
        trouble = self.troubles.get(message["to"])
        if trouble == CUT:
            self.taken.append(message)
            return CUT
        if trouble:
            status, code = trouble
            error = {"message": f"(#{code}) No", "type": "OAuthException", "code": code}
            return _json(status, {"error": error | {"error_data": {"details": "because"}, "fbtrace_id": "A"}})
        self.taken.append(message)
        number = f"wamid.{len(self.taken)}"
        contacts = [{"input": message["to"], "wa_id": message["to"]}]
        return _json(
            200, {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": number}]}
        )


def check_message(message: dict[str, Any]) -> None:
    """Hold a message to the reference."""
    assert message.pop("messaging_product") == "whatsapp"
    assert message["recipient_type"] == "individual"
    assert re.fullmatch(r"\d{7,15}", message["to"])
    assert set(message) == {"recipient_type", "to", "type", message["type"]}
    kind = message["type"]
    if kind == "text":
        assert set(message["text"]) <= {"preview_url", "body"}
        assert 0 < len(message["text"]["body"]) <= 4096
    elif kind == "image":
        assert message["image"]["link"].startswith("http")
        assert set(message["image"]) <= {"link", "caption"}
    else:
        assert kind == "template"
        template = message["template"]
        assert set(template) <= {"name", "language", "components"}
        assert re.fullmatch("[a-z0-9_]{1,512}", template["name"])
        assert set(template["language"]) == {"code"}
        for component in template.get("components", []):
            _check_component(component)


_PARAMETERS = {"text": "text", "image": "image", "video": "video", "document": "document"}


def _check_component(component: dict[str, Any]) -> None:
    assert component["type"] in ("header", "body", "button")
    assert component["parameters"]
    if component["type"] == "button":
        assert component["sub_type"] in ("url", "quick_reply", "copy_code")
        assert re.fullmatch(r"\d", component["index"])
        kind = {"url": "text", "quick_reply": "payload", "copy_code": "coupon_code"}[component["sub_type"]]
        [parameter] = component["parameters"]
        assert set(parameter) == {"type", kind}
        assert parameter["type"] == kind
        return
    for parameter in component["parameters"]:
        value = parameter[_PARAMETERS[parameter["type"]]]
        assert set(parameter) <= {"type", parameter["type"], "parameter_name"}
        if parameter["type"] == "text":
            assert value
            assert not re.search(r"[\n\t]| {5}", value)
        else:
            assert set(value) <= {"link", "filename", "caption"}


def _json(status: int, value: Any, headers: dict[str, str] | None = None) -> Answer:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()
