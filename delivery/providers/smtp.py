"""Email by an SMTP server: a relay, the company's own, or a provider's."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from django import forms
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.channels.base import Outcome, Parcel, Result
from delivery.email import dkim, mime
from delivery.email.addressing import addressed
from delivery.email.smtp import Answer, Connection, Pool, Server, Unreachable
from delivery.email.workers import spread
from delivery.providers import register
from delivery.providers.base import AccountForm, Provider, ProviderError, Sender

HOPELESS = 3  # connections that fail one after the other before the rest of a batch is left alone
USUAL_SELECTOR = "nudge"
_SELECTOR = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_DOMAIN = r"^$|^(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}$"

pool = Pool()


class SmtpConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where it is, who writes, and how it is signed."""

    host: Annotated[str, msgspec.Meta(min_length=1)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    from_address: Annotated[str, msgspec.Meta(min_length=3)]
    from_name: str = ""
    reply_to: str = ""
    bounces_to: str = ""
    connections: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    per_connection: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 500
    dkim_domain: Annotated[str, msgspec.Meta(pattern=_DOMAIN)] = ""
    dkim_selector: Annotated[str, msgspec.Meta(pattern=_SELECTOR)] = USUAL_SELECTOR


class SmtpCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Secrets. `dkim_key` is an RSA private key in PEM."""

    password: str = ""
    dkim_key: str = ""


class SmtpForm(AccountForm):
    host = forms.CharField(label=gettext_lazy("Server"))
    port = forms.IntegerField(label=gettext_lazy("Port"), min_value=1, max_value=65535, initial=587)
    security = forms.ChoiceField(
        label=gettext_lazy("Encryption"),
        initial="starttls",
        choices=[
            ("starttls", gettext_lazy("STARTTLS (usually port 587)")),
            ("tls", gettext_lazy("TLS from the start (usually port 465)")),
            ("none", gettext_lazy("none: only on the same machine or network")),
        ],
    )
    username = forms.CharField(label=gettext_lazy("User"), required=False)
    password = forms.CharField(
        label=gettext_lazy("Password"), required=False, widget=forms.PasswordInput(), strip=False
    )
    from_address = forms.CharField(label=gettext_lazy("Sender's address"), validators=[validate_email])
    from_name = forms.CharField(label=gettext_lazy("Sender's name"), required=False)
    reply_to = forms.CharField(
        label=gettext_lazy("Answers go to"), required=False, validators=[validate_email]
    )
    bounces_to = forms.CharField(
        label=gettext_lazy("Bounces go to"),
        required=False,
        validators=[validate_email],
        help_text=gettext_lazy("The sender of the envelope. Empty: the sender's address."),
    )
    connections = forms.IntegerField(
        label=gettext_lazy("Connections at once"), min_value=1, max_value=32, initial=4, required=False
    )
    per_connection = forms.IntegerField(
        label=gettext_lazy("Messages a connection"),
        min_value=0,
        max_value=100_000,
        initial=500,
        required=False,
        help_text=gettext_lazy("Then a new one is opened. 0: as many as the server takes."),
    )
    dkim_domain = forms.RegexField(
        _DOMAIN,
        label=gettext_lazy("DKIM domain"),
        required=False,
        help_text=gettext_lazy(
            "Only if this server sends to the internet itself and does not sign: relays and providers do it."
        ),
    )
    dkim_selector = forms.CharField(
        label=gettext_lazy("DKIM selector"), required=False, initial=USUAL_SELECTOR
    )
    dkim_key = forms.CharField(
        label=gettext_lazy("DKIM private key"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "dir": "ltr", "autocomplete": "off"}),
        help_text=gettext_lazy("RSA, PEM. Empty: one is made."),
    )

    def clean_dkim_selector(self) -> str:
        """What can be part of a name in DNS; empty is the usual one."""
        selector: str = self.cleaned_data["dkim_selector"].strip()
        if selector and not re.fullmatch(_SELECTOR, selector):
            raise forms.ValidationError(_("Use letters, digits, points and hyphens."))
        return selector

    def clean_dkim_key(self) -> str:
        """Refuse what can't sign."""
        pem = self.cleaned_data["dkim_key"].strip()
        if pem:
            try:
                dkim.record(pem)
            except dkim.BadKey:
                raise forms.ValidationError(_("This is no RSA private key in PEM.")) from None
        return pem


@register
class Smtp(Provider):
    """Hands messages to an SMTP server over connections that stay open.

    A message that was handed over and not answered has an unknown outcome: SMTP has no key by which a server could
    tell a repetition.
    """

    kind = "smtp"
    channels = ("email",)
    label = gettext_lazy("SMTP server")
    help = gettext_lazy(
        "Your mail provider tells server, port, user and password under “SMTP” or “mail client”."
    )
    position = 10
    Config = SmtpConfig
    Credentials = SmtpCredentials
    Form = SmtpForm
    unsent = ("dkim_key",)

    def complete(self, config: dict[str, Any], credentials: dict[str, Any]) -> None:
        """Make a DKIM key where one is asked for and none is given."""
        if config.get("dkim_domain") and not credentials.get("dkim_key"):
            credentials["dkim_key"] = dkim.new_key()

    def facts(self, sender: Sender) -> list[tuple[str, str]]:
        """Return the DNS record by which receivers check our signature."""
        config, pem = sender.config, sender.credentials.dkim_key
        if not (config.dkim_domain and pem):
            return []
        return [
            (_("DNS record, type TXT"), f"{config.dkim_selector}._domainkey.{config.dkim_domain}"),
            (_("Its text"), dkim.record(pem)),
        ]

    def check(self, sender: Sender) -> str:
        """Connect and log in."""
        try:
            connection = pool.take(_server(sender))
        except Unreachable as error:
            raise ProviderError(
                _("%(host)s can't be used: %(problem)s")
                % {"host": sender.config.host, "problem": error.detail}
            ) from error
        pool.give_back(_server(sender), connection, 1)
        return _("%(host)s takes messages.") % {"host": sender.config.host}

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Send over up to `connections` connections at once, each with a thread of its own.

        Raises:
            ProviderError: the server can't be reached; parcels that were not read were not sent.
        """
        mail = _Mail(sender, now)
        yield from spread(parcels, sender.config.connections, mail.worker, lambda: bool(mail.hopeless))
        if mail.hopeless:
            raise ProviderError(mail.hopeless)


class _Mail:
    """What the threads of one `send` share."""

    def __init__(self, sender: Sender, now: datetime):
        self._sender, self._now = sender, now
        self._config: SmtpConfig = sender.config
        self._server = _server(sender)
        self._failures = 0
        self.hopeless = ""

    @contextlib.contextmanager
    def worker(self) -> Iterator[Callable[[Parcel], Result]]:
        """Yield what sends over one connection after the other, kept open between messages."""
        connection: Connection | None = None

        def send(parcel: Parcel) -> Result:
            nonlocal connection
            held, connection = connection, None  # one that fails in the middle is not used again
            result, connection = self._send(parcel, held)
            return result

        yield send
        if connection is not None:
            pool.give_back(self._server, connection, self._config.connections)

    def _send(self, parcel: Parcel, connection: Connection | None) -> tuple[Result, Connection | None]:
        try:
            envelope, recipient, message, message_id = _message(self._sender, parcel, self._now)
        except ValueError as error:
            return Result(parcel.number, Outcome.REFUSED, None, str(error)), connection
        limit = self._config.per_connection
        for again in (True, False):
            if connection is None or not connection.usable:
                if self.hopeless:
                    return Result(parcel.number, Outcome.RETRY, None, self.hopeless), None
                try:
                    connection = pool.take(self._server)
                except Unreachable as error:
                    return self._unreachable(parcel, error), None
                fresh = not connection.sent
            else:
                fresh = False
            answer = connection.transmit(envelope, recipient, message)
            if answer is not None:
                self._failures = 0
                if limit and connection.sent >= limit:
                    connection.quit()
                return _result(parcel, answer, message_id), connection
            if fresh or not again:
                break
            connection = None  # it was closed while it lay idle
        return Result(parcel.number, Outcome.RETRY, None, "the connection broke off"), None

    def _unreachable(self, parcel: Parcel, error: Unreachable) -> Result:
        self._failures += 1
        if self._failures >= HOPELESS:
            self.hopeless = f"{self._config.host} can't be reached: {error.detail}"[:200]
        outcome = Outcome.CONFIGURATION if error.refused else Outcome.RETRY
        return Result(parcel.number, outcome, error.code, error.detail, group=self._config.host)


def _server(sender: Sender) -> Server:
    config: SmtpConfig = sender.config
    hello = ""
    with contextlib.suppress(mime.BadAddress):
        hello = mime.address(config.from_address).rpartition("@")[2]
    return Server(
        config.host, config.port, config.security, config.username, sender.credentials.password, hello
    )


def _message(sender: Sender, parcel: Parcel, now: datetime) -> tuple[str, str, bytes, str]:
    """Return sender and recipient of the envelope, the message and its Message-ID; ValueError when it can't be made."""
    config: SmtpConfig = sender.config
    payload = addressed(parcel, config.from_address, config.from_name, config.reply_to)
    message_id = payload.message_id or mime.new_message_id(parcel.number, payload.from_address)
    message = mime.message(payload, message_id, now)
    if config.dkim_domain and sender.credentials.dkim_key:
        message = dkim.signed(
            message,
            config.dkim_domain,
            config.dkim_selector,
            sender.credentials.dkim_key,
            int(now.timestamp()),
        )
    envelope = mime.address(config.bounces_to) if config.bounces_to else payload.from_address
    return envelope, payload.to, message, message_id


def _result(parcel: Parcel, answer: Answer, message_id: str) -> Result:
    accepted = answer.outcome == Outcome.ACCEPTED
    return Result(
        parcel.number,
        answer.outcome,
        answer.code,
        "" if accepted else answer.detail,
        provider_id=message_id if accepted else "",
        told="bounced" if answer.dead else "",
    )
