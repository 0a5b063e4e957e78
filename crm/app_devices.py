"""Apps on people's phones that take pushes: what they told us to reach them by."""

import re
import secrets
from datetime import datetime

import msgspec
from django.utils import timezone

from crm import identity, pg, subscriptions
from crm.models import Device
from crm.subscriptions import APPS, Details, SubscriptionError

FCM, APNS, SANDBOX = APPS
PLATFORMS = ("android", "ios", "web")
_TOKENS = {
    FCM: re.compile(r"[A-Za-z0-9_:.=-]{20,1000}"),
    # Apple says nothing of its length but that it may change.
    APNS: re.compile(r"[0-9a-f]{64,400}"),
    SANDBOX: re.compile(r"sandbox-[A-Za-z0-9_-]{16,100}"),
}
_APP = re.compile(r"[A-Za-z0-9_.:-]{0,200}")


class AppDevice(msgspec.Struct, frozen=True):
    """An app's registration: `kind` is who carries to it, `replaces` the token that it had before."""

    kind: str
    token: str
    app: str = ""
    platform: str = ""
    replaces: str = ""


@pg.atomically
def register(
    reference: identity.Reference,
    wanted: AppDevice,
    details: Details,
    source: str,
    now: datetime | None = None,
    proven: bool = False,
) -> tuple[Device, bool]:
    """Keep an app's token and the person's consent to pushes; return the device and whether it is new.

    A token belongs to whom it was registered for last. A refreshed token takes the place of the one it replaces.

    Args:
        proven: whether the names in `reference` are known to be right, rather than claimed by an app.

    Raises:
        SubscriptionError: the token can't be one.
        identity.ErasedPerson: the person was erased, and somebody else than they themselves (source "sdk") says so.
    """
    now = now or timezone.now()
    wanted = checked(wanted)
    if wanted.replaces and wanted.replaces != wanted.token:
        _replace(wanted.replaces, wanted.token, now)
    fields = {"kind": wanted.kind, "app": wanted.app, "platform": wanted.platform, "p256dh": "", "auth": ""}
    return subscriptions.keep(reference, wanted.token, fields, details, source, now, proven)


def forget(token: str, source: str, now: datetime | None = None) -> bool:
    """Take an app off, as `subscriptions.unsubscribe` does; return whether it was active."""
    # Apple's tokens are hexadecimal, and apps write them either way.
    found = Device.objects.filter(endpoint__in={token, token.lower()}, kind__in=APPS).first()
    return found is not None and subscriptions.unsubscribe(found.endpoint, source, now)


def add_sandbox(profile_id: int, now: datetime | None = None) -> Device:
    """Give a person a phone that is not there: what is sent to it shows up in the sandbox.

    Raises:
        identity.UnknownProfile: there is no such person.
    """
    token = f"sandbox-{secrets.token_urlsafe(24)}"
    device, _new = register(
        identity.Reference(id=profile_id),
        AppDevice(SANDBOX, token, "sandbox", "android"),
        Details(user_agent="Sandbox"),
        "admin",
        now,
    )
    return device


def checked(wanted: AppDevice) -> AppDevice:
    """Return a registration as it is kept; SubscriptionError when it can't be right."""
    if wanted.kind not in APPS:
        raise SubscriptionError("device.kind", "Must be one of: " + ", ".join(APPS) + ".")
    token = wanted.token.lower() if wanted.kind == APNS else wanted.token
    if not _TOKENS[wanted.kind].fullmatch(token):
        raise SubscriptionError("device.token", f"Is not a token of {wanted.kind}.")
    if not _APP.fullmatch(wanted.app):
        raise SubscriptionError(
            "device.app", "Must be a bundle id or package name, such as com.example.shop."
        )
    platform = wanted.platform or ("ios" if wanted.kind == APNS else "")
    if platform and platform not in PLATFORMS:
        raise SubscriptionError("device.platform", "Must be one of: " + ", ".join(PLATFORMS) + ".")
    replaces = wanted.replaces.lower() if wanted.kind == APNS else wanted.replaces
    return msgspec.structs.replace(wanted, token=token, platform=platform, replaces=replaces)


def _replace(old: str, new: str, now: datetime) -> None:
    """Let a device go by its new token; one that is known by both keeps the new one."""
    device = Device.objects.select_for_update().filter(endpoint=old, kind__in=APPS).first()
    if device is None:
        return
    if Device.objects.filter(endpoint=new).exists():
        if device.state == Device.State.ACTIVE:
            subscriptions.end([device], "it has a new token", now)
    else:
        device.endpoint = new
        device.save(update_fields=["endpoint"])
