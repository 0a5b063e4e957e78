"""WhatsApp by Meta's Cloud API (https://developers.facebook.com/docs/whatsapp/cloud-api)."""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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
from delivery.providers.http import Answer, HttpProvider, Wanted, fetch, safe, usual
from delivery.whatsapp import templates
from delivery.whatsapp.payload import WhatsAppPayload

API, VERSION = "https://graph.facebook.com", "v23.0"
PAGES = 50
Name = Annotated[str, msgspec.Meta(min_length=1)]
# https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
_ACCOUNT = frozenset(
    {
        0,
        3,
        10,
        190,
        *range(200, 300),
        368,
        131005,
        131031,
        131037,
        131042,
        131045,
        133000,
        133005,
        133006,
        133010,
    }
)
_BUSY = frozenset({2, 4, 80007, 130429, 131016, 131048, 131056, 131057, 133004})
_REFUSED = frozenset(
    {
        *(
            33,
            100,
            130472,
            130497,
            131008,
            131009,
            131021,
            131026,
            131030,
            131047,
            131049,
            131051,
            131052,
            131053,
        ),
        *range(132000, 132020),
    }
)
_OPTED_OUT = 131050
_UNKNOWN = frozenset({1, 131000})  # something went wrong at Meta, and nobody says where
_STATUSES = {"delivered": Reported.DELIVERED, "read": Reported.READ, "failed": Reported.FAILED}


class MetaConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The numbers that Meta gives the phone number and the WhatsApp Business Account."""

    phone_number_id: Name
    business_account_id: Name
    base_url: str = API
    version: str = VERSION


class MetaCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The secret of the app signs Meta's calls; `verify_token` is a word of ours that Meta shows at the first one."""

    access_token: Name
    app_secret: Name
    verify_token: Name


class MetaForm(AccountForm):
    phone_number_id = forms.RegexField(r"\d{5,30}", label=gettext_lazy("Phone number ID"))
    business_account_id = forms.RegexField(r"\d{5,30}", label=gettext_lazy("WhatsApp Business Account ID"))
    access_token = forms.CharField(
        label=gettext_lazy("Access token"),
        widget=forms.PasswordInput(render_value=False),
        help_text=gettext_lazy("Of a system user with whatsapp_business_messaging and …_management."),
    )
    app_secret = forms.CharField(
        label=gettext_lazy("App secret"), widget=forms.PasswordInput(render_value=False)
    )
    verify_token = forms.CharField(
        label=gettext_lazy("Verify token"),
        widget=forms.PasswordInput(render_value=False),
        help_text=gettext_lazy("Any word; give Meta the same one together with the callback address."),
    )
    base_url = forms.CharField(label=gettext_lazy("Address of the API"), required=False, initial=API)
    version = forms.RegexField(
        r"v\d+\.\d+", label=gettext_lazy("Version of the API"), required=False, initial=VERSION
    )


@register
class MetaWhatsApp(HttpProvider):
    """The Cloud API takes no idempotency key: what was begun is never sent again."""

    kind = "meta"
    channels = ("whatsapp",)
    label = gettext_lazy("WhatsApp Cloud API (Meta)")
    position = 20
    help = gettext_lazy(
        "Both numbers are on the page “API Setup” of your app at developers.facebook.com. Subscribe the webhook to"
        " “messages”."
    )
    Config = MetaConfig
    Credentials = MetaCredentials
    Form = MetaForm
    unsent = ("app_secret", "verify_token")

    def prepare(self, sender: Sender, now: datetime) -> tuple[str, list[str]]:
        """Address and headers."""
        return f"{_root(sender)}/{safe(sender.config.phone_number_id)}/messages", [
            *_headers(sender),
            "Content-Type: application/json",
        ]

    def request(self, shared: tuple[str, list[str]], sender: Sender, parcel: Parcel) -> Wanted:
        """Return the JSON of one message."""
        url, headers = shared
        body = message(parcel.address.value, parcel.payload)
        return Wanted(url, headers, msgspec.json.encode(body))

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """200 with the message's id; an error has a code of Meta's."""
        found = answer.json
        if 200 <= answer.status < 300:
            [first, *_rest] = _dicts(found, "messages") or [{}]
            number = first.get("id")
            if not isinstance(number, str) or not number:
                return Result(parcel.number, Outcome.STARTED, answer.status, "no id in the answer")
            return Result(parcel.number, Outcome.ACCEPTED, answer.status, provider_id=number)
        error = found.get("error")
        error = error if isinstance(error, dict) else {}
        code = _code(error)
        outcome = _outcome(code) or usual(answer.status)
        data = error.get("error_data")
        more = data.get("details", "") if isinstance(data, dict) else ""
        words = (
            f"{code} {error.get('message', '')} {more}"
            if error
            else answer.body[:200].decode(errors="replace")
        )
        return Result(
            parcel.number,
            outcome,
            answer.status,
            words.strip(),
            retry_after=answer.wish(now) if outcome == Outcome.RETRY else None,
            group=sender.name,
            told=Reported.UNSUBSCRIBED.value if code == _OPTED_OUT else "",
        )

    def check(self, sender: Sender) -> str:
        """Read the phone number."""
        query = urlencode({"fields": "display_phone_number,verified_name"})
        answer = fetch(f"{_root(sender)}/{safe(sender.config.phone_number_id)}?{query}", _headers(sender))
        if answer.status != 200:
            raise ProviderError(_("Meta refuses: %s") % _why(answer))
        return _("Meta knows the number %(number)s as “%(name)s”.") % {
            "number": answer.json.get("display_phone_number", ""),
            "name": answer.json.get("verified_name", ""),
        }

    def hear(self, sender: Sender, call: Call) -> Heard:
        """Answer Meta's challenge, or understand what it tells."""
        if call.method == "GET":
            return _challenge(sender, call)
        given = call.headers.get("x-hub-signature-256", "")
        if not hmac.compare_digest(
            signature(sender.credentials.app_secret, call.body).encode(), given.encode()
        ):
            raise NotGenuine
        try:
            told = msgspec.json.decode(call.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Heard()
        heard = Heard([], [])
        for value in _values(told, sender.config.phone_number_id):
            heard.reports.extend(_reports(value))
            heard.inbound.extend(_inbound(value))
        return heard

    def templates(self, sender: Sender) -> Iterator[templates.Found]:
        """Read the templates of the business account.

        Raises:
            ProviderError: Meta does not tell.
        """
        url = f"{_root(sender)}/{safe(sender.config.business_account_id)}/message_templates"
        query = {"fields": "id,name,language,status,category,rejected_reason,components", "limit": "100"}
        for _page in range(PAGES):
            answer = fetch(f"{url}?{urlencode(query)}", _headers(sender))
            if answer.status != 200:
                raise ProviderError(_("Meta refuses: %s") % _why(answer))
            found = answer.json
            for row in found.get("data") or []:
                yield templates.Found(
                    external_id=str(row.get("id", "")),
                    name=str(row.get("name", "")),
                    language=str(row.get("language", "")),
                    category=str(row.get("category") or "").lower(),
                    status=str(row.get("status") or ""),
                    reason=str(row.get("rejected_reason") or ""),
                    components=[each for each in row.get("components") or [] if isinstance(each, dict)],
                )
            paging = found.get("paging") or {}
            after = (paging.get("cursors") or {}).get("after")
            # The cursor and not the address that comes with it: our token goes to no other.
            if not paging.get("next") or not after:
                return
            query["after"] = str(after)


def message(to: str, payload: WhatsAppPayload) -> dict[str, Any]:
    """The Cloud API's JSON of one message to a number in E.164 form."""
    found: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to.removeprefix("+"),
    }
    if not payload.template:
        if payload.header:
            return found | {"type": "image", "image": {"link": payload.header, "caption": payload.text}}
        return found | {"type": "text", "text": {"preview_url": True, "body": payload.text}}
    template: dict[str, Any] = {"name": payload.template, "language": {"code": payload.language}}
    if components := list(_components(payload)):
        template["components"] = components
    return found | {"type": "template", "template": template}


def signature(secret: str, body: bytes) -> str:
    """X-Hub-Signature-256 of a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _components(payload: WhatsAppPayload) -> Iterator[dict[str, Any]]:
    if payload.header:
        kind = payload.header_kind
        value = payload.header if kind == "text" else {"link": payload.header}
        name = {"parameter_name": payload.header_name} if payload.header_name else {}
        yield {"type": "header", "parameters": [{"type": kind, **name, kind: value}]}
    if payload.parameters:
        numbered = all(name.isdecimal() for name in payload.parameters)
        names = sorted(payload.parameters, key=int) if numbered else list(payload.parameters)
        yield {
            "type": "body",
            "parameters": [
                {
                    "type": "text",
                    **({} if numbered else {"parameter_name": name}),
                    "text": payload.parameters[name],
                }
                for name in names
            ],
        }
    for key, value in payload.buttons.items():
        kind, _colon, number = key.partition(":")
        inner = {"quick_reply": ("payload", "payload"), "copy_code": ("coupon_code", "coupon_code")}
        type_, field = inner.get(kind, ("text", "text"))
        yield {
            "type": "button",
            "sub_type": kind,
            "index": number,
            "parameters": [{"type": type_, field: value}],
        }


def _code(error: Mapping[str, Any]) -> int:
    code = error.get("code")
    return code if isinstance(code, int) else -1


def _outcome(code: int) -> Outcome | None:
    if code in _ACCOUNT:
        return Outcome.CONFIGURATION
    if code in _BUSY:
        return Outcome.RETRY
    if code in _UNKNOWN:
        return Outcome.STARTED
    return Outcome.REFUSED if code in _REFUSED or code == _OPTED_OUT else None


def _challenge(sender: Sender, call: Call) -> Heard:
    given = call.query.get("hub.verify_token", "")
    if call.query.get("hub.mode") != "subscribe" or not hmac.compare_digest(
        sender.credentials.verify_token.encode(), given.encode()
    ):
        raise NotGenuine
    return Heard(answer=call.query.get("hub.challenge", "")[:200])


def _values(told: Any, phone_number_id: str) -> Iterator[Mapping[str, Any]]:
    """The parts of a call that concern this number: an app may serve several."""
    for entry in _dicts(told, "entry"):
        for change in _dicts(entry, "changes"):
            value = change.get("value")
            if not isinstance(value, dict):
                continue
            metadata = value.get("metadata")
            about = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
            if about in (None, phone_number_id):
                yield value


def _reports(value: Mapping[str, Any]) -> Iterator[Report]:
    for status in _dicts(value, "statuses"):
        number, word = str(status.get("id", "")), str(status.get("status", ""))
        kind = _STATUSES.get(word)
        if not number or kind is None:
            continue
        address = f"+{str(status.get('recipient_id', '')).removeprefix('+')}"
        at = _at(status.get("timestamp"))
        [error, *_more] = _dicts(status, "errors") or [{}]
        code = _code(error)
        detail = f"{code} {error.get('title', '')}".strip() if error else ""
        yield Report(f"{number}:{word}", number, kind, at, detail, address)
        if code == _OPTED_OUT:
            yield Report(f"{number}:stop", number, Reported.UNSUBSCRIBED, at, detail, address)


def _inbound(value: Mapping[str, Any]) -> Iterator[Inbound]:
    for message_ in _dicts(value, "messages"):
        number, sender = str(message_.get("id", "")), str(message_.get("from", ""))
        if number and sender:
            yield Inbound(
                number, f"+{sender.removeprefix('+')}", _words(message_), _at(message_.get("timestamp"))
            )
    # What somebody chose in WhatsApp itself; WhatsApp tells them so.
    for wish in _dicts(value, "user_preferences"):
        who, choice = str(wish.get("wa_id", "")), str(wish.get("value", ""))
        understood = {"stop": "stop", "resume": "start"}.get(choice)
        if who and understood:
            at = _at(wish.get("timestamp"))
            key = f"preference:{who}:{wish.get('timestamp')}:{choice}"
            yield Inbound(key, f"+{who.removeprefix('+')}", str(wish.get("detail", "")), at, understood)


def _words(message_: Mapping[str, Any]) -> str:
    """What somebody wrote or pressed; "" of a picture without words."""
    kind = str(message_.get("type", ""))
    inner = message_.get(kind)
    if not isinstance(inner, dict):
        return ""
    if kind == "interactive":
        inner = inner.get("button_reply") or inner.get("list_reply") or {}
        return str(inner.get("title", "")) if isinstance(inner, dict) else ""
    return str(inner.get("body") or inner.get("text") or inner.get("caption") or "")


def _dicts(holder: Any, name: str) -> list[dict[str, Any]]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _at(told: Any) -> datetime:
    try:
        return datetime.fromtimestamp(int(told), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return datetime.now(UTC)


def _root(sender: Sender) -> str:
    return f"{(sender.config.base_url or API).rstrip('/')}/{quote(sender.config.version or VERSION)}"


def _headers(sender: Sender) -> list[str]:
    return [f"Authorization: Bearer {safe(sender.credentials.access_token)}"]


def _why(answer: Answer) -> str:
    error = answer.json.get("error")
    return str(error.get("message", answer.status))[:300] if isinstance(error, dict) else str(answer.status)
