"""Which push endpoints we may call. They come from visitors, who must not make us call anything else."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

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


def allowed(endpoint: str) -> bool:
    """Whether `endpoint` is a URL at a known push service, or at a host of NUDGE_PUSH_HOSTS."""
    url = _split(endpoint)
    if url is None:
        return False
    if trusted(endpoint):
        return True
    host = url.hostname or ""
    return (
        url.scheme == "https"
        and url.port in (None, 443)
        and any(host.endswith(known) if known.startswith(".") else host == known for known in KNOWN)
    )


def trusted(endpoint: str) -> bool:
    """Whether the operator named exactly this host and port in NUDGE_PUSH_HOSTS; only such may be private."""
    url = _split(endpoint)
    if url is None:
        return False
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    port = url.port or _DEFAULT_PORTS[url.scheme]
    names = {f"{host}:{port}"}
    if port == _DEFAULT_PORTS[url.scheme]:
        names.add(f"{host}")
    return not names.isdisjoint(name.strip().lower() for name in settings.NUDGE_PUSH_HOSTS)


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


def _split(endpoint: str) -> SplitResult | None:
    """Return the parts of a plain http(s) URL; None for anything that clients might read differently."""
    if not endpoint.isascii() or any(c in endpoint for c in " \t\r\n\\"):
        return None
    try:
        url = urlsplit(endpoint)
        url.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        return None
    if (
        url.scheme not in _DEFAULT_PORTS
        or not url.hostname
        or url.username is not None
        or url.password is not None
    ):
        return None
    return url
