"""Which push endpoints we may call. They come from visitors, who must not make us call anything else."""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

# Hosts, or with a leading dot all hosts below.
KNOWN = (
    ".push.services.mozilla.com",
    "fcm.googleapis.com",
    "jmt17.google.com",  # what Chromium builds without a release channel use
    ".push.apple.com",
    ".notify.windows.com",
)
_DEFAULT_PORTS = {"https": 443, "http": 80}
_ORIGIN = re.compile(r"https?://[^/?#]+")
_CONFUSING = re.compile(r"[\s\\]")  # read differently by different clients


class Host(msgspec.Struct, frozen=True):
    """Where an endpoint leads: its origin (scheme://host[:port]), whether we may call it, and whether the operator
    named it, so that it may be private and without TLS."""

    origin: str
    allowed: bool
    trusted: bool


def look_at(endpoint: str) -> Host:
    """Return what we know of the host of `endpoint`; of something that is no plain http(s) URL, that we may not."""
    found = _ORIGIN.match(endpoint)
    if found is None or not endpoint.isascii() or _CONFUSING.search(endpoint):
        return Host("", allowed=False, trusted=False)
    return _judge(found[0], tuple(settings.NUDGE_PUSH_HOSTS))


def allowed(endpoint: str) -> bool:
    """Whether `endpoint` is a URL at a known push service, or at a host of NUDGE_PUSH_HOSTS."""
    return look_at(endpoint).allowed


def trusted(endpoint: str) -> bool:
    """Whether the operator named exactly this host and port in NUDGE_PUSH_HOSTS; only such may be private."""
    return look_at(endpoint).trusted


@lru_cache(maxsize=1024)
def _judge(origin: str, named: tuple[str, ...]) -> Host:
    refused = Host(origin, allowed=False, trusted=False)
    try:
        url = urlsplit(origin)
        port = url.port or _DEFAULT_PORTS[url.scheme]
    except ValueError:
        return refused
    host = url.hostname or ""
    if not host or url.username is not None or url.password is not None:
        return refused
    bracketed = f"[{host}]" if ":" in host else host
    names = {f"{bracketed}:{port}"} | ({bracketed} if port == _DEFAULT_PORTS[url.scheme] else set())
    if not names.isdisjoint(name.strip().lower() for name in named):
        return Host(origin, allowed=True, trusted=True)
    known = (
        url.scheme == "https"
        and port == 443
        and any(host.endswith(name) if name.startswith(".") else host == name for name in KNOWN)
    )
    return Host(origin, known, trusted=False)


def public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, multicast …

    Addresses that carry an IPv4 address inside (mapped, 6to4, NAT64, Teredo) are judged by that one too.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(v4 is not None and not _open(v4) for v4 in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return _open(ip)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


def _open(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return ip.is_global and not ip.is_multicast
