"""How much anybody may send: token buckets for public keys and pages, in the memory of each process.

A bucket refills at a steady rate up to its size; what finds it empty is answered with 429 and when to come again.
With several web processes a caller may get as many times the rate. A server's key is limited only in what is costly
to answer.
"""

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from crm.api.errors import ApiError
from crm.models import ApiKey

MAX_BUCKETS = 100_000  # those unused the longest are forgotten, which fills them
_NETWORK = 64  # bits of an IPv6 address that one customer of a provider has for themselves
_DEFAULT = "default"

Name = tuple[str, str]


class TooMany(ApiError):
    """429, with the seconds until it may be tried again."""

    def __init__(self, seconds: int):
        super().__init__(429, "too_many_requests", _("Too much at once; go on in %d s.") % seconds)
        self.headers = {"Retry-After": str(seconds)}


class _Bucket(msgspec.Struct):
    """`level` tokens were in it at `at` (seconds of the monotonic clock)."""

    level: float
    at: float


_buckets: OrderedDict[Name, _Bucket] = OrderedDict()
_lock = threading.Lock()


def check(kind: str, key: ApiKey | None, address: str, amount: int = 1, servers: bool = False) -> None:
    """Take `amount` from what this address and this key may do; a server's key may do anything, unless told.

    More than a bucket holds is let through when the bucket is full, and empties it.

    Args:
        kind: such as "inbox"; each has buckets of its own. settings.NUDGE_RATE_LIMITS[kind] tells (tokens per
            second, size) for "address" and "key"; a kind that is not there has those of "default".
        key: None for a page that needs none.
        address: see `address`.
        servers: limit servers' keys, too.

    Raises:
        TooMany: one of them is used up; nothing was taken.
    """
    if key is not None and ApiKey.Scope.BROWSER not in key.scopes and not servers:
        return
    rates = settings.NUDGE_RATE_LIMITS.get(kind) or settings.NUDGE_RATE_LIMITS.get(_DEFAULT)
    if not rates:
        return
    wanted = [((kind, f"address:{address}"), *rates["address"])]
    if key is not None:
        wanted.append(((kind, f"key:{key.pk}"), *rates["key"]))
    seconds = _take(wanted, amount, time.monotonic())
    if seconds > 0:
        raise TooMany(max(1, math.ceil(seconds)))


def _take(wanted: Sequence[tuple[Name, float, float]], amount: int, now: float) -> float:
    """Take from all of (name, rate, size), or from none and return the seconds until there is enough."""
    with _lock:
        buckets = []
        wait = 0.0
        for name, rate, size in wanted:
            bucket = _buckets.get(name)
            if bucket is None:
                bucket = _buckets[name] = _Bucket(size, now)
            _buckets.move_to_end(name)
            bucket.level = min(size, bucket.level + (now - bucket.at) * rate)
            bucket.at = now
            missing = min(amount, size) - bucket.level
            wait = max(wait, missing / rate)
            buckets.append(bucket)
        if wait <= 0:
            for bucket in buckets:
                bucket.level -= amount if amount <= bucket.level else bucket.level
        while len(_buckets) > MAX_BUCKETS:
            _buckets.popitem(last=False)
        return wait


def forget() -> None:
    """Fill all buckets of this process."""
    with _lock:
        _buckets.clear()


def peer(request: HttpRequest) -> str:
    """The address that a request comes from, as it was told.

    X-Forwarded-For is believed as far as the last settings.NUDGE_TRUSTED_PROXIES proxies wrote it: each of them
    adds at its end whom it heard.
    """
    found = request.META.get("REMOTE_ADDR", "")
    trusted = settings.NUDGE_TRUSTED_PROXIES
    if trusted:
        heard = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        if len(heard) >= trusted and heard[-trusted]:
            found = heard[-trusted]
    return found[:100]


def address(request: HttpRequest) -> str:
    """Where a request comes from: the network's part of an IPv6 address, all of an IPv4 one."""
    heard = peer(request)
    try:
        found = ipaddress.ip_address(heard)
    except ValueError:
        return heard
    if found.version == 6:
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _NETWORK), strict=False))
    return str(found)
