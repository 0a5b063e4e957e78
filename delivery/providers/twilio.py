"""Twilio: SMS and WhatsApp by the Messages API (https://www.twilio.com/docs/messaging/api/message-resource)."""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.channels.base import Outcome, Parcel, Result
from delivery.providers import register, twilio_content
from delivery.providers import twilio_words as words
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
from delivery.providers.http import Answer, HttpProvider, Wanted, fetch, safe, usual
from delivery.whatsapp import templates
from delivery.whatsapp.payload import WhatsAppPayload

API, CONTENT = "https://api.twilio.com", "https://content.twilio.com"
NOTHING = '<?xml version="1.0" encoding="UTF-8"?><Response></Response>'  # TwiML: say nothing
WHATSAPP = "whatsapp:"
PAGES = 50
Name = Annotated[str, msgspec.Meta(min_length=1)]


class TwilioConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`service` is a Messaging Service (MG…), `number` a number, short code or sender name; one of them is needed."""

    account_sid: Name
    service: str = ""
    number: str = ""
    base_url: str = API
    content_url: str = CONTENT


class TwilioCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The auth token also signs Twilio's calls. With `api_key` its secret is used for our own."""

    auth_token: Name
    api_key: str = ""
    api_secret: str = ""


class TwilioForm(AccountForm):
    account_sid = forms.RegexField(
        r"AC[0-9a-fA-F]{32}",
        label=gettext_lazy("Account SID"),
        help_text=gettext_lazy("AC… on Twilio's console."),
    )
    auth_token = forms.CharField(
        label=gettext_lazy("Auth token"), widget=forms.PasswordInput(render_value=False)
    )
    service = forms.CharField(
        label=gettext_lazy("Messaging Service"),
        required=False,
        help_text=gettext_lazy("MG…: Twilio chooses the number. Empty: the number below."),
    )
    number = forms.CharField(
        label=gettext_lazy("From"),
        required=False,
        help_text=gettext_lazy("A number such as +15017122661, a short code or a sender name."),
    )
    api_key = forms.CharField(
        label=gettext_lazy("API key"),
        required=False,
        help_text=gettext_lazy("SK…, instead of the auth token."),
    )
    api_secret = forms.CharField(
        label=gettext_lazy("API secret"), required=False, widget=forms.PasswordInput(render_value=False)
    )
    base_url = forms.CharField(label=gettext_lazy("Address of the API"), required=False, initial=API)
    content_url = forms.CharField(
        label=gettext_lazy("Address of the Content API"), required=False, initial=CONTENT
    )

    def clean(self) -> dict[str, Any]:
        """Somebody has to be the sender."""
        cleaned = super().clean() or self.cleaned_data
        if not cleaned.get("service") and not cleaned.get("number"):
            self.add_error("number", _("Give a Messaging Service or a number."))
        return cleaned


class _Shared(msgspec.Struct):
    url: str
    headers: list[str]
    sids: Mapping[tuple[str, str], str]


@register
class Twilio(HttpProvider):
    """Twilio takes no idempotency key: what was begun is never sent again."""

    kind = "twilio"
    channels = ("sms", "whatsapp")
    label = "Twilio"
    position = 10
    help = gettext_lazy(
        "Account SID and auth token are on the first page of Twilio's console. For replies such as STOP, give the"
        " callback address as webhook of the number or Messaging Service."
    )
    Config = TwilioConfig
    Credentials = TwilioCredentials
    Form = TwilioForm

    def prepare(self, sender: Sender, now: datetime) -> _Shared:
        """The address and headers, and the numbers of this account's templates."""
        return _Shared(
            f"{_root(sender)}/Messages.json",
            [*_headers(sender), "Content-Type: application/x-www-form-urlencoded"],
            templates.external_ids(sender.account_id),
        )

    def request(self, shared: _Shared, sender: Sender, parcel: Parcel) -> Wanted:
        """Return the form that makes a Message."""
        config: TwilioConfig = sender.config
        payload, to, own = parcel.payload, parcel.address.value, config.number
        fields: dict[str, str] = {}
        if isinstance(payload, WhatsAppPayload):
            to, own = WHATSAPP + to, WHATSAPP + own.removeprefix(WHATSAPP) if own else ""
            if payload.template:
                sid = shared.sids.get((payload.template, payload.language), "")
                fields = {"ContentSid": sid, "ContentVariables": _variables(payload)}
            else:
                fields = {"Body": payload.text} | ({"MediaUrl": payload.header} if payload.header else {})
        else:
            fields = {"Body": payload.text} | ({"MediaUrl": payload.media} if payload.media else {})
        fields |= {"To": to, "StatusCallback": sender.callback}
        fields |= {"MessagingServiceSid": config.service} if config.service else {"From": own}
        return Wanted(shared.url, shared.headers, urlencode(fields).encode())

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """201 with the message's sid; an error has a code of Twilio's."""
        found = answer.json
        parts = getattr(parcel.payload, "parts", 1)
        if 200 <= answer.status < 300:
            sid = found.get("sid")
            if not isinstance(sid, str) or not sid:
                return Result(parcel.number, Outcome.STARTED, answer.status, "no sid in the answer")
            # A Messaging Service counts its segments later and says 0.
            told = str(found.get("num_segments") or "")
            charged = int(told) if told.isdecimal() else 0
            return Result(
                parcel.number, Outcome.ACCEPTED, answer.status, provider_id=sid, parts=charged or parts
            )
        code = found.get("code")
        code = code if isinstance(code, int) else 0
        outcome = words.outcome(code) or usual(answer.status)
        return Result(
            parcel.number,
            outcome,
            answer.status,
            f"{code} {found.get('message', '')}".strip()
            if code
            else answer.body[:200].decode(errors="replace"),
            retry_after=answer.wish(now) if outcome == Outcome.RETRY else None,
            group=sender.name,
            told=words.told(code),
        )

    def check(self, sender: Sender) -> str:
        """Read the account."""
        answer = fetch(f"{_root(sender)}.json", _headers(sender))
        if answer.status in (401, 403):
            raise ProviderError(_("Twilio does not know this account SID and token."))
        if answer.status != 200:
            raise ProviderError(_("Twilio answered with status %d.") % answer.status)
        found = answer.json
        state = str(found.get("status", ""))
        if state != "active":
            raise ProviderError(_("Twilio says that the account is %s.") % state)
        return _("Twilio knows the account “%s”.") % found.get("friendly_name", "")

    def hear(self, sender: Sender, call: Call) -> Heard:
        """Understand a status callback or a message that somebody wrote."""
        fields = _genuine(sender, call)
        sid = fields.get("MessageSid") or fields.get("SmsSid") or ""
        status = (fields.get("MessageStatus") or fields.get("SmsStatus") or "").lower()
        now = datetime.now(UTC)
        if not sid:
            return Heard(answer=NOTHING, content_type="text/xml")
        if status in ("received", "receiving") or (not status and "Body" in fields):
            inbound = [
                Inbound(
                    sid,
                    fields.get("From", "").removeprefix(WHATSAPP),
                    fields.get("ButtonText") or fields.get("Body", ""),
                    now,
                    words.MEANINGS.get(fields.get("OptOutType", "").upper(), ""),
                )
            ]
            return Heard(inbound=inbound, answer=NOTHING, content_type="text/xml")
        return Heard(
            reports=list(_reports(fields, sid, status, now)), answer=NOTHING, content_type="text/xml"
        )

    def templates(self, sender: Sender) -> Iterator[templates.Found]:
        """Read the contents of the account and what WhatsApp says of them.

        Raises:
            ProviderError: Twilio does not tell.
        """
        url, query = f"{sender.config.content_url.rstrip('/')}/v1/ContentAndApprovals", {"PageSize": "100"}
        for _page in range(PAGES):
            answer = fetch(f"{url}?{urlencode(query)}", _headers(sender))
            if answer.status != 200:
                raise ProviderError(_("Twilio answered with status %d.") % answer.status)
            found = answer.json
            for row in found.get("contents") or []:
                yield _template(row)
            following = (found.get("meta") or {}).get("next_page_url")
            if not following:
                return
            # Only its query: where our credentials go is not the answer's to say.
            query = {name: values[0] for name, values in parse_qs(urlsplit(following).query).items()}


def signature(token: str, url: str, fields: Mapping[str, list[str]]) -> str:
    """X-Twilio-Signature of a form: HMAC-SHA1 of the address and the sorted fields, of each name every value once
    (https://www.twilio.com/docs/usage/security)."""
    signed = url + "".join(name + value for name in sorted(fields) for value in sorted(set(fields[name])))
    return base64.b64encode(hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


def _genuine(sender: Sender, call: Call) -> dict[str, str]:
    """The fields of a call that Twilio has signed, or NotGenuine."""
    given = call.headers.get("x-twilio-signature", "")
    try:
        pairs = parse_qsl(call.body.decode(), keep_blank_values=True) if call.method == "POST" else []
    except UnicodeDecodeError:
        raise NotGenuine from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    # As it was called, and as we told Twilio to: a proxy in front of us may have changed scheme or host.
    expected = [signature(sender.credentials.auth_token, url, fields) for url in (call.url, sender.callback)]
    if not any(hmac.compare_digest(each.encode(), given.encode()) for each in expected):
        raise NotGenuine
    return {name: values[0] for name, values in fields.items()}


def _reports(fields: Mapping[str, str], sid: str, status: str, now: datetime) -> Iterator[Report]:
    kind = words.STATUSES.get(status)
    if kind is None:
        return
    code = fields.get("ErrorCode", "")
    number = int(code) if code.isdecimal() else 0
    address = fields.get("To", "").removeprefix(WHATSAPP)
    detail = f"{code} {fields.get('ErrorMessage', '')}".strip()
    about = words.told(number) if kind == Reported.FAILED else ""
    if about == Reported.BOUNCED:
        kind = Reported.BOUNCED
    yield Report(f"{sid}:{status}", sid, kind, now, detail, address)
    if about == Reported.UNSUBSCRIBED:
        yield Report(f"{sid}:{about}", sid, Reported.UNSUBSCRIBED, now, detail, address)


def _root(sender: Sender) -> str:
    config: TwilioConfig = sender.config
    return f"{(config.base_url or API).rstrip('/')}/2010-04-01/Accounts/{safe(config.account_sid)}"


def _headers(sender: Sender) -> list[str]:
    config, secret = sender.config, sender.credentials
    user, word = (
        (secret.api_key, secret.api_secret) if secret.api_key else (config.account_sid, secret.auth_token)
    )
    token = base64.b64encode(f"{user}:{word}".encode()).decode()
    return [f"Authorization: Basic {token}", "Accept: application/json"]


def _variables(payload: WhatsAppPayload) -> str:
    """The variables by name or number; a picture and a button's ending are variables like others at Twilio."""
    return msgspec.json.encode(payload.parameters).decode()


def _template(row: Mapping[str, Any]) -> templates.Found:
    approval = row.get("approval_requests") or {}
    return templates.Found(
        external_id=str(row.get("sid", "")),
        name=str(row.get("friendly_name", "")),
        language=str(row.get("language", "")),
        category=str(approval.get("category") or "").lower(),
        status=str(approval.get("status") or ""),
        reason=str(approval.get("rejection_reason") or ""),
        components=twilio_content.components(row),
    )
