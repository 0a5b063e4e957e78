"""Email by the APIs of mail services, through django-anymail."""

import contextlib
import hashlib
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from importlib import import_module
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import requests
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailWebhookValidationFailure,
)
from anymail.signals import AnymailTrackingEvent
from django import forms
from django.core.validators import validate_email
from django.test import RequestFactory
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from urllib3.exceptions import NewConnectionError

from delivery import pushhosts, webhook_hosts
from delivery.channels.base import Outcome, Parcel, Result
from delivery.channels.webpush import retry_after
from delivery.email.addressing import addressed
from delivery.email.messages import email_message
from delivery.email.workers import spread
from delivery.providers import anymail_check, register
from delivery.providers.base import (
    AccountForm,
    Call,
    Heard,
    NotGenuine,
    Provider,
    ProviderError,
    Report,
    Reported,
    Sender,
)

TIMEOUT = (8, 30)  # seconds to connect, and to answer


class Service(msgspec.Struct, frozen=True):
    """How anymail calls a service's settings. `signed` names the one that proves its calls; empty: HTTP basic auth."""

    label: str
    key: str
    url: str
    signed: str = ""
    second: str = ""


SERVICES = {
    "brevo": Service("Brevo", "api_key", "https://api.brevo.com/v3/"),
    "mailgun": Service("Mailgun", "api_key", "https://api.mailgun.net/v3/", signed="webhook_signing_key"),
    "mailjet": Service("Mailjet", "api_key", "https://api.mailjet.com/v3.1/", second="secret_key"),
    "postmark": Service("Postmark", "server_token", "https://api.postmarkapp.com/"),
    "sparkpost": Service("SparkPost", "api_key", "https://api.sparkpost.com/api/v1/"),
}
_VIEWS = {
    "brevo": "Brevo",
    "mailgun": "Mailgun",
    "mailjet": "Mailjet",
    "postmark": "Postmark",
    "sparkpost": "SparkPost",
}
_KINDS = {
    "delivered": Reported.DELIVERED,
    "deferred": Reported.DELAYED,
    "bounced": Reported.FAILED,
    "rejected": Reported.FAILED,
    "failed": Reported.FAILED,
    "complained": Reported.COMPLAINED,
    "unsubscribed": Reported.UNSUBSCRIBED,
}
_DEAD = {"bounced", "invalid"}  # reasons that speak of the mailbox


class AnymailConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which service, and who writes. `api_url` is for its servers in another region; `domain` is Mailgun's."""

    service: Literal["brevo", "mailgun", "mailjet", "postmark", "sparkpost"]
    from_address: Annotated[str, msgspec.Meta(min_length=3)]
    from_name: str = ""
    reply_to: str = ""
    api_url: str = ""
    domain: str = ""
    connections: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4


class AnymailCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Secrets. `webhook_secret` is the service's signing key, or user:password where it calls with those."""

    api_key: Annotated[str, msgspec.Meta(min_length=1)]
    second_key: str = ""
    webhook_secret: str = ""


class AnymailForm(AccountForm):
    service = forms.ChoiceField(
        label=gettext_lazy("Service"), choices=[(kind, service.label) for kind, service in SERVICES.items()]
    )
    api_key = forms.CharField(label=gettext_lazy("API key or server token"), widget=forms.PasswordInput())
    second_key = forms.CharField(
        label=gettext_lazy("Secret key"),
        required=False,
        widget=forms.PasswordInput(),
        help_text=gettext_lazy("Mailjet only."),
    )
    webhook_secret = forms.CharField(
        label=gettext_lazy("Secret of its calls"),
        required=False,
        widget=forms.PasswordInput(),
        help_text=gettext_lazy(
            "Mailgun: the webhook signing key. Others: user:password; empty: one is made."
        ),
    )
    from_address = forms.CharField(label=gettext_lazy("Sender's address"), validators=[validate_email])
    from_name = forms.CharField(label=gettext_lazy("Sender's name"), required=False)
    reply_to = forms.CharField(
        label=gettext_lazy("Answers go to"), required=False, validators=[validate_email]
    )
    domain = forms.CharField(
        label=gettext_lazy("Domain"), required=False, help_text=gettext_lazy("Mailgun's sending domain.")
    )
    api_url = forms.URLField(
        label=gettext_lazy("Address of the API"),
        required=False,
        assume_scheme="https",
        help_text=gettext_lazy("Empty: the usual one. Mailgun in the EU: https://api.eu.mailgun.net/v3"),
    )
    connections = forms.IntegerField(
        label=gettext_lazy("Calls at once"), min_value=1, max_value=32, initial=4, required=False
    )


@register
class Anymail(Provider):
    """Brevo, Mailgun, Mailjet, Postmark or SparkPost.

    None of them takes a key that tells a repetition, so a call whose answer is lost is never made again.
    """

    kind = "anymail"
    channels = ("email",)
    label = gettext_lazy("Mail service (Brevo, Mailgun, Mailjet, Postmark, SparkPost)")
    help = gettext_lazy("Enter the callback address as a webhook for deliveries, bounces and complaints.")
    position = 20
    Config = AnymailConfig
    Credentials = AnymailCredentials
    Form = AnymailForm
    unsent = ("webhook_secret",)

    def complete(self, config: dict[str, Any], credentials: dict[str, Any]) -> None:
        """Make a secret where the service calls with user and password and none is given."""
        service = SERVICES.get(config.get("service", ""))
        if service and not service.signed and not credentials.get("webhook_secret"):
            credentials["webhook_secret"] = f"nudge:{secrets.token_urlsafe(24)}"

    def facts(self, sender: Sender) -> list[tuple[str, str]]:
        """Return the address to enter at the service where it has to hold user and password."""
        secret = sender.credentials.webhook_secret
        if SERVICES[sender.config.service].signed or not secret:
            return []
        parts = urlsplit(sender.callback)
        return [(_("Webhook address"), parts._replace(netloc=f"{secret}@{parts.netloc}").geturl())]

    def check(self, sender: Sender) -> str:
        """Ask the service whether it knows the key."""
        config: AnymailConfig = sender.config
        domain = config.domain if config.service == "mailgun" else ""
        domain = domain or config.from_address.rpartition("@")[2].rstrip("> ")
        with _backend(sender) as backend:
            return anymail_check.ask(
                backend.session,
                config.service,
                SERVICES[config.service].label,
                config.api_url or SERVICES[config.service].url,
                (sender.credentials.api_key, sender.credentials.second_key),
                domain,
            )

    def send(self, sender: Sender, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Make one call for each message, several at once."""

        @contextlib.contextmanager
        def worker() -> Iterator[Callable[[Parcel], Result]]:
            with _backend(sender) as backend:
                yield lambda parcel: _sent(backend, sender, parcel, now)

        with _backend(sender):  # settings that do not fit are told before anything is read
            pass
        yield from spread(parcels, sender.config.connections, worker)

    def hear(self, sender: Sender, call: Call) -> Heard:
        """Understand a service's call as anymail does.

        Raises:
            NotGenuine: it lacks the signature, or the user and password.
        """
        kind, secret = sender.config.service, sender.credentials.webhook_secret
        service = SERVICES[kind]
        if not secret:
            raise NotGenuine
        module = import_module(f"anymail.webhooks.{kind}")
        known = {service.signed: secret} if service.signed else {}
        try:
            view = getattr(module, f"{_VIEWS[kind]}TrackingWebhookView")(
                webhook_secret=[] if service.signed else [secret], **known
            )
        except (ValueError, AnymailConfigurationError) as error:  # the key is none
            raise NotGenuine from error
        if call.method == "HEAD":
            return Heard()
        try:
            request = _request(call)
            view.run_validators(request)
        except (AnymailWebhookValidationFailure, ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotGenuine from error
        try:
            events = view.parse_events(request)
        except (AnymailError, ValueError, KeyError, TypeError, AttributeError):  # words we do not know
            events = []
        return Heard([report for event in events if (report := _report(event)) is not None])


@contextlib.contextmanager
def _backend(sender: Sender) -> Iterator[Any]:
    config: AnymailConfig = sender.config
    service = SERVICES[config.service]
    trusted = False
    if config.api_url:
        try:
            trusted = webhook_hosts.look_at(config.api_url, webhook_hosts.PROVIDERS).trusted
        except webhook_hosts.BadAddress as error:
            raise ProviderError(str(error)) from error
    known: dict[str, Any] = {
        service.key: sender.credentials.api_key,
        "api_url": config.api_url or service.url,
        "timeout": TIMEOUT,
    }
    if service.second:
        known[service.second] = sender.credentials.second_key
    if config.service == "mailgun" and config.domain:
        known["sender_domain"] = config.domain
    try:
        backend = import_module(f"anymail.backends.{config.service}").EmailBackend(**known)
    except (AnymailConfigurationError, ValueError) as error:
        raise ProviderError(_("The settings do not fit the service: %s") % str(error)[:200]) from error
    try:
        backend.open()
        backend.session.max_redirects = 0  # where a message goes is not the answer's to say
        if not trusted:
            backend.session.mount("https://", _PublicOnly())
        yield backend
    finally:
        backend.close()


class _NotPublic(requests.exceptions.RequestException):
    """The service's name leads to an address that is not on the internet; nothing was sent."""


class _PublicOnly(requests.adapters.HTTPAdapter):
    """Calls nothing that only we can reach."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        host = urlsplit(str(request.url)).hostname or ""
        with contextlib.suppress(socket.gaierror):  # the call itself says so
            found = {str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
            if not all(map(pushhosts.public, found)):
                raise _NotPublic("the name leads to an address that is not public")
        return super().send(request, *args, **kwargs)


def _sent(backend: Any, sender: Sender, parcel: Parcel, now: datetime) -> Result:
    config: AnymailConfig = sender.config
    try:
        payload = addressed(parcel, config.from_address, config.from_name, config.reply_to)
    except ValueError as error:
        return Result(parcel.number, Outcome.REFUSED, None, str(error))
    message = email_message(payload, backend)
    try:
        backend.send_messages([message])
    except AnymailRecipientsRefused:
        return Result(parcel.number, Outcome.REFUSED, 200, "the service refuses this recipient")
    except AnymailAPIError as error:
        return _failed(parcel.number, error, now)
    except AnymailError as error:  # found before anything was sent
        return Result(parcel.number, Outcome.REFUSED, None, str(error.args[0] if error.args else error)[:300])
    answer: Any = message.anymail_status  # type: ignore[attr-defined] # set by the backend
    status = answer.recipients.get(payload.to)
    found = status.message_id if status else answer.message_id
    return Result(parcel.number, Outcome.ACCEPTED, 200, provider_id=str(found or ""))


def _failed(number: int, error: AnymailAPIError, now: datetime) -> Result:
    """What an API's refusal means. An answer of 500, 502 or 504 does not tell whether the message was taken."""
    code = error.status_code
    detail = error.response.text[:300] if error.response is not None else ""
    if code is None:
        cause = error.__cause__
        if isinstance(cause, _NotPublic):
            return Result(number, Outcome.CONFIGURATION, None, str(cause), group="api")
        begun = not isinstance(
            cause, requests.exceptions.ConnectTimeout | requests.exceptions.SSLError
        ) and not _refused(cause)
        return Result(
            number, Outcome.STARTED if begun else Outcome.RETRY, None, type(cause or error).__name__
        )
    if code in (401, 403):
        return Result(number, Outcome.CONFIGURATION, code, detail, group="api")
    if code in (429, 503):
        wanted = retry_after(error.response.headers.get("Retry-After", ""), now)
        return Result(number, Outcome.RETRY, code, detail, wanted)
    if code >= 500 or code < 400:
        return Result(number, Outcome.STARTED, code, detail)
    return Result(number, Outcome.REFUSED, code, detail)


def _refused(cause: BaseException | None) -> bool:
    """Whether no connection came about, as when the name can't be looked up, so that nothing was sent."""
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return isinstance(cause, requests.exceptions.ConnectionError) and isinstance(reason, NewConnectionError)


def _request(call: Call) -> Any:
    parts = urlsplit(call.url)
    return RequestFactory().generic(
        call.method,
        f"{parts.path}?{parts.query}" if parts.query else parts.path,
        call.body,
        content_type=call.headers.get("content-type", "application/octet-stream"),
        headers={
            name: value
            for name, value in call.headers.items()
            if name not in ("content-type", "content-length")
        },
    )


def _report(event: AnymailTrackingEvent) -> Report | None:
    kind = _KINDS.get(event.event_type)
    if kind is None or not event.message_id:
        return None
    raw = event.esp_event if isinstance(event.esp_event, dict) else {}
    # Postmark calls a full mailbox a bounce, too.
    if kind == Reported.FAILED and event.reject_reason in _DEAD and raw.get("Type") != "SoftBounce":
        kind = Reported.BOUNCED
    at = event.timestamp or timezone.now()
    said = f"{event.message_id}|{event.event_type}|{event.recipient}|{event.timestamp}"
    return Report(
        key=f"{event.event_type}:{event.event_id or hashlib.sha256(said.encode()).hexdigest()[:32]}",
        provider_id=str(event.message_id),
        kind=kind,
        at=at,
        detail=str(event.mta_response or event.description or "")[:300],
        address=event.recipient or "",
    )
