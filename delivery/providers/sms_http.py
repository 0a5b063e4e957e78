"""Any SMS gateway that takes one HTTP request a message: what to ask and how to read the answer is set by hand."""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, quote_plus

import msgspec
import regex
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery import webhook_hosts
from delivery.channels.base import Outcome, Parcel, Result
from delivery.providers import register
from delivery.providers.base import (
    AccountForm,
    Call,
    Heard,
    Inbound,
    NotGenuine,
    ProviderError,
    Report,
    Reported,
    Sender,
)
from delivery.providers.http import Answer, HttpProvider, Wanted, safe, usual

PLACES = ("to", "digits", "text", "from", "id", "encoding", "parts", "callback")
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
PATIENCE = 0.25  # seconds for finding out whether an answer is a good one: some patterns never end
UNREADABLE = "what a good answer contains could not be found out in time"
AGAIN = timedelta(minutes=10)  # within which the same words without a number are one message told twice
Name = Annotated[str, msgspec.Meta(min_length=1)]


class GatewayConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a gateway wants to be asked.

    Args:
        body: JSON, or name=value&…, with places such as {{to}}; values are escaped as the form of the body needs it.
        id_path: where the message's number stands in a JSON answer, such as messages.0.id.
        success: a regular expression that the body of a 2xx answer has to contain; "" for any.
        key_header: the header that makes the gateway send the same message once.
        status_id, status_field: names in the gateway's reports, which may be paths.
        statuses: the gateway's word -> delivered, read, failed, bounced or unsubscribed.
        inbound_from, inbound_text, inbound_id: names in what it tells of messages from people.
    """

    url: Name
    method: Literal["POST", "GET", "PUT"] = "POST"
    kind: Literal["json", "form"] = "json"
    body: str = '{"to": "{{to}}", "text": "{{text}}"}'
    number: str = ""
    id_path: str = "id"
    success: str = ""
    key_header: str = ""
    status_id: str = "id"
    status_field: str = "status"
    statuses: dict[str, str] = {}
    inbound_from: str = "from"
    inbound_text: str = "text"
    inbound_id: str = "id"


class GatewayCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`auth_header` with `auth_value` goes with each request; `secret` proves that the gateway calls."""

    auth_header: str = ""
    auth_value: str = ""
    secret: str = ""


class PairsField(forms.CharField):
    """A dict, written as one "word = meaning" a line."""

    widget = forms.Textarea(attrs={"rows": 4, "dir": "ltr"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{k} = {v}" for k, v in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        pairs = [line.partition("=") for line in str(value or "").splitlines() if line.strip()]
        return {word.strip(): meaning.strip() for word, _equals, meaning in pairs}

    def validate(self, value: Any) -> None:
        super().validate(value)
        known = {each.value for each in Reported}
        if wrong := [meaning for meaning in value.values() if meaning not in known]:
            raise forms.ValidationError(
                _("“%(word)s” is none of: %(known)s.") % {"word": wrong[0], "known": ", ".join(sorted(known))}
            )


class GatewayForm(AccountForm):
    url = forms.CharField(label=gettext_lazy("Address"), widget=forms.TextInput(attrs={"dir": "ltr"}))
    method = forms.ChoiceField(
        label=gettext_lazy("Method"),
        choices=[(name, name) for name in ("POST", "GET", "PUT")],
        initial="POST",
    )
    kind = forms.ChoiceField(
        label=gettext_lazy("Body"),
        choices=[("json", "JSON"), ("form", gettext_lazy("form (name=value&…)"))],
        initial="json",
    )
    body = forms.CharField(
        label=gettext_lazy("What is sent"),
        initial='{"to": "{{to}}", "text": "{{text}}"}',
        widget=forms.Textarea(attrs={"rows": 4, "dir": "ltr"}),
        help_text=gettext_lazy(
            "Places: {{to}} the number with +, {{digits}} without, {{text}}, {{from}}, {{id}} our number of it,"
            " {{encoding}} gsm7 or ucs2, {{parts}}, {{callback}}. With GET they go into the address."
        ),
    )
    number = forms.CharField(label=gettext_lazy("From"), required=False)
    auth_header = forms.CharField(
        label=gettext_lazy("Header that proves who we are"), required=False, initial="Authorization"
    )
    auth_value = forms.CharField(
        label=gettext_lazy("Its value"),
        required=False,
        widget=forms.PasswordInput(render_value=False),
        help_text=gettext_lazy("Such as Bearer … or Basic …."),
    )
    id_path = forms.CharField(
        label=gettext_lazy("Where the answer tells the number"),
        required=False,
        initial="id",
        help_text=gettext_lazy("A path in its JSON, such as messages.0.id."),
    )
    success = forms.CharField(
        label=gettext_lazy("What a good answer contains"),
        required=False,
        help_text=gettext_lazy(
            "A regular expression, for gateways that answer 200 to everything. Empty: any."
        ),
    )
    key_header = forms.CharField(
        label=gettext_lazy("Idempotency header"),
        required=False,
        help_text=gettext_lazy(
            "Only if the gateway promises to send the same key once, such as Idempotency-Key: then a message"
            " with unknown outcome is sent again."
        ),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret of its calls"),
        required=False,
        widget=forms.PasswordInput(render_value=False),
        help_text=gettext_lazy(
            "The gateway sends it as the header X-Secret or as ?secret=…, or signs the body with it: X-Signature,"
            " HMAC-SHA256 in hex."
        ),
    )
    status_id = forms.CharField(label=gettext_lazy("Number in its reports"), required=False, initial="id")
    status_field = forms.CharField(
        label=gettext_lazy("Status in its reports"), required=False, initial="status"
    )
    statuses = PairsField(
        label=gettext_lazy("What its words mean"),
        required=False,
        help_text=gettext_lazy("One a line: DELIVRD = delivered. Also read, failed, bounced, unsubscribed."),
    )
    inbound_from = forms.CharField(
        label=gettext_lazy("Sender in messages from people"), required=False, initial="from"
    )
    inbound_text = forms.CharField(
        label=gettext_lazy("Text in messages from people"), required=False, initial="text"
    )
    inbound_id = forms.CharField(
        label=gettext_lazy("Number in messages from people"), required=False, initial="id"
    )

    def clean_url(self) -> str:
        """Only what may be called."""
        url = self.cleaned_data["url"].strip()
        try:
            webhook_hosts.look_at(url, webhook_hosts.PROVIDERS)
        except webhook_hosts.BadAddress as error:
            raise forms.ValidationError(str(error)) from None
        return url

    def clean_success(self) -> str:
        """A pattern that can be read."""
        pattern = self.cleaned_data["success"]
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise forms.ValidationError(_("This is no regular expression: %s") % error) from None
        return pattern

    def clean(self) -> dict[str, Any]:
        """The body has to be what it says it is, and headers have to be some."""
        cleaned = super().clean() or self.cleaned_data
        body = cleaned.get("body", "")
        if unknown := [name for name in _PLACE.findall(body) if name not in PLACES]:
            self.add_error("body", _("There is no place “%s”.") % unknown[0])
        elif cleaned.get("kind") == "json" and body and cleaned.get("method") != "GET":
            try:
                msgspec.json.decode(filled(body, dict.fromkeys(PLACES, "1"), "json"))
            except msgspec.DecodeError as error:
                self.add_error("body", _("This is no JSON: %s") % error)
        for name in ("auth_header", "key_header"):
            if cleaned.get(name) and not _TOKEN.fullmatch(cleaned[name]):
                self.add_error(name, _("“%s” can't be sent as a header.") % cleaned[name][:50])
        return cleaned


@register
class Gateway(HttpProvider):
    """A gateway of whichever make. Repeatable only with a header for the key."""

    kind = "sms_http"
    channels = ("sms",)
    label = gettext_lazy("HTTP gateway")
    position = 60
    help = gettext_lazy("For any gateway that takes an HTTP request a message.")
    Config = GatewayConfig
    Credentials = GatewayCredentials
    Form = GatewayForm
    unsent = ("secret",)

    def repeatable(self, config: Any) -> bool:
        """Tell whether the gateway is given a key."""
        return bool(getattr(config, "key_header", ""))

    def prepare(self, sender: Sender, now: datetime) -> list[str]:
        """The headers of all requests."""
        secret: GatewayCredentials = sender.credentials
        headers = [f"Content-Type: {TYPES[sender.config.kind]}"] if sender.config.method != "GET" else []
        if secret.auth_header and secret.auth_value:
            headers.append(f"{safe(secret.auth_header)}: {safe(secret.auth_value)}")
        return headers

    def request(self, shared: list[str], sender: Sender, parcel: Parcel) -> Wanted:
        """Fill in the body, or with GET the address."""
        config: GatewayConfig = sender.config
        key = f"nudge-{parcel.delivery.pk or parcel.number}"
        payload, to = parcel.payload, parcel.address.value
        values = {
            "to": to,
            "digits": to.removeprefix("+"),
            "text": payload.text,
            "from": config.number,
            "id": key,
            "encoding": payload.encoding,
            "parts": str(payload.parts),
            "callback": sender.callback,
        }
        headers = [*shared, f"{safe(config.key_header)}: {key}"] if config.key_header else shared
        url = filled(config.url, values, "url")
        if config.method == "GET":
            query = filled(config.body, values, "form") if config.kind == "form" else ""
            url += ("&" if "?" in url else "?") + query if query else ""
            return Wanted(url, headers, b"", "GET")
        return Wanted(url, headers, filled(config.body, values, config.kind).encode(), config.method)

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """2xx with what a good answer contains; other statuses mean what they usually do."""
        config: GatewayConfig = sender.config
        outcome = usual(answer.status)
        text = answer.body.decode(errors="replace")
        if outcome == Outcome.ACCEPTED and config.success:
            try:
                good = regex.search(config.success, text[:10_000], timeout=PATIENCE)
            except (TimeoutError, regex.error):
                return Result(parcel.number, Outcome.STARTED, answer.status, UNREADABLE, group=sender.name)
            outcome = outcome if good else Outcome.REFUSED
        if outcome == Outcome.ACCEPTED:
            number = _at(answer.json, config.id_path)
            parts = getattr(parcel.payload, "parts", 1)
            return Result(parcel.number, outcome, answer.status, provider_id=number, parts=parts)
        wait = answer.wish(now) if outcome == Outcome.RETRY else None
        return Result(parcel.number, outcome, answer.status, text[:300], wait, sender.name)

    def check(self, sender: Sender) -> str:
        """Only the address can be looked at: a gateway's ways to ask without sending are its own."""
        try:
            target = webhook_hosts.look_at(sender.config.url, webhook_hosts.PROVIDERS)
        except webhook_hosts.BadAddress as error:
            raise ProviderError(str(error)) from None
        return _("%s may be called. Send a test to see whether it takes messages.") % target.origin

    def hear(self, sender: Sender, call: Call) -> Heard:
        """Understand a report or a message, as JSON or form, one or a list of them."""
        _prove(sender.credentials.secret, call)
        config: GatewayConfig = sender.config
        now = datetime.now(UTC)
        heard = Heard([], [], "ok")
        for told in _rows(call):
            if report := _report(config, told, now):
                heard.reports.append(report)
            elif (address := _at(told, config.inbound_from)) and (text := _at(told, config.inbound_text)):
                number = _at(told, config.inbound_id) or _own_number(told, now)
                heard.inbound.append(Inbound(number, _e164(address), text, now))
        return heard


def _own_number(told: Mapping[str, Any], now: datetime) -> str:
    """What tells a message without a number from others. Somebody may write STOP again after coming back."""
    period = int(now.timestamp() // AGAIN.total_seconds())
    return hashlib.sha256(msgspec.json.encode([period, told])).hexdigest()


def filled(template: str, values: Mapping[str, str], kind: str) -> str:
    """Fill the places of a template.

    Args:
        kind: "json", "form" or "url": how values are escaped.
    """
    return _PLACE.sub(lambda place: _escaped(values.get(place[1], ""), kind), template)


def _escaped(value: str, kind: str) -> str:
    if kind == "json":
        return msgspec.json.encode(value).decode()[1:-1]
    return quote_plus(value) if kind == "form" else quote(value, safe="")


def _report(config: GatewayConfig, told: Mapping[str, Any], now: datetime) -> Report | None:
    number, word = _at(told, config.status_id), _at(told, config.status_field)
    meaning = config.statuses.get(word)
    if not number or not meaning:
        return None
    return Report(f"{number}:{word}", number, Reported(meaning), now, word, _e164(_at(told, "to")))


def _prove(secret: str, call: Call) -> None:
    given = call.headers.get("x-secret") or call.query.get("secret") or ""
    signed = call.headers.get("x-signature", "").removeprefix("sha256=").lower()
    own = hmac.new(secret.encode(), call.body, hashlib.sha256).hexdigest()
    if not secret or not (
        hmac.compare_digest(given.encode(), secret.encode())
        or hmac.compare_digest(signed.encode(), own.encode())
    ):
        raise NotGenuine


def _rows(call: Call) -> Iterator[Mapping[str, Any]]:
    if call.method == "GET":
        yield {name: value for name, value in call.query.items() if name != "secret"}
        return
    try:
        told = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = dict(parse_qsl(call.body.decode(errors="replace")))
    yield from (row for row in (told if isinstance(told, list) else [told]) if isinstance(row, dict))


def _at(told: Any, path: str) -> str:
    """The text or number at a path; "" where there is none."""
    for step in path.split(".") if path else []:
        if isinstance(told, dict):
            told = told.get(step)
        elif isinstance(told, list) and step.isdecimal() and int(step) < len(told):
            told = told[int(step)]
        else:
            return ""
    return str(told) if isinstance(told, str | int) and not isinstance(told, bool) and path else ""


def _e164(number: str) -> str:
    digits = number.strip().removeprefix("+").removeprefix("00")
    return f"+{digits}" if digits.isdecimal() and len(digits) > 6 else number.strip()
