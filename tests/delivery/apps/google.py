"""Google's token service and FCM on 127.0.0.1, held to FCM's published API description."""

import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import googleapiclient
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.delivery import services

PROJECT, EMAIL = "shop-1234", "nudge@shop-1234.iam.gserviceaccount.com"
ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
STATUSES = {
    "UNREGISTERED": 404,
    "INVALID_ARGUMENT": 400,
    "SENDER_ID_MISMATCH": 403,
    "QUOTA_EXCEEDED": 429,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
    "THIRD_PARTY_AUTH_ERROR": 401,
}


@cache
def private_key() -> rsa.RSAPrivateKey:
    """The service account's key."""
    return rsa.generate_private_key(65537, 2048)


def key_file(root: str) -> str:
    """What the Firebase console gives."""
    pem = private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "k1",
            "private_key": pem,
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": f"{root}/token",
            "universe_domain": "googleapis.com",
        }
    )


class Google:
    """Answers each phone as `troubles` says by token: a word of FCM's or a status; `taken` is what phones show."""

    def __init__(self) -> None:
        self.troubles: dict[str, Any] = {}
        self.usual: Any = ""
        self.fields: list[str] = []  # that an INVALID_ARGUMENT complains about
        self.taken: dict[tuple[str, str], dict[str, Any]] = {}
        self.bought = 0
        self.good_tokens: set[str] = set()
        self.root = ""

    def __call__(self, request: services.Request) -> services.Answer:
        assert request.method == "POST"
        if request.path == "/token":
            return self._sell(request)
        assert request.path == f"/v1/projects/{PROJECT}/messages:send", request.path
        assert request.headers["content-type"] == "application/json"
        if request.headers["authorization"].removeprefix("Bearer ") not in self.good_tokens:
            return _json(401, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "Invalid"}})
        check("SendMessageRequest", request.json)
        message = request.json["message"]
        if request.json.get("validate_only"):
            return _json(200, {"name": f"projects/{PROJECT}/messages/fake_message_id"})
        payload = {"data": message.get("data"), "notification": message.get("notification")}
        assert len(json.dumps(payload, ensure_ascii=False).encode()) <= 4096 + 40
        trouble = self.troubles.get(message["token"], self.usual)
        if trouble == services.CUT:
            return services.CUT
        if isinstance(trouble, int):
            return _json(trouble, {"error": {"code": trouble, "message": "No", "status": "X"}})
        if trouble:
            return self._refuse(trouble)
        tag = message["android"].get("notification", {}).get("tag", f"silent{len(self.taken)}")
        self.taken[message["token"], tag] = message
        return _json(200, {"name": f"projects/{PROJECT}/messages/{len(self.taken)}"})

    def _sell(self, request: services.Request) -> services.Answer:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        try:
            claims = jwt.decode(
                form["assertion"], private_key().public_key(), ["RS256"], audience=f"{self.root}/token"
            )
        except jwt.PyJWTError as error:
            return _json(400, {"error": "invalid_grant", "error_description": str(error)})
        assert claims["iss"] == EMAIL
        assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
        assert claims["exp"] - claims["iat"] <= 3600
        assert claims["iat"] <= time.time() + 1
        self.bought += 1
        token = f"ya29.{self.bought}"
        self.good_tokens = {token}
        return _json(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _refuse(self, code: str) -> services.Answer:
        details: list[dict[str, Any]] = [{"@type": ERROR, "errorCode": code}]
        if self.fields:
            bad = [{"field": field, "description": "Invalid"} for field in self.fields]
            details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": bad})
        status = STATUSES[code]
        error = {
            "code": status,
            "message": "Requested entity was not found.",
            "status": "X",
            "details": details,
        }
        return _json(status, {"error": error}, {"Retry-After": "7"} if status == 429 else {})


def _json(status: int, value: Any, headers: dict[str, str] | None = None) -> services.Answer:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()


@cache
def _schemas() -> dict[str, Any]:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas: dict[str, Any] = json.loads((folder / "fcm.v1.json").read_text())["schemas"]
    return schemas


def check(name: str, value: Any) -> None:
    """Hold a JSON object to a schema of the API description; fields may be written either way (proto3 JSON)."""
    properties = _schemas()[name]["properties"]
    assert isinstance(value, dict), name
    for field, content in value.items():
        known = re.sub("_([a-z])", lambda found: found[1].upper(), field)
        assert known in properties, f"{name} has no {field}"
        _check_value(f"{name}.{field}", properties[known], content)


def _check_value(where: str, schema: dict[str, Any], value: Any) -> None:
    if "$ref" in schema:
        check(schema["$ref"], value)
    elif schema["type"] == "array":
        assert isinstance(value, list), where
        for each in value:
            _check_value(where, schema["items"], each)
    elif schema["type"] == "object":
        assert isinstance(value, dict), where
        if schema["additionalProperties"].get("type") == "string":
            assert all(isinstance(each, str) for each in value.values()), where
    else:
        kinds: dict[str, Any] = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}
        assert isinstance(value, kinds[schema["type"]]), where
        assert value in schema.get("enum", [value]), where
        if schema.get("format") == "google-duration":
            assert re.fullmatch(r"\d+s", value), where
