"""Pushes to apps: what a message holds, and how FCM and APNs want it written.

FCM: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
APNs: https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification
"""

import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec

from delivery.models import Delivery

MAX_SIZE = 4096  # bytes, of APNs and of FCM alike
MAX_TTL = 28 * 24 * 3600  # seconds: four weeks, the most that FCM keeps a message
PREFIX = "nudge_"  # of what we tell the app besides the author's data
# Words that FCM and APNs keep for themselves.
RESERVED = re.compile(r"(aps|from|message_type|google\..*|gcm\..*|nudge_.*)\Z", re.IGNORECASE)
_COLLAPSE_ID = re.compile(r"[!-~]{1,64}")


class Button(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person may choose under a notification, and where that leads."""

    title: str
    url: str = ""


class PushPayload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A notification, or with `silent` only data for the app.

    Args:
        url: a web address; `app_url` one inside the app, which comes first.
        tag: what a later notification of the same tag replaces; `collapse` tells that the author gave it.
        ttl: seconds that a sleeping device may take.
        token: tells us by `track` what became of the message.
    """

    tag: str
    ttl: int
    title: str = ""
    body: str = ""
    url: str = ""
    app_url: str = ""
    image: str = ""
    sound: str = ""
    badge: int | None = None
    collapse: bool = False
    urgency: str = "normal"
    silent: bool = False
    actions: tuple[Button, ...] = ()
    data: dict[str, str] = {}
    token: str = ""
    track: str = ""


def ttl(payload: PushPayload, delivery: Delivery, now: datetime) -> int:
    """Seconds that the service may keep the message: never beyond the delivery's own end."""
    return max(0, min(payload.ttl, int((delivery.expires_at - now).total_seconds())))


def for_app(payload: PushPayload) -> dict[str, str]:
    """What the app itself gets to read: the author's data, and ours under names of their own."""
    ours = {
        "token": payload.token,
        "track": payload.track,
        "url": payload.app_url or payload.url,
        "image": payload.image,
        "actions": msgspec.json.encode(payload.actions).decode() if payload.actions else "",
    }
    return payload.data | {PREFIX + name: value for name, value in ours.items() if value}


def collapse_id(payload: PushPayload) -> str:
    """The tag as a header may hold it: 64 bytes at most."""
    if _COLLAPSE_ID.fullmatch(payload.tag):
        return payload.tag
    return hashlib.sha256(payload.tag.encode()).hexdigest()


def aps(payload: PushPayload) -> dict[str, Any]:
    """Apple's own part. `mutable-content` lets the app fetch the picture and make buttons before it is shown."""
    if payload.silent:
        return {"content-available": 1}
    alert = {name: value for name, value in (("title", payload.title), ("body", payload.body)) if value}
    found: dict[str, Any] = {"alert": alert}
    if payload.sound:
        found["sound"] = payload.sound
    if payload.badge is not None:
        found["badge"] = payload.badge
    if payload.image or payload.actions:
        found["mutable-content"] = 1
    if payload.actions:
        found["category"] = "nudge"
    return found


def apns_headers(payload: PushPayload, until: int) -> dict[str, str]:
    """The headers that say how APNs treats the message; `until` is Unix time in seconds, 0: now or never."""
    # A silent push of priority 10 is an error, and one with a collapse id shows nothing that could be replaced.
    quick = payload.urgency == "high" and not payload.silent
    found = {
        "apns-push-type": "background" if payload.silent else "alert",
        "apns-priority": "10" if quick else "5",
        "apns-expiration": str(until),
    }
    if not payload.silent:
        found["apns-collapse-id"] = collapse_id(payload)
    return found


def apns_body(payload: PushPayload) -> dict[str, Any]:
    """The JSON for APNs."""
    return {**for_app(payload), "aps": aps(payload)}


def fcm_message(payload: PushPayload, token: str, left: int, now: datetime) -> dict[str, Any]:
    """A `Message` of FCM's for one registration token, fit for phones of either kind.

    The tag goes to the device, where it replaces. FCM itself keeps no more than four collapse keys for a device, so
    that only those become one that an author chose.
    """
    android: dict[str, Any] = {
        "priority": "HIGH" if payload.urgency == "high" else "NORMAL",
        "ttl": f"{left}s",
    }
    if payload.collapse:
        android["collapse_key"] = payload.tag
    until = int(now.timestamp()) + left
    apns: dict[str, Any] = {
        "headers": apns_headers(payload, until if left else 0),
        "payload": {"aps": aps(payload)},
    }
    found: dict[str, Any] = {"token": token, "data": for_app(payload), "android": android, "apns": apns}
    if payload.silent:
        return found
    shown = {"title": payload.title, "body": payload.body, "image": payload.image}
    found["notification"] = {name: value for name, value in shown.items() if value}
    android["notification"] = {"tag": payload.tag}
    if payload.sound:
        android["notification"]["sound"] = payload.sound
    if payload.badge is not None:
        android["notification"]["notification_count"] = payload.badge
    if payload.image:
        apns["fcm_options"] = {"image": payload.image}
    found["webpush"] = {"headers": {"TTL": str(left), "Urgency": payload.urgency}}
    if payload.url.startswith("https://"):
        found["webpush"]["fcm_options"] = {"link": payload.url}
    return found


def size(payload: PushPayload) -> int:
    """Bytes that count at the stricter of both services."""
    shown = {"title": payload.title, "body": payload.body, "image": payload.image}
    google = msgspec.json.encode(
        {"data": for_app(payload)} | ({} if payload.silent else {"notification": shown})
    )
    return max(len(google), len(msgspec.json.encode(apns_body(payload))))
