"""Apple's push service on 127.0.0.1: HTTP/2 over TLS, held to its documentation."""

import ipaddress
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

TEAM, KEY_ID, TOPIC = "TEAM123456", "KEYID12345", "com.example.shop"
SIGNING = ec.generate_private_key(ec.SECP256R1())
P8 = SIGNING.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
CUT = (0, "")
Answer = tuple[int, str]  # status and reason


def certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 with its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "apple.pem"
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


class Apple:
    """Answers each phone as `troubles` says by token, all others as `usual` does; `taken` is what phones show."""

    def __init__(self, pem: Path):
        self.troubles: dict[str, Answer] = {}
        self.usual: Answer = (200, "")
        self.taken: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[dict[str, str]] = []
        self.tokens: set[str] = set()
        self.wrong: list[str] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._context.set_alpn_protocols(["h2"])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator["Apple"]:
        """Serve until the end of `with`; what a request did wrong is told then."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._socket.close()
        assert not self.wrong, self.wrong

    def judge(self, headers: dict[str, str], body: bytes) -> Answer:
        """What Apple says to a request."""
        assert headers[":method"] == "POST"
        found = re.fullmatch(r"/3/device/([0-9a-f]{64,})", headers[":path"])
        assert found, headers[":path"]
        token = headers["authorization"].removeprefix("bearer ")
        self.tokens.add(token)
        assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": KEY_ID}
        claims = jwt.decode(token, SIGNING.public_key(), ["ES256"], options={"verify_iat": False})
        assert set(claims) == {"iss", "iat"}
        assert claims["iss"] == TEAM
        assert 0 <= time.time() - claims["iat"] < 3600
        assert headers["apns-topic"] == TOPIC
        assert headers["apns-push-type"] in ("alert", "background")
        assert headers["apns-priority"] in ("5", "10")
        assert headers["apns-expiration"].isdigit()
        assert len(headers.get("apns-collapse-id", "")) <= 64
        content = json.loads(body)
        assert len(body) <= 4096
        if headers["apns-push-type"] == "background":
            assert headers["apns-priority"] == "5"
            assert content["aps"] == {"content-available": 1}
        else:
            assert content["aps"]["alert"]
        phone = found[1]
        if phone == "0" * 64:
            return self.usual if self.usual[0] == 403 else (400, "BadDeviceToken")
        uuid.UUID(headers["apns-id"])
        answer = self.troubles.get(phone, self.usual)
        if answer[0] == 200:
            self.taken[phone, headers.get("apns-collapse-id", headers["apns-id"])] = content
        return answer

    def _accept(self) -> None:
        while True:
            try:
                plain, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._context.wrap_socket(plain, server_side=True) as stream:
                assert stream.selected_alpn_protocol() == "h2"
                self.connections += 1
                self._talk(stream)
        except OSError:
            return

    def _talk(self, stream: ssl.SSLSocket) -> None:
        talk = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        talk.initiate_connection()
        stream.sendall(talk.data_to_send())
        heads: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while data := stream.recv(65536):
            for event in talk.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    talk.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    number = event.stream_id
                    if not self._reply(talk, number, heads[number], bodies.get(number, b"")):
                        return
            stream.sendall(talk.data_to_send())

    def _reply(self, talk: Any, number: int, headers: dict[str, str], body: bytes) -> bool:
        self.requests.append(headers)
        try:
            status, reason = self.judge(headers, body)
        except (AssertionError, KeyError, ValueError, jwt.PyJWTError) as error:
            self.wrong.append(f"{error!r} {headers}")
            status, reason = 400, "BadRequest"
        if not status:
            return False
        told = [(":status", str(status)), ("apns-id", headers.get("apns-id", ""))]
        if status == 429:
            told.append(("retry-after", "7"))
        content = {"reason": reason}
        if status == 410:
            content["timestamp"] = int(time.time() * 1000)
        talk.send_headers(number, told, end_stream=status == 200)
        if status != 200:
            talk.send_data(number, json.dumps(content).encode(), end_stream=True)
        return True
