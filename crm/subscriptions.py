"""Push subscriptions of people's browsers, and what they share with those of apps (crm/app_devices.py)."""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from crm import consent, identity, log, opt_in, pg, traits
from crm.models import Device

WEBPUSH = "webpush"
PUSH = "push"  # to apps
APPS = ("fcm", "apns", "sandbox")  # who carries to them
MAX_WORDING = 2000  # characters


class SubscriptionError(ValueError):
    """A push subscription that can't be used; `field` names the part that is wrong."""

    def __init__(self, field: str, detail: str):
        super().__init__(detail)
        self.field = field
        self.detail = detail


class PushKeys(msgspec.Struct):
    p256dh: str
    auth: str


class PushSubscription(msgspec.Struct):
    """What `PushSubscription.toJSON()` gives in a browser (W3C Push API, section 8)."""

    endpoint: str
    keys: PushKeys


class Details(msgspec.Struct):
    """What else is known about the browser and its person.

    `topics` are those the person agreed to, `wording` is what they were asked, `agreed_seconds_ago` is when:
    a browser tells of an old yes again, which must not outdo a no given since.
    """

    origin: str = ""
    user_agent: str = ""
    language: str = ""
    application_key: str = ""
    wording: str = ""
    timezone: str = ""
    topics: Sequence[str] = ()
    agreed_seconds_ago: float = 0


@pg.atomically
def subscribe(
    reference: identity.Reference,
    subscription: PushSubscription,
    details: Details,
    source: str,
    allowed: Callable[[str], bool],
    now: datetime | None = None,
    proven: bool = False,
) -> tuple[Device, bool]:
    """Keep a browser's subscription and the person's consent; return the device and whether it is new.

    Language and time zone go to the profile too, where it has none.
    An endpoint belongs to whom it was subscribed for last: two people share a computer, not a login.

    Args:
        allowed: tells whether an endpoint is at a push service we may call.
        proven: whether the names in `reference` are known to be right, rather than claimed by a browser.

    Raises:
        SubscriptionError: the endpoint may not be called or a key is not one.
        identity.ErasedPerson: the person was erased, and somebody else than they themselves (source "sdk") says so.
    """
    now = now or timezone.now()
    check(subscription, allowed)
    keys = {"p256dh": subscription.keys.p256dh, "auth": subscription.keys.auth}
    return keep(reference, subscription.endpoint, {"kind": WEBPUSH, **keys}, details, source, now, proven)


def keep(
    reference: identity.Reference,
    endpoint: str,
    fields: Mapping[str, Any],
    details: Details,
    source: str,
    now: datetime,
    proven: bool,
) -> tuple[Device, bool]:
    """Keep a device, in the caller's transaction, with the consent to its channel; see `subscribe`.

    Args:
        fields: of the Device, its `kind` among them.
    """
    [profile_id] = identity.resolve([reference], now, [reference] if proven else (), source)
    existing = Device.objects.select_for_update().filter(endpoint=endpoint).first()
    known = {
        name: getattr(details, name)[:500] for name in ("origin", "user_agent", "language", "application_key")
    }
    state = {"state": Device.State.ACTIVE, "gone_reason": "", "changed_at": now}
    device, created = Device.objects.update_or_create(
        endpoint=endpoint, defaults={"profile_id": profile_id, **fields, **state, **known}
    )
    agreed_at = now - timedelta(seconds=details.agreed_seconds_ago)
    where = opt_in.proof(details.origin, details.user_agent, details.language)
    opt_in.answer(
        [
            consent.Change(
                profile_id,
                kind,
                key,
                consent.SUBSCRIBED,
                source,
                agreed_at,
                details.wording[:MAX_WORDING],
                legal_basis="",
                proof=where,
            )
            for kind, key in [
                (consent.CHANNEL, channel_of(device.kind)),
                *((consent.TOPIC, topic) for topic in details.topics),
            ]
        ],
        now=now,
    )
    gaps = traits.taken({"language": details.language, "timezone": details.timezone})
    traits.fill_gaps([(profile_id, gaps)])
    if created or (existing and (existing.state, existing.profile_id) != (Device.State.ACTIVE, profile_id)):
        record("push_subscribed", device, now)
    return device, created


def channel_of(kind: str) -> str:
    """The channel that reaches a device of this kind."""
    return PUSH if kind in APPS else kind


@pg.atomically
def unsubscribe(endpoint: str, source: str, now: datetime | None = None) -> bool:
    """Take a browser or app off; the consent ends with the person's last one of its channel. Return whether it was
    active."""
    now = now or timezone.now()
    device = Device.objects.select_for_update().filter(endpoint=endpoint, state=Device.State.ACTIVE).first()
    if device is None:
        return False
    end([device], "unsubscribed", now)
    channel = channel_of(device.kind)
    others = APPS if channel == PUSH else (device.kind,)
    if not Device.objects.filter(
        profile_id=device.profile_id, kind__in=others, state=Device.State.ACTIVE
    ).exists():
        consent.record(
            [consent.Change(device.profile_id, consent.CHANNEL, channel, consent.UNSUBSCRIBED, source, now)]
        )
    return True


@pg.atomically
def replace(
    old_endpoint: str,
    subscription: PushSubscription | None,
    allowed: Callable[[str], bool],
    now: datetime | None = None,
) -> bool:
    """Follow a browser that changed its subscription; None: it lost it. Return whether we knew the old one.

    Raises:
        SubscriptionError: as for `subscribe`.
    """
    now = now or timezone.now()
    device = Device.objects.select_for_update().filter(endpoint=old_endpoint).first()
    if device is None:
        return False
    if subscription is None:
        if device.state == Device.State.ACTIVE:
            end([device], "the browser dropped it", now)
        return True
    check(subscription, allowed)
    told = (
        Device.objects.select_for_update()
        .filter(endpoint=subscription.endpoint)
        .exclude(pk=device.pk)
        .first()
    )
    if told is not None:
        device.delete()  # the page was faster, and it knows who uses the browser now
        device = told
    device.endpoint = subscription.endpoint
    device.p256dh, device.auth = subscription.keys.p256dh, subscription.keys.auth
    device.state, device.gone_reason, device.changed_at = Device.State.ACTIVE, "", now
    device.save()
    return True


@pg.atomically
def mark_gone(device_ids: Collection[int], reason: str, now: datetime | None = None) -> int:
    """Stop using devices whose push service says that they no longer exist; return how many were active."""
    now = now or timezone.now()
    devices = list(
        Device.objects.select_for_update().filter(pk__in=device_ids, state=Device.State.ACTIVE).order_by("pk")
    )
    end(devices, reason, now)
    return len(devices)


def check(subscription: PushSubscription, allowed: Callable[[str], bool]) -> None:
    """Raise SubscriptionError unless a push can be encrypted for and sent to `subscription`."""
    if len(subscription.endpoint) > 2000 or not allowed(subscription.endpoint):
        raise SubscriptionError(
            "subscription.endpoint", "The endpoint is not at a push service that this server may call."
        )
    if len(_decoded(subscription.keys.auth)) != 16:
        raise SubscriptionError("subscription.keys.auth", "Must be 16 bytes in base64url.")
    point = _decoded(subscription.keys.p256dh)
    try:
        if len(point) != 65:
            raise ValueError("not an uncompressed point")
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise SubscriptionError(
            "subscription.keys.p256dh", "Must be a public key on the curve P-256: 65 bytes in base64url."
        ) from error


def _decoded(text: str) -> bytes:
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def end(devices: Sequence[Device], reason: str, now: datetime) -> None:
    """Mark devices as gone, in the caller's transaction, and log it."""
    Device.objects.filter(pk__in=[device.pk for device in devices]).update(
        state=Device.State.GONE, gone_reason=reason, changed_at=now
    )
    for device in devices:
        device.state = Device.State.GONE
    log.append([_event("push_unsubscribed", device, now, reason=reason) for device in devices])


def record(name: str, device: Device, now: datetime) -> None:
    """Log what became of a device."""
    log.append([_event(name, device, now)])


def _event(name: str, device: Device, now: datetime, **more: str) -> log.NewEvent:
    return log.NewEvent(
        id=log.event_id(name, device.pk, now.isoformat()),
        profile_id=device.profile_id,
        name=name,
        occurred_at=now,
        properties={"device": device.pk, "channel": channel_of(device.kind), **more},
        source="nudge",
    )
