"""Logging in to Salesforce: OAuth grants, SOAP login, and which access tokens are valid."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from html import unescape
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from crm.sandbox import salesforce_soap as soap
from crm.sandbox.salesforce_ids import ORGANIZATION, USER
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_replies import ApiError, reply

if TYPE_CHECKING:
    from crm.sandbox.salesforce import Salesforce

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# What each grant needs, in the order in which it is asked for.
NEEDS = {
    "client_credentials": ("client_id", "client_secret"),
    "refresh_token": ("client_id", "refresh_token"),
    "password": ("client_id", "client_secret", "username", "password"),
    "authorization_code": ("client_id", "code"),
    JWT_GRANT: ("assertion",),
}
SECRETS = ("client_secret", "refresh_token", "password", "code", "assertion")
IDLE_SECONDS = 2 * 3600
EXPIRED = "expired access/refresh token"
FORGED = "invalid assertion"


class GrantError(Exception):
    """A login that is refused: OAuth's error code and its description."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description


class Sessions:
    """The access tokens of one organisation."""

    def __init__(self, salesforce: Salesforce) -> None:
        self.salesforce = salesforce
        self.idle_seconds: float = IDLE_SECONDS  # how long a token lives unused
        self.refusing = False  # whether every login is refused, as after an administrator's revocation
        self.public_key: str | None = None  # PEM; with it the signatures of JWTs are checked
        self._used: dict[str, int] = {}  # token -> when last used, milliseconds
        self._ended: set[str] = set()
        self._issued: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes that ask for no token, or look at it themselves."""
        return [
            web.post("/services/oauth2/token{slash:/?}", self.token),
            web.post("/services/oauth2/revoke{slash:/?}", self.revoke),
            web.route("*", "/services/oauth2/userinfo", self.identity),
            web.get("/id/{organization}/{user}", self.identity),
            web.post("/services/Soap/{kind:[uc]}/{rest:.+}", self.soap),
        ]

    def check(self, token: str) -> None:
        """Raise the 401 unless the token is valid. Any token is, until it ends, if the sandbox accepts all."""
        now, accepts = self.salesforce.clock.now(), self.salesforce.accepts
        known = accepts is None or token in accepts or token in self._issued
        idle = now - self._used.get(token, now)
        if not token or not known or token in self._ended or idle > self.idle_seconds * 1000:
            raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self._used[token] = now

    def expire(self) -> int:
        """End every token seen or issued so far; says how many."""
        live = set(self._used) - self._ended
        self._ended |= live
        return len(live)

    async def token(self, request: web.Request) -> web.Response:
        """POST /services/oauth2/token."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        try:
            form = {**_basic(request), **form}
            self.grant(form)
        except GrantError as error:
            return reply({"error": error.code, "error_description": error.description}, 400)
        token, instance = self.issue(), _instance(request)
        body = {
            "access_token": token,
            "instance_url": instance,
            "id": f"{instance}/id/{id18(ORGANIZATION)}/{id18(USER)}",
            "token_type": "Bearer",
            "issued_at": str(self.salesforce.clock.now()),
            "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        if form["grant_type"] == "authorization_code":
            body["refresh_token"] = f"5Aep{secrets.token_urlsafe(48)}"
        return reply(body)

    def grant(self, form: dict[str, str]) -> None:
        """Raise GrantError unless the form may be given a token."""
        needs = NEEDS.get(form.get("grant_type", ""))
        if needs is None:
            raise GrantError("unsupported_grant_type", "grant type not supported")
        for key in needs:
            if not form.get(key):
                raise _missing(key)
        if self.refusing:
            raise GrantError("invalid_grant", EXPIRED)
        if form["grant_type"] == JWT_GRANT:
            self.check_assertion(form["assertion"])
        accepts = self.salesforce.accepts
        if accepts is not None and accepts.isdisjoint(form.get(key, "") for key in SECRETS):
            if form["grant_type"] == "client_credentials":
                raise GrantError("invalid_client", "invalid client credentials")
            wrong = "authentication failure" if form["grant_type"] == "password" else EXPIRED
            raise GrantError("invalid_grant", wrong)

    def check_assertion(self, assertion: str) -> None:
        """A JWT with iss, sub, aud and a time to come; its signature only with a public key set."""
        head, _, signature = assertion.rpartition(".")
        try:
            claims = json.loads(_decoded(head.partition(".")[2]))
            named = all(claims[key] for key in ("iss", "sub", "aud"))
            expires = float(claims["exp"])
        except (ValueError, KeyError, TypeError):
            raise GrantError("invalid_grant", FORGED) from None
        if not named:
            raise GrantError("invalid_grant", FORGED)
        if expires * 1000 <= self.salesforce.clock.now():
            raise GrantError("invalid_grant", "expired authorization code")
        if self.public_key is not None:
            key = load_pem_public_key(self.public_key.encode())
            if not isinstance(key, rsa.RSAPublicKey):
                raise TypeError("The public key must be an RSA key.")
            try:
                key.verify(_decoded(signature), head.encode(), padding.PKCS1v15(), SHA256())
            except (InvalidSignature, ValueError):
                raise GrantError("invalid_grant", FORGED) from None

    def issue(self) -> str:
        """A new access token."""
        token = f"{ORGANIZATION}!AQ{secrets.token_urlsafe(60)}"
        self._issued.add(token)
        self._used[token] = self.salesforce.clock.now()
        return token

    async def revoke(self, request: web.Request) -> web.Response:
        """POST /services/oauth2/revoke: end one token."""
        self._ended.add(str((await request.post()).get("token", "")))
        return web.Response()

    async def identity(self, request: web.Request) -> web.Response:
        """Who the token belongs to."""
        try:
            self.check(bearer(request))
        except ApiError as error:
            return reply(error.body(), error.status)
        instance = _instance(request)
        data = f"{instance}/services/data/v{{version}}"
        return reply(
            {
                "id": f"{instance}/id/{id18(ORGANIZATION)}/{id18(USER)}",
                "sub": f"{instance}/id/{id18(ORGANIZATION)}/{id18(USER)}",
                "user_id": id18(USER),
                "organization_id": id18(ORGANIZATION),
                "username": "integration@sandbox.example",
                "preferred_username": "integration@sandbox.example",
                "display_name": "Integration User",
                "name": "Integration User",
                "email": "integration@sandbox.example",
                "active": True,
                "urls": {
                    "rest": data + "/",
                    "query": data + "/query/",
                    "sobjects": data + "/sobjects/",
                    "partner": f"{instance}/services/Soap/u/{{version}}/{ORGANIZATION}",
                },
            }
        )

    async def soap(self, request: web.Request) -> web.Response:
        """The SOAP API's login; of its other calls there is none."""
        text = await request.text()
        if not re.search(r"<(?:\w+:)?login[\s>]", text):
            message = f"No operation available for request {request.path}"
            return soap.fault("UNKNOWN_EXCEPTION", message)
        username, password = soap_value(text, "username"), soap_value(text, "password")
        accepts = self.salesforce.accepts
        # A security token is appended to the password.
        right = accepts is None or any(password.startswith(item) for item in accepts)
        if self.refusing or not username or not password or not right:
            message = "Invalid username, password, security token; or user locked out."
            return soap.fault("INVALID_LOGIN", f"INVALID_LOGIN: {message}")
        return soap.logged_in(self.issue(), _instance(request), request.match_info["rest"].split("/")[0])


def bearer(request: web.Request) -> str:
    """The access token of a request, or nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else ""


def soap_value(text: str, element: str) -> str:
    """The text of the first element of this name."""
    found = re.search(rf"<(?:\w+:)?{element}(?:\s[^>]*)?>([^<]*)</", text)
    return unescape(found[1]).strip() if found else ""


def _instance(request: web.Request) -> str:
    """Where this client reaches the sandbox, also through a proxy that ends TLS."""
    return f"{request.headers.get('X-Forwarded-Proto', request.scheme)}://{request.host}"


def _basic(request: web.Request) -> dict[str, str]:
    """Client id and secret of HTTP Basic, if they are there."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise GrantError("invalid_client", "invalid client credentials") from None
    return {"client_id": name, "client_secret": secret}


def _missing(key: str) -> GrantError:
    if key == "client_id":
        return GrantError("invalid_client_id", "client identifier invalid")
    if key == "client_secret":
        return GrantError("invalid_client", "invalid client credentials")
    if key in ("username", "password"):
        return GrantError("invalid_grant", "authentication failure")
    return GrantError("invalid_request", f"must specify {key}")


def _decoded(part: str) -> Any:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
