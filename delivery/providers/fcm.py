"""Firebase Cloud Messaging, HTTP v1 (https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send)."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery import push
from delivery.channels.base import Outcome, Parcel, Result
from delivery.providers import register
from delivery.providers.base import AccountForm, ProviderError, Sender
from delivery.providers.google_auth import BadKey, ServiceAccount, access_token, forget, read_key
from delivery.providers.http import Answer, HttpProvider, Wanted, ask, safe, usual

API = "https://fcm.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
BUSY = timedelta(seconds=60)  # FCM's own advice where it does not say when to come again
ERROR_TYPE = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
# https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
_CODES = {
    "UNREGISTERED": Outcome.GONE,
    "INVALID_ARGUMENT": Outcome.REFUSED,
    "SENDER_ID_MISMATCH": Outcome.REFUSED,  # this token is of another project's app
    "QUOTA_EXCEEDED": Outcome.RETRY,
    "UNAVAILABLE": Outcome.RETRY,
    "THIRD_PARTY_AUTH_ERROR": Outcome.CONFIGURATION,  # Apple refuses the key that Firebase was given
}


class FcmConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`app` is the only one that the account carries to, where it is given."""

    app: str = ""
    base_url: str = API


class FcmCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The JSON file of a service account's key."""

    service_account: Annotated[str, msgspec.Meta(min_length=1)]


class FcmForm(AccountForm):
    service_account = forms.CharField(
        label=gettext_lazy("Service account key (JSON)"),
        widget=forms.Textarea(attrs={"rows": 6, "dir": "ltr", "spellcheck": "false", "autocomplete": "off"}),
        help_text=gettext_lazy("The content of the file that Firebase gives you."),
    )
    app = forms.CharField(
        label=gettext_lazy("Only for the app"),
        required=False,
        help_text=gettext_lazy("A package name such as com.example.shop; empty for all apps of the project."),
    )
    base_url = forms.CharField(label=gettext_lazy("Address of the API"), required=False, initial=API)

    def clean_service_account(self) -> str:
        """Say at once when it is another file."""
        text: str = self.cleaned_data["service_account"]
        try:
            read_key(text)
        except BadKey as error:
            raise ValidationError(str(error)) from None
        return text


@register
class Fcm(HttpProvider):
    """FCM takes no idempotency key; the message's tag makes the phone show a repetition once."""

    kind = "fcm"
    channels = ("push",)
    devices = ("fcm",)
    label = gettext_lazy("Firebase Cloud Messaging")
    position = 10
    help = gettext_lazy(
        "In the Firebase console: Project settings → Service accounts → Generate new private key. Carries to Android,"
        " to iPhones whose app uses Firebase, and to web apps."
    )
    Config = FcmConfig
    Credentials = FcmCredentials
    Form = FcmForm

    def prepare(self, sender: Sender, now: datetime) -> tuple[str, list[str], datetime]:
        """Address, headers with a token of our own, and the time."""
        key = _key(sender)
        return _url(sender, key), _headers(access_token(key, SCOPE)), now

    def request(self, shared: tuple[str, list[str], datetime], sender: Sender, parcel: Parcel) -> Wanted:
        """Return the JSON of one message."""
        url, headers, now = shared
        left = push.ttl(parcel.payload, parcel.delivery, now)
        message = push.fcm_message(parcel.payload, parcel.address.value, left, now)
        return Wanted(url, headers, msgspec.json.encode({"message": message}))

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """200 with the message's name; an error has a code of FCM's among its details, which says more than HTTP."""
        found = answer.json
        if answer.status == 200:
            name = found.get("name")
            number = name if isinstance(name, str) else ""
            return Result(parcel.number, Outcome.ACCEPTED, 200, provider_id=number)
        code, fields, words = _error(found)
        outcome = _CODES.get(code) or _by_status(answer.status)
        if code == "INVALID_ARGUMENT" and "message.token" in fields:
            outcome = Outcome.GONE
        if answer.status == 401 and not code:
            forget(_key(sender), SCOPE)
        wait = (
            (answer.wish(now) or (BUSY if answer.status == 429 else None))
            if outcome == Outcome.RETRY
            else None
        )
        detail = f"{code} {words}".strip() or answer.body[:200].decode(errors="replace")
        return Result(parcel.number, outcome, answer.status, detail[:500], wait, group=sender.name)

    def check(self, sender: Sender) -> str:
        """Get a token and have a message judged that goes to nobody.

        Raises:
            ProviderError: Google refuses the key, or it may not send for the project.
        """
        key = _key(sender)
        forget(key, SCOPE)
        body = msgspec.json.encode({"validate_only": True, "message": {"topic": "nudge-test"}})
        answer = ask(_url(sender, key), _headers(access_token(key, SCOPE)), "POST", body)
        if answer.status != 200:
            code, _fields, words = _error(answer.json)
            raise ProviderError(f"Firebase answers {answer.status} {code} {words}".strip())
        return _("Firebase takes messages for the project %s.") % key.project_id


def _key(sender: Sender) -> ServiceAccount:
    try:
        return read_key(sender.credentials.service_account)
    except BadKey as error:
        raise ProviderError(str(error)) from None


def _url(sender: Sender, key: ServiceAccount) -> str:
    return f"{(sender.config.base_url or API).rstrip('/')}/v1/projects/{safe(key.project_id)}/messages:send"


def _headers(token: str) -> list[str]:
    return [f"Authorization: Bearer {safe(token)}", "Content-Type: application/json"]


def _by_status(status: int) -> Outcome:
    """404 without a code of FCM's speaks of the project, not of the phone."""
    return Outcome.CONFIGURATION if status == 404 else usual(status)


def _error(found: dict[str, Any]) -> tuple[str, set[str], str]:
    """FCM's code, the fields that it complains about, and its words."""
    error = found.get("error")
    if not isinstance(error, dict):
        return "", set(), ""
    details = _dicts(error.get("details"))
    code = next((str(each.get("errorCode", "")) for each in details if each.get("@type") == ERROR_TYPE), "")
    fields = {
        str(violation.get("field")) for each in details for violation in _dicts(each.get("fieldViolations"))
    }
    return code, fields, str(error.get("message", ""))


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
