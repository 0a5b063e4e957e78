"""The words that tell a site's own analytics where a visitor comes from."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import quote_plus, urlsplit

NAMES = ("utm_source", "utm_medium", "utm_campaign", "utm_content")


def tagged(url: str, words: Mapping[str, str]) -> str:
    """Return `url` with the parameters it does not have yet; the rest of it stays letter by letter."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    present = {pair.partition("=")[0].lower() for pair in parts.query.split("&")}
    more = "&".join(
        f"{name}={quote_plus(value)}" for name, value in words.items() if value and name not in present
    )
    if not more:
        return url
    address, hash_sign, fragment = url.partition("#")
    joint = "?" if "?" not in address else "" if address.endswith(("?", "&")) else "&"
    return f"{address}{joint}{more}{hash_sign}{fragment}"


def filled(pattern: str, values: Mapping[str, str]) -> str:
    """Return a pattern such as "{channel}" with its placeholders filled in."""
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


@lru_cache(maxsize=2048)
def host_of(url: str) -> str:
    """Return the host of an address, without its port; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def belongs(host: str, sites: Collection[str]) -> bool:
    """Tell whether a host is one of `sites` or below one."""
    return bool(host) and any(host == site or host.endswith(f".{site}") for site in sites)
