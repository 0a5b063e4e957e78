"""Telling people from machines that follow links: scanners of mail gateways, previews in chats, privacy proxies.

What came is kept as it came (LinkHit); these rules judge it, and judge all of it anew when `VERSION` grows. Sources:
Sec-Purpose is of the Fetch standard, Purpose and X-Moz of older browsers; Apple's Mail Privacy Protection fetches
pictures as "Mozilla/5.0" alone, whether or not anybody looks; Gmail's GoogleImageProxy fetches when a mail is opened.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from delivery.models import LinkHit

Verdict = LinkHit.Verdict
VERSION = 2
HEAD = "HEAD"  # as a purpose: only the head of the answer was asked for
LANDED = (
    "landed"  # the same: no link was fetched, but the script of the page behind it told that somebody came
)
LANDS_WITHIN = timedelta(minutes=1)
AT_ONCE = timedelta(seconds=2)
SETTLED = timedelta(seconds=5)  # after which no rule needs to know what comes later
MANY = 3  # links that nobody follows at once
_AHEAD = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)
_MACHINES = re.compile(  # Cubot makes phones
    r"(?<!cu)bot\b|crawl|spider|slurp|\bscan(ner)?\b|preview|curl/|wget/|python|java/|go-http|okhttp|libwww|headless"
    r"|phantomjs|facebookexternalhit|facebookcatalog|^whatsapp/|slack-img|embedly|iframely"
    r"|barracuda|mimecast|proofpoint|ironport|fireeye|symantec|messagelabs|trendmicro|sophos|forcepoint|safelinks"
    r"|microsoft office existence|ms-office|google-safety|google-read-aloud|apache-httpclient"
    r"|axios/|node-fetch|undici|ruby|perl\b|php/|urllib|httpx|aiohttp|feedfetcher|uptime|pingdom",
    re.IGNORECASE,
)
_PROXIES = re.compile(r"GoogleImageProxy|YahooMailProxy|via ggpht\.com", re.IGNORECASE)
_APPLE = "Mozilla/5.0"
_PHONE = re.compile(r"iPhone|iPad|Android|Mobile", re.IGNORECASE)


class Hit(msgspec.Struct, frozen=True):
    """Something followed a link (None: fetched the picture)."""

    link: int | None
    at: datetime
    user_agent: str = ""
    purpose: str = ""


def judge(
    hit: Hit, others: Sequence[Hit], links: int, sent_at: datetime | None
) -> tuple[LinkHit.Verdict, str]:
    """Return who it was, and why not a person.

    Args:
        others: all hits of the same delivery, `hit` among them.
        links: how many links it has.
        sent_at: when the provider took it, as far as it is known.
    """
    agent = hit.user_agent.strip()
    if _AHEAD.search(hit.purpose):
        return Verdict.MACHINE, "fetched ahead"
    if HEAD in hit.purpose.split():
        return Verdict.MACHINE, "asked for the head alone"
    if not agent:
        return Verdict.MACHINE, "no program named"
    if hit.link is None and hit.purpose == LANDED:
        return _landed(hit, others, links, sent_at)
    if hit.link is None and _PROXIES.search(agent):
        return Verdict.PROXY, "mail service's proxy"
    if hit.link is None and agent == _APPLE:
        return Verdict.MACHINE, "Apple's privacy proxy"
    if _MACHINES.search(agent):
        return Verdict.MACHINE, "known program"
    if sent_at is not None and timedelta() <= hit.at - sent_at < AT_ONCE:
        return Verdict.MACHINE, "within 2 seconds of sending"
    if hit.link is not None and links > 1:
        together = {
            other.link for other in others if other.link is not None and abs(other.at - hit.at) <= AT_ONCE
        }
        if len(together) >= min(links, MANY):
            return Verdict.MACHINE, "every link at once"
    return Verdict.PERSON, ""


def _landed(
    hit: Hit, others: Sequence[Hit], links: int, sent_at: datetime | None
) -> tuple[LinkHit.Verdict, str]:
    """Scanners run pages' scripts, too: who comes to the page is whoever clicked, as far as that is known."""
    if _MACHINES.search(hit.user_agent):
        return Verdict.MACHINE, "known program"
    clicks = [
        judge(other, others, links, sent_at)
        for other in others
        if other.link is not None
        and other.user_agent == hit.user_agent
        and timedelta() <= hit.at - other.at <= LANDS_WITHIN
    ]
    people = [verdict for verdict in clicks if verdict[0] != Verdict.MACHINE]
    return clicks[0] if clicks and not people else (Verdict.PERSON, "")


def class_of(user_agent: str) -> str:
    """Return what kind of device it was: "phone" or "desktop"."""
    return "phone" if _PHONE.search(user_agent) else "desktop"
