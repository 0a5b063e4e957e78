"""Which addresses we may call that people wrote down: they must not make us call what only we can reach.

The operator allows more of them by a setting: NUDGE_WEBHOOK_HOSTS for what flows and messages call,
NUDGE_PROVIDER_HOSTS_TRUSTED for the services of sending accounts.
"""

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from delivery import pushhosts

_CONFUSING = re.compile(r"[\s\\\x00-\x1f\x7f]")  # read differently by different clients
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Target(msgspec.Struct, frozen=True):
    """Where a call goes: its origin (scheme://host[:port]), and whether the operator named it, so that it may be
    private and without TLS."""

    origin: str
    trusted: bool


class BadAddress(ValueError):
    """An address that may not be called; the message says why."""


WEBHOOKS, PROVIDERS = "NUDGE_WEBHOOK_HOSTS", "NUDGE_PROVIDER_HOSTS_TRUSTED"


def look_at(url: str, setting: str = WEBHOOKS) -> Target:
    """What we know of an address. A name that leads to a private address is found out when it is called.

    Args:
        setting: the one in which the operator names hosts (with their port where it is not the usual one).

    Raises:
        BadAddress: it is no https address, holds a user name, or is a private address that the operator did not name.
    """
    refused = BadAddress(_("Give an address that begins with https://."))
    if not url.isascii() or _CONFUSING.search(url) or len(url) > 2000:
        raise refused
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        default = _DEFAULT_PORTS[parts.scheme]
        port = parts.port or default
    except (ValueError, KeyError):
        raise refused from None
    if not host:
        raise refused
    if parts.username is not None or parts.password is not None:
        raise BadAddress(_("An address holds no user name and password; calls are signed."))
    bracketed = f"[{host}]" if ":" in host else host
    usual = port == default
    origin = f"{parts.scheme}://{bracketed}" + ("" if usual else f":{port}")
    names = {f"{bracketed}:{port}"} | ({bracketed} if usual else set())
    if not names.isdisjoint(name.strip().lower() for name in getattr(settings, setting)):
        return Target(origin, trusted=True)
    if parts.scheme != "https":
        raise refused
    if host == "localhost" or host.endswith(".localhost") or _is_private(host):
        raise BadAddress(_("This address is not on the internet. The operator may allow it: %s.") % setting)
    return Target(origin, trusted=False)


def _is_private(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not pushhosts.public(host)
