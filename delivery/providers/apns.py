"""Apple Push Notification service, token-based, over HTTP/2.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import time
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.models import Device
from delivery import push, vapid
from delivery.channels.base import Outcome, Parcel, Result
from delivery.providers import register
from delivery.providers.base import AccountForm, ProviderError, Sender
from delivery.providers.http import Answer, HttpProvider, Wanted, ask, safe, usual

PRODUCTION, DEVELOPMENT = "https://api.push.apple.com", "https://api.sandbox.push.apple.com"
# Apple takes a token for an hour, and wants no new one within twenty minutes.
RENEWED = 1800  # seconds
NOBODY = "0" * 64  # a token that no device has
_NAMESPACE = uuid.UUID("7c3d5a52-5b6e-4f0e-9d43-0a8a3c1f6f3a")
# https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
_REASONS = {
    "BadDeviceToken": Outcome.REFUSED,  # or one of the other environment: no reason to forget the phone
    "DeviceTokenNotForTopic": Outcome.REFUSED,
    "BadTopic": Outcome.CONFIGURATION,
    "MissingTopic": Outcome.CONFIGURATION,
    "TopicDisallowed": Outcome.CONFIGURATION,
    "ExpiredProviderToken": Outcome.RETRY,
    "Unregistered": Outcome.GONE,
    "ExpiredToken": Outcome.GONE,
    "TooManyProviderTokenUpdates": Outcome.RETRY,
    "TooManyRequests": Outcome.RETRY,
    "IdleTimeout": Outcome.RETRY,
    "Shutdown": Outcome.RETRY,
}
_ID = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{10}$")]


class ApnsConfig(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`app` is the bundle id, which Apple calls topic; `base_url` also tells production from development."""

    team_id: _ID
    key_id: _ID
    app: Annotated[str, msgspec.Meta(min_length=1)]
    base_url: str = PRODUCTION


class ApnsCredentials(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The content of AuthKey_….p8."""

    private_key: Annotated[str, msgspec.Meta(min_length=1)]


class ApnsForm(AccountForm):
    team_id = forms.RegexField(r"^[A-Z0-9]{10}$", label=gettext_lazy("Team ID"))
    key_id = forms.RegexField(r"^[A-Z0-9]{10}$", label=gettext_lazy("Key ID"))
    app = forms.RegexField(r"^[A-Za-z0-9.-]{1,200}$", label=gettext_lazy("Bundle ID of the app"))
    private_key = forms.CharField(
        label=gettext_lazy("Signing key"),
        widget=forms.Textarea(attrs={"rows": 6, "dir": "ltr", "spellcheck": "false", "autocomplete": "off"}),
        help_text=gettext_lazy("The content of the file AuthKey_….p8."),
    )
    base_url = forms.CharField(
        label=gettext_lazy("Address of the API"),
        required=False,
        initial=PRODUCTION,
        help_text=gettext_lazy("For apps from Xcode: https://api.sandbox.push.apple.com"),
    )

    def clean_private_key(self) -> str:
        """Say at once when it is another file."""
        text: str = self.cleaned_data["private_key"]
        try:
            _signing_key(text)
        except ProviderError as error:
            raise ValidationError(str(error)) from None
        return text


@register
class Apns(HttpProvider):
    """Apple's own service. What the same collapse id replaces, a phone shows once."""

    kind = "apns"
    channels = ("push",)
    devices = ("apns",)
    label = gettext_lazy("Apple Push Notification service")
    position = 20
    help = gettext_lazy(
        "In your Apple developer account: Keys → a key with the Apple Push Notifications service. For iPhones whose"
        " app does not use Firebase."
    )
    Config = ApnsConfig
    Credentials = ApnsCredentials
    Form = ApnsForm

    def prepare(self, sender: Sender, now: datetime) -> tuple[str, list[str], datetime]:
        """The address without the phone's token, the headers, and the time."""
        return f"{_root(sender)}/3/device/", _headers(sender), now

    def request(self, shared: tuple[str, list[str], datetime], sender: Sender, parcel: Parcel) -> Wanted:
        """Return the request for one phone."""
        url, headers, now = shared
        left = push.ttl(parcel.payload, parcel.delivery, now)
        until = int(now.timestamp()) + left if left else 0
        more = {"apns-id": apns_id(parcel), **push.apns_headers(parcel.payload, until)}
        return Wanted(
            url + safe(parcel.address.value),
            [*headers, *(f"{name}: {value}" for name, value in more.items())],
            msgspec.json.encode(push.apns_body(parcel.payload)),
        )

    def understand(self, sender: Sender, parcel: Parcel, answer: Answer, now: datetime) -> Result:
        """200 without a body; else a reason."""
        if answer.status == 200:
            number = answer.headers.get("apns-id") or apns_id(parcel)
            return Result(parcel.number, Outcome.ACCEPTED, 200, provider_id=number)
        found = answer.json
        reason = str(found.get("reason", ""))
        outcome = _REASONS.get(reason) or (Outcome.GONE if answer.status == 410 else usual(answer.status))
        if outcome == Outcome.GONE and _registered_since(parcel.address.device, found.get("timestamp")):
            outcome = Outcome.RETRY
        wait = answer.wish(now) if outcome == Outcome.RETRY else None
        detail = reason or answer.body[:200].decode(errors="replace")
        return Result(parcel.number, outcome, answer.status, detail, wait, group=sender.name)

    def check(self, sender: Sender) -> str:
        """Write to a phone that does not exist: Apple judges key and topic before it looks for the phone.

        Raises:
            ProviderError: Apple refuses the key or the topic.
        """
        more = ["apns-push-type: background", "apns-priority: 5", "apns-expiration: 0"]
        body = msgspec.json.encode({"aps": {"content-available": 1}})
        answer = ask(f"{_root(sender)}/3/device/{NOBODY}", [*_headers(sender), *more], "POST", body)
        reason = str(answer.json.get("reason", ""))
        if answer.status not in (200, 410) and reason != "BadDeviceToken":
            raise ProviderError(f"Apple answers {answer.status} {reason}".strip())
        return _("Apple takes messages for the app %s.") % sender.config.app


def apns_id(parcel: Parcel) -> str:
    """What Apple calls a message: the same for every try of one delivery to one phone."""
    return str(uuid.uuid5(_NAMESPACE, f"{parcel.delivery.pk}:{parcel.address.value}"))


def provider_token(sender: Sender, now: float | None = None) -> str:
    """Return the JSON Web Token that Apple knows us by.

    All processes make the same one for half an hour, byte by byte, since Apple refuses a sender whose tokens change
    too often: the signature is deterministic (RFC 6979).
    """
    now = time.time() if now is None else now
    config: ApnsConfig = sender.config
    issued = int(now) // RENEWED * RENEWED
    return _token(sender.credentials.private_key, config.key_id, config.team_id, issued)


@lru_cache(maxsize=64)
def _token(private_key: str, key_id: str, team_id: str, issued: int) -> str:
    return vapid.es256(
        _signing_key(private_key), {"alg": "ES256", "kid": key_id}, {"iss": team_id, "iat": issued}
    )


def _signing_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read a .p8 file; ProviderError, without what it holds, when it is none."""
    try:
        key = load_pem_private_key(text.strip().encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProviderError(_("This is not the content of a .p8 file from Apple."))
    return key


def _root(sender: Sender) -> str:
    return (sender.config.base_url or PRODUCTION).rstrip("/")


def _headers(sender: Sender) -> list[str]:
    return [
        f"authorization: bearer {provider_token(sender)}",
        f"apns-topic: {safe(sender.config.app)}",
        "content-type: application/json",
    ]


def _registered_since(device: Device | None, stamp: Any) -> bool:
    """Whether the app told us its token after Apple last saw it gone (milliseconds)."""
    if device is None or not isinstance(stamp, (int, float)):
        return False
    try:
        return device.changed_at > datetime.fromtimestamp(stamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # no time that can be
        return False
