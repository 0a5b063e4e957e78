"""Access tokens of Salesforce: OAuth 2.0 client credentials, refresh token, and JWT bearer (RFC 7523).

The client library's own logins have no timeout and, once a token is refused, no end; so it is only ever
given a token.
"""

import hashlib
import re
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import jwt
import msgspec
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import normalise
from crm.connectors.base import ConnectorError
from crm.connectors.salesforce_http import Wire
from crm.connectors.salesforce_ids import long_form
from crm.connectors.salesforce_settings import (
    CLIENT,
    REFRESH,
    SalesforceConfig,
    SalesforceCredentials,
    host,
    is_salesforce,
)
from crm.connectors.tokens import Token, discreet

PATH = "/services/oauth2/token"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFE = timedelta(minutes=3)
CLOCKS_APART = timedelta(minutes=1)
PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)
SANDBOX_HOST = "crm.sandbox.my.salesforce.com"  # a name only: the wire leads it to the sandbox
MOST_LOGINS = 2


class _Answer(msgspec.Struct):
    access_token: str
    instance_url: str
    id: str = ""
    refresh_token: str = ""
    expires_in: int | str | None = None


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


class Login:
    """Fetches tokens for one account, a few times at most.

    Args:
        session: over `wire`.
    """

    def __init__(
        self,
        config: SalesforceConfig,
        credentials: SalesforceCredentials,
        session: requests.Session,
        wire: Wire,
    ):
        self._config, self._credentials = config, credentials
        self._session, self._wire = session, wire
        self._sandbox = config.server == "sandbox"
        self.host = SANDBOX_HOST if self._sandbox else host(config.domain)
        self.count = 0

    @property
    def account(self) -> str:
        """A fingerprint of what we log in with, to tell the tokens of other settings."""
        parts = [self.host, self._config.auth, self._config.username]
        parts += [getattr(self._credentials, name) for name in self._credentials.__struct_fields__]
        return hashlib.blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()

    def fetch(self, old: Token | None) -> Token:
        """A new token. Its `extra` holds "instance_url", "organization" (18 characters) and "account".

        Args:
            old: the last one: Salesforce may have given a new refresh token with it.

        Raises:
            ConnectorError: Salesforce gives none, or would have to be asked again and again.
        """
        self.count += 1
        if self.count > MOST_LOGINS:
            raise ConnectorError(
                _(
                    "Salesforce ends our sessions as soon as they begin. Check the connected app's session policies."
                )
            )
        rotated = ""
        if old is not None and old.extra.get("account") == self.account:
            rotated = old.extra.get("refresh_token", "")
        asked_at = timezone.now()
        response = self._ask(self._form(asked_at, rotated))
        server_time = self._wire.server_time
        if (
            response.status_code == 400
            and self._config.auth not in (CLIENT, REFRESH)
            and server_time is not None
            and abs(server_time - asked_at) > CLOCKS_APART
        ):
            response = self._ask(self._form(server_time, rotated))  # our clock is wrong
        return self._token(response, rotated)

    def _form(self, now: datetime, rotated: str) -> dict[str, str]:
        credentials = self._credentials
        if self._config.auth == CLIENT:
            form = {"grant_type": "client_credentials"}
        elif self._config.auth == REFRESH:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": rotated or credentials.refresh_token.strip(),
            }
        else:
            return {"grant_type": JWT_GRANT, "assertion": self._assertion(now)}
        form["client_id"] = credentials.client_id.strip()
        if credentials.client_secret:
            form["client_secret"] = credentials.client_secret.strip()
        return form

    def _assertion(self, now: datetime) -> str:
        test = self.host == "test.salesforce.com" or ".sandbox." in self.host
        claims = {
            "iss": self._credentials.client_id.strip(),
            "sub": self._config.username.strip(),
            "aud": "https://test.salesforce.com" if test else "https://login.salesforce.com",
            "exp": int((now + ASSERTION_LIFE).timestamp()),
        }
        return jwt.encode(claims, private_key(self._credentials.private_key), algorithm="RS256")

    def _ask(self, form: dict[str, str]) -> requests.Response:
        try:
            return self._session.post(f"https://{self.host}{PATH}", data=form)
        except requests.TooManyRedirects:
            raise self._strange() from None
        except requests.RequestException:
            raise ConnectorError(
                _("No answer from %s. Check the network; the next run continues where this one stopped.")
                % self.host
            ) from None

    def _token(self, response: requests.Response, rotated: str) -> Token:
        if response.status_code != 200:
            raise self._refused(response, rotated)
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise self._strange() from None
        extra = {"instance_url": self._instance(answer.instance_url), "account": self.account}
        organization = long_form(urlsplit(answer.id).path.rpartition("/")[0].rpartition("/")[2])
        if organization:
            extra["organization"] = organization
        if self._config.auth == REFRESH and (answer.refresh_token or rotated):
            extra["refresh_token"] = answer.refresh_token or rotated
        expires_at = None
        if str(answer.expires_in or "").isdecimal():
            expires_at = timezone.now() + timedelta(seconds=int(str(answer.expires_in)))
        return Token(answer.access_token, expires_at, extra)

    def _instance(self, url: str) -> str:
        """The address of the API, if it is Salesforce's: it gets the token with every call."""
        if self._sandbox:
            return f"https://{SANDBOX_HOST}"
        parts = urlsplit(url)
        name = (parts.hostname or "").lower()
        if parts.scheme != "https" or parts.netloc.lower() != name or not is_salesforce(name):
            raise ConnectorError(
                _("Salesforce names an address that is not Salesforce's (%s); nothing was sent there.")
                % normalise.shortened(parts.netloc)
            )
        return f"https://{name}"

    def _refused(self, response: requests.Response, rotated: str) -> ConnectorError:
        if response.status_code >= 500 or response.status_code == 429:
            return ConnectorError(
                _("Salesforce has trouble (error %d); the next run continues where this one stopped.")
                % response.status_code
            )
        try:
            said = msgspec.json.decode(response.content, type=_Refusal)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = _Refusal()
        if not said.error and response.status_code not in (400, 401, 403):
            return self._strange()
        known = self._credentials
        told = said.error_description or said.error or str(response.status_code)
        told = discreet(told, known.client_secret, known.refresh_token, known.private_key, rotated)
        reason = normalise.shortened(told, 300)
        hint = {
            CLIENT: _(
                "Check the consumer key and secret, the My Domain, and that the connected app has the client "
                "credentials flow switched on with a user to run as."
            ),
            REFRESH: _("The refresh token may have been revoked: log in again and enter the new one."),
        }.get(
            self._config.auth,
            _(
                "Check the user name, that the app's certificate belongs to the key, and that the user may use it."
            ),
        )
        return ConnectorError(
            _("Salesforce refused the login (%(reason)s). %(hint)s") % {"reason": reason, "hint": hint}
        )

    def _strange(self) -> ConnectorError:
        return ConnectorError(
            _("%s answered with something that is not Salesforce's API. Is there a proxy in between?")
            % self.host
        )


def private_key(text: str) -> RSAPrivateKey:
    """The key in PEM text, which may have lost its line breaks on the way; ConnectorError if it is none."""
    found = PEM.search(text)
    try:
        if found is None:
            raise ValueError
        label, body = found[1], re.sub(r"\s|\\n", "", found[2])
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        pem = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
        key = load_pem_private_key(pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError
    except (ValueError, TypeError):
        raise ConnectorError(
            _("The private key can't be read. It must be an RSA key in PEM form, without a password.")
        ) from None
    return key
