"""Web push: encrypted messages to browsers (RFC 8030, 8188, 8291, 8292)."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from django import forms
from django.conf import settings
from django.db import connection
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.models import Device
from crm.pg import number_array
from crm.rules.sql import Sql, sql
from delivery import clicks, encryption, httpclient, pushhosts, tokens, vapid
from delivery.channels import register
from delivery.channels.base import Address, Channel, Outcome, Parcel, Result
from delivery.content import ContentError, Link
from delivery.models import Delivery
from delivery.notifications import URGENCIES, NotificationForm, action_fields

MAX_TTL = 28 * 24 * 3600  # seconds: four weeks, the most that FCM keeps a message
PAUSE_AFTER = (
    3  # refusals of our key, with nothing accepted, after which a service is left alone for the batch
)

# What an answer means. Sources: RFC 8030, autopush-rs docs, FCM, Apple and WNS documentation; 406 is how WNS
# throttles. 401 and 403 speak of our key, never of the subscription.
OUTCOMES = {
    400: Outcome.REFUSED,
    401: Outcome.CONFIGURATION,
    403: Outcome.CONFIGURATION,
    404: Outcome.GONE,
    406: Outcome.RETRY,
    408: Outcome.RETRY,
    410: Outcome.GONE,
    413: Outcome.REFUSED,
    429: Outcome.RETRY,
}

# What sending needs of a browser; each further column costs time for everybody in a batch.
_BROWSER = ("id", "profile_id", "endpoint", "p256dh", "auth")
_BROWSERS = f"""
    SELECT {", ".join(_BROWSER)} FROM crm_device
    WHERE profile_id = ANY(%s::bigint[]) AND kind = 'webpush' AND state = 'active' AND application_key IN ('', %s)
    ORDER BY id
"""

Urgency = Literal["very-low", "low", "normal", "high"]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class PushAction(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A button of a notification. Browsers show at most two."""

    title: Text
    url: Link = ""


class WebPushContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A notification. Links are https://… or paths of the site that subscribed the browser."""

    title: Text
    body: str = ""
    url: Link = ""
    icon: Link = ""
    image: Link = ""
    badge: Link = ""
    tag: str = ""
    urgency: Urgency = "normal"
    ttl_hours: Annotated[int, msgspec.Meta(ge=0, le=672)] = 0
    actions: Annotated[list[PushAction], msgspec.Meta(max_length=2)] = []
    data: dict[str, str] = {}


class Push(msgspec.Struct, frozen=True):
    """A composed notification: the JSON to encrypt, and what the headers need."""

    plaintext: bytes
    topic: str
    urgency: str
    max_ttl: int  # seconds


class WebPushForm(NotificationForm):
    main = ("title", "body", "url", "icon", "image")
    more = (*action_fields(2), "tag", "urgency", "ttl_hours")
    url = forms.CharField(
        label=gettext_lazy("Opens"),
        required=False,
        help_text=gettext_lazy("Where a click leads: https://… or a path of your site such as /cart."),
    )
    icon = forms.CharField(
        label=gettext_lazy("Icon"), required=False, help_text=gettext_lazy("Address of a square picture.")
    )
    image = forms.CharField(
        label=gettext_lazy("Picture"),
        required=False,
        help_text=gettext_lazy("Address of a wide picture, 2:1. Some browsers leave it out."),
    )
    urgency = forms.ChoiceField(
        label=gettext_lazy("Urgency"),
        required=False,
        initial="normal",
        choices=[
            *URGENCIES,
            ("low", gettext_lazy("low: may wait for Wi-Fi or power")),
            ("very-low", gettext_lazy("very low: only when charging on Wi-Fi")),
        ],
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        initial = kwargs.get("initial") or {}
        self._untouched = {name: initial[name] for name in ("badge", "data") if initial.get(name)}
        super().__init__(*args, **kwargs)

    def content(self) -> dict[str, Any]:
        """The authored JSON; what the form doesn't show is kept."""
        return self._untouched | super().content()


@register
class WebPush(Channel):
    """Sends to every active browser of a person."""

    kind = "webpush"
    label = gettext_lazy("Web push")
    position = 10
    Config = WebPushContent
    Form = WebPushForm
    address_fields = ("devices",)
    preview = "admin/delivery/notification.html"
    repeatable = True  # the tag makes the device replace, the topic makes the push service replace

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return the browsers that subscribed with our present key and are still there."""
        found: dict[int, list[Address]] = {}
        with connection.cursor() as cursor:
            cursor.execute(_BROWSERS, [number_array(profile_ids), vapid.public_key()])
            devices = Device.loaded(_BROWSER, cursor.fetchall())
        for device in devices:
            found.setdefault(device.profile_id, []).append(Address(device.endpoint, device))
        return found

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return sql(
            "SELECT profile_id, endpoint AS value FROM crm_device"
            " WHERE kind = {} AND state = 'active' AND application_key IN ('', {})",
            self.kind,
            vapid.public_key(),
        )

    def relink(self, content: WebPushContent, change: Callable[[str], str]) -> WebPushContent:
        """Return the notification with the addresses changed that its clicks open."""
        actions = [msgspec.structs.replace(action, url=change(action.url)) for action in content.actions]
        return msgspec.structs.replace(content, url=change(content.url), actions=actions)

    def compose(self, delivery: Delivery, content: WebPushContent) -> Push:
        """Return the JSON that the service worker understands, with its token for tracking.

        Raises:
            ContentError: it is larger than a push may be.
        """
        tag = content.tag or f"nudge-{delivery.pk}"
        plaintext = _plaintext(content, tag, tokens.make(delivery.pk), clicks.make(delivery.pk))
        if len(plaintext) > encryption.MAX_PLAINTEXT:
            raise ContentError("body", _too_big(len(plaintext)))
        ttl = content.ttl_hours * 3600 or MAX_TTL
        return Push(plaintext, _topic(tag), content.urgency, min(ttl, MAX_TTL))

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content, size included."""
        found = super().problems(content)
        if not found:
            # Variables count with their source: what they stand for is seldom much longer.
            authored = msgspec.convert(content, WebPushContent)
            pk = 1_000_000_000
            size = len(_plaintext(authored, authored.tag or f"nudge-{pk}", tokens.make(pk), clicks.make(pk)))
            if size > encryption.MAX_PLAINTEXT:
                found.append(ContentError("body", _too_big(size)))
        return found

    def send(self, parcels: Iterable[Parcel], now: datetime) -> Iterator[Result]:
        """Encrypt and post, up to 100 at once; a service that refuses our key is left alone."""
        signer = vapid.signer(settings.NUDGE_PUSH_CONTACT)
        unsent: list[Result] = []
        refused: Counter[str] = Counter()
        accepting: set[str] = set()
        origins: dict[int, str] = {}

        def requests() -> Iterator[httpclient.Request[Parcel]]:
            for parcel in parcels:
                host = pushhosts.look_at(parcel.address.value)
                if refused[host.origin] >= PAUSE_AFTER and host.origin not in accepting:
                    unsent.append(
                        Result(parcel.number, Outcome.CONFIGURATION, None, _NOT_TRIED, group=host.origin)
                    )
                elif not host.allowed:
                    unsent.append(
                        Result(parcel.number, Outcome.REFUSED, None, "not a push service we may call")
                    )
                else:
                    request = _request(parcel, signer, host, now)
                    if isinstance(request, Result):
                        unsent.append(request)
                    else:
                        origins[parcel.number] = host.origin
                        yield request

        for response in httpclient.client(pushhosts.public).post(requests()):
            result = result_of(response, now, origins[response.tag.number])
            if result.outcome == Outcome.CONFIGURATION:
                refused[result.group] += 1
            elif result.outcome == Outcome.ACCEPTED:
                accepting.add(result.group)
            yield result
            while unsent:
                yield unsent.pop()
        yield from unsent


WebPushForm.channel = WebPush
_NOT_TRIED = "not tried: the push service has just refused our key"


def result_of(response: httpclient.Response[Parcel], now: datetime, origin: str = "") -> Result:
    """Return what the answer of the push service at `origin` means for the parcel."""
    number = response.tag.number
    if 200 <= response.status <= 202:
        return Result(number, Outcome.ACCEPTED, response.status, group=origin)
    if response.refused:
        return Result(number, Outcome.REFUSED, None, response.error, group=origin)
    if not response.status:
        return Result(number, Outcome.RETRY, None, response.error, group=origin)
    fallback = Outcome.RETRY if response.status >= 500 else Outcome.REFUSED
    outcome = OUTCOMES.get(response.status, fallback)
    detail = response.headers.get("x-wns-error-description") or response.body.decode("utf-8", "replace")
    wait = retry_after(response.headers.get("retry-after", ""), now) if outcome == Outcome.RETRY else None
    return Result(number, outcome, response.status, detail, wait, origin)


def retry_after(value: str, now: datetime) -> timedelta | None:
    """Read a Retry-After header: seconds or an HTTP date (RFC 9110, section 10.2.3); None when it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), MAX_TTL))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta()), timedelta(seconds=MAX_TTL))


def _request(
    parcel: Parcel, signer: vapid.Signer, host: pushhosts.Host, now: datetime
) -> httpclient.Request[Parcel] | Result:
    device, push = cast(Device, parcel.address.device), parcel.payload
    try:
        body = encryption.encrypt(push.plaintext, device.p256dh, device.auth)
    except encryption.BadKeys as error:
        return Result(parcel.number, Outcome.REFUSED, None, str(error), group=host.origin)
    left = int((parcel.delivery.expires_at - now).total_seconds())
    headers = [
        # WNS takes a TTL of 0 for a contradiction, and others drop the message when the browser is not there.
        f"TTL: {max(1, min(left, push.max_ttl))}",
        f"Urgency: {push.urgency}",
        f"Topic: {push.topic}",
        "Content-Type: application/octet-stream",
        "Content-Encoding: aes128gcm",
        f"Authorization: {signer.authorization(host.origin)}",
    ]
    if host.origin.endswith(".notify.windows.com"):
        headers.append("X-WNS-Cache-Policy: cache")
    return httpclient.Request(parcel, device.endpoint, headers, body, trusted=host.trusted)


def _topic(tag: str) -> str:
    """Return a Topic header: 32 characters of base64url, all that RFC 8030 allows and Apple takes."""
    return vapid.b64url(hashlib.sha256(tag.encode()).digest()[:24])


def _plaintext(content: WebPushContent, tag: str, token: str, click: str) -> bytes:
    shown = {name: getattr(content, name) for name in ("title", "body", "icon", "image", "badge", "url")}
    payload: dict[str, Any] = {name: value for name, value in shown.items() if value}
    payload |= {"tag": tag, "token": token, "track": f"{settings.NUDGE_PUBLIC_URL}/t/push/"}
    if click and (content.url or content.actions):
        payload["click"] = click  # the worker adds it to links that lead to its own site
    if content.actions:
        payload["actions"] = [
            {"action": str(number), "title": action.title, **({"url": action.url} if action.url else {})}
            for number, action in enumerate(content.actions, start=1)
        ]
    if content.data:
        payload["data"] = content.data
    return msgspec.json.encode(payload)


def _too_big(size: int) -> str:
    return _("too big: %(size)d bytes, a push carries %(limit)d") % {
        "size": size,
        "limit": encryption.MAX_PLAINTEXT,
    }
